"""An index of 2D images as the table that `medimg.datasets.table.index_table` reads."""

import csv
import math
from pathlib import Path

from medimg.errors import DataError
from medimg.io.files import atomic_write
from medimg.records import ImageIndex, Record, TableColumns

_FIXED = ("case_id", "patient_id", "group", "split", "weight", "position_mm")


def write_table(path: Path, index: ImageIndex) -> TableColumns:
    """Write a row a case; published folds are left out, since a case may stand in several.

    Args:
        path: File to write, whole or not at all.
        index: The data set; its images must be files of their own below its root.

    Returns:
        Which column holds what, to read the table with.

    Raises:
        DataError: If cases are members of one file, or have different numbers of images.
        ResourceError: If the file cannot be written.
    """
    counts = {len(record.images) for record in index.records}
    if len(counts) != 1 or any(record.member is not None for record in index.records):
        raise DataError(
            f"{index.name}: a table needs cases of as many image files each, found {sorted(counts)}"
        )
    images = tuple(f"image_{number}" for number in range(counts.pop()))
    labels = tuple(f"label {name}" if name in (*_FIXED, *images) else name for name in index.classes)
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*_FIXED, *images, *labels])
        writer.writerows(_row(record, index) for record in index.records)
    placed = any(record.position_mm is not None for record in index.records)
    return TableColumns(
        *("case_id", "patient_id", images, labels),
        group="group",
        weight="weight",
        split="split",
        position="position_mm" if placed else None,
    )


def _row(record: Record, index: ImageIndex) -> list[str]:
    values = [record.labels.get(name, math.nan) for name in index.classes]
    return [
        *(record.case_id, record.patient_id, record.group or "", record.split or "", f"{record.weight:.9g}"),
        "" if record.position_mm is None else repr(record.position_mm),
        *(path.relative_to(index.root).as_posix() for path in record.images),
        *("" if math.isnan(value) else f"{value:.9g}" for value in values),
    ]
