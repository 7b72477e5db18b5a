"""How far probabilities can be taken at their word: calibration error, Brier score, log loss, reliability curve."""

import numpy as np
import numpy.typing as npt

from medimg.scoring.classification import known_pairs
from medimg.scoring.confusion import known_classes
from medimg.scoring.ranking import FloatArray, IndexArray

BINS = 15  # as in Guo et al. 2017
_LEAST = np.finfo(np.float64).eps  # a certain prediction that is wrong costs 36, as in scikit-learn


def bin_of(prob: FloatArray, bins: int = BINS) -> IndexArray:
    """Index of the bin of equal width that holds each probability; a bin holds its upper edge.

    Raises:
        ValueError: If a probability is outside [0, 1] or there are no bins.

    Example:
        >>> bin_of(np.array([0.0, 0.5, 0.51, 1.0]), 2)
        array([0, 0, 1, 1])
    """
    if bins < 1:
        raise ValueError(f"one bin or more expected, found {bins}")
    if prob.size and not (prob.min() >= 0 and prob.max() <= 1):
        raise ValueError(
            f"probabilities in [0, 1] expected, found {prob.min():g} to {prob.max():g}. "
            "Apply the sigmoid or the softmax first."
        )
    return np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], prob)


def expected_calibration_error(target: npt.ArrayLike, prob: npt.ArrayLike, bins: int = BINS) -> float:
    """Calibration error of one label: binary, or one of several labels.

    Args:
        target: 1, 0, or NaN where unknown, shape (N,).
        prob: Probability of the label, in [0, 1], shape (N,).
        bins: Number of bins of equal width.

    Returns:
        Distance between mean probability and share of positives, averaged over bins by their number of
        cases; NaN for a label without both classes. For several labels: the mean of the defined ones.

    Raises:
        ValueError: As for ``known_pairs``, or if a probability is outside [0, 1].

    Example:
        >>> round(expected_calibration_error([1, 0, 1, 0], [0.9, 0.9, 0.3, 0.1], bins=2), 3)  # .4 / 2 + .3 / 2
        0.35

    Reference:
        Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian binning".
    """
    positive, probs = known_pairs(target, prob)
    index = bin_of(probs, bins)
    if positive.all() or not positive.any():
        return float("nan")
    return float(np.abs(np.bincount(index, weights=probs - positive, minlength=bins)).sum() / len(probs))


def multiclass_calibration_error(target: npt.ArrayLike, prob: npt.ArrayLike, bins: int = BINS) -> float:
    """Calibration error of the most probable class.

    Args:
        target: One-hot targets of shape (N, K); a case with a NaN is left out.
        prob: Probabilities of shape (N, K).
        bins: Number of bins of equal width.

    Returns:
        Distance between confidence and accuracy, averaged over bins by their number of cases; NaN without
        cases.

    Raises:
        ValueError: If shapes differ or a probability is outside [0, 1].

    Example:
        >>> round(multiclass_calibration_error([[1, 0], [0, 1]], [[0.8, 0.2], [0.7, 0.3]]), 3)
        0.45

    Reference:
        Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599.
    """
    known, index, probs = _classes_and_probs(target, prob)
    if not known.any():
        return float("nan")
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == index
    gaps = np.bincount(bin_of(confidence, bins), weights=confidence - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(probs))


def brier_score(target: npt.ArrayLike, prob: npt.ArrayLike) -> float:
    """Mean squared distance of the probability of one label from its truth.

    Args:
        target: 1, 0, or NaN where unknown, shape (N,).
        prob: Probability of the label, in [0, 1], shape (N,).

    Returns:
        Score in [0, 1], 0 the best; NaN without known cases.

    Raises:
        ValueError: As for ``known_pairs``.

    Example:
        >>> round(brier_score([1, 0], [0.9, 0.2]), 3)
        0.025
    """
    positive, probs = known_pairs(target, prob)
    return float(np.mean((probs - positive) ** 2)) if len(probs) else float("nan")


