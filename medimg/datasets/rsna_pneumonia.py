"""RSNA Pneumonia Detection (2018): a row for each box, several rows an image.

Reference:
    Shih et al., "Augmenting the NIH chest radiograph dataset with expert annotations of possible pneumonia",
    Radiology: Artificial Intelligence 1, 2019.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from medimg.datasets.image_cases import ImageCases
from medimg.datasets.image_set import ListedImages
from medimg.datasets.image_table import read_table
from medimg.errors import DataError
from medimg.records import ImageIndex

_TABLES = ("stage_2_train_labels.csv", "stage_1_train_labels.csv")
_FOLDERS = ("stage_2_train_images", "stage_1_train_images", "train_images")

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class RSNAPneumonia(ListedImages):
    """RSNA pneumonia detection, as one label an image: ``stage_2_train_images/<patientId>.dcm``.

    What its table calls a patient is one image.
    """

    has_laterality: ClassVar[bool] = True

    def index(self, root: Path) -> ImageIndex:
        """List the images of the table: a binary index of ``pneumonia``.

        Raises:
            DataError: If the table is missing, a row cannot be used, or the rows of an image contradict each other.
        """
        content = read_table(self._table(root, _TABLES))
        cases = ImageCases(root, content.path, self.missing)
        targets: dict[str, tuple[int, str]] = {}
        for line, (image, target) in content.select(["patientId", "Target"]):
            first = targets.setdefault(image, (line, target))
            if target not in ("0", "1"):
                cases.fault(line, f"Target is {target!r}; expected 1 or 0")
            elif first[1] != target:
                cases.fault(line, f"{image} has Target {target}, and {first[1]} in line {first[0]}")
        folder = cases.files.folder_of(_FOLDERS)
        for image, (line, target) in targets.items():
            path = cases.files.suffix_of(f"{folder}/{image}", (".dcm", ".png", ".jpg"))
            cases.add(image, image, [path], where=line, labels={"pneumonia": float(target == "1")})
        return ImageIndex("RSNA-pneumonia", root, "binary", ("pneumonia",), cases.records())


def pneumonia_boxes(table: Path) -> dict[str, list[Box]]:
    """Boxes of each image that has any: x and y of the upper left corner, width and height, in pixels.

    Args:
        table: ``stage_2_train_labels.csv``.

    Raises:
        DataError: If the table cannot be read or a positive row has no box.
    """
    content = read_table(table)
    boxes: dict[str, list[Box]] = {}
    for line, (image, target, *corner) in content.select(
        ["patientId", "Target", "x", "y", "width", "height"]
    ):
        if target == "1":
            try:
                x, y, width, height = map(float, corner)
            except ValueError:
                raise DataError(f"{table}, line {line}: Target is 1, and the box is {corner}") from None
            boxes.setdefault(image, []).append((x, y, width, height))
    return boxes
