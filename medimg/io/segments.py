"""What the values of a label map mean to a viewer: a name, a colour and a code of a terminology."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from medimg.io.grid import Grid

# Colours that people who see no red or no green tell apart (Okabe and Ito, 2008), black left out.
_COLOURS = (
    (213, 94, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (230, 159, 0),
    (204, 121, 167),
)
_SPELLINGS = {"tumour": "Neoplasm", "tumor": "Neoplasm", "haemorrhage": "Hemorrhage", "oedema": "Edema"}
# Context groups of DICOM PS3.16 that list what a segment can be, and the category of each.
_GROUPS = (
    ("cid7194", "MorphologicallyAbnormalStructure"),
    ("cid7192", "AnatomicalStructure"),
    ("cid7191", "Tissue"),
)


@dataclass(frozen=True, slots=True)
class Segment:
    """One label of a label map.

    Attributes:
        value: Its value in the label map.
        name: Its name in the data set.
        colour: Red, green and blue, 0 to 255.
        category: Code of what kind of thing it is, such as an anatomical structure.
        kind: Code of what it is, such as the liver; a tissue where no code has its name.
        layer: Layer that it lies on, where a file holds several.
    """

    value: int
    name: str
    colour: tuple[int, int, int]
    category: Code
    kind: Code
    layer: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """Segments as a viewer saved them; those on different layers may overlap.

    Attributes:
        layers: Label values of each layer, shape (L, D, H, W).
        grid: Where the voxels lie.
        segments: What the values mean, each on its layer.
    """

    layers: NDArray[np.integer]
    grid: Grid
    segments: tuple[Segment, ...]


def make_segments(labels: Mapping[str, int]) -> tuple[Segment, ...]:
    """Describe the labels of a data set, in the order of their values.

    Names are looked up among the segmentation property types of DICOM PS3.16 (CID 7191, 7192, 7194): the whole
    name first, then its last word.

    Example:
        >>> liver, tumour, other = make_segments({"liver": 1, "liver_tumour": 2, "TC": 4})
        >>> liver.kind.meaning, tumour.kind.meaning, other.kind.meaning
        ('Liver', 'Neoplasm', 'Tissue')
    """
    ordered = sorted(labels.items(), key=lambda item: item[1])
    return tuple(
        Segment(value, name, _COLOURS[at % len(_COLOURS)], *_codes(name))
        for at, (name, value) in enumerate(ordered)
    )


def _codes(name: str) -> tuple[Code, Code]:
    """Category and kind of a name."""
    words = [
        _SPELLINGS.get(word.lower(), word[:1].upper() + word[1:])
        for word in re.split(r"[\W_]+", name)
        if word
    ]
    for tried in dict.fromkeys(["".join(words), *words[-1:]]):
        for group, category in _GROUPS:
            listed = getattr(codes, group)
            if tried in listed.dir():
                return getattr(codes.cid7150, category), getattr(listed, tried)
    return codes.cid7150.Tissue, codes.SCT.Tissue
