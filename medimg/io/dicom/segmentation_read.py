"""DICOM SEG read back as a volume, whichever tool wrote it."""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.sr.coding import Code

from medimg.errors import DataError
from medimg.io.dicom.parse import header_warnings, open_dataset
from medimg.io.dicom.segmentation import require_highdicom
from medimg.io.grid import Grid
from medimg.io.segments import Segment, Segmentation, make_segments

_SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"


def read_dicom_seg(path: Path) -> Segmentation:
    """Read a binary DICOM SEG with its names, colours and codes.

    Args:
        path: The file.

    Returns:
        A layer a segment, since segments of a SEG may overlap; the slices from the first to the last that the file
        has, in the order of their places. Each segment has the value 1 on its layer.

    Raises:
        ConfigError: If highdicom is not installed.
        DataError: If the file is no binary SEG, or its frames make no regular volume.
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
            volume = hd.seg.segread(path).get_volume(combine_segments=False, allow_missing_positions=True)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: its frames make no regular volume ({' '.join(str(error).split())[:200]}). Save the segmentation "
            "on the grid of the volume, as NIfTI or .seg.nrrd."
        ) from error
    layers = np.moveaxis(np.asarray(volume.array, np.uint8), -1, 0)  # (D, H, W, S) -> (S, D, H, W)
    # Columns of the affine follow (D, H, W) and point in LPS.
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(volume.affine)[:, [2, 1, 0, 3]]
    depth, height, width = (int(size) for size in layers.shape[1:])
    segments = tuple(_segment(hd, one, layer) for layer, one in enumerate(header.SegmentSequence))
    return Segmentation(layers, Grid((depth, height, width), affine), segments)


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
