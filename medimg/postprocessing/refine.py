"""Label maps from the probabilities of a case, refined by the dense CRF or made to nest."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medimg.errors import DataError
from medimg.io.probs import open_probs, write_probs
from medimg.postprocessing.cases import MaskFile, find_images, read_channels

if TYPE_CHECKING:
    from medimg.postprocessing.dense_crf import CrfSettings

# Background this sure is not worth a CRF, unless doubtful voxels lie near.
_SURE = 0.01
# Dust of other frameworks' float32 beyond 0 and 1.
_DUST = 1e-5
# Standard deviations of the wider kernel beyond which a voxel is not heard.
_REACH = 3.0


@dataclass(frozen=True, slots=True)
class Refinement:
    """How probabilities become a label map.

    Attributes:
        folder: Folder that holds ``<case>.npz``.
        to_labels: Label map from probabilities (K, D, H, W), as predictions are exported.
        exclusive: Whether the channels are classes of a softmax, or regions that may overlap.
        images: Folder of the images for the CRF; ``None`` leaves the CRF out. It runs in the box of voxels that
            may be foreground, widened by three standard deviations of the wider kernel.
        crf: Strength and reach of its kernels; its defaults where ``None``.
        nest: Channels of regions, each one inside the one before it.
        out: Folder to write ``<case>.npz`` to; ``None`` keeps the probabilities to itself.
    """

    folder: Path
    to_labels: Callable[[NDArray[np.float32]], NDArray[Any]]
    exclusive: bool
    images: Path | None = None
    crf: "CrfSettings | None" = None
    nest: tuple[int, ...] = ()
    out: Path | None = None

    def __call__(self, case: str, mask: MaskFile) -> NDArray[Any]:
        """Label map of a case, on the grid of its mask.

        Raises:
            DataError: If its probabilities or its images cannot be used.
        """
        probs = self._read(case, mask.labels.shape)
        if self.images is not None:
            self._refine(probs, read_channels(find_images(self.images, case), mask.labels.shape), case, mask)
        nest_regions(probs, self.nest)
        volume = probs if probs.ndim == 4 else probs[:, None]
        if self.out is not None:
            write_probs(self.out / f"{case}.npz", volume)
        return self.to_labels(volume).reshape(mask.labels.shape)

    def _refine(
        self, probs: NDArray[np.float32], image: NDArray[np.float32], case: str, mask: MaskFile
    ) -> None:
        """Run the CRF, in place, in the box that may hold foreground: a whole head would take 10 GB."""
        from medimg.postprocessing.dense_crf import CrfSettings, dense_crf  # they need numba

        settings = self.crf or CrfSettings()
        doubtful = probs[0] < 1 - _SURE if self.exclusive else probs.max(axis=0) > _SURE
        reach_mm = _REACH * max(settings.sigma_mm, settings.smooth_sigma_mm)
        box = (slice(None), *_box(doubtful, mask.spacing_mm, reach_mm))
        if not probs[box].size:
            return
        try:
            probs[box] = dense_crf(
                probs[box],
                image[box],
                spacing_mm=mask.spacing_mm,
                settings=settings,
                exclusive=self.exclusive,
            )
        except ValueError as error:
            raise DataError(f"case {case}: {error}. Predict again with --probabilities.") from error

    def _read(self, case: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        path = self.folder / f"{case}.npz"
        if not path.is_file():
            raise DataError(f"{path}: there are no probabilities. Predict again with --probabilities.")
        opened = open_probs(path)
        if opened.shape[1:] != (1,) * (3 - len(shape)) + shape:
            raise DataError(
                f"{path}: expected the shape of the mask, {shape}, found {opened.shape[1:]} (D, H, W). "
                "Write probabilities and mask on one grid."
            )
        probs = np.stack([channel.astype(np.float32) for channel in opened.channels()])
        low, high = float(probs.min()), float(probs.max())
        if not (low >= -_DUST and high <= 1 + _DUST):  # NaN is neither
            raise DataError(
                f"{path}: expected probabilities in [0, 1], found {low:g} to {high:g}. Write probabilities and not "
                "logits, and predict again with --probabilities."
            )
        return probs.reshape(len(probs), *shape)


def _box(inside: NDArray[np.bool_], spacing_mm: Sequence[float], margin_mm: float) -> tuple[slice, ...]:
    """Box around voxels, wider by a margin on all sides; an empty one where there is none."""
    sides = []
    for axis, (size, step) in enumerate(zip(inside.shape, spacing_mm, strict=True)):
        others = tuple(other for other in range(inside.ndim) if other != axis)
        found = np.flatnonzero(inside.any(axis=others))
        margin = math.ceil(margin_mm / step)
        sides.append(
            slice(max(found[0] - margin, 0), min(found[-1] + margin + 1, size)) if len(found) else slice(0)
        )
    return tuple(sides)


def nest_regions(probs: NDArray[np.floating], order: Sequence[int]) -> None:
    """Let no region be more probable than the one that encloses it, in place.

    Args:
        probs: Probabilities, or masks of 0 and 1, shape (K, ...).
        order: Channels from the outermost region to the innermost.

    Example:
        >>> regions = np.array([[0.9, 0.2], [0.5, 0.6], [0.7, 0.1]])
        >>> nest_regions(regions, [0, 1, 2])
        >>> regions
        array([[0.9, 0.2],
               [0.5, 0.2],
               [0.5, 0.1]])
    """
    for outer, inner in pairwise(order):
        np.minimum(probs[inner], probs[outer], out=probs[inner])
