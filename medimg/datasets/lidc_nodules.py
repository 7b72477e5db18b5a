"""The nodules of a scan as rows of a table: who saw them, what they scored, and how malignant that makes them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medimg.datasets.lidc_consensus import Consensus, consensus_mask, group_annotations
from medimg.datasets.lidc_xml import CHARACTERISTICS, Annotation

NEITHER = 3.0
"""Mean malignancy that is no label: a nodule above it counts as malignant, one below as benign."""


@dataclass(frozen=True, slots=True, eq=False)
class Nodule:
    """One nodule of one scan.

    Attributes:
        annotations: What the readers said of it.
        consensus: Voxels that at least half of them hold to be nodule.
    """

    annotations: tuple[Annotation, ...]
    consensus: Consensus

    @property
    def readers(self) -> int:
        """How many of the readers outlined it."""
        return len({one.reader for one in self.annotations})

    @property
    def malignant(self) -> bool | None:
        """Whether its mean malignancy is above 3; ``None`` at 3, or where no reader gave a score."""
        return is_malignant(self.mean("malignancy"))

    def mean(self, characteristic: str) -> float:
        """Mean score of the readers who gave one, NaN if none did.

        Args:
            characteristic: A key of `CHARACTERISTICS`.
        """
        return mean_score([one.characteristics[characteristic] for one in self.annotations])

    def centre(self) -> NDArray[np.float64]:
        """Middle of the agreed voxels, or of the box where there are none, as (d, h, w)."""
        mask = self.consensus.mask
        inside = np.argwhere(mask).mean(axis=0) if mask.any() else (np.array(mask.shape) - 1) / 2
        return np.asarray(inside + self.consensus.start, np.float64)


def find_nodules(
    annotations: Sequence[Annotation], spacing_mm: tuple[float, float], slices_mm: NDArray[np.float64]
) -> list[Nodule]:
    """Group the annotations of a scan into nodules and find the voxels of each.

    Args:
        annotations: All annotations of the scan.
        spacing_mm: Distance of rows and of columns.
        slices_mm: Position of each slice as in the files' ``imageZposition``, shape (D,).

    Returns:
        The nodules, from the lowest to the highest in z.

    Raises:
        DataError: If an outline lies on none of the slices.
    """
    groups = group_annotations(annotations, spacing_mm)
    return [Nodule(group, consensus_mask(group, slices_mm)) for group in groups]


def mean_score(scores: Sequence[int]) -> float:
    """Mean of the scores that were given; 0 is none.

    Example:
        >>> mean_score([4, 0, 3]), mean_score([0])
        (3.5, nan)
    """
    given = [score for score in scores if score]
    return float(np.mean(given)) if given else float("nan")


def is_malignant(mean: float) -> bool | None:
    """Label of a mean malignancy.

    Example:
        >>> is_malignant(3.25), is_malignant(2.5), is_malignant(3.0)
        (True, False, None)
    """
    return None if np.isnan(mean) or mean == NEITHER else mean > NEITHER


SCORES = tuple(CHARACTERISTICS)
COLUMNS = (
    "nodule_id",
    "patient_id",
    "case_id",
    "image",
    "readers",
    "annotations",
    "malignant",
    "diameter_mm",
    "volume_mm3",
    "x_mm",
    "y_mm",
    "z_mm",
    *SCORES,
    "offset_z_mm",
    "offset_y_mm",
    "offset_x_mm",
)
"""Of ``nodules.csv``: place RAS+ in the volume, diameter of a ball of the agreed volume, mean scores, and how far
above, in front and to the right of the middle of its crop the nodule lies."""


def nodule_row(
    nodule: Nodule,
    *,
    nodule_id: str,
    patient_id: str,
    case_id: str,
    image: str,
    place_mm: NDArray[np.float64],
    voxel_mm3: float,
    offset_mm: Sequence[float] = (0.0, 0.0, 0.0),
) -> dict[str, str]:
    """One row of the nodule table.

    Args:
        nodule: The nodule.
        nodule_id: Its name, unique in the set.
        patient_id: Whose it is.
        case_id: The scan.
        image: Its crop, relative to the table.
        place_mm: Its middle (x, y, z), RAS+.
        voxel_mm3: Volume of a voxel of the consensus.
        offset_mm: From the middle of its crop to its own (x, y, z), RAS+.

    Returns:
        Text by the names of `COLUMNS`; blank where a value is unknown.
    """
    volume = float(nodule.consensus.mask.sum()) * voxel_mm3
    malignant = nodule.malignant
    numbers = {
        "diameter_mm": (6 * volume / np.pi) ** (1 / 3),
        "volume_mm3": volume,
        **dict(zip(("x_mm", "y_mm", "z_mm"), place_mm.tolist(), strict=True)),
        **{name: nodule.mean(name) for name in SCORES},
        **dict(zip(("offset_x_mm", "offset_y_mm", "offset_z_mm"), offset_mm, strict=True)),
    }
    row = {
        "nodule_id": nodule_id,
        "patient_id": patient_id,
        "case_id": case_id,
        "image": image,
        "readers": str(nodule.readers),
        "annotations": str(len(nodule.annotations)),
        "malignant": "" if malignant is None else str(int(malignant)),
    }
    return row | {key: "" if np.isnan(value) else f"{value:.4g}" for key, value in numbers.items()}
