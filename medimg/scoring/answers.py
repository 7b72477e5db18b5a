"""Read the values that a table gives to a list of expected rows, or say all that is wrong with it at once."""

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

from medimg.errors import DataError
from medimg.io.rle import read_runs

T = TypeVar("T")
Line = dict[str, str]

_SHOWN = 5
# The mask of a whole slide holds megabytes in one field; csv refuses more than 128 KiB by default.
_LONGEST_FIELD = 1 << 30


def read_lines(path: Path) -> Iterator[Line]:
    """Read a CSV table line by line, so that one of millions of rows is never in memory as a whole.

    Args:
        path: File with a header.

    Yields:
        Values by column.

    Raises:
        DataError: If the file cannot be read, has no row, a column stands twice, or a line holds more or fewer
            values than the header.
    """
    n = 0
    csv.field_size_limit(_LONGEST_FIELD)
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            for n, line in enumerate(reader, start=1):
                if len(line) != len(names := reader.fieldnames or ()) or None in line.values():
                    _refuse_line(path, n, names, more=None in line)
                yield {column: value.strip() for column, value in line.items()}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a CSV table ({error}). Name a table.") from error
    if n == 0:
        raise DataError(f"{path}: expected a table with a header and at least one row, found none.")


def _refuse_line(path: Path, n: int, names: Sequence[str], *, more: bool) -> NoReturn:
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"{path}: the column {twice[0]!r} stands twice. Rename or remove one.")
    raise DataError(
        f"{path}: row {n} holds {'more' if more else 'fewer'} values than the header. Mend the row."
    )


def need_columns(path: Path, line: Line, columns: Sequence[str], what: str) -> None:
    """Refuse a table without some columns.

    Args:
        path: Where the table is.
        line: Any of its lines.
        columns: Columns it must have.
        what: What the table is, for the message.

    Raises:
        DataError: If a column is missing; it is named.
    """
    missing = [column for column in columns if column not in line]
    if missing:
        raise DataError(
            f"{path}: expected columns {', '.join(columns)} in {what}, found {', '.join(line)}; missing: "
            f"{', '.join(missing)}. Check the file, or name another --metric."
        )


def probability(text: str) -> float:
    """Read a probability in [0, 1].

    Raises:
        DataError: If it is none; the message names the kind of fault, to be counted.

    Example:
        >>> probability("0.25")
        0.25
    """
    value = _number(text)
    if not 0 <= value <= 1:
        raise DataError("outside [0, 1]")
    return value


def grade(text: str, grades: int) -> int:
    """Read a grade, a whole number from 0 to ``grades`` - 1.

    Raises:
        DataError: If it is none.

    Example:
        >>> grade("4", 5), grade("2.0", 5)
        (4, 2)
    """
    value = _number(text)
    if value not in range(grades):
        raise DataError(f"no whole number from 0 to {grades - 1}")
    return int(value)


def _number(text: str) -> float:
    try:
        # float() would also take "0_1" and the digits of other scripts, which no competition reads.
        value = float("no" if "_" in text or not text.isascii() else text or "nan")
    except ValueError as error:
        raise DataError("not a number") from error
    if math.isnan(value):
        raise DataError("blank or NaN")
    return value


def mask_text(text: str, pixels: int | None = None) -> str:
    """Check a run-length encoded mask and keep its text, which is smaller than the mask.

    Raises:
        DataError: If it cannot be read; the message names the kind of fault, to be counted.
    """
    try:
        read_runs(text, pixels)
    except DataError as fault:
        raise DataError(str(fault).partition(" (")[0]) from fault  # the kind, to be counted
    return text


def read_answers(
    path: Path,
    wanted: Sequence[str],
    columns: Sequence[str],
    *,
    key: Callable[[Line], str],
    key_columns: Sequence[str],
    parse: Callable[[str, int], T],
    hint: str = "",
) -> list[list[T]]:
    """Read the values of the expected rows of a table, in their order.

    Args:
        path: The table.
        wanted: Key of each expected row; each must stand in the table once, and no other.
        columns: Columns to read.
        key: Key of a row.
        key_columns: Columns that it is made from.
        parse: Makes a value from its text and the position of its row among ``wanted``; its ``DataError`` is
            the kind of fault.
        hint: A last sentence for the message.

    Returns:
        Values of each row, (N, columns).

    Raises:
        DataError: If a row is missing, doubled or unknown, or a value cannot be read: every kind of fault
            with its count and the first rows that have it.
    """
    positions = {name: position for position, name in enumerate(wanted)}
    found: list[list[T] | None] = [None] * len(wanted)
    faults: dict[str, list[str]] = {}
    for number, line in enumerate(read_lines(path)):
        if number == 0:
            need_columns(path, line, [*key_columns, *columns], "the predictions")
        name = key(line)
        position = positions.get(name)
        if position is None or found[position] is not None:
            kind = "unknown to the reference" if position is None else "doubled"
            faults.setdefault(kind, []).append(name)
            continue
        values = []
        for column in columns:
            try:
                values.append(parse(line[column], position))
            except DataError as fault:
                faults.setdefault(str(fault), []).append(_cell(name, column, columns))
        found[position] = values
    missing = [name for name, values in zip(wanted, found, strict=True) if values is None]
    if missing:
        faults["missing"] = missing
    if faults:
        raise DataError(fault_list(path, faults, hint))
    return [values for values in found if values is not None]


def fault_list(path: Path, faults: dict[str, list[str]], hint: str = "") -> str:
    """Lay faults out, a line a kind.

    Example:
        >>> print(fault_list(Path("a.csv"), {"doubled": ["x", "y"]}))
        a.csv: no score, because of faulty rows. Mend them and score again.
          2 doubled: x, y
    """
    lines = [f"{path}: no score, because of faulty rows. Mend them and score again.{hint and ' ' + hint}"]
    for kind, names in faults.items():
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        lines.append(f"  {len(names)} {kind}: {', '.join(names[:_SHOWN])}{more}")
    return "\n".join(lines)


def _cell(name: str, column: str, columns: Sequence[str]) -> str:
    return name if len(columns) == 1 else f"{name} ({column})"
