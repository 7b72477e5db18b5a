"""Read tables of run-length encoded masks: those of a competition's reference and those predicted."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medimg.errors import DataError
from medimg.scoring.answers import Line, fault_list, mask_text, need_columns, read_answers, read_lines
from medimg.scoring.table import PATIENT_COLUMN

Size = tuple[int, int]

_MASKS = ("encoding", "rle", "segmentation", "predicted")  # what references call their masks
_SIZES = (
    ("height", "width"),
    ("image_height", "image_width"),
    ("img_height", "img_width"),
    ("height_pixels", "width_pixels"),
)


@dataclass(frozen=True, slots=True)
class TrueMask:
    """One row of the reference.

    Attributes:
        text: The mask, run-length encoded.
        patient: Its patient; empty where the table does not say.
        size: Height and width, where the table has them.
    """

    text: str
    patient: str
    size: Size | None


def read_masks(path: Path, key_columns: tuple[str, ...]) -> dict[str, TrueMask]:
    """Read a reference.

    Args:
        path: A table with the key's columns and one of ``encoding``, ``rle``, ``segmentation``, ``predicted``.
        key_columns: ``id``, and ``class`` where there are several.

    Returns:
        Its rows by key: the values of the key's columns with a space between.

    Raises:
        DataError: If a column is missing, a row is doubled or a mask cannot be read.
    """
    found: dict[str, TrueMask] = {}
    faults: dict[str, list[str]] = {}
    column = ""
    for line in read_lines(path):
        if not column:
            column = next((name for name in _MASKS if name in line), _MASKS[0])
            need_columns(path, line, [*key_columns, column], "the reference")
        key = " ".join(line[name] for name in key_columns)
        size = _size(line)
        patient = line.get(PATIENT_COLUMN) or line.get("patient_number") or ""
        try:
            text = mask_text(line[column], None if size is None else math.prod(size))
        except DataError as fault:
            faults.setdefault(str(fault), []).append(key)
            continue
        if key in found:
            faults.setdefault("doubled", []).append(key)
        found[key] = TrueMask(text, patient, size)
    if faults:
        raise DataError(fault_list(path, faults))
    return found


def read_predicted(
    path: Path, truth: Mapping[str, TrueMask], key_columns: tuple[str, ...], sizes: Mapping[str, Size]
) -> dict[str, str]:
    """Read the mask predicted for each row of the reference, as text.

    Args:
        path: A table with the key's columns and ``predicted``.
        truth: What ``read_masks`` gave.
        key_columns: Columns of the key.
        sizes: Height and width by id, where the reference does not have them.

    Raises:
        DataError: If a row is missing, doubled or unknown, or a mask cannot be read or leaves its picture.
    """
    names = list(truth)

    def parse(text: str, position: int) -> str:
        size = truth[names[position]].size or sizes.get(names[position].split(" ")[0])
        return mask_text(text, None if size is None else math.prod(size))

    answers = read_answers(
        path,
        names,
        ["predicted"],
        key=lambda line: " ".join(line[name] for name in key_columns),
        key_columns=key_columns,
        parse=parse,
    )
    return {name: text for name, (text,) in zip(names, answers, strict=True)}


def _size(line: Line) -> Size | None:
    for height, width in _SIZES:
        if line.get(height, "").isdigit() and line.get(width, "").isdigit():
            return int(line[height]), int(line[width])
    return None
