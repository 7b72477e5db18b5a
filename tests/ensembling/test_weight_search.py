import itertools

import numpy as np
import pytest

from medimg.ensembling.weight_search import ROUNDS, search_nested, search_weights
from medimg.scoring.classification import auroc

SEARCHES = ("greedy", "simplex")


def mean_of(stack, weights):
    return np.tensordot(weights, stack, axes=1)


@pytest.fixture
def noisy():
    """Targets, and members of which some are noise and one is turned round, shape (M, N)."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 100)
    signal = np.array([1.0, 0.8, 0.0, -0.8, 0.3])
    return target, signal[:, None] * target + rng.normal(size=(5, 100))


@pytest.mark.parametrize("search", SEARCHES)
def test_weights_lie_on_the_simplex_and_beat_equal_ones_and_every_member(noisy, search):
    target, members = noisy

    def auc(total):
        return auroc(target, total)

    weights = search_weights(members, auc, search)
    assert min(weights) >= 0
    assert sum(weights) == pytest.approx(1)
    found = auc(mean_of(members, weights))
    assert found >= auc(members.mean(0))
    assert found >= max(auc(one) for one in members)
    assert weights[3] == 0  # the member that is turned round
    assert weights == search_weights(members, auc, search)


def test_simplex_finds_the_minimum_of_a_smooth_objective():
    rng = np.random.default_rng(1)
    members, goal = rng.normal(size=(3, 40)), np.array([0.6, 0.3, 0.1])
    target = mean_of(members, goal)
    weights = search_weights(members, lambda total: -((total - target) ** 2).sum(), "simplex")
    np.testing.assert_allclose(weights, goal, atol=0.03)


def test_greedy_adds_with_replacement_as_the_paper_says():
    """The reference adds, one by one, the member that helps most, from the best few on."""
    rng = np.random.default_rng(2)
    target = rng.normal(size=50)
    members = target + rng.normal(size=(4, 50)) * np.array([1, 1, 2, 3])[:, None]

    def score(total):
        return -float(((total - target) ** 2).sum())

    order = sorted(range(4), key=lambda m: -score(members[m]))
    start = max(range(1, 5), key=lambda n: score(members[order[:n]].mean(0)))
    bag = order[:start]
    best = (score(members[bag].mean(0)), list(bag))
    for _ in range(ROUNDS):
        bag = max(([*bag, m] for m in range(4)), key=lambda b: score(members[b].mean(0)))
        best = max(best, (score(members[bag].mean(0)), list(bag)), key=lambda one: one[0])
    expected = np.bincount(best[1], minlength=4) / len(best[1])
    np.testing.assert_allclose(search_weights(members, score, "greedy"), expected)


@pytest.mark.parametrize("search", SEARCHES)
def test_a_member_that_is_right_alone_gets_everything(search):
    members = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    weights = search_weights(members, lambda total: -abs(total - [1.0, 0.0]).sum(), search)
    assert weights == (0.0, 1.0, 0.0)


@pytest.mark.parametrize("search", SEARCHES)
def test_scores_that_are_not_defined_or_all_alike_change_nothing(search):
    members = np.random.default_rng(0).random((3, 5))
    for value in (float("nan"), 0.5):
        weights = search_weights(members, lambda total, value=value: value, search)
        assert sorted(weights) in ([0, 0, 1], pytest.approx([1 / 3] * 3))


@pytest.mark.parametrize("search", SEARCHES)
def test_each_fold_is_searched_without_its_patients(noisy, search):
    target, members = noisy
    groups = [f"p{number // 2}" for number in range(100)]

    def score(total, cases):
        return -float(((total - target)[cases] ** 2).sum())

    fit = search_nested(members, score, groups, search, folds=3)
    assert fit.final == search_weights(members, lambda total: score(total, np.arange(100)), search)
    for number, weights in enumerate(fit.without):
        rest = np.flatnonzero(fit.fold != number)
        hidden = members[:, rest]
        assert weights == search_weights(
            hidden, lambda t, r=rest: -float(((t - target[r]) ** 2).sum()), search
        )
    for one, other in itertools.pairwise(sorted(zip(groups, fit.fold.tolist(), strict=True))):
        assert one[0] != other[0] or one[1] == other[1]


@pytest.mark.parametrize("search", SEARCHES)
def test_where_the_objective_is_not_defined_weights_stay_equal(search):
    members = np.random.default_rng(0).normal(size=(4, 10))
    assert search_weights(members, lambda total: float("nan"), search) == (0.25,) * 4
