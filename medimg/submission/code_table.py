"""Tables of run-length codes: written out of masks, and checked."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg.datasets.image_table import Table, read_table
from medimg.errors import DataError
from medimg.io.files import atomic_write
from medimg.io.rle import encode, read_runs
from medimg.submission.faults import Faults
from medimg.submission.formats import CodeFormat
from medimg.submission.ids import IdMap, check_blanks, check_ids, unique_ids
from medimg.submission.pictures import Plane, find_planes, plane_shape, read_plane

_Key = tuple[str, ...]  # (id,) or (id, class)


@dataclass(frozen=True, slots=True)
class CodeTask:
    """What is to be written or checked.

    Attributes:
        layout: What the competition asks for.
        asked: Rows of the sample, ``(id,)`` or ``(id, class)``; empty where it is not known.
        values: Label value of each class; a format without classes takes everything but 0.
        images: Image of each id, for shapes; ``None``: shapes are not compared.
    """

    layout: CodeFormat
    asked: tuple[_Key, ...]
    values: Mapping[str, int]
    images: Mapping[str, Plane] | None = None

    def shape(self, name: str) -> tuple[int, int] | None:
        """(H, W) that a mask must have, if it is known."""
        if self.layout.shape is not None or self.images is None or name not in self.images:
            return self.layout.shape
        return plane_shape(self.images[name])


def read_asked_rows(path: Path, layout: CodeFormat) -> tuple[_Key, ...]:
    """Read the rows that the sample asks for.

    Raises:
        DataError: If it cannot be read, has other columns, or a row stands twice.
    """
    keys = tuple(key for key, _ in _codes_of(_read_table(path, layout)))
    unique_ids(path, [_shown(key) for key in keys])
    return keys


def planes_by_id(folder: Path, names: IdMap | None, faults: Faults) -> dict[str, Plane]:
    """Masks or images of a folder by the ids of the competition.

    Args:
        folder: Where they lie.
        names: What the organisers call them; of a volume, its case or each of its slices may be named.
        faults: Takes the faults.
    """
    found: dict[str, Plane] = {}
    for name, plane in find_planes(folder):
        case, mark, number = name.rpartition("_slice_")
        if names is not None and name not in names.names and case in names.names:
            name = f"{names.names[case]}{mark}{number}"
        elif names is not None:
            name = names.apply([name], faults)[0]
        if name in found:
            faults.add("doubled masks", f"{name}: {found[name].path} and {plane.path}")
        found[name] = plane
    return found


def write_codes(path: Path, task: CodeTask, masks: Mapping[str, Plane] | None, faults: Faults) -> int:
    """Write the codes of all masks, whole or, where there are faults, not at all.

    Args:
        path: File to write.
        task: What is asked for.
        masks: Mask of each id; ``None`` writes empty masks for the rows of the sample.
        faults: Takes the faults; one is enough for nothing to be written.

    Returns:
        Number of rows.

    Raises:
        DataError: Lists all faults.
    """
    wanted = list(dict.fromkeys(key[0] for key in task.asked)) or sorted(masks or ())
    check_ids(list(wanted if masks is None else masks), wanted, faults, what="masks")
    keys = task.asked or [(name, *rest) for name in wanted for rest in _classes(task.layout)]
    count = 0
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(task.layout.header)
        for key, code in _codes(keys, task, masks, faults):
            writer.writerow([*key, code or task.layout.empty])
            count += 1
        if not count:
            faults.add("no rows", "neither the sample nor the predictions hold any")
        faults.raise_if_any(str(path))
    return count


def _classes(layout: CodeFormat) -> list[_Key]:
    """What follows the id in each row of one mask."""
    keys: list[_Key] = [(name,) for name in layout.classes]
    return keys or [()]


def _codes(
    keys: Sequence[_Key], task: CodeTask, masks: Mapping[str, Plane] | None, faults: Faults
) -> Iterator[tuple[_Key, str]]:
    last, mask = "", None
    for key in keys:
        _check_class(key, task, faults)
        if masks is None or key[0] not in masks:  # a missing one is a fault already
            yield key, ""
            continue
        if key[0] != last:
            last, mask = key[0], _checked_mask(key[0], masks[key[0]], task, faults)
        if mask is not None:
            inside = mask if len(key) == 1 else mask == task.values.get(key[1])
            yield key, encode(inside, relative=task.layout.relative)


def _checked_mask(name: str, plane: Plane, task: CodeTask, faults: Faults) -> NDArray[np.generic] | None:
    try:
        mask, expected = read_plane(plane), task.shape(name)
    except DataError as error:
        faults.add("files that cannot be read", str(error))
        return None
    if expected is not None and mask.shape != expected:
        faults.add("masks of another shape", f"{name}: {mask.shape}, expected {expected} (H, W)")
    if task.layout.classes:
        outside = sorted({int(value) for value in np.unique(mask)} - {0, *task.values.values()})
        if outside:
            allowed = ", ".join(f"{label}={value}" for label, value in task.values.items())
            faults.add("label values of no class", f"{name}: {outside}, expected 0 and {allowed}")
    elif len(values := np.unique(mask)) > 2 or (len(values) == 2 and values[0] != 0):
        faults.add("grey values; a mask holds 0 and one other", f"{name}: {len(values)} values")
    return mask


def check_codes(path: Path, task: CodeTask, faults: Faults) -> int:
    """Check a table from elsewhere.

    Args:
        path: The table.
        task: What is asked for.
        faults: Takes the faults.

    Returns:
        Number of rows.

    Raises:
        DataError: If it cannot be read or has other columns.
    """
    table = _read_table(path, task.layout)
    check_blanks(table, task.layout.header[:-1], faults)
    rows = _codes_of(table)
    check_ids([_shown(key) for key, _ in rows], [_shown(key) for key in task.asked], faults, ordered=True)
    if not rows:
        faults.add("no rows", "the table is empty")
    last, shape = "", task.layout.shape
    for key, code in rows:
        _check_class(key, task, faults)
        if key[0] != last:
            last, shape = key[0], task.shape(key[0])
        if fault := code_fault(code, shape, relative=task.layout.relative, empty=task.layout.empty):
            faults.add("run-length codes", f"{_shown(key)}: {fault}")
    return len(rows)


def code_fault(code: str, shape: tuple[int, int] | None, *, relative: bool = False, empty: str = "") -> str:
    """What is wrong with a run-length code; empty if nothing is.

    Args:
        code: Pairs of start and length.
        shape: (H, W) of the mask; ``None``: unknown, so that its end is not checked.
        relative: Starts count from the end of the run before; otherwise from 1.
        empty: How an empty mask is written.

    Example:
        >>> code_fault("1 3 10 5", (4, 4)), code_fault("1 3 3 5", None), code_fault("1 3 10 9", (4, 4))
        ('', 'runs that overlap or are not sorted', 'runs that leave the picture (pixel 18 of 16)')
    """
    if code == empty:
        return ""
    try:
        runs = read_runs(code, None if shape is None else shape[0] * shape[1], relative=relative)
    except DataError as fault:
        return str(fault)
    return "" if len(runs) else f"expected {empty!r} for an empty mask, found {code!r}"


def _read_table(path: Path, layout: CodeFormat) -> Table:
    table = read_table(path)
    if table.header != layout.header:
        raise DataError(
            f"{path}: expected the columns {','.join(layout.header)}, found {','.join(table.header)}. Check the "
            "file and --format."
        )
    return table


def _codes_of(table: Table) -> list[tuple[_Key, str]]:
    return [(tuple(fields[:-1]), fields[-1]) for _, fields in table.select(table.header)]


def _check_class(key: _Key, task: CodeTask, faults: Faults) -> None:
    if len(key) > 1 and key[1] not in task.layout.classes:
        faults.add("unknown classes", f"{_shown(key)}, expected {', '.join(task.layout.classes)}")


def _shown(key: _Key) -> str:
    return ", ".join(key)
