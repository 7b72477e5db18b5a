"""Scores of predicted numbers, such as a diameter, on the cases as they are and on cases of resampled patients.

Where the known values are all the same, R2 and the rank correlation are undefined and NaN; so is the correlation of
predictions that are all the same. Errors need one known case.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from medimg.scoring.classification import divide
from medimg.scoring.label_bootstrap import PatientDraws, Scores
from medimg.scoring.ranking import BoolArray, FloatArray

VALUE_METRIC_TITLES: Mapping[str, str] = {
    "mae": "MAE",
    "mae_of_mean": "MAE of the training mean",
    "rmse": "RMSE",
    "r2": "R2",
    "spearman": "Spearman",
}
"""What each metric is called in print; errors are in the unit of the values."""

IN_UNIT = ("mae", "mae_of_mean", "rmse")

# What is left of rounding where all values are the same: of the whole spread, and of the values.
_LEAST_SPREAD, _ROUNDING = 1e-10, 1e-12


class ValueScores:
    """The scores of one predicted number.

    Args:
        draws: Patients and resamples.
        target: True value of each case, NaN where unknown, shape (N,).
        pred: Predicted value, shape (N,).
        constant: What a predictor that never looks would say, such as the mean of the training cases; NaN for none.

    Raises:
        ValueError: If a known case has no prediction.
    """

    def __init__(
        self, draws: PatientDraws, target: FloatArray, pred: FloatArray, *, constant: float = np.nan
    ) -> None:
        self.known: BoolArray = ~np.isnan(target)
        truth, guess = target[self.known], pred[self.known]
        if np.isnan(guess).any():
            raise ValueError(
                f"a prediction for each case expected, found {int(np.isnan(guess).sum())} times NaN"
            )
        error = guess - truth
        centred = truth - truth.mean() if truth.size else truth  # or the squares would swallow the spread
        size = _ROUNDING * float(abs(truth).max(initial=0))
        self._least = _LEAST_SPREAD * float((centred**2).sum()) + len(truth) * size**2
        terms = (np.ones_like(error), abs(error), error**2, centred, centred**2, abs(truth - constant))
        patient = draws.patient[self.known]
        self._sums = np.stack(
            [np.bincount(patient, term, draws.n_patients) for term in terms]
        )  # (6, patients)
        self._truth, self._guess = _groups(truth), _groups(guess)

    def scores(self, times: FloatArray, weights: FloatArray) -> Scores:
        """Every score, each (R,); NaN where a resample leaves it undefined.

        Args:
            times: How often each patient counts, (patients, R).
            weights: The same for each case, (N, R).
        """
        n, absolute, squared, first, second, constant = self._sums @ times
        spread = second - divide(first**2, n)
        wide = np.asarray(np.nan_to_num(spread) > self._least)
        counts = weights[self.known]
        return {
            "mae": divide(absolute, n),
            "mae_of_mean": divide(constant, n),
            "rmse": np.sqrt(divide(squared, n)),
            "r2": 1 - divide(squared, spread, wide),
            "spearman": _correlation(_ranks(self._truth, counts), _ranks(self._guess, counts), counts),
        }


def resample_values(
    draws: PatientDraws, target: FloatArray, pred: FloatArray, *, constant: float = np.nan
) -> Scores:
    """Score one predicted number on the cases as they are and on every resample.

    Args:
        draws: Patients and resamples.
        target: True values, NaN where unknown, shape (N,).
        pred: Predicted values, shape (N,).
        constant: What a predictor that never looks would say.

    Returns:
        Scores by metric, each (1 + resamples,), the first for the cases as they are.

    Raises:
        ValueError: If a known case has no prediction.

    Example:
        >>> draws = PatientDraws(["p", "q", "r"], resamples=2, seed=0)
        >>> found = resample_values(draws, np.array([4.0, 8.0, 6.0]), np.array([5.0, 9.0, 7.0]), constant=6.0)
        >>> {name: round(float(values[0]), 3) for name, values in found.items()}
        {'mae': 1.0, 'mae_of_mean': 1.333, 'rmse': 1.0, 'r2': 0.625, 'spearman': 1.0}
    """
    scorer = ValueScores(draws, target, pred, constant=constant)
    parts = [scorer.scores(times, times[draws.patient]) for times in draws.chunks()]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def value_scores(target: npt.ArrayLike, pred: npt.ArrayLike) -> dict[str, float]:
    """The scores of one predicted number, without intervals.

    Args:
        target: True values, NaN where unknown, shape (N,).
        pred: Predicted values, shape (N,).

    Returns:
        ``mae``, ``rmse``, ``r2`` and ``spearman``; NaN where undefined.

    Raises:
        ValueError: If a known case has no prediction.

    Example:
        >>> value_scores([1.0, 2.0, float("nan")], [1.0, 4.0, 0.0])["mae"]
        1.0
    """
    truth, guess = np.asarray(target, np.float64), np.asarray(pred, np.float64)
    if not truth.size:
        return dict.fromkeys(("mae", "rmse", "r2", "spearman"), float("nan"))
    alone = PatientDraws([str(number) for number in range(len(truth))], resamples=0, seed=0)
    found = resample_values(alone, truth, guess)
    return {name: float(values[0]) for name, values in found.items() if name != "mae_of_mean"}


def _groups(values: FloatArray) -> npt.NDArray[np.intp]:
    """Place of each value among the distinct ones in rising order, shape (N,)."""
    return np.unique(values, return_inverse=True)[1].astype(np.intp)


def _ranks(groups: npt.NDArray[np.intp], counts: FloatArray) -> FloatArray:
    """Rank of each value where every case stands as often as it counts, ties sharing theirs, (N, R)."""
    sizes = np.zeros((int(groups.max(initial=-1)) + 1, counts.shape[1]))
    np.add.at(sizes, groups, counts)
    ranks: FloatArray = (sizes.cumsum(axis=0) - (sizes - 1) / 2)[groups]
    return ranks


def _correlation(a: FloatArray, b: FloatArray, counts: FloatArray) -> FloatArray:
    """Pearson's correlation of columns (N, R), cases standing as often as they count."""
    n = counts.sum(axis=0)
    a, b = (column - divide((column * counts).sum(axis=0), n) for column in (a, b))
    first, second = (np.nan_to_num((counts * column**2).sum(axis=0)) for column in (a, b))
    # Two ranks that differ lie at least half a place apart.
    defined = np.asarray((first > 1e-6) & (second > 1e-6))
    return divide((counts * a * b).sum(axis=0), np.sqrt(first * second), defined)
