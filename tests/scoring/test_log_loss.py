import math

import numpy as np
import pytest
from sklearn.metrics import log_loss

from medimg.scoring.log_loss import log_losses


def test_their_mean_is_that_of_scikit_learn():
    generator = np.random.default_rng(0)
    target, prob = generator.integers(0, 2, 200), generator.random(200)
    assert log_losses(target, prob).mean() == pytest.approx(log_loss(target, prob), rel=1e-12)


def test_certain_and_wrong_is_costly_but_finite():
    assert log_losses([1, 0, 1], [0, 1, 1]) == pytest.approx(
        [-math.log(1e-15), -math.log(1e-15), 0.0], abs=1e-12
    )


@pytest.mark.parametrize(
    ("target", "prob", "message"),
    [
        ([1], [0.5, 0.5], "one shape"),
        ([math.nan], [0.5], "0 or 1 expected"),
        ([1], [math.nan], r"\[0, 1\] expected"),
        ([1], [1.1], r"\[0, 1\] expected"),
    ],
)
def test_refusals(target, prob, message):
    with pytest.raises(ValueError, match=message):
        log_losses(target, prob)
