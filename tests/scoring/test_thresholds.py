import math

import numpy as np
import pytest
from sklearn import metrics

from medimg.errors import ConfigError, DataError
from medimg.scoring.classification import balanced_accuracy, f1
from medimg.scoring.probabilistic_f1 import probabilistic_f1
from medimg.scoring.thresholds import (
    ThresholdRule,
    max_f1_threshold,
    sensitivity_threshold,
    youden_threshold,
)

CHOICES = [(max_f1_threshold, f1), (youden_threshold, balanced_accuracy)]
RULES = [
    ThresholdRule("f1"),
    ThresholdRule("fbeta", beta=2),
    ThresholdRule("fbeta", beta=0.5),
    ThresholdRule("pf1"),
    ThresholdRule("youden"),
    ThresholdRule("sensitivity", target=0.8),
]


def drawn(seed, decimals=8, n=60):
    generator = np.random.default_rng(seed)
    target = (generator.random(n) < 0.3).astype(float)
    score = (generator.random(n) + 0.4 * target).clip(0, 1).round(decimals)
    target[:6] = math.nan
    return target, score


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


@pytest.mark.parametrize("decimals", [1, 8])
@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_no_cut_serves_a_rule_better(rule, seed, decimals):
    target, score = drawn(seed, decimals)
    tried = {cut: rule.score(target, score > cut) for cut in [*np.unique(score), score.min() - 1]}
    found = rule.choose(target, score)
    reached = rule.score(target, score > found)
    if rule.name == "sensitivity":  # of all that reach the target the highest
        above = max(cut for cut, value in tried.items() if value >= rule.target)
        assert reached >= rule.target
        np.testing.assert_array_equal(score > found, score > above)
    else:
        assert reached == pytest.approx(max(tried.values()))


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_scores_of_rules_are_scikit_learns(rule):
    target, score = drawn(3)
    known = ~np.isnan(target)
    called = score > 0.6
    truth, calls = target[known], called[known]
    sensitivity = metrics.recall_score(truth, calls)
    expected = {
        "youden": 2 * metrics.balanced_accuracy_score(truth, calls) - 1,
        "sensitivity": sensitivity,
        "fbeta": metrics.fbeta_score(truth, calls, beta=rule.beta),
    }.get(rule.name, metrics.f1_score(truth, calls))
    assert rule.score(target, called) == pytest.approx(expected)
    assert math.isnan(rule.score(np.zeros(3), [1, 0, 1]))


def test_calls_beat_every_other_way_to_raise_the_probabilistic_f1():
    """The score is a quotient of sums of probabilities, so it is highest where each is 0 or 1."""
    target, score = drawn(1)
    best = probabilistic_f1(target, score > ThresholdRule("pf1").choose(target, score))
    for cut in np.unique(score):
        above = score > cut
        for tried in (score, np.where(above, score, 0), np.where(above, 1, score), above * 1.0):
            assert probabilistic_f1(target, tried) <= best + 1e-12


@pytest.mark.parametrize("n", [20, 40, 100])
def test_a_share_that_is_a_whole_number_of_cases_is_reached_exactly(n):
    score = np.linspace(0.1, 0.9, n + 1)
    target = np.ones(n + 1)
    target[0] = 0
    assert (score[1:] > sensitivity_threshold(target, score, 0.95)).sum() == round(0.95 * n)
    assert (score > sensitivity_threshold(target, score, 1.0)).sum() == n


def test_rules_say_what_they_are_and_refuse_odd_numbers():
    assert [str(rule) for rule in RULES] == ["f1", "fbeta 2", "fbeta 0.5", "pf1", "youden", "sensitivity 0.8"]
    for beta in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ConfigError, match="--beta: expected a number above 0"):
            ThresholdRule("fbeta", beta=beta)
    for target in (0.0, 1.1, math.nan):
        with pytest.raises(ConfigError, match="--target: expected a sensitivity"):
            ThresholdRule("sensitivity", target=target)
    for rule in RULES:
        with pytest.raises(DataError, match="found 2 positive and 0 negative"):
            rule.choose([1, 1], [0.1, 0.2])
