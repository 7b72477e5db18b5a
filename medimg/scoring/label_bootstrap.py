"""Scores of labels on the cases as they are and on cases of resampled patients, all at once.

Every score here is made from two things: sums over cases, which a resample turns into sums over patients
times the number of times each was drawn, and the order of the scores, which a resample does not change.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from medimg.scoring.calibration import BINS, bin_of
from medimg.scoring.classification import Counts, divide
from medimg.scoring.confusion import matrix_accuracy, matrix_balanced_accuracy, matrix_kappa
from medimg.scoring.probabilistic_f1 import pf1_from_sums
from medimg.scoring.ranking import BoolArray, FloatArray, IndexArray, rank_scores

Scores = dict[str, FloatArray]  # by metric, each (R,)

_WEIGHTS_AT_ONCE = 1_000_000  # cases x resamples held at a time: more no longer fits the cache


class PatientDraws:
    """How often each patient counts: once each, and then in resamples with replacement.

    Args:
        groups: Patient of each case, length N.
        resamples: Number of resamples.
        seed: Seed of the draws.

    Example:
        >>> draws = PatientDraws(["p", "p", "q"], resamples=2, seed=0)
        >>> [times.shape for times in draws.chunks()]  # as it is, and two resamples, of two patients
        [(2, 3)]
    """

    def __init__(self, groups: Sequence[str], *, resamples: int, seed: int) -> None:
        names, self.patient = np.unique(np.asarray(groups, np.str_), return_inverse=True)
        self.n_patients, self.resamples, self.seed = len(names), resamples, seed

    def chunks(self) -> Iterator[FloatArray]:
        """Times each patient counts, (patients, R) in parts; the first column of the first part is all ones."""
        generator = np.random.default_rng(self.seed)
        at_once = max(1, _WEIGHTS_AT_ONCE // len(self.patient))
        done, total = 0, self.resamples + 1
        while done < total:
            times = np.empty((self.n_patients, min(at_once, total - done)))
            for column in range(times.shape[1]):
                drawn = generator.integers(self.n_patients, size=self.n_patients)
                times[:, column] = np.bincount(drawn, minlength=self.n_patients)
            if done == 0:
                times[:, 0] = 1
            done += times.shape[1]
            yield times

    def table(self, cell: IndexArray, value: FloatArray, known: BoolArray, n_cells: int) -> sparse.csr_array:
        """What each patient adds to each cell, (cells, patients): multiplied by a chunk it gives resampled sums.

        Args:
            cell: Cell that each case adds to, shape (N,).
            value: What it adds, shape (N,).
            known: Cases that take part, shape (N,).
            n_cells: Number of cells.
        """
        position = (cell[known], self.patient[known])
        return sparse.csr_array((value[known], position), shape=(n_cells, self.n_patients))


class LabelScores:
    """The scores of one label.

    Args:
        draws: Patients and resamples.
        positive: Whether each case has the label, shape (N,).
        prob: Probability of the label, shape (N,).
        called: Whether each case is called positive, shape (N,).
        known: Whether the truth of each case is known, shape (N,).
        specificity: Where the sensitivity is read, in [0, 1].
    """

    def __init__(
        self,
        draws: PatientDraws,
        positive: BoolArray,
        prob: FloatArray,
        called: BoolArray,
        known: BoolArray,
        *,
        specificity: float,
    ) -> None:
        self._specificity = specificity
        cases = np.ones(len(prob))
        self._ranking = rank_scores(positive, prob, known)
        self._counts = draws.table(2 * positive.astype(np.intp) + called, cases, known, 4)
        self._mass = draws.table(positive.astype(np.intp), prob, known, 2)
        self._gaps = draws.table(bin_of(prob), prob - positive, known, BINS)
        self._squares = draws.table(np.zeros(len(prob), np.intp), (prob - positive) ** 2, known, 1)

    def scores(self, times: FloatArray, weights: FloatArray) -> Scores:
        """Every score of the label, each (R,); NaN where a resample leaves it undefined.

        Args:
            times: How often each patient counts, (patients, R).
            weights: The same for each case, (N, R).
        """
        tn, fp, fn, tp = self._counts @ times  # each (R,)
        counts = Counts(tp, fp, fn, tn)
        negative_mass, positive_mass = self._mass @ times
        size = tp + fp + fn + tn
        return {
            "auroc": self._ranking.auroc(weights),
            "average_precision": self._ranking.average_precision(weights),
            "sensitivity": self._ranking.sensitivity_at_specificity(weights, self._specificity),
            "f1": counts.f1(),
            "accuracy": counts.accuracy(),
            "balanced_accuracy": counts.balanced_accuracy(),
            "kappa": counts.kappa(),
            "ece": divide(np.abs(self._gaps @ times).sum(axis=0), size, counts.both),
            "brier": divide((self._squares @ times)[0], size),
            "pf1": pf1_from_sums(positive_mass, negative_mass, tp + fn, counts.both),
        }


class ClassScores:
    """The scores that exclusive classes have together, rather than one by one.

    Args:
        draws: Patients and resamples.
        index: True class of each case, shape (N,).
        prob: Probabilities of shape (N, K).
        known: Whether the truth of each case is known, shape (N,).
        ordinal: Whether the classes are grades in order, which makes kappa quadratic.
    """

    def __init__(
        self, draws: PatientDraws, index: IndexArray, prob: FloatArray, known: BoolArray, *, ordinal: bool
    ) -> None:
        n, self._k = prob.shape
        self._ordinal = ordinal
        called, confidence = prob.argmax(axis=1), prob.max(axis=1)
        nowhere = np.zeros(n, np.intp)
        squares = ((prob - np.eye(self._k)[index]) ** 2).sum(axis=1)
        self._cells = draws.table(index * self._k + called, np.ones(n), known, self._k**2)
        self._gaps = draws.table(bin_of(confidence), confidence - (called == index), known, BINS)
        self._squares = draws.table(nowhere, squares, known, 1)

    def scores(self, times: FloatArray) -> Scores:
        """Every score, each (R,), for the number of times that each patient counts, (patients, R)."""
        matrix = (self._cells @ times).T.reshape(-1, self._k, self._k)
        size = matrix.sum(axis=(1, 2))
        kappa = "quadratic_kappa" if self._ordinal else "kappa"
        return {
            "accuracy": matrix_accuracy(matrix),
            "balanced_accuracy": matrix_balanced_accuracy(matrix),
            kappa: matrix_kappa(matrix, quadratic=self._ordinal),
            "ece": divide(np.abs(self._gaps @ times).sum(axis=0), size),
            "brier": divide((self._squares @ times)[0], size),
        }


def resample_scores(
    draws: PatientDraws, labels: Sequence[LabelScores], classes: ClassScores | None
) -> tuple[dict[str, FloatArray], Scores]:
    """Score all labels on the cases as they are and on every resample.

    Args:
        draws: Patients and resamples.
        labels: One entry a label.
        classes: For exclusive classes, their common scores.

    Returns:
        Scores of labels by metric, each (K, 1 + resamples), the first column for the cases as they are;
        common scores by metric, each (1 + resamples,).
    """
    parts: list[dict[str, FloatArray]] = []
    common: list[Scores] = []
    for times in draws.chunks():
        weights = times[draws.patient]  # (N, R)
        scored = [label.scores(times, weights) for label in labels]
        parts.append({name: np.stack([one[name] for one in scored]) for name in scored[0]})
        common.append({} if classes is None else classes.scores(times))
    return _joined(parts), _joined(common)


def _joined(parts: Sequence[Scores]) -> Scores:
    return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}


def interval_of(values: npt.NDArray[np.float64], level: float) -> tuple[float, float, float]:
    """Value and percentile interval, from the value followed by its resamples, shape (1 + resamples,).

    Resamples that leave the score undefined are left out; a score that is itself undefined has no interval.

    Example:
        >>> interval_of(np.array([0.5, 0.4, np.nan, 0.6]), 0.5)
        (0.5, 0.45, 0.55)
    """
    value, drawn = float(values[0]), values[1:][~np.isnan(values[1:])]
    if np.isnan(value) or not drawn.size:
        return value, np.nan, np.nan
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return value, float(low), float(high)
