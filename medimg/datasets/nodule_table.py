"""Nodules with several things to be learned of each: malignancy, size, place, and what readers saw."""

import math
from dataclasses import dataclass
from pathlib import Path

from medimg.datasets.image_cases import ImageCases, Missing
from medimg.datasets.image_set import ImageSet
from medimg.datasets.image_table import read_table
from medimg.datasets.lidc import find_nodule_table
from medimg.errors import ConfigError, DataError
from medimg.records import ImageIndex

_OF_A_CASE = ("nodule_id", "patient_id", "image", "readers")
_OF_LEFT_AND_RIGHT = "offset_x_mm"


@dataclass(frozen=True)
class Nodules(ImageSet):
    """Nodules of a converted LIDC-IDRI, or nodule phantoms: a crop each, patients kept together, and numbers of each.

    The root is what the conversion wrote, or phantoms: a folder with ``nodules.csv``. What is blank there is unknown,
    as ``malignant`` is where the readers' mean is 3.

    Attributes:
        targets: Columns of the table, such as ``malignant``, ``diameter_mm``, mean scores of 1 to 5 or 6 such as
            ``spiculation``, and ``offset_z_mm``, ``offset_y_mm`` and ``offset_x_mm``, how far above, in front and to
            the right of the crop's middle the nodule lies.
        min_readers: Leave out nodules that fewer readers outlined.
        missing: What to do with a nodule whose crop is not there: ``error``, or ``skip`` it and say how many.
    """

    targets: tuple[str, ...] = (
        "malignant",
        "diameter_mm",
        "spiculation",
        "lobulation",
        "texture",
        "calcification",
    )
    min_readers: int = 3
    missing: Missing = "error"

    def __post_init__(self) -> None:
        if not self.targets or len(set(self.targets)) < len(self.targets):
            raise ConfigError(f"targets: expected columns, each once, found {list(self.targets)}")
        # Of this set and not of all: malignancy and size know no side.
        object.__setattr__(self, "has_laterality", _OF_LEFT_AND_RIGHT in self.targets)

    def index(self, root: Path) -> ImageIndex:
        """List the nodules.

        Raises:
            DataError: If the table, a column or a crop is missing, a value is no number, or no nodule is left.
        """
        table = read_table(find_nodule_table(Path(root)))
        cases = ImageCases(Path(root), table.path, self.missing)
        taken = 0
        for line, (name, patient, image, readers, *texts) in table.select((*_OF_A_CASE, *self.targets)):
            if not readers.isdecimal():
                cases.fault(line, f"readers is {readers!r}; expected a number")
                continue
            if int(readers) < self.min_readers:
                continue
            taken += 1
            if not image:
                cases.fault(line, f"{name} has no crop; convert with --crop 48")
                continue
            try:
                labels = dict(zip(self.targets, map(_number, texts), strict=True))
            except ValueError as error:
                cases.fault(line, f"{name}: expected a number or a blank, found {str(error)!r}")
                continue
            cases.add(name, patient, [image], where=line, labels=labels)
        if not taken:
            raise DataError(
                f"{table.path}: none of {len(table.rows)} nodules was outlined by {self.min_readers} readers. Lower "
                "min_readers, or give the whole set."
            )
        return ImageIndex("nodules", Path(root), "targets", self.targets, cases.records())


def _number(text: str) -> float:
    """A field as a number, NaN where it is blank.

    Raises:
        ValueError: With the text, if it is none.

    Example:
        >>> _number("2.5"), _number("")
        (2.5, nan)
    """
    if text.lower() in ("", "nan"):
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise ValueError(text)
    return value
