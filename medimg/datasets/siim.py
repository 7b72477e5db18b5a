"""SIIM-ACR Pneumothorax Segmentation (2019): radiographs with outlines as relative run-length codes."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from medimg.datasets.image_cases import ImageCases
from medimg.datasets.image_masks import ImageMask, RunLengths
from medimg.datasets.image_set import ListedImages
from medimg.datasets.image_table import read_table
from medimg.errors import DataError
from medimg.records import ImageIndex

SHAPE = (1024, 1024)  # (H, W) of every image and mask
_TABLES = ("train-rle.csv", "stage_2_train.csv", "siim-pneumothorax-train-rle.csv")
_FOLDERS = ("dicom-images-train", "train")
_SUFFIXES = (".dcm", ".png", ".jpg")


@dataclass(frozen=True, kw_only=True)
class SIIMPneumothorax(ListedImages):
    """SIIM-ACR pneumothorax, as one label an image: whether it has a mask.

    Images lie at any depth, as they were handed out: ``dicom-images-train/<study>/<series>/<ImageId>.dcm``.
    Patients are not published, so that every image is one.
    """

    has_laterality: ClassVar[bool] = True

    def index(self, root: Path) -> ImageIndex:
        """List the images of the table: a binary index of ``pneumothorax``."""
        path = self._table(root, _TABLES)
        masks = siim_masks(path)
        cases = ImageCases(root, path, self.missing)
        places = _places(root)
        for image, codes in masks.items():
            place = places.get(image, f"{cases.files.folder_of(_FOLDERS)}/{image}.dcm")
            cases.add(image, image, [place], where=image, labels={"pneumothorax": float(bool(codes))})
        return ImageIndex("SIIM-pneumothorax", root, "binary", ("pneumothorax",), cases.records())

    def masks(self, index: ImageIndex) -> dict[str, ImageMask]:
        """Masks of all images, empty ones too."""
        codes = siim_masks(self._table(index.root, _TABLES))
        return {
            record.case_id: RunLengths(tuple(codes[record.case_id]), relative=True, shape=SHAPE)
            for record in index.records
        }


def siim_masks(table: Path) -> dict[str, list[str]]:
    """Run-length codes of each image, one for each outline; an empty list where there is no pneumothorax.

    The codes are relative and column-major on 1024 x 1024 pixels: each start counts from the end of the run
    before it.

    Args:
        table: ``train-rle.csv``.

    Raises:
        DataError: If a code is damaged, or an image has a mask in one row and none in another.
    """
    content = read_table(table)
    masks: dict[str, list[str]] = {}
    empty: set[str] = set()
    for line, (image, code) in content.select(["ImageId", "EncodedPixels"]):
        codes = masks.setdefault(image, [])
        if code == "-1":
            empty.add(image)
        elif code and len(code.split()) % 2 == 0 and code.replace(" ", "").isdecimal():
            codes.append(code)
        else:
            raise DataError(
                f"{table}, line {line}: expected pairs of a start and a length, or -1; found {code[:40]!r}"
            )
        if codes and image in empty:
            raise DataError(
                f"{table}, line {line}: {image} has a mask in one row and none in another; one of them is wrong"
            )
    return masks


def _places(root: Path) -> dict[str, str]:
    """Where each image lies, by its name without the suffix."""
    found = [Path(folder) / file for folder, _, files in os.walk(root) for file in files]
    images = [path for path in found if path.suffix in _SUFFIXES]
    # Where both the DICOM and its conversion are there, the DICOM comes last and stays.
    images.sort(key=lambda path: (-_SUFFIXES.index(path.suffix), path))
    return {path.stem: path.relative_to(root).as_posix() for path in images}
