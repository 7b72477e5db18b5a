"""Intervals of means by resampling patients."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_DRAWS_AT_ONCE = 4_000_000  # resamples x patients held in memory at a time


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean, the interval it is known to, and how many values stand behind it.

    Attributes:
        mean: Plain mean of the values that count; NaN if there are none.
        low: Lower end of the interval.
        high: Upper end.
        n: Number of values in the mean.
        n_left_out: Number of values left out because they are not defined (NaN).
    """

    mean: float
    low: float
    high: float
    n: int
    n_left_out: int


def mean_interval(
    values: npt.ArrayLike,
    *,
    groups: Sequence[str] | None = None,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Mean of per-case values with a percentile bootstrap interval.

    Whole patients are drawn, because cases of one patient resemble each other and drawing them one by
    one would make the interval too narrow.

    Args:
        values: One value a case, shape (N,); NaN is left out and counted.
        groups: Patient of each case, length N; ``None`` takes every case as its own patient.
        level: Share of the resampled means inside the interval, in (0, 1).
        resamples: Number of draws.
        seed: Seed of the draws; the same seed gives the same interval.

    Returns:
        Mean, interval and counts. One patient alone gives an interval of no width.

    Raises:
        ValueError: If lengths differ, or ``level`` or ``resamples`` is out of range.

    Example:
        >>> interval = mean_interval([0.8, 0.9, float("nan"), 1.0])
        >>> round(interval.mean, 3), interval.n, interval.n_left_out
        (0.9, 3, 1)

    Reference:
        Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 1979; Field and
        Welsh, "Bootstrapping clustered data", JRSS B 2007.
    """
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1:
        raise ValueError(f"values of shape (N,) expected, found {column.shape}")
    return class_mean_interval(column[:, None], groups=groups, level=level, resamples=resamples, seed=seed)


def class_mean_interval(
    values: npt.ArrayLike,
    *,
    groups: Sequence[str] | None = None,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Mean over classes of the class means, with a percentile bootstrap interval over patients.

    Args:
        values: One row a case and one column a class, shape (N, K); NaN is left out.
        groups: Patient of each case, length N; ``None`` takes every case as its own patient.
        level: Share of the resampled means inside the interval, in (0, 1).
        resamples: Number of draws.
        seed: Seed of the draws.

    Returns:
        Mean, interval and counts; a case counts as left out if it has no value at all. A class without
        any value has no mean and takes no part.

    Raises:
        ValueError: If lengths differ, or ``level`` or ``resamples`` is out of range.

    Example:
        >>> nan = float("nan")
        >>> class_mean_interval([[0.8, nan], [0.6, 0.3]]).mean  # (0.7 + 0.3) / 2
        0.5
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"values of shape (N, K) expected, found {table.shape}")
    if groups is not None and len(groups) != len(table):
        raise ValueError(f"one group for each of {len(table)} values expected, found {len(groups)}")
    if not 0.0 < level < 1.0 or resamples < 1:
        raise ValueError(f"level in (0, 1) and resamples >= 1 expected, found {level} and {resamples}")
    has_value = np.logical_not(np.isnan(table)).any(axis=1)  # (N,)
    n = int(has_value.sum())
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0, len(table))
    n_cases = len(table)
    names = np.arange(n_cases) if groups is None else np.asarray(groups, dtype=np.str_)
    table, names = table[has_value], names[has_value]
    sums, counts = _per_group(table, names)
    mean = float(_mean_of_class_means(sums.sum(axis=0), counts.sum(axis=0)))
    means = _resampled(sums, counts, resamples, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high), n, n_cases - n)


def _per_group(table: FloatArray, names: npt.NDArray[np.generic]) -> tuple[FloatArray, FloatArray]:
    """Sum and number of the defined values of each patient, both of shape (patients, K)."""
    _, position = np.unique(names, return_inverse=True)
    shape = (int(position.max()) + 1, table.shape[1])
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, position, np.nan_to_num(table, nan=0.0))
    np.add.at(counts, position, ~np.isnan(table))
    return sums, counts


def _resampled(
    sums: FloatArray, counts: FloatArray, resamples: int, generator: np.random.Generator
) -> FloatArray:
    """Mean of each resample, shape (resamples,)."""
    n = len(sums)
    at_once = max(1, _DRAWS_AT_ONCE // n)
    means = []
    for start in range(0, resamples, at_once):
        # How often each patient is drawn is all that matters to a mean.
        draws = generator.multinomial(n, np.full(n, 1 / n), size=min(at_once, resamples - start))
        means.append(_mean_of_class_means(draws @ sums, draws @ counts))
    return np.concatenate(means)


def _mean_of_class_means(sums: FloatArray, counts: FloatArray) -> FloatArray:
    """Mean over the last axis of sum / count, where a class without values takes no part."""
    defined = counts > 0
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=defined)
    result: FloatArray = means.sum(axis=-1) / defined.sum(axis=-1)
    return result
