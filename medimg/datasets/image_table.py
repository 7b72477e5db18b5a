"""Tables of cases: CSV and TSV, plain, gzipped or zipped, read as text."""

import csv
import gzip
import io
import threading
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from medimg.errors import DataError
from medimg.io.delimited import read_rows

_SUFFIXES = ("", ".gz", ".zip")
# Run-length codes of whole slides hold megabytes in one field; csv refuses more than 128 KiB by default.
_LONGEST_FIELD = 1 << 30
# A real label table shrinks about tenfold; what grows a thousandfold was made to fill the memory.
_LARGEST_GROWTH = 500
_ALWAYS_ALLOWED = 64 << 20
_FIELD_LIMIT = threading.Lock()


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text.

    Attributes:
        path: The file, for messages.
        header: Column names, without the blanks around them.
        rows: The fields of each row, as many as the header has.
        lines: Line of the file on which each row ends.
        written: Column names as they stand in the file.
    """

    path: Path
    header: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]
    written: tuple[str, ...] = ()

    def select(self, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
        """Give the line number and the stripped fields of some columns, row by row.

        Args:
            columns: Names of the columns, in the order wanted.

        Raises:
            DataError: If a column is missing or stands twice.

        Example:
            >>> table = Table(Path("a.csv"), ("id", "x"), [["c1", " 0.5"]], [2])
            >>> list(table.select(["x", "id"]))
            [(2, ['0.5', 'c1'])]
        """
        places = self.places(columns)
        for line, row in zip(self.lines, self.rows, strict=True):
            yield line, [row[place].strip() for place in places]

    def places(self, columns: Sequence[str]) -> list[int]:
        """Position of each column.

        Raises:
            DataError: If a column is missing or stands twice.
        """
        missing = [name for name in columns if name not in self.header]
        if missing:
            raise DataError(
                f"{self.path}: expected the columns {', '.join(missing)}; found {', '.join(self.header)}. "
                "Name the columns as the table does."
            )
        twice = [name for name in columns if self.header.count(name) > 1]
        if twice:
            raise DataError(f"{self.path}: the column {twice[0]} stands twice in the header; rename one.")
        return [self.header.index(name) for name in columns]

    def has(self, *columns: str) -> bool:
        """Whether all of these columns are there."""
        return set(columns) <= set(self.header)


def find_table(root: Path, names: Sequence[str]) -> Path | None:
    """Return the first of the named tables that lies in a folder, also as ``.gz`` or ``.zip``.

    Args:
        root: Folder to look in.
        names: File names, the preferred one first.
    """
    for name in names:
        for suffix in _SUFFIXES:
            if (path := root / f"{name}{suffix}").is_file():
                return path
    return None


def need_table(root: Path, names: Sequence[str], layout: str) -> Path:
    """Return the table of a data set.

    Args:
        root: Folder of the data set.
        names: File names it may have, the preferred one first.
        layout: Name of the data set, for the message.

    Raises:
        DataError: If none of them is there.
    """
    path = find_table(root, names)
    if path is None:
        raise DataError(
            f"{root}: expected the {layout} table {' or '.join(names)} (also as .gz or .zip), found none. "
            "Give the folder that holds it, or name the table."
        )
    return path


def read_table(path: Path) -> Table:
    """Read a table of text, whatever it is packed in; blank lines are skipped.

    Fields are separated as `medimg.io.delimited.read_rows` has it. Headers of NIH's tables that hold a comma inside
    brackets are two columns: ``OriginalImage[Width,Height]`` becomes ``OriginalImage[Width]`` and
    ``OriginalImage[Height]``.

    Args:
        path: A ``.csv``, ``.tsv``, or one of them as ``.gz`` or as the only file of a ``.zip``.

    Raises:
        DataError: If it cannot be read, is empty, or a row has another number of fields than the header.
    """
    path = Path(path)
    try:
        with open_table(path) as file, _long_fields():
            reader = read_rows(file, path)
            header = next(reader, None)
            rows, lines = [], []
            for row in reader:
                if row:
                    rows.append(row)
                    lines.append(reader.line_num)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such table. Check the path.") from None
    except (OSError, EOFError, UnicodeError, csv.Error, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as a table ({error}). Get it again.") from error
    if not header or not any(name.strip() for name in header):
        raise DataError(f"{path}: expected a header with column names, found an empty file. Get it again.")
    names = _mend_brackets([name.strip() for name in header])
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(names):
            raise DataError(
                f"{path}, line {line}: has {len(row)} fields, expected {len(names)} as in the header. "
                "Mend the line, or get the table again."
            )
    return Table(path, tuple(names), rows, lines, tuple(header))


def _mend_brackets(names: list[str]) -> list[str]:
    mended, stem = [], ""
    for name in names:
        if "[" in name and "]" not in name:
            stem = name.partition("[")[0]
            mended.append(f"{name}]")
        elif stem and name.endswith("]") and "[" not in name:
            mended.append(f"{stem}[{name}")
            stem = ""
        else:
            mended.append(name)
    return mended


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let csv take long fields for a while: its limit belongs to the whole process."""
    with _FIELD_LIMIT:
        before = csv.field_size_limit(_LONGEST_FIELD)
        try:
            yield
        finally:
            csv.field_size_limit(before)


@contextmanager
def open_table(path: Path) -> Iterator[TextIO]:
    """Open a table as text, be it plain, gzipped, or the only table of a zip.

    Raises:
        DataError: If a zip holds no table or several, or names that lead out of it.
    """
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            _refuse_ways_out(path, archive.namelist())
            members = [name for name in archive.namelist() if name.endswith((".csv", ".tsv"))]
            members = [name for name in members if not name.startswith("__MACOSX")]
            if len(members) != 1:
                raise DataError(
                    f"{path}: expected one CSV file inside, found {len(members)}. Unpack the right one."
                )
            with archive.open(members[0]) as packed:
                yield _text(packed, path)
    elif path.suffix == ".gz":
        with gzip.open(path) as packed:
            yield _text(packed, path)
    else:
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield file


def _refuse_ways_out(path: Path, names: Sequence[str]) -> None:
    """Nothing is unpacked here, but an archive that would write elsewhere was made to harm: nothing in it is read."""
    for name in names:
        place = name.replace("\\", "/")
        if place.startswith("/") or ":" in place or ".." in place.split("/"):
            raise DataError(
                f"{path}: holds {name!r}, which leads out of the folder that it is unpacked to. Do not unpack the "
                "archive, and get it again from its publisher."
            )


def _text(packed: io.BufferedIOBase | gzip.GzipFile | object, path: Path) -> TextIO:
    guarded = io.BufferedReader(_Guard(packed, path), 1 << 16)
    return io.TextIOWrapper(guarded, encoding="utf-8-sig", newline="")


class _Guard(io.RawIOBase):
    """Reads an unpacked stream and stops where it outgrows what a table can be."""

    def __init__(self, stream: object, path: Path) -> None:
        self._stream, self._path = stream, path
        self._left = max(_ALWAYS_ALLOWED, path.stat().st_size * _LARGEST_GROWTH)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        block: bytes = self._stream.read(len(view))  # type: ignore[attr-defined]
        view[: len(block)] = block
        self._left -= len(block)
        if self._left < 0:
            raise DataError(
                f"{self._path}: unpacks to more than {_LARGEST_GROWTH} times its size, which no table of "
                "labels does. Get it again from its source."
            )
        return len(block)
