import math

import numpy as np
import pytest

from medimg.scoring.probabilistic_f1 import probabilistic_f1


def by_definition(target, prob):
    prob = np.clip(prob, 0, 1)
    true, false, positives = prob[target == 1].sum(), prob[target == 0].sum(), (target == 1).sum()
    if true == 0:
        return 0.0
    precision, recall = true / (true + false), true / positives
    return 2 * precision * recall / (precision + recall)


def test_the_published_vector():
    found = probabilistic_f1([1, 0, 0, 1, 0], [0.9, 0.2, 0.1, 0.4, 0.0])
    assert found == pytest.approx(0.7222222222, abs=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_harmonic_mean_of_the_two_quotients(seed):
    generator = np.random.default_rng(seed)
    target = (generator.random(50) < 0.2).astype(float)
    target[:5], target[5:7] = math.nan, (0, 1)
    prob = generator.normal(0.5, 0.5, 50)  # some outside [0, 1]: clipped
    assert probabilistic_f1(target, prob) == pytest.approx(by_definition(target, prob))


def test_certain_calls_give_the_plain_f1_and_no_mass_gives_zero():
    assert probabilistic_f1([1, 1, 0], [1, 0, 1]) == pytest.approx(0.5)
    assert probabilistic_f1([1, 0], [0.0, 0.7]) == 0
    assert probabilistic_f1([1, 0], [0.0, 0.0]) == 0


@pytest.mark.parametrize("target", [[0, 0], [1, 1], [math.nan, 1], []])
def test_undefined_without_both_classes(target):
    assert math.isnan(probabilistic_f1(target, [0.5, 0.1][: len(target)]))
