"""Votes of masks.

Many voxels get the same votes, so a case is kept as the number of a pattern for each voxel and a short
table of the patterns. Memory then hardly depends on the number of members, and every rule works on the table.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Up to this many possible patterns are counted; more are sorted, which is slower and needs no table of them.
_COUNTED = 1 << 22
# Sums of weights are exact to far less than this; half is not more than half.
_TIE = 1e-9


class VotePatterns:
    """The votes of all members on one case, gathered one member at a time.

    Args:
        shape: (D, H, W).

    Attributes:
        ids: Number of each voxel's pattern, shape (D, H, W).
        table: Label of each member by pattern, shape (P, M).

    Example:
        >>> votes = VotePatterns((1, 1, 3))
        >>> for mask in ([0, 0, 1], [0, 0, 2]):
        ...     votes.add(np.array([[mask]], np.uint8))
        >>> votes.ids.ravel().tolist(), votes.table.tolist()
        ([0, 0, 1], [[0, 0], [1, 2]])
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.ids: NDArray[np.int32] = np.zeros(shape, np.int32)
        self.table: NDArray[np.int16] = np.zeros((1, 0), np.int16)

    def add(self, mask: NDArray[np.integer]) -> None:
        """Add the votes of one member.

        Args:
            mask: Its label values, shape (D, H, W).
        """
        low = int(mask.min())
        span = int(mask.max()) - low + 1
        # Half the memory of int64, and room enough for all but the wildest votes.
        wide = np.int32 if len(self.table) * span < 2**31 else np.int64
        key: NDArray[np.signedinteger[Any]] = self.ids.astype(wide)
        key *= span
        key += mask
        key -= low
        if len(self.table) * span <= _COUNTED:
            present = np.zeros(len(self.table) * span, bool)
            present[key] = True
            found = np.flatnonzero(present)
            number = np.zeros(len(present), np.int32)
            number[found] = np.arange(len(found), dtype=np.int32)
            self.ids = number[key]
        else:
            found, inverse = np.unique(key, return_inverse=True)
            self.ids = inverse.reshape(key.shape).astype(np.int32)
        votes = (found % span + low).astype(np.int16)
        self.table = np.column_stack([self.table[found // span], votes])

    def labels(self) -> list[int]:
        """Labels that a member gave to a voxel, the background left out, in rising order."""
        return [int(value) for value in np.unique(self.table) if value != 0]

    def spread(self, labels: NDArray[np.int16]) -> NDArray[np.int16]:
        """Bring a label for each pattern, shape (P,), to the voxels, shape (D, H, W)."""
        return labels[self.ids]


def majority(table: NDArray[np.int16], weights: Sequence[float]) -> NDArray[np.int16]:
    """The label that has more than half of the votes, else the background.

    Args:
        table: Label of each member by pattern or voxel, shape (P, M).
        weights: Weight of each member, adding up to 1.

    Returns:
        Labels, shape (P,).

    Example:
        >>> majority(np.array([[1, 1, 2], [1, 2, 0], [2, 2, 0]], np.int16), [1 / 3] * 3).tolist()
        [1, 0, 2]
        >>> majority(np.array([[1, 2, 2]], np.int16), [0.6, 0.2, 0.2]).tolist()
        [1]
    """
    result = np.zeros(len(table), np.int16)
    shares = np.asarray(weights, np.float64)
    for label in np.unique(table):
        result[(table == label) @ shares > 0.5 + _TIE] = label
    return result
