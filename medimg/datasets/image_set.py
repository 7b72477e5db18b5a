"""What a set of labelled 2D images is to a run, whatever its layout on disk."""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from medimg.datasets.image_cases import IMAGE_SUFFIXES, Missing
from medimg.datasets.image_masks import ImageMask, MaskFiles
from medimg.datasets.image_table import need_table
from medimg.errors import DataError
from medimg.io.files import inside
from medimg.records import ImageIndex, Record

# The BUSI ultrasound set lays each outline beside its image: `benign (1)_mask.png`, `benign (1)_mask_1.png`.
MASK_NAME = re.compile(r"(.+)_mask(?:_\d+)?", re.IGNORECASE)


class ImageSet(ABC):
    """One layout of labelled 2D images, with the options of that layout alone.

    Attributes:
        has_laterality: Whether an image's left is the patient's right, as in a film of the chest.
        mask_classes: Whether ``Record.mask`` holds the value of a class in each pixel, and not only inside and outside.
    """

    has_laterality: ClassVar[bool] = False
    mask_classes: bool = False

    @abstractmethod
    def index(self, root: Path) -> ImageIndex:
        """List the cases.

        Args:
            root: Folder or file of the data set.

        Raises:
            DataError: If a table or an image is missing, or a case cannot be used.
        """

    def unlabelled(self, root: Path) -> ImageIndex:
        """List what ``predict`` takes below another root; by default every image, at any depth.

        Args:
            root: Folder or file named by ``predict_root``.

        Raises:
            DataError: If there is no image.
        """
        return list_images(root)

    def masks(self, index: ImageIndex) -> dict[str, ImageMask]:
        """Masks by case id, for the cases that have one; by default what stands in ``Record.mask``.

        Args:
            index: What `index` returned.

        Raises:
            DataError: If masks are there and cannot be used.
        """
        return {
            record.case_id: MaskFiles((record.mask,), classes=self.mask_classes)
            for record in index.records
            if record.mask is not None
        }

    def known_copies(self, index: ImageIndex) -> list[set[str]]:
        """Case ids that the data set itself names as copies of one picture, to be kept in one fold.

        Args:
            index: What `index` returned.
        """
        return []


@dataclass(frozen=True, kw_only=True)
class ListedImages(ImageSet):
    """Images that the publisher's table lists.

    Attributes:
        table: The table if it is not where the publisher puts it; below the root unless it is absolute.
        missing: What to do with a case whose image is not there: ``error``, ``skip`` it and say how many, or
            ``keep`` it, for work on labels alone.
    """

    table: Path | None = None
    missing: Missing = "error"

    def _table(self, root: Path, names: Sequence[str]) -> Path:
        """Where the table lies, under any of the names it was published by."""
        return need_table(root, names, type(self).__name__) if self.table is None else root / self.table


def list_images(root: Path) -> ImageIndex:
    """Every image below a folder as a case of its own, without labels, for prediction.

    Args:
        root: Folder; the path of an image below it is its case id.

    Raises:
        DataError: If there is no image, or a link leads out of the folder.
    """
    root = Path(root)
    paths = list(image_files(root))
    if not paths:
        raise DataError(f"{root}: no image found at any depth. Check the path.")
    names = sorted(path.relative_to(root).as_posix() for path in paths)
    records = [Record(name, name, (inside(root, name),)) for name in names]
    return ImageIndex(root.resolve().name, root, "multilabel", (), tuple(records))


def image_files(folder: Path) -> Iterator[Path]:
    """Images at any depth below a folder, sorted; masks, hidden files and linked folders left out.

    Args:
        folder: Where to look.
    """
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        for file in sorted(files):
            path = Path(place) / file
            is_image = path.suffix.lower() in IMAGE_SUFFIXES and not MASK_NAME.fullmatch(path.stem)
            if is_image and not file.startswith((".", "_")):
                yield path
