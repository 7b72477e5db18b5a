"""Ranks of cases, for members whose probabilities lie on different scales."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def percentile_ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Rank of each case among all, as a share of their number; equal cases share their average rank.

    Args:
        values: One finite value a case, shape (N,).

    Returns:
        Ranks in (0, 1], shape (N,); the only highest case has 1.

    Example:
        >>> percentile_ranks([0.1, 0.7, 0.7, 0.9]).tolist()
        [0.25, 0.625, 0.625, 1.0]
    """
    found = np.asarray(values, np.float64)
    _, place, count = np.unique(found, return_inverse=True, return_counts=True)
    # A group of c equal cases that ends at rank e has the ranks e - c + 1 to e.
    average = np.cumsum(count) - (count - 1) / 2
    ranks: NDArray[np.float64] = average[place] / len(found)
    return ranks
