"""The weighted log loss of the RSNA cervical spine fracture challenge of 2022."""

import numpy as np
import numpy.typing as npt

from medimg.scoring.log_loss import log_losses
from medimg.scoring.ranking import FloatArray

SPINE_LABELS = ("patient_overall", "C1", "C2", "C3", "C4", "C5", "C6", "C7")

_NEGATIVE = np.array([7.0, *[1.0] * 7])
_POSITIVE = np.array([14.0, *[2.0] * 7])


def spine_losses(target: npt.ArrayLike, prob: npt.ArrayLike) -> FloatArray:
    """Weighted log loss of each exam; their mean is the score.

    Args:
        target: 1 for a fracture, else 0, in the order of ``SPINE_LABELS``, shape (N, 8).
        prob: Probabilities, shape (N, 8).

    Returns:
        Sum of weight times loss over the sum of weights, shape (N,). A positive patient weighs 14 and a
        negative one 7, a positive vertebra 2 and a negative one 1.

    Raises:
        ValueError: As for ``log_losses``, or if there are not eight labels.

    Example:
        >>> prob = np.array([[0.5, *[0.25] * 7]])
        >>> spine_losses(np.zeros((1, 8)), prob).round(6)  # (7 ln 2 + 7 ln 4/3) / 14
        array([0.490415])

    Reference:
        Lin et al., "The RSNA cervical spine fracture CT dataset", Radiology: Artificial Intelligence 2023.
    """
    losses = log_losses(target, prob)
    if losses.ndim != 2 or losses.shape[1] != len(SPINE_LABELS):
        raise ValueError(f"exams of shape (N, {len(SPINE_LABELS)}) expected, found {losses.shape}")
    weights = np.where(np.asarray(target) == 1, _POSITIVE, _NEGATIVE)
    result: FloatArray = (weights * losses).sum(axis=1) / weights.sum(axis=1)
    return result