def multiclass_brier_score(target: npt.ArrayLike, prob: npt.ArrayLike) -> float:
    """Mean over cases of the squared distance summed over classes, in [0, 2].

    Args:
        target: One-hot targets of shape (N, K); a case with a NaN is left out.
        prob: Probabilities of shape (N, K).

    Example:
        >>> round(multiclass_brier_score([[1, 0]], [[0.8, 0.2]]), 3)
        0.08

    Reference:
        Brier 1950, "Verification of forecasts expressed in terms of probability".
    """
    known, index, probs = _classes_and_probs(target, prob)
    if not known.any():
        return float("nan")
    return float(np.mean(((probs - np.eye(probs.shape[1])[index]) ** 2).sum(axis=1)))


def log_loss(target: npt.ArrayLike, prob: npt.ArrayLike) -> float:
    """Mean negative log-likelihood of one label, in nats.

    Args:
        target: 1, 0, or NaN where unknown, shape (N,).
        prob: Probability of the label, in [0, 1], shape (N,).

    Returns:
        0 or more, 0 the best; NaN without known cases.

    Raises:
        ValueError: As for ``known_pairs``.

    Example:
        >>> round(log_loss([1, 0], [0.5, 0.5]), 3)
        0.693
    """
    positive, probs = known_pairs(target, prob)
    of_truth = np.where(positive, probs, 1 - probs).clip(_LEAST, 1)
    return float(-np.log(of_truth).mean()) if len(probs) else float("nan")


def multiclass_log_loss(target: npt.ArrayLike, prob: npt.ArrayLike) -> float:
    """Mean negative log-likelihood of the true class, in nats.

    Args:
        target: One-hot targets of shape (N, K); a case with a NaN is left out.
        prob: Probabilities of shape (N, K).

    Example:
        >>> round(multiclass_log_loss([[1, 0, 0]], [[0.5, 0.3, 0.2]]), 3)
        0.693
    """
    known, index, probs = _classes_and_probs(target, prob)
    if not known.any():
        return float("nan")
    return float(-np.log(np.take_along_axis(probs, index[:, None], axis=1).clip(_LEAST, 1)).mean())


def reliability_points(
    target: npt.ArrayLike, prob: npt.ArrayLike, bins: int = 10
) -> tuple[FloatArray, FloatArray, IndexArray]:
    """The reliability curve of one label; for exclusive classes hand over confidence and rightness.

    Args:
        target: 1, 0, or NaN where unknown, shape (N,).
        prob: Probability of the label, in [0, 1], shape (N,).
        bins: Number of bins of equal width; empty ones have no point.

    Returns:
        Mean probability, share of positives and number of cases of each bin that holds some.

    Raises:
        ValueError: As for ``known_pairs``, or if a probability is outside [0, 1].

    Example:
        >>> reliability_points([1, 0, 1], [0.2, 0.4, 0.8], bins=2)
        (array([0.3, 0.8]), array([0.5, 1. ]), array([2, 1]))
    """
    positive, probs = known_pairs(target, prob)
    index = bin_of(probs, bins)
    count = np.bincount(index, minlength=bins)
    filled = count > 0
    mean = np.bincount(index, weights=probs, minlength=bins)[filled] / count[filled]
    share = np.bincount(index, weights=positive, minlength=bins)[filled] / count[filled]
    return mean, share, count[filled]


def _classes_and_probs(
    target: npt.ArrayLike, prob: npt.ArrayLike
) -> tuple[npt.NDArray[np.bool_], IndexArray, FloatArray]:
    truth, probs = np.asarray(target, np.float64), np.asarray(prob, np.float64)
    if truth.ndim != 2 or truth.shape != probs.shape:
        raise ValueError(f"target and prob of one shape (N, K) expected, found {truth.shape}, {probs.shape}")
    known, index = known_classes(truth)
    return known, index, probs[known]
