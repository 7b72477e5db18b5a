"""DICOM SEG read back as a volume, whichever tool wrote it."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from medimg.errors import DataError
from medimg.io.dicom.parse import header_warnings, open_dataset
from medimg.io.dicom.segmentation import require_highdicom
from medimg.io.grid import Grid
from medimg.io.segments import Segment, Segmentation, make_segments

_SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
# Frames of a tilted gantry lie off the normal; one less the cosine of the angle, here of 60 degrees.
_TILT = 0.5
# A frame this far from the straight stack, in pixels, is shifted: as geometry.py has it.
_SHEARED = 0.1


def read_dicom_seg(path: Path) -> Segmentation:
    """Read a binary DICOM SEG with its names, colours and codes.

    Args:
        path: The file.

    Returns:
        A layer a segment, since segments of a SEG may overlap; the slices from the first to the last that the file
        has, in the order of their places. Each segment has the value 1 on its layer. The grid of slices of a tilted
        gantry is sheared, as they are.

    Raises:
        ConfigError: If highdicom is not installed.
        DataError: If the file is no binary SEG, or its frames make no regular volume: unevenly spaced, or with gaps of
            which nothing says that the slices in them are there and empty.
    """
    hd = require_highdicom()
    header = open_dataset(path, pixels=False).dataset
    if header.get("SOPClassUID") != _SEGMENTATION_STORAGE or header.get("SegmentationType") != "BINARY":
        raise DataError(
            f"{path}: expected a binary DICOM SEG, found SOP class {header.get('SOPClassUID')} of type "
            f"{header.get('SegmentationType')}. Save the segmentation as binary SEG or .seg.nrrd."
        )
    try:
        with header_warnings():
            volume = hd.seg.segread(path).get_volume(
                combine_segments=False, allow_missing_positions=True, perpendicular_tol=_TILT
            )
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: its frames make no regular volume ({' '.join(str(error).split())[:200]}). Save the segmentation "
            "on the grid of the volume, as NIfTI or .seg.nrrd."
        ) from error
    layers = np.moveaxis(np.asarray(volume.array, np.uint8), -1, 0)  # (D, H, W, S) -> (S, D, H, W)
    # Columns of the affine follow (D, H, W) and point in LPS.
    straight = _with_shear(path, header, np.asarray(volume.affine, np.float64))
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ straight[:, [2, 1, 0, 3]]
    depth, height, width = (int(size) for size in layers.shape[1:])
    segments = tuple(_segment(hd, one, layer) for layer, one in enumerate(header.SegmentSequence))
    return Segmentation(layers, Grid((depth, height, width), affine), segments)


def _with_shear(path: Path, header: Dataset, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """The affine of a volume, its step from slice to slice that of the frames' own positions.

    Args:
        path: Names the file in messages.
        header: The file's header.
        affine: From indices (d, h, w) to millimetres, D along the normal, shape (4, 4).

    Raises:
        DataError: If slices are unevenly spaced, may be, or are shifted against each other by no common step.
    """
    positions = np.array(
        [
            one.PlanePositionSequence[0].ImagePositionPatient
            for one in header.PerFrameFunctionalGroupsSequence
        ],
        np.float64,
    )
    found = np.linalg.solve(affine, np.column_stack([positions, np.ones(len(positions))]).T).T[
        :, :3
    ]  # (N, 3)
    depth = np.rint(found[:, 0])
    gaps = np.diff(np.unique(depth))
    if (gaps > 1).any() and not _states_spacing(header):
        # 1 mm in one part and 5 mm in another look like slices of 1 mm of which many are empty.
        millimetres = np.linalg.norm(affine[:3, 0]) * gaps
        raise DataError(
            f"{path}: its slices are {millimetres.min():.3g} to {millimetres.max():.3g} mm apart, and it does not say "
            "whether they are unevenly spaced or some are left out as empty (Spacing Between Slices is missing). Save "
            "the segmentation on the grid of the volume, as NIfTI or .seg.nrrd."
        )
    shifts = found[:, 1:]  # (N, 2), pixels
    if np.abs(shifts).max() <= _SHEARED:
        return affine
    last = int(depth.argmax())
    shear = shifts[last] / depth[last]
    if np.abs(shifts - depth[:, None] * shear).max() > _SHEARED:
        raise DataError(
            f"{path}: its slices are shifted against each other by no common step, as those of a table that moved. "
            f"Save the segmentation on the grid of the volume, as NIfTI or .seg.nrrd."
        )
    sheared = affine.copy()
    sheared[:3, 0] += affine[:3, 1:3] @ shear
    return sheared


def _states_spacing(header: Dataset) -> bool:
    """Whether the file tells the distance of neighbouring slices."""
    groups = [*header.get("SharedFunctionalGroupsSequence", []), *header.PerFrameFunctionalGroupsSequence]
    measures = [one for group in groups for one in group.get("PixelMeasuresSequence", [])]
    return any("SpacingBetweenSlices" in one for one in measures)


def _segment(hd: Any, item: Any, layer: int) -> Segment:
    name = str(item.SegmentLabel)
    (plain,) = make_segments({name: 1})
    colour = plain.colour
    if "RecommendedDisplayCIELabValue" in item:
        lab = hd.color.CIELabColor.from_dicom_value(item.RecommendedDisplayCIELabValue)
        red, green, blue = (int(part) for part in lab.to_rgb())
        colour = red, green, blue
    codes = [
        Code(str(one.CodeValue), str(one.CodingSchemeDesignator), str(one.CodeMeaning))
        for one in (
            item.SegmentedPropertyCategoryCodeSequence[0],
            item.SegmentedPropertyTypeCodeSequence[0],
        )
    ]
    return Segment(1, name, colour, codes[0], codes[1], layer)
