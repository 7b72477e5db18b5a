import math

import numpy as np
import pytest
from sklearn import metrics

from medimg.errors import DataError
from medimg.scoring.classification import balanced_accuracy, f1
from medimg.scoring.thresholds import max_f1_threshold, youden_threshold

CHOICES = [(max_f1_threshold, f1), (youden_threshold, balanced_accuracy)]


@pytest.mark.parametrize("decimals", [1, 8])
@pytest.mark.parametrize(("choose", "metric"), CHOICES)
@pytest.mark.parametrize("seed", range(3))
def test_no_threshold_scores_higher(choose, metric, seed, decimals):
    generator = np.random.default_rng(seed)
    target = (generator.random(60) < 0.3).astype(float)
    score = (generator.random(60) + 0.4 * target).round(decimals)
    target[:6] = math.nan
    tried = [metric(target, score, cut) for cut in [*np.unique(score), score.min() - 1]]
    assert metric(target, score, choose(target, score)) == pytest.approx(max(tried))


def test_the_best_f1_of_scikit_learns_curve():
    generator = np.random.default_rng(9)
    target = (generator.random(200) < 0.1).astype(float)
    score = generator.random(200) + 0.3 * target
    precision, recall, _ = metrics.precision_recall_curve(target, score)
    best = np.nanmax(2 * precision * recall / np.maximum(precision + recall, 1e-12))
    assert f1(target, score, max_f1_threshold(target, score)) == pytest.approx(best)


@pytest.mark.parametrize(("choose", "metric"), CHOICES)
def test_the_cut_parts_even_neighbouring_floats(choose, metric):
    low = 0.3
    high = float(np.nextafter(low, 1))
    assert choose([1, 0], [high, low]) == low
    assert metric([1, 0], [high, low], low) == 1
    worst = choose([1, 0], [low, high])  # the wrong way round: all are called, or none would be
    assert metric([1, 0], [low, high], worst) == metric([1, 0], [1.0, 1.0])


@pytest.mark.parametrize(("choose", "metric"), CHOICES)
def test_one_class_alone_gives_no_threshold(choose, metric):
    with pytest.raises(DataError, match=r"found 0 positive and 2 negative ones\. Choose it on a larger"):
        choose([0, 0, math.nan], [0.1, 0.2, 0.3])
