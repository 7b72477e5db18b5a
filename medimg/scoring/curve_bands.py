"""Bands around ROC, precision-recall and reliability curves: where the curve of other patients would lie."""

from dataclasses import dataclass

import numpy as np

from medimg.scoring.calibration import BINS, bin_of
from medimg.scoring.label_bootstrap import PatientDraws
from medimg.scoring.ranking import BoolArray, FloatArray

GRID = np.linspace(0.0, 1.0, 101)
"""False positive rates, or recalls, at which a band is given."""


@dataclass(frozen=True, slots=True)
class Band:
    """An interval at each place of a curve, point by point.

    Attributes:
        x: Places, shape (P,).
        low: Lower end, shape (P,); NaN where most resamples have no value.
        high: Upper end.
    """

    x: FloatArray
    low: FloatArray
    high: FloatArray


def roc_band(positive: BoolArray, prob: FloatArray, draws: PatientDraws, level: float = 0.95) -> Band:
    """Sensitivity at each false positive rate, over resamples of patients.

    Args:
        positive: Whether each case has the label, shape (N,).
        prob: Probability of the label, shape (N,).
        draws: Patients of the N cases, and resamples.
        level: Share of the resampled values inside the band.

    Example:
        >>> truth, prob = np.array([True, True, False, False]), np.array([0.9, 0.8, 0.2, 0.1])
        >>> float(roc_band(truth, prob, PatientDraws(list("abcd"), resamples=20, seed=0)).low.min())
        1.0
    """
    true, false = _counts(positive, prob, draws)
    rates = [_roc_on_grid(t, f) for t, f in zip(true, false, strict=True)]
    return _band(GRID, rates, level)


def precision_recall_band(
    positive: BoolArray, prob: FloatArray, draws: PatientDraws, level: float = 0.95
) -> Band:
    """Precision at each recall, over resamples of patients; arguments as for ``roc_band``.

    Example:
        >>> truth, prob = np.array([True, True, False, False]), np.array([0.9, 0.8, 0.2, 0.1])
        >>> float(precision_recall_band(truth, prob, PatientDraws(list("abcd"), resamples=20, seed=0)).low.min())
        1.0
    """
    true, false = _counts(positive, prob, draws)
    rates = [_precision_on_grid(t, f) for t, f in zip(true, false, strict=True)]
    return _band(GRID, rates, level)


def reliability_band(positive: BoolArray, prob: FloatArray, draws: PatientDraws, level: float = 0.95) -> Band:
    """Share of positives in each bin of probability, over resamples of patients; arguments as for ``roc_band``.

    Returns:
        The band at the middle of each of the bins; NaN for bins without cases.
    """
    weights = _weights(draws)
    member = bin_of(prob)[:, None] == np.arange(BINS)  # (N, bins)
    size = member.T.astype(np.float64) @ weights  # (bins, R)
    hits = (member & positive[:, None]).T.astype(np.float64) @ weights
    shares = np.divide(hits, size, out=np.full_like(hits, np.nan), where=size > 0)
    return _band((np.arange(BINS) + 0.5) / BINS, list(shares.T), level)


def _weights(draws: PatientDraws) -> FloatArray:
    """How often each case counts in each resample, (N, R)."""
    return np.concatenate([times[draws.patient] for times in draws.chunks()], axis=1)[:, 1:]


def _counts(positive: BoolArray, prob: FloatArray, draws: PatientDraws) -> tuple[FloatArray, FloatArray]:
    """True and false positives of each resample at each distinct probability, falling, each (R, S)."""
    order = np.argsort(-prob, kind="stable")
    weights = _weights(draws)[order]
    last = np.flatnonzero(np.append(np.diff(prob[order]) != 0, True))  # ties are called together
    true = np.cumsum(weights * positive[order, None], axis=0)[last]
    false = np.cumsum(weights * ~positive[order, None], axis=0)[last]
    return true.T, false.T


def _roc_on_grid(true: FloatArray, false: FloatArray) -> FloatArray:
    if true[-1] == 0 or false[-1] == 0:
        return np.full_like(GRID, np.nan)
    fpr, tpr = np.append(0, false / false[-1]), np.append(0, true / true[-1])
    # Of several points at one rate the highest counts, as a threshold can be chosen.
    keep = np.append(np.diff(fpr) > 0, True)
    return np.asarray(np.interp(GRID, fpr[keep], tpr[keep]), np.float64)


def _precision_on_grid(true: FloatArray, false: FloatArray) -> FloatArray:
    if true[-1] == 0 or false[-1] == 0:
        return np.full_like(GRID, np.nan)
    seen = true > 0
    recall, precision = true[seen] / true[-1], true[seen] / (true[seen] + false[seen])
    # A step curve: the precision where this recall is first reached.
    return precision[np.minimum(np.searchsorted(recall, GRID - 1e-12), len(recall) - 1)]


def _band(x: FloatArray, curves: list[FloatArray], level: float) -> Band:
    table = np.array(curves)
    known = ~np.isnan(table)
    enough = known.mean(axis=0) > 0.5
    low, high = np.full(len(x), np.nan), np.full(len(x), np.nan)
    ends = [50 * (1 - level), 50 * (1 + level)]
    if enough.any():
        low[enough], high[enough] = np.nanpercentile(table[:, enough], ends, axis=0)
    return Band(x, low, high)
