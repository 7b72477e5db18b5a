"""What ``medimg split`` prints of its folds: how much alike they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medimg.preparation.split_table import SplitRow
    from medimg.records import ImageIndex

Columns = list[tuple[str, list["SplitRow"]]]


def image_balance(index: ImageIndex, rows: Sequence[SplitRow]) -> list[str]:
    """A line for the cases, the patients and each label; a column a fold.

    Args:
        index: The data set.
        rows: Where each case stands.
    """
    labels = {record.case_id: record.labels for record in index.records}
    columns = _columns(rows)
    lines = _first_lines(columns)
    for name in index.classes:
        found = [[labels[row.case_id].get(name, math.nan) for row in own] for _, own in columns]
        lines.append((name, [_positives(values) for values in found]))
    return _aligned(lines)


def volume_balance(volumes_mm3: Mapping[str, float], rows: Sequence[SplitRow]) -> list[str]:
    """A line for the cases, the patients, the median volume and the empty masks; a column a fold.

    Args:
        volumes_mm3: Volume of all foreground of each case.
        rows: Where each case stands.
    """
    columns = _columns(rows)
    volumes = [[volumes_mm3[row.case_id] for row in own] for _, own in columns]
    lines = [
        *_first_lines(columns),
        ("median lesion mm3", [_median([value for value in found if value > 0]) for found in volumes]),
        ("empty masks", [str(found.count(0)) for found in volumes]),
    ]
    return _aligned(lines)


def _columns(rows: Sequence[SplitRow]) -> Columns:
    """Name and cases of each fold, of the test if there is one, and of all."""
    folds = sorted({row.fold for row in rows if row.fold is not None})
    columns = [(f"fold {fold}", [row for row in rows if row.fold == fold]) for fold in folds]
    if test := [row for row in rows if row.fold is None]:
        columns.append(("test", test))
    return [*columns, ("all", list(rows))]


def _first_lines(columns: Columns) -> list[tuple[str, list[str]]]:
    return [
        ("", [name for name, _ in columns]),
        ("cases", [str(len(own)) for _, own in columns]),
        ("patients", [str(len({row.patient_id for row in own})) for _, own in columns]),
    ]


def _positives(values: Sequence[float]) -> str:
    """Positives and their share of the cases whose label is known; soft labels count in part."""
    known = [value for value in values if not math.isnan(value)]
    return f"{sum(known):.10g} {sum(known) / len(known):.1%}" if known else "unknown"


def _median(volumes: Sequence[float]) -> str:
    if not volumes:
        return "none"
    middle = median(volumes)
    return f"{middle:.0f}" if middle >= 100 else f"{middle:.3g}"


def _aligned(lines: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    first = max(len(name) for name, _ in lines)
    widths = [max(map(len, cells)) + 2 for cells in zip(*(cells for _, cells in lines), strict=True)]
    return [
        f"  {name:<{first}}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        for name, cells in lines
    ]
