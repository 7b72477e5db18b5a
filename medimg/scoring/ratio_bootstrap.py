"""Intervals of quotients of sums, such as a weighted loss over its weights, by resampling patients."""

from collections.abc import Sequence

import numpy as np

from medimg.scoring.bootstrap import Interval
from medimg.scoring.classification import divide
from medimg.scoring.label_bootstrap import PatientDraws, interval_of
from medimg.scoring.ranking import FloatArray

Sums = tuple[FloatArray, FloatArray]
"""What each case adds to a numerator and to its denominator, both of shape (N,)."""


def ratio_interval(
    parts: Sequence[Sums],
    *,
    groups: Sequence[str],
    shares: Sequence[float] = (1.0,),
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """A weighted sum of quotients of sums over cases, with a percentile bootstrap interval over patients.

    Args:
        parts: Numerators and denominators of J quotients; a case adds 0 to one that it takes no part in.
        groups: Patient of each case, length N.
        shares: Factor of each quotient, length J.
        level: Share of the resampled values inside the interval, in (0, 1).
        resamples: Number of draws.
        seed: Seed of the draws.

    Returns:
        Value and interval, NaN where a denominator is 0; ``n`` counts the cases that add to a denominator.

    Raises:
        ValueError: If lengths differ.

    Example:
        >>> found = ratio_interval([(np.array([1.0, 2.0]), np.array([1.0, 3.0]))], groups=["p", "q"])
        >>> found.mean, found.n  # (1 + 2) / (1 + 3), not the mean of 1 and 2/3
        (0.75, 2)
    """
    if len(parts) != len(shares) or any(len(sums) != len(groups) for part in parts for sums in part):
        raise ValueError("one share for each part and one group for each case expected")
    draws = PatientDraws(groups, resamples=resamples, seed=seed)
    by_patient = [
        [np.bincount(draws.patient, sums, draws.n_patients).astype(np.float64) for sums in part]
        for part in parts
    ]
    values = np.concatenate([_values(by_patient, shares, times) for times in draws.chunks()])
    mean, low, high = interval_of(values, level)
    n = int(np.any([below > 0 for _, below in parts], axis=0).sum())
    return Interval(mean, low, high, n, len(groups) - n)


def _values(
    by_patient: Sequence[Sequence[FloatArray]], shares: Sequence[float], times: FloatArray
) -> FloatArray:
    """The weighted sum for each set of times that the patients count, (patients, R); shape (R,)."""
    total = np.zeros(times.shape[1])
    for share, (above, below) in zip(shares, by_patient, strict=True):
        total += share * divide(above @ times, below @ times)
    return total
