"""Choose the probability above which a case is called positive, on validation cases."""

import numpy as np
import numpy.typing as npt

from medimg.errors import DataError
from medimg.scoring.classification import known_pairs
from medimg.scoring.ranking import FloatArray, cut_counts


def max_f1_threshold(target: npt.ArrayLike, score: npt.ArrayLike) -> float:
    """The threshold with the highest F1.

    Fit it on validation cases and apply it to others: chosen on the cases that it is judged on, it flatters.

    Args:
        target: 1, 0, or NaN where unknown, shape (N,).
        score: Score of each case, shape (N,).

    Returns:
        A threshold; cases that score above it are called positive. It lies halfway between two scores, so
        that small changes of the scores do not turn calls. Among equals the highest.

    Raises:
        DataError: If the known cases are all positive or all negative.
        ValueError: If shapes differ, a target is not 0, 1 or NaN, or a known case has no score.

    Example:
        >>> max_f1_threshold([1, 1, 0, 0], [0.75, 0.5, 0.25, 0.125])
        0.375
    """
    scores, true, false, n_positive, _ = _cuts(target, score)
    return _below(scores, int(np.argmax(2 * true / (true + false + n_positive))))


def youden_threshold(target: npt.ArrayLike, score: npt.ArrayLike) -> float:
    """The threshold with the highest sum of sensitivity and specificity, and so of balanced accuracy.

    Fit it on validation cases and apply it to others.

    Args:
        target: 1, 0, or NaN where unknown, shape (N,).
        score: Score of each case, shape (N,).

    Returns:
        A threshold as ``max_f1_threshold`` gives it.

    Raises:
        DataError: If the known cases are all positive or all negative.
        ValueError: If shapes differ, a target is not 0, 1 or NaN, or a known case has no score.

    Example:
        >>> youden_threshold([1, 0, 1, 0], [0.875, 0.5, 0.375, 0.125])
        0.6875

    Reference:
        Youden 1950, "Index for rating diagnostic tests".
    """
    scores, true, false, n_positive, n_negative = _cuts(target, score)
    return _below(scores, int(np.argmax(true * n_negative - false * n_positive)))


def _cuts(
    target: npt.ArrayLike, score: npt.ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray, float, float]:
    positive, scores = known_pairs(target, score)
    if positive.all() or not positive.any():
        found = f"{int(positive.sum())} positive and {int((~positive).sum())} negative"
        raise DataError(
            f"a threshold needs cases with and without the label, found {found} ones. "
            "Choose it on a larger validation split, or keep 0.5."
        )
    distinct, true, false = cut_counts(positive, scores)
    return distinct, true.astype(float), false.astype(float), float(true[-1]), float(false[-1])


def _below(scores: FloatArray, index: int) -> float:
    """A threshold between the score at this index and the next lower one."""
    if index + 1 == len(scores):
        return float(np.nextafter(scores[index], -np.inf))
    high, low = float(scores[index]), float(scores[index + 1])
    middle = low + (high - low) / 2
    return middle if middle < high else low  # neighbouring floats have no middle
