"""The probabilistic F1 of the RSNA screening mammography challenge."""

import numpy as np
import numpy.typing as npt

from medimg.scoring.classification import divide, known_pairs
from medimg.scoring.ranking import BoolArray, FloatArray


def probabilistic_f1(target: npt.ArrayLike, prob: npt.ArrayLike) -> float:
    """F1 in which a case is called positive by its probability instead of by a threshold.

    Args:
        target: 1, 0, or NaN where unknown, shape (N,).
        prob: Probability of the label, clipped to [0, 1], shape (N,).

    Returns:
        Score in [0, 1], 0 if no positive case has any probability; NaN for a label without both classes.

    Raises:
        ValueError: If shapes differ, a target is not 0, 1 or NaN, or a known case has no probability.

    Example:
        >>> round(probabilistic_f1([1, 0, 0, 1, 0], [0.9, 0.2, 0.1, 0.4, 0.0]), 10)
        0.7222222222

    Reference:
        Yacouby and Axman 2020, "Probabilistic extension of precision, recall, and F1 score".
    """
    positive, probs = known_pairs(target, prob)
    probs = probs.clip(0, 1)
    sums = (probs[positive].sum(), probs[~positive].sum(), positive.sum())
    true_mass, false_mass, n_positive = (np.asarray(value, np.float64) for value in sums)
    both = np.asarray(positive.any() and not positive.all())
    return float(pf1_from_sums(true_mass, false_mass, n_positive, both))


def pf1_from_sums(
    true_mass: FloatArray, false_mass: FloatArray, n_positive: FloatArray, defined: BoolArray
) -> FloatArray:
    """Probabilistic F1 from sums over cases, elementwise.

    Args:
        true_mass: Sum of the probabilities of the positive cases.
        false_mass: Sum of the probabilities of the negative cases.
        n_positive: Number of positive cases.
        defined: Whether both classes are there; NaN elsewhere.

    Returns:
        Harmonic mean of ``true_mass / (true_mass + false_mass)`` and ``true_mass / n_positive``.
    """
    # The two quotients in one: 2 pTP / (pTP + pFP + positives), 0 where pTP is 0.
    return divide(2 * true_mass, true_mass + false_mass + n_positive, defined)
