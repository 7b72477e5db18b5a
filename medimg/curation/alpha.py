"""Krippendorff's alpha: agreement of any number of readers, with readings missing, on any level of measurement.

Reference:
    Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011, University of Pennsylvania; Hayes and
    Krippendorff, "Answering the call for a standard reliability measure for coding data", Communication Methods and
    Measures 1, 2007, doi:10.1080/19312450709336664.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from medimg.errors import DataError
from medimg.scoring.classification import divide
from medimg.scoring.ranking import FloatArray

Kind = Literal["nominal", "ordinal", "interval", "ratio"]

_MOST_RATIO = 2000  # distinct values: the table of their differences has the square of it


class KrippendorffAlpha:
    """Alpha of one label, for any weights of the cases.

    The differences of ordinal values depend on how often each value was given; they are the squared distances of
    the values' mean ranks, so that ordinal data are interval data of ranks.

    Args:
        values: What each reader said, NaN where nothing, shape (N, R).
        kind: Level of measurement: names, grades in order, numbers whose differences count, or numbers from a true
            zero whose proportions count.

    Raises:
        DataError: If ratio values are negative, or more than 2,000 different ones.
    """

    def __init__(self, values: npt.ArrayLike, kind: Kind) -> None:
        readings = np.asarray(values, np.float64)
        said = ~np.isnan(readings)
        readings = np.where(
            said & (said.sum(axis=1) > 1)[:, None], readings, np.nan
        )  # a lone value pairs with none
        rows, columns = np.nonzero(~np.isnan(readings))
        self.values, codes = np.unique(readings[rows, columns], return_inverse=True)
        self.kind, self.n_cases = kind, len(np.unique(rows))
        n, v = len(readings), len(self.values)
        self._counts = sparse.csr_array((np.ones(len(rows)), (codes, rows)), shape=(v, n))  # (V, N)
        self._first, self._second, self._pairs = _coincidences(rows, codes, n, v)
        if kind == "ratio":
            self._check_ratio()

    def figures(self, weights: FloatArray) -> FloatArray:
        """Alpha for each column of weights of the cases, (N, R); NaN where all values are the same, shape (R,)."""
        found = np.asarray(self._pairs @ weights)  # (P, R), coincidences of each pair of different values
        counts = np.asarray(self._counts @ weights)  # (V, R)
        total = counts.sum(axis=0)
        observed, expected = self._disagreements(found, counts, total)
        ratio: FloatArray = divide(observed, expected, expected > 1e-12 * np.maximum(total, 1))
        return np.asarray(1 - (total - 1) * ratio)

    def _disagreements(
        self, found: FloatArray, counts: FloatArray, total: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Sums over pairs of values of their number times their difference: found, and by chance."""
        match self.kind:
            case "nominal":
                return found.sum(axis=0), total**2 - (counts**2).sum(axis=0)
            case "ratio":
                v = self.values
                difference = np.square(divide(np.abs(v[:, None] - v), v[:, None] + v, v[:, None] + v > 0))
                difference = np.nan_to_num(difference)  # two zeros do not differ
                apart = difference[self._first, self._second]
                return apart @ found, np.einsum("vr,vw,wr->r", counts, difference, counts, optimize=True)
            case "interval":
                # Differences do not change with the origin, and squares are exact near it.
                middle = self.values.sum() / max(len(self.values), 1)
                place = np.broadcast_to((self.values - middle)[:, None], counts.shape)
            case "ordinal":
                place = np.cumsum(counts, axis=0) - counts / 2
        observed = (np.square(place[self._first] - place[self._second]) * found).sum(axis=0)
        return observed, 2 * (total * (counts * place**2).sum(axis=0) - (counts * place).sum(axis=0) ** 2)

    def _check_ratio(self) -> None:
        if len(self.values) and self.values[0] < 0:
            raise DataError(
                f"values of kind ratio count from a true zero: expected none below 0, found {self.values[0]:g}. "
                "Take --kind interval."
            )
        if len(self.values) > _MOST_RATIO:
            raise DataError(
                f"values of kind ratio: expected up to {_MOST_RATIO} different ones, found {len(self.values)}. "
                "Round them to what can be told apart."
            )


def _coincidences(
    rows: npt.NDArray[np.intp], codes: npt.NDArray[np.intp], n: int, v: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], sparse.csr_array]:
    """Pairs of different values that met in a case, and what each case adds to each of them, (P, N).

    A case of m readings adds 1 / (m - 1) for each ordered pair of its readings.
    """
    order = np.argsort(rows, kind="stable")
    rows, codes = rows[order], codes[order]
    size = np.bincount(rows, minlength=n)
    place = np.arange(len(rows)) - (np.cumsum(size) - size)[rows] if len(rows) else rows
    keys, cases, adds = [], [], []
    for step in range(1, int(size.max(initial=0))):  # the reading this many places further on
        here = np.flatnonzero(place + step < size[rows])
        differ = here[codes[here] != codes[here + step]]
        a, b = codes[differ], codes[differ + step]
        keys += [a * v + b, b * v + a]
        cases += [rows[differ]] * 2
        adds += [1 / (size[rows[differ]] - 1)] * 2
    if not keys:
        empty = np.zeros(0, np.intp)
        return empty, empty, sparse.csr_array((0, n))
    cells, number = np.unique(np.concatenate(keys), return_inverse=True)
    values = (np.concatenate(adds), (number, np.concatenate(cases)))
    return cells // v, cells % v, sparse.csr_array(values, shape=(len(cells), n))


def krippendorff_alpha(values: npt.ArrayLike, kind: Kind = "nominal") -> float:
    """Krippendorff's alpha of one label.

    Args:
        values: What each reader said, NaN where nothing, shape (N, R): a row a case, a column a reader.
        kind: Level of measurement, see `KrippendorffAlpha`.

    Returns:
        1 for full agreement, 0 for chance, below 0 for systematic disagreement; NaN if all values are the same.

    Raises:
        DataError: If ratio values are negative, or more than 2,000 different ones.

    Example:
        >>> nan = float("nan")
        >>> round(krippendorff_alpha([[1, 1, nan], [2, 2, 3], [3, 3, 3], [1, nan, nan]], "interval"), 4)
        0.8409
    """
    readings = np.asarray(values, np.float64)
    return float(KrippendorffAlpha(readings, kind).figures(np.ones((len(readings), 1)))[0])
