import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medimg.errors import DataError
from medimg.scoring.nested import deal_folds, nested_choice, nested_fit


def groups_of(sizes):
    return [f"p{number}" for number, size in enumerate(sizes) for _ in range(size)]


def test_a_patient_stands_in_one_fold_and_folds_are_even():
    groups = groups_of([7, 1, 1, 2, 3, 1, 1, 4, 2, 2, 3, 1, 2])
    fold = deal_folds(groups, folds=5)
    for name in set(groups):
        assert len({int(f) for f, g in zip(fold, groups, strict=True) if g == name}) == 1
    sizes = np.bincount(fold)
    assert len(sizes) == 5
    assert sorted(sizes) == [5, 6, 6, 6, 7]


def test_the_dealing_does_not_depend_on_the_order_of_cases():
    groups = groups_of([2, 1, 3, 1, 1, 2, 1])
    order = np.random.default_rng(1).permutation(len(groups))
    fold = deal_folds(groups, folds=3, seed=4)
    np.testing.assert_array_equal(deal_folds([groups[i] for i in order], folds=3, seed=4), fold[order])
    assert any((deal_folds(groups, folds=3, seed=seed) != fold).any() for seed in range(4))


def test_few_patients_are_a_fold_each_and_one_is_refused():
    assert sorted(deal_folds(["a", "b", "c"], folds=5)) == [0, 1, 2]
    with pytest.raises(DataError, match="two patients or more, found 1"):
        deal_folds(["a", "a"])
    with pytest.raises(ValueError, match="two folds or more"):
        deal_folds(["a", "b"], folds=1)


def test_each_case_is_judged_by_a_choice_that_never_saw_its_patient():
    rng = np.random.default_rng(0)
    groups = [f"p{number // 2}" for number in range(60)]
    scores = rng.random((60, 8))
    found = nested_choice(scores, groups, folds=4, seed=3)
    assert found.chosen == scores.mean(0).argmax()
    for number, pick in enumerate(found.picks):
        inside = found.fold == number
        assert pick == scores[~inside].mean(0).argmax()
        np.testing.assert_array_equal(found.honest[inside], scores[inside, pick])


def test_choosing_among_noise_gains_nothing():
    gains, flattered = [], []
    for seed in range(40):
        scores = np.random.default_rng(seed).normal(size=(50, 20))
        scores[:, 0] = 0
        found = nested_choice(scores, [str(n) for n in range(50)], seed=seed)
        gains.append(found.honest.mean())
        flattered.append(scores[:, found.chosen].mean())
    assert np.mean(flattered) > 0.2  # what an in-sample figure would claim
    assert abs(np.mean(gains)) < 0.05


def test_ties_go_to_the_first_and_nan_is_left_out():
    groups = list("abcd")
    same = nested_choice([[0.1, 0.1], [0.2, 0.2], [0.3, 0.3], [0.1, 0.1]], groups)
    assert same.chosen == 0
    assert set(same.picks) == {0}
    # 0.1 + 0.2 + 0.3 is a last bit more than 0.3 + 0.2 + 0.1, and no better.
    dust = nested_choice([[0.3, 0.1], [0.2, 0.2], [0.1, 0.3]], list("abc"))
    assert dust.chosen == 0
    nan = float("nan")
    assert nested_choice([[0.5, nan], [0.5, 0.4], [0.5, 0.9]], list("abc")).chosen == 1
    assert nested_choice([[nan, nan], [nan, nan]], list("ab")).chosen == 0


def test_what_is_fitted_serves_metrics_over_all_cases():
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 80)
    members = target[:, None] * [0.0, 0.5, 1.0] + rng.normal(size=(80, 3))
    groups = [str(n) for n in range(80)]
    fit = nested_fit(
        lambda cases: int(np.argmax([roc_auc_score(target[cases], m[cases]) for m in members.T])), groups
    )
    honest = members[np.arange(80), np.array(fit.without)[fit.fold]]
    assert fit.final == 2
    assert roc_auc_score(target, honest) == pytest.approx(roc_auc_score(target, members[:, 2]))


def test_scores_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2, C\)"):
        nested_choice([[0.1], [0.2], [0.3]], ["a", "b"])
