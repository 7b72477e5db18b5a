"""The logarithmic loss of single calls, from which weighted official losses are summed."""

import numpy as np
import numpy.typing as npt

from medimg.scoring.ranking import FloatArray

CLIP = 1e-15  # a call of exactly 0 or 1 that is wrong costs 34.5 instead of infinity


def log_losses(target: npt.ArrayLike, prob: npt.ArrayLike) -> FloatArray:
    """Binary cross-entropy of each call.

    Args:
        target: 1 or 0, any shape.
        prob: Probability in [0, 1], the same shape; kept 1e-15 away from 0 and 1.

    Returns:
        Natural logarithms of at least 0, in the same shape.

    Raises:
        ValueError: If shapes differ, a target is neither 0 nor 1, or a probability is missing or outside [0, 1].

    Example:
        >>> log_losses([1, 0], [0.5, 0.75]).round(4)
        array([0.6931, 1.3863])
    """
    truth, probs = np.asarray(target, np.float64), np.asarray(prob, np.float64)
    if truth.shape != probs.shape:
        raise ValueError(f"target and prob of one shape expected, found {truth.shape} and {probs.shape}")
    if not np.isin(truth, (0.0, 1.0)).all():
        raise ValueError("targets of 0 or 1 expected; a log loss has no place for unknown ones")
    if not ((probs >= 0) & (probs <= 1)).all():
        raise ValueError("probabilities in [0, 1] expected")
    of_truth = np.where(truth == 1, probs, 1 - probs).clip(CLIP, 1 - CLIP)
    losses: FloatArray = -np.log(of_truth)
    return losses
