"""The table of folds: a row a case, in a file that a person can open."""

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medimg.datasets.image_table import read_table
from medimg.errors import DataError
from medimg.io.files import atomic_write

COLUMNS = ("case_id", "patient_id", "fold")
TEST = "test"
_FEWEST_FOLDS = 2


@dataclass(frozen=True, slots=True)
class SplitRow:
    """Where one case stands.

    Attributes:
        case_id: The case.
        patient_id: Its patient.
        fold: Fold in which it validates, from 0; ``None``: it is kept for a test and stands in no fold.
    """

    case_id: str
    patient_id: str
    fold: int | None


def write_split_table(path: Path, rows: Iterable[SplitRow]) -> str:
    """Write the table, sorted by case.

    Args:
        path: File to write, whole or not at all.
        rows: A row a case.

    Returns:
        The first 12 hexadecimal digits of the file's SHA-256, the same on every machine.

    Raises:
        ResourceError: If the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in sorted(rows, key=lambda row: row.case_id):
        writer.writerow((row.case_id, row.patient_id, TEST if row.fold is None else row.fold))
    content = text.getvalue().encode()
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    return hashlib.sha256(content).hexdigest()[:12]


def read_split_table(path: Path) -> list[SplitRow]:
    """Read a table of folds; further columns are passed over.

    Args:
        path: CSV with the columns ``case_id``, ``patient_id`` and ``fold``.

    Returns:
        A row a case; there are two folds or more, numbered from 0, and none is empty.

    Raises:
        DataError: If the file is missing, lacks a column, names a case twice, or its folds have gaps.
    """
    rows: list[SplitRow] = []
    lines: dict[str, int] = {}
    for line, (case_id, patient_id, fold) in read_table(path).select(COLUMNS):
        if not case_id or not patient_id:
            blank = "patient_id" if case_id else "case_id"
            raise DataError(f"{path}, line {line}: {blank} is blank; every row needs one. Mend the line.")
        if case_id in lines:
            raise DataError(
                f"{path}, line {line}: the case {case_id} stands in line {lines[case_id]} already. Keep one of the two."
            )
        if fold != TEST and not (fold.isascii() and fold.isdigit()):
            raise DataError(
                f"{path}, line {line}: expected a fold from 0 on, or test, found {fold!r} for the case {case_id}. "
                "Mend the line."
            )
        lines[case_id] = line
        rows.append(SplitRow(case_id, patient_id, None if fold == TEST else int(fold)))
    _expect_whole_folds(path, rows)
    return rows


def _expect_whole_folds(path: Path, rows: Sequence[SplitRow]) -> None:
    found = {row.fold for row in rows if row.fold is not None}
    if len(found) < _FEWEST_FOLDS or found != set(range(len(found))):
        raise DataError(
            f"{path}: expected two folds or more, numbered 0, 1, 2 and so on without a gap; found "
            f"{', '.join(map(str, sorted(found))) or 'none'}. Number them anew, or run medimg split again."
        )
