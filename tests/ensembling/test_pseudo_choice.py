import numpy as np
import pytest

from medimg.ensembling.pseudo_choice import (
    Changes,
    Rules,
    case_weights,
    choose,
    decisions_of,
    label_values,
    merge,
    named_numbers,
)
from medimg.errors import ConfigError

BINARY = Rules(False, np.array([0.9]), np.array([0.1]))
CLASSES = Rules(True, np.array([0.8, 0.5, 0.9]), np.zeros(3))


def column(*probs):
    return np.array(probs)[:, None]


def test_thresholds_hold_at_their_edge_even_in_single_precision():
    probs = np.float32([[0.9], [0.89], [0.1], [0.11]]).astype(float)
    assert choose(probs[None], BINARY).taken.ravel().tolist() == [1, -1, 0, -1]


def test_the_mean_is_judged_and_every_member_must_say_the_same():
    one, other = column(0.99, 1.0, 0.02), column(0.85, 0.45, 0.1)
    loose = Rules(False, np.array([0.7]), np.array([0.3]))
    choice = choose(np.stack([one, other]), loose)
    np.testing.assert_allclose(choice.mean, column(0.92, 0.725, 0.06))
    # The second case's mean is above 0.7, but one member alone would call it absent.
    assert choice.taken.ravel().tolist() == [1, -1, 0]
    np.testing.assert_allclose(choice.certainty, column(0.92, 0.725, 0.94))


def test_members_far_apart_are_not_sure():
    members = np.stack([column(1.0, 1.0), column(0.9, 0.96)])
    tight = Rules(False, np.array([0.9]), np.array([0.1]), max_spread=0.05)
    assert choose(members, tight).taken.ravel().tolist() == [-1, 1]


def test_of_exclusive_classes_each_has_its_own_threshold():
    probs = np.array([[0.81, 0.1, 0.09], [0.79, 0.11, 0.1], [0.3, 0.55, 0.15], [0.05, 0.06, 0.89]])
    choice = choose(probs[None], CLASSES)
    assert choice.taken.ravel().tolist() == [0, -1, 1, -1]
    assert choice.called.ravel().tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ("quota", "taken"),
    [
        ({(0, 1): 2}, [1, -1, 1, 0, 0]),
        ({(0, 1): 1, (0, 0): 1}, [-1, -1, 1, -1, 0]),
        ({(0, 0): 0.5}, [1, 1, 1, -1, 0]),
        ({(0, 1): np.inf}, [1, 1, 1, 0, 0]),
    ],
)
def test_a_quota_keeps_the_most_certain_and_of_equals_the_first(quota, taken):
    rules = Rules(False, np.array([0.9]), np.array([0.1]), quota)
    assert choose(column(0.95, 0.95, 0.99, 0.05, 0.01)[None], rules).taken.ravel().tolist() == taken


def test_labels_of_several_are_decided_one_by_one():
    rules = Rules(False, np.array([0.9, 0.9]), np.array([0.1, 0.1]))
    taken = choose(np.array([[[0.95, 0.5], [0.5, 0.5], [0.05, 0.92]]]), rules).taken
    assert taken.tolist() == [[1, -1], [-1, -1], [0, 1]]
    values = label_values(taken, np.array([[0.95, 0.5], [0.5, 0.5], [0.05, 0.92]]), rules, soft=False)
    np.testing.assert_array_equal(values, [[1, np.nan], [np.nan, np.nan], [0, 1]])
    soft = label_values(taken, np.array([[0.95, 0.5], [0.5, 0.5], [0.05, 0.92]]), rules, soft=True)
    np.testing.assert_array_equal(soft, [[0.95, np.nan], [np.nan, np.nan], [0.05, 0.92]])


def test_soft_classes_add_up_to_one_and_hard_ones_have_a_single_1():
    mean = np.array([[0.808, 0.1, 0.1], [0.3, 0.3, 0.4]])
    taken = np.array([[0], [-1]])
    np.testing.assert_array_equal(label_values(taken, mean, CLASSES, soft=False), [[1, 0, 0], [np.nan] * 3])
    soft = label_values(taken, mean, CLASSES, soft=True)
    np.testing.assert_allclose(soft[0], np.array([0.808, 0.1, 0.1]) / 1.008)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("rules", [BINARY, CLASSES, Rules(False, np.array([0.4, 0.9]), np.array([0.1, 0.1]))])
def test_decisions_are_read_back_from_what_was_written(rules, soft):
    rng = np.random.default_rng(0)
    probs = (
        rng.dirichlet([0.3] * len(rules.positive), 50)
        if rules.exclusive
        else rng.random((50, len(rules.positive)))
    )
    choice = choose(probs[None], rules)
    assert (choice.taken >= 0).any()
    values = label_values(choice.taken, choice.mean, rules, soft=soft)
    if not soft:  # hard values need no thresholds
        rules = Rules(rules.exclusive, np.full(len(rules.positive), 0.5), np.full(len(rules.positive), 0.5))
    np.testing.assert_array_equal(decisions_of(values, rules), choice.taken)


def test_earlier_labels_stay_unless_contradicted():
    #         kept, kept though unsure now, dropped, flipped, new, never
    taken = column(1, -1, -1, 0, 1, -1).astype(int)
    called = column(1, 0, 0, 0, 1, 1).astype(int)
    earlier = column(1, 0, 1, 1, -1, -1).astype(int)
    merged, changes = merge(taken, called, earlier)
    assert merged.ravel().tolist() == [1, 0, -1, 0, 1, -1]
    assert changes == Changes(kept=2, new=1, dropped=1, flipped=1)


def test_weights_are_one_number_or_the_certainty_of_what_is_labelled():
    taken, certainty = np.array([[1, -1], [1, 0]]), np.array([[0.9, 0.6], [0.9, 1.0]])
    assert case_weights(taken, certainty, 0.5).tolist() == [0.5, 0.5]
    np.testing.assert_allclose(case_weights(taken, certainty, None), [0.9, 0.95])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["c=0.5"], "there is no 'c'; expected one of a, b"),
        (["1.5"], "expected a number up to 1"),
        (["a=x"], "expected a number up to 1"),
        (["-0.1"], "expected a number up to 1"),
        (["a=0.5", "a=0.6"], "a is given twice"),
        (["0.5,0.6"], "the number for all is given twice"),
    ],
)
def test_words_that_make_no_sense(words, message):
    with pytest.raises(ConfigError, match=message):
        named_numbers(words, ["a", "b"], "--positive")


def test_words_by_name_and_for_all():
    assert named_numbers(["0.9", "b=0.8"], ["a", "b", "c"], "--positive") == {"a": 0.9, "b": 0.8, "c": 0.9}
    assert named_numbers(["x=y=0.3"], ["x=y"], "--positive") == {"x=y": 0.3}
    assert named_numbers(["300"], ["a"], "--quota", top=np.inf) == {"a": 300}
