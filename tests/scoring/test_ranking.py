import numpy as np
import pytest
from sklearn import metrics

from medimg.scoring.ranking import cut_counts, rank_scores


def weighted_case(seed, decimals):
    """40 cases with ties when rounded, and four sets of weights, zeros among them."""
    generator = np.random.default_rng(seed)
    positive = generator.random(40) < 0.3
    score = (generator.random(40) + 0.2 * positive).round(decimals)
    return positive, score, generator.integers(0, 4, (40, 4)).astype(float)


@pytest.mark.parametrize("decimals", [1, 8])
@pytest.mark.parametrize("seed", range(4))
def test_each_set_of_weights_scores_as_scikit_learn_does(seed, decimals):
    positive, score, weights = weighted_case(seed, decimals)
    ranking = rank_scores(positive, score)
    for found, oracle in [
        (ranking.auroc(weights), metrics.roc_auc_score),
        (ranking.average_precision(weights), metrics.average_precision_score),
    ]:
        expected = [oracle(positive, score, sample_weight=column) for column in weights.T]
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("decimals", [1, 8])
def test_whole_weights_equal_repeated_cases(decimals):
    positive, score, weights = weighted_case(7, decimals)
    ranking = rank_scores(positive, score)
    found = ranking.sensitivity_at_specificity(weights, 0.8)
    for column, value in zip(weights.T.astype(int), found, strict=True):
        fpr, tpr, _ = metrics.roc_curve(np.repeat(positive, column), np.repeat(score, column))
        assert value == pytest.approx(tpr[fpr <= 0.2 + 1e-12].max())


def test_a_set_that_misses_a_class_is_undefined_alone():
    ranking = rank_scores(np.array([True, False, False]), np.array([0.9, 0.5, 0.1]))
    weights = np.array([[1.0, 0.0, 2.0], [1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    for found in (
        ranking.auroc(weights),
        ranking.average_precision(weights),
        ranking.sensitivity_at_specificity(weights, 0.5),
    ):
        np.testing.assert_array_equal(found, [1, np.nan, np.nan])


def test_unknown_cases_take_no_part_but_keep_their_place_in_the_weights():
    positive, score, weights = weighted_case(3, 1)
    known = np.arange(40) % 3 > 0
    found = rank_scores(positive, score, known).auroc(weights)
    np.testing.assert_array_equal(found, rank_scores(positive[known], score[known]).auroc(weights[known]))


def test_infinite_scores_tie_with_each_other():
    scores, true, false = cut_counts(np.array([True, False, True]), np.array([np.inf, np.inf, -np.inf]))
    assert (scores.tolist(), true.tolist(), false.tolist()) == ([np.inf, -np.inf], [1, 2], [1, 1])
    assert [part.size for part in cut_counts(np.zeros(0, bool), np.zeros(0))] == [0, 0, 0]
