"""Scores that depend only on the order of predictions: AUROC, average precision, sensitivity at a specificity.

All are computed from sorted scores with ties handled exactly, for many sets of case weights at once, so that
a bootstrap costs one cumulative sum a resample and no new sorting.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Ranking:
    """The known cases of one label, sorted once by falling score.

    Attributes:
        positives: Positions of the positive cases among all, by falling score.
        negatives: Positions of the negative cases.
        above: For each positive, number of negatives that score higher.
        reached: For each positive, number of negatives that score at least as high.
        rank: For each positive, number of positives that score at least as high.
    """

    positives: IndexArray
    negatives: IndexArray
    above: IndexArray
    reached: IndexArray
    rank: IndexArray

    def auroc(self, weights: FloatArray) -> FloatArray:
        """Area under the ROC curve for each set of weights.

        Args:
            weights: How often each case counts, shape (N, R) for R sets.

        Returns:
            Share of pairs of a positive and a negative that are in the right order, a tie counting half;
            shape (R,), NaN where a set has no positive or no negative.
        """
        positive, negative = weights[self.positives], _cumulated(weights[self.negatives])
        wrong = negative[self.reached]
        if np.array_equal(self.above, self.reached):
            wrong *= 2
        else:
            wrong += negative[self.above]
        pairs = positive.sum(axis=0) * negative[-1]
        return 1 - _quotient(np.einsum("pr,pr->r", positive, wrong), 2 * pairs)

    def average_precision(self, weights: FloatArray) -> FloatArray:
        """Average precision for each set of weights.

        Args:
            weights: How often each case counts, shape (N, R) for R sets.

        Returns:
            Mean over positives of the precision at their score, shape (R,); NaN where a set has no positive
            or no negative.
        """
        positive, true, false, n_negative = self._counts(weights)
        precision = np.divide(true, true + false, out=np.zeros_like(true), where=true > 0)
        n_positive = positive.sum(axis=0)
        return _quotient(np.einsum("pr,pr->r", positive, precision), n_positive * (n_negative > 0))

    def sensitivity_at_specificity(self, weights: FloatArray, specificity: float) -> FloatArray:
        """Highest sensitivity of all thresholds with at least this specificity, for each set of weights.

        Args:
            weights: How often each case counts, shape (N, R) for R sets.
            specificity: Least share of the negatives that must be called negative, in [0, 1].

        Returns:
            Sensitivities of shape (R,); 0 where only calling everything negative is specific enough, NaN
            where a set has no positive or no negative.
        """
        positive, true, false, n_negative = self._counts(weights)
        allowed = (1 - specificity) * n_negative
        allowed += 1e-9 * n_negative  # 1 - 0.9 is a little less than 0.1
        best = np.where(false <= allowed, true, 0.0).max(axis=0, initial=0.0)
        return _quotient(best, positive.sum(axis=0) * (n_negative > 0))

    def _counts(self, weights: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Weights of the positives; true and false positives at their scores; weight of all negatives."""
        positive, negative = weights[self.positives], _cumulated(weights[self.negatives])
        return positive, _cumulated(positive)[self.rank], negative[self.reached], negative[-1]


def rank_scores(positive: BoolArray, score: FloatArray, known: BoolArray | None = None) -> Ranking:
    """Sort the scores of one label.

    Args:
        positive: Whether each case has the label, shape (N,).
        score: Score of each case, higher for more likely, shape (N,).
        known: Cases that take part, shape (N,); ``None`` takes all.

    Returns:
        The order, from which every score of this module follows.

    Example:
        >>> ranking = rank_scores(np.array([True, False, True]), np.array([0.9, 0.5, 0.5]))
        >>> ranking.auroc(np.ones((3, 1)))
        array([0.75])
    """
    known = np.ones(len(positive), bool) if known is None else known
    order = np.argsort(-score, kind="stable")
    order = order[known[order]]
    positives, negatives = order[positive[order]], order[~positive[order]]
    rising_positives, rising_negatives = -score[positives], -score[negatives]
    return Ranking(
        positives=positives,
        negatives=negatives,
        above=np.searchsorted(rising_negatives, rising_positives, side="left"),
        reached=np.searchsorted(rising_negatives, rising_positives, side="right"),
        rank=np.searchsorted(rising_positives, rising_positives, side="right"),
    )


def cut_counts(positive: BoolArray, score: FloatArray) -> tuple[FloatArray, IndexArray, IndexArray]:
    """True and false positives when all cases from a score upwards are called positive.

    Args:
        positive: Whether each case has the label, shape (N,).
        score: Score of each case, shape (N,).

    Returns:
        Distinct scores from high to low, true positives and false positives at each, all of shape (S,).

    Example:
        >>> cut_counts(np.array([True, False, True]), np.array([0.9, 0.5, 0.5]))
        (array([0.9, 0.5]), array([1, 2]), array([0, 1]))
    """
    order = np.argsort(-score, kind="stable")
    falling = score[order]
    is_last = np.append(falling[1:] != falling[:-1], np.ones(min(len(falling), 1), bool))
    last = np.flatnonzero(is_last)
    true: IndexArray = np.cumsum(positive[order], dtype=np.intp)[last]
    return falling[last], true, last + 1 - true


def _cumulated(rows: FloatArray) -> FloatArray:
    """Sum of the first 0, 1, ..., n rows, shape (n + 1, R)."""
    total = np.zeros((len(rows) + 1, rows.shape[1]))
    np.cumsum(rows, axis=0, out=total[1:])
    return total


def _quotient(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
