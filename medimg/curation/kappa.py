"""Agreement beyond chance of two readers (Cohen) and of several (Fleiss), on cases and on resampled cases.

Every figure here is made from sums over cases, so that the weights of many resamples are worked off in one product.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from medimg.scoring.classification import divide
from medimg.scoring.ranking import FloatArray

Weighting = Literal["none", "linear", "quadratic"]


def matrix_kappa(matrix: FloatArray, distances: FloatArray) -> FloatArray:
    """Cohen's kappa of tables of two readers.

    Args:
        matrix: Cases by first and second reader's value, shape (..., V, V).
        distances: How much each pair of values disagrees, shape (V, V), 0 on the diagonal.

    Returns:
        One figure a table; NaN where both readers give one and the same value throughout.
    """
    first, second = matrix.sum(axis=-1), matrix.sum(axis=-2)
    found = (matrix * distances).sum(axis=(-2, -1)) * first.sum(axis=-1)
    by_chance = np.einsum("...i,ij,...j->...", first, distances, second)
    return 1 - divide(found, by_chance)


class CohenKappa:
    """Cohen's kappa and the plain share of agreement of two readers, for any weights of the cases.

    Args:
        first: Values of one reader, NaN where none was given, shape (N,).
        second: Values of the other.
    """

    def __init__(self, first: npt.ArrayLike, second: npt.ArrayLike) -> None:
        a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
        self.both = ~np.isnan(a) & ~np.isnan(b)
        self.values, codes = np.unique(np.concatenate([a[self.both], b[self.both]]), return_inverse=True)
        v, n = len(self.values), int(self.both.sum())
        cells = codes[:n] * v + codes[n:]
        self._cells = sparse.csr_array((np.ones(n), (cells, np.arange(n))), shape=(v * v, n))

    def matrices(self, weights: FloatArray) -> FloatArray:
        """Tables of the two readers, shape (R, V, V), for the weights of each case, (N, R)."""
        v = len(self.values)
        return np.asarray(self._cells @ weights[self.both]).T.reshape(weights.shape[1], v, v)

    def kappa(self, matrices: FloatArray, weighting: Weighting) -> FloatArray:
        """Kappa of each table of `matrices`, shape (R,)."""
        apart = np.abs(self.values[:, None] - self.values[None, :])
        match weighting:
            case "none":
                distances = (apart > 0).astype(np.float64)
            case "linear":
                distances = apart
            case "quadratic":
                distances = apart**2
        return matrix_kappa(matrices, distances)

    @staticmethod
    def agreement(matrices: FloatArray) -> FloatArray:
        """Share of the cases with equal values, shape (R,)."""
        return divide(np.trace(matrices, axis1=-2, axis2=-1), matrices.sum(axis=(-2, -1)))


def cohen_kappa(first: npt.ArrayLike, second: npt.ArrayLike, *, weighting: Weighting = "none") -> float:
    """Cohen's kappa of two readers.

    Args:
        first: Values of one reader, shape (N,); NaN where none was given, which leaves the case out.
        second: Values of the other.
        weighting: ``none`` for names; ``linear`` or ``quadratic`` for grades, whose distance is that of their numbers.

    Returns:
        1 for full agreement, 0 for chance; NaN if all values are the same.

    Example:
        >>> cohen_kappa([0, 0, 1, 1], [0, 1, 1, 1])
        0.5
        >>> cohen_kappa([0, 1, 2, 2], [0, 1, 1, 2], weighting="quadratic")
        0.8

    Reference:
        Cohen, "A coefficient of agreement for nominal scales", 1960, doi:10.1177/001316446002000104; "Weighted
        kappa", 1968, doi:10.1037/h0026256.
    """
    table = CohenKappa(first, second)
    return float(table.kappa(table.matrices(np.ones((len(table.both), 1))), weighting)[0])


class FleissKappa:
    """Fleiss' kappa and the share of agreeing pairs of readings, for any weights of the cases.

    Cases with fewer than two readings take no part. Readers may differ from case to case; where their number does
    too, a case's agreement is that of its own pairs and each reading counts once for the chance.

    Args:
        values: What each reader said, NaN where nothing, shape (N, R).
    """

    def __init__(self, values: npt.ArrayLike) -> None:
        readings = np.asarray(values, np.float64)
        self.several = (~np.isnan(readings)).sum(axis=1) > 1
        known = readings[self.several]
        rows, columns = np.nonzero(~np.isnan(known))
        self.values, codes = np.unique(known[rows, columns], return_inverse=True)
        counts = np.zeros((len(known), len(self.values)))
        np.add.at(counts, (rows, codes), 1)
        self._set(counts)

    @classmethod
    def of_counts(cls, counts: npt.ArrayLike) -> "FleissKappa":
        """From the number of readers who gave each value, shape (N, V)."""
        table = cls.__new__(cls)
        numbers = np.asarray(counts, np.float64)
        table.several = numbers.sum(axis=1) > 1
        table.values = np.arange(numbers.shape[1], dtype=np.float64)
        table._set(numbers[table.several])
        return table

    def _set(self, counts: FloatArray) -> None:
        size = counts.sum(axis=1)
        self._counts = counts
        self._agreeing = (counts * (counts - 1)).sum(axis=1) / (size * (size - 1))

    def figures(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Share of agreeing pairs and kappa, each (R,), for the weights of each case, (N, R)."""
        chosen = weights[self.several]
        observed = divide(self._agreeing @ chosen, chosen.sum(axis=0))
        totals = self._counts.T @ chosen  # (V, R)
        shares = divide(totals, np.broadcast_to(totals.sum(axis=0), totals.shape))
        chance = (shares**2).sum(axis=0)
        # Where all say the same, chance alone explains it and nothing is left to measure.
        return observed, divide(observed - chance, 1 - chance, 1 - chance > 1e-12)


def fleiss_kappa(counts: npt.ArrayLike) -> float:
    """Fleiss' kappa of several readers.

    Args:
        counts: Number of readers who gave each value, shape (N, V).

    Returns:
        1 for full agreement, 0 for chance; NaN if all values are the same.

    Example:
        >>> round(fleiss_kappa([[3, 0], [0, 3], [2, 1]]), 4)
        0.55

    Reference:
        Fleiss, "Measuring nominal scale agreement among many raters", Psychological Bulletin 76, 1971,
        doi:10.1037/h0031619.
    """
    table = FleissKappa.of_counts(counts)
    return float(table.figures(np.ones((len(table.several), 1)))[1][0])
