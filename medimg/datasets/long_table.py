"""Tables of millions of rows, read row by row."""

import csv
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from medimg.datasets.image_table import Table, open_table
from medimg.errors import DataError

Row = tuple[int, tuple[str, ...]]


def stream_table(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Give the line number and the stripped fields of some columns, row by row, holding one row at a time.

    Args:
        path: A ``.csv``, plain, gzipped or zipped.
        columns: Names of the columns, in the order wanted.

    Raises:
        DataError: If it cannot be read, lacks a column, holds no row, or a row has another number of fields than
            the header.
    """
    line = 0
    try:
        with open_table(path) as file:
            reader = csv.reader(file, strict=True)
            header = _header(path, next(reader, None))
            places = header.places(columns)
            for row in reader:
                if not row:
                    continue
                line = reader.line_num
                if len(row) != len(header.header):
                    raise DataError(
                        f"{path}, line {line}: has {len(row)} fields, expected {len(header.header)} as in the "
                        "header. Mend the line, or get the table again."
                    )
                yield line, tuple(row[place].strip() for place in places)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such table. Check the path.") from None
    except (OSError, EOFError, UnicodeError, csv.Error, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as a table ({error}). Get it again.") from error
    if not line:
        raise DataError(f"{path}: holds a header and no row. Get it again.")


def read_header(path: Path) -> tuple[str, ...]:
    """Column names of a table, without reading its rows.

    Raises:
        DataError: If it cannot be read or is empty.
    """
    try:
        with open_table(path) as file:
            return _header(path, next(csv.reader(file, strict=True), None)).header
    except (OSError, EOFError, UnicodeError, csv.Error, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as a table ({error}). Get it again.") from error


def _header(path: Path, names: list[str] | None) -> Table:
    if not names or not any(name.strip() for name in names):
        raise DataError(f"{path}: expected a header with column names, found an empty file. Get it again.")
    return Table(path, tuple(name.strip() for name in names), [], [])
