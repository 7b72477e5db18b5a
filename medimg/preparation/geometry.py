"""The way from a file's grid to the prepared grid and back: reorient, crop, resample."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray

Triple = tuple[int, int, int]
Spacing = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Geometry:
    """How one prepared case lies in its source file; all triples are in (D, H, W) order.

    Attributes:
        source_shape: Shape in the file.
        axes: Source axis that each prepared axis comes from.
        flips: Prepared axes that run against their source axis.
        box: Lower and upper bounds of the crop on the reoriented grid.
        shape: Shape after resampling.
        spacing_mm: Spacing after resampling.
        source_spacing_mm: Spacing in the file.
    """

    source_shape: Triple
    source_spacing_mm: Spacing
    axes: Triple
    flips: tuple[int, ...]
    box: tuple[Triple, Triple]
    shape: Triple
    spacing_mm: Spacing

    @property
    def cropped_shape(self) -> Triple:
        """Shape of the crop before resampling."""
        low, high = self.box
        return (high[0] - low[0], high[1] - low[1], high[2] - low[2])

    @property
    def reoriented_shape(self) -> Triple:
        """Shape of the whole source volume after reorienting."""
        d, h, w = (self.source_shape[axis] for axis in self.axes)
        return d, h, w

    def to_source(self, crop: NDArray[Any], fill: float = 0) -> NDArray[Any]:
        """Put an array on the cropped grid back onto the file's grid.

        Args:
            crop: Array (..., D, H, W) of ``cropped_shape``.
            fill: Value outside the crop.

        Returns:
            Array (..., D, H, W) of ``source_shape``.
        """
        lead = crop.ndim - 3
        whole = np.full((*crop.shape[:lead], *self.reoriented_shape), fill, dtype=crop.dtype)
        low, high = self.box
        whole[..., low[0] : high[0], low[1] : high[1], low[2] : high[2]] = crop
        whole = np.flip(whole, tuple(lead + axis for axis in self.flips))
        back = np.argsort(self.axes)
        return np.ascontiguousarray(whole.transpose(*range(lead), *(lead + int(axis) for axis in back)))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Geometry":
        """Read back what :meth:`as_dict` gave, lists from JSON turned into tuples again."""
        low, high = values["box"]
        plain = {key: tuple(value) for key, value in values.items()}
        return cls(**{**plain, "box": (tuple(low), tuple(high))})


def orientation_change(affine: NDArray[np.float64], codes: str | None) -> tuple[Triple, tuple[int, ...]]:
    """Axis permutation and flips that turn a (D, H, W) array towards anatomical codes.

    Args:
        affine: Affine of the file, in its own axis order.
        codes: Directions of the file's axes wanted, such as ``"RAS"``; ``None`` leaves the array alone.

    Returns:
        For each new array axis the old axis it comes from, and the new axes to flip.

    Example:
        >>> orientation_change(np.diag([-1.0, 1.0, 1.0, 1.0]), "RAS")
        ((0, 1, 2), (2,))
    """
    if codes is None:
        return (0, 1, 2), ()
    change = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(codes)))  # type: ignore[no-untyped-call]
    axes = [0, 1, 2]
    flips = []
    for file_axis, (new_file_axis, direction) in enumerate(change):
        # Array axes are the file's in reverse.
        axes[2 - int(new_file_axis)] = 2 - file_axis
        if direction < 0:
            flips.append(2 - int(new_file_axis))
    return (axes[0], axes[1], axes[2]), tuple(sorted(flips))


def reorient(array: NDArray[Any], axes: Sequence[int], flips: Sequence[int]) -> NDArray[Any]:
    """Turn the last three axes of an array as :func:`orientation_change` says."""
    lead = array.ndim - 3
    turned = array.transpose(*range(lead), *(lead + axis for axis in axes))
    return np.flip(turned, tuple(lead + axis for axis in flips))


def nonzero_box(image: NDArray[Any]) -> tuple[Triple, Triple]:
    """Smallest box that holds every voxel in which some channel is not zero.

    Args:
        image: Image (C, D, H, W).

    Returns:
        Lower and upper bounds (exclusive); the whole volume if it is zero throughout.

    Example:
        >>> image = np.zeros((1, 4, 4, 4)); image[0, 1:3, 2, 0] = 1
        >>> nonzero_box(image)
        ((1, 2, 0), (3, 3, 1))
    """
    filled = (image != 0).any(axis=0)
    low, high = [], []
    for axis in range(3):
        line = np.flatnonzero(filled.any(axis=tuple(other for other in range(3) if other != axis)))
        low.append(int(line[0]) if line.size else 0)
        high.append(int(line[-1]) + 1 if line.size else filled.shape[axis])
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])
