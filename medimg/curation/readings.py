"""What several readers said of the same cases: a table read into one array."""

import csv
import gzip
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt

from medimg.errors import DataError
from medimg.io.delimited import read_rows

FloatArray = npt.NDArray[np.float64]

CASE_NAMES = ("case_id", "case", "image_id")
READER_NAMES = ("reader", "reader_id", "rad_id")
PATIENT_NAME = "patient_id"


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """All readings of all cases.

    Attributes:
        cases: Name of each case, in the order of the table, length N.
        patients: Patient of each case; a case without one is its own.
        readers: Names of the readers, sorted with R2 before R10, length R.
        labels: Names of the labels, length K.
        values: What each reader said, shape (N, R, K), NaN where nothing was said. Words stand as their
            position in ``words``.
        words: Sorted words of each label that has words in place of numbers.
    """

    cases: tuple[str, ...]
    patients: tuple[str, ...]
    readers: tuple[str, ...]
    labels: tuple[str, ...]
    values: FloatArray
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def text(self, label: str, value: float) -> str:
        """A value as the table has it; empty for NaN.

        Example:
            >>> made = Readings(("a",), ("a",), ("x",), ("m",), np.zeros((1, 1, 1)), {"m": ("no", "yes")})
            >>> made.text("m", 1.0), made.text("other", 2.0), made.text("m", float("nan"))
            ('yes', '2', '')
        """
        if np.isnan(value):
            return ""
        return self.words[label][int(value)] if label in self.words else f"{value:g}"


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of a table of readings holds what.

    Attributes:
        case: Name of the case; empty: the first of ``case_id``, ``case``, ``image_id`` that is there.
        reader: Name of the reader; empty: the first of ``reader``, ``reader_id``, ``rad_id``.
        labels: Columns of labels; empty: all others but ``patient_id``. With ``finding``: names of findings to
            keep, empty: all.
        finding: Column that names one finding a row, for tables that list what was found; a reader who has any row
            of a case has read it and denies every finding not listed.
        no_finding: Word in that column which says that nothing was found.
    """

    case: str = ""
    reader: str = ""
    labels: tuple[str, ...] = ()
    finding: str = ""
    no_finding: str = ""


def read_readings(table: Path, columns: Columns | None = None) -> Readings:
    """Read a table with a row for each case and reader, or for each finding of each reader.

    Args:
        table: A ``.csv`` or ``.tsv``, plain or gzipped.
        columns: Which column holds what.

    Returns:
        The readings. Blank fields and NaN are readings not given.

    Raises:
        DataError: If the table cannot be read, lacks a column, has a reader say two things of a case, puts a case
            with two patients, or mixes words with numbers in a label.
    """
    columns = columns or Columns()
    table = Path(table)
    try:
        with _open(table) as file:
            reader = read_rows(file, table)
            header = [name.strip() for name in next(reader, [])]
            places = _places(table, header, columns)
            said = _gather(table, reader, len(header), places, columns)
    except FileNotFoundError:
        raise DataError(f"{table}: there is no such table. Check the path.") from None
    except (OSError, EOFError, UnicodeError, csv.Error, zlib.error) as error:
        raise DataError(f"{table}: cannot be read as a table ({error}). Get it again.") from error
    if not said.cells:
        raise DataError(f"{table}: expected a row for each case and reader, found no rows.")
    return said.readings(table, columns)


@dataclass(frozen=True, slots=True)
class _Places:
    """Positions of the columns."""

    case: int
    reader: int
    patient: int | None
    labels: Mapping[str, int]


@dataclass(slots=True)
class _Said:
    """What was read so far: fields by case and reader."""

    labels: tuple[str, ...]
    cells: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    patients: dict[str, str] = field(default_factory=dict)

    def readings(self, table: Path, columns: Columns) -> Readings:
        cases = {case: number for number, case in enumerate(dict.fromkeys(case for case, _ in self.cells))}
        readers = {name: number for number, name in enumerate(_natural({name for _, name in self.cells}))}
        labels, found = self.labels, None
        if columns.finding:
            found = {name for given in self.cells.values() for name in given}
            labels = columns.labels or tuple(sorted(found))
            unknown = [name for name in columns.labels if name not in found]
            if unknown or not labels:
                raise DataError(
                    f"{table}: expected the findings {', '.join(columns.labels) or '(any)'} in column "
                    f"{columns.finding}, found {', '.join(sorted(found)) or 'none'}. Name those that are there."
                )
        values = np.full((len(cases), len(readers), len(labels)), np.nan)
        words: dict[str, tuple[str, ...]] = {}
        for place, label in enumerate(labels):
            texts = {key: given.get(label, "") for key, given in self.cells.items()}
            if found is not None:
                texts = {key: "1" if text else "0" for key, text in texts.items()}
            codes, known = _codes(table, label, texts.values())
            if known:
                words[label] = known
            for (case, reader), text in texts.items():
                values[cases[case], readers[reader], place] = codes[text]
        patients = tuple(self.patients.get(case) or case for case in cases)
        return Readings(tuple(cases), patients, tuple(readers), labels, values, words)


def _natural(names: Iterable[str]) -> list[str]:
    """Names sorted so that R2 comes before R10."""
    return sorted(
        names,
        key=lambda name: [
            (int(part or -1), "") if n % 2 else (-1, part) for n, part in enumerate(re.split(r"(\d+)", name))
        ],
    )


@contextmanager
def _open(table: Path) -> Iterator[TextIO]:
    if table.suffix == ".gz":
        with gzip.open(table, "rt", newline="", encoding="utf-8-sig") as packed:
            yield packed
    else:
        with table.open(newline="", encoding="utf-8-sig") as file:
            yield file


def _places(table: Path, header: Sequence[str], columns: Columns) -> _Places:
    case = _one_of(table, header, columns.case, CASE_NAMES, "cases", "--case")
    reader = _one_of(table, header, columns.reader, READER_NAMES, "readers", "--reader")
    if columns.finding:
        wanted: tuple[str, ...] = (columns.finding,)
    else:
        wanted = columns.labels or tuple(
            name for name in header if name not in (case, reader, PATIENT_NAME) and name
        )
    missing = [name for name in wanted if name not in header]
    twice = [name for name in (case, reader, *wanted) if header.count(name) > 1]
    if missing or twice or not wanted:
        raise DataError(
            f"{table}: expected the columns {', '.join(missing or twice) or 'of one label or more'} once each, found "
            f"{', '.join(header)}. Name the labels as the table does (--labels)."
        )
    patient = header.index(PATIENT_NAME) if PATIENT_NAME in header else None
    labels = {name: header.index(name) for name in wanted}
    return _Places(header.index(case), header.index(reader), patient, labels)


def _one_of(
    table: Path, header: Sequence[str], named: str, names: Sequence[str], what: str, option: str
) -> str:
    candidates = (named,) if named else names
    found = next((name for name in candidates if name in header), None)
    if found is None:
        raise DataError(
            f"{table}: expected a column of {what}, {' or '.join(candidates)}; found {', '.join(header)}. "
            f"Name it with {option}."
        )
    return found


def _gather(table: Path, rows: Iterator[list[str]], width: int, places: _Places, columns: Columns) -> _Said:
    said = _Said(tuple(places.labels))
    for line, row in enumerate(rows, start=2):
        if not row:
            continue
        if len(row) != width:
            raise DataError(
                f"{table}, row {line}: has {len(row)} fields, expected {width} as in the header. Mend the row."
            )
        case, reader = row[places.case].strip(), row[places.reader].strip()
        if not case or not reader:
            raise DataError(
                f"{table}, row {line}: expected a case and a reader, found a blank. Mend the row."
            )
        given = {label: row[place].strip() for label, place in places.labels.items()}
        if columns.finding:
            name = given[columns.finding]
            findings = said.cells.setdefault((case, reader), {})
            if name and name != columns.no_finding:
                findings[name] = "1"
        elif said.cells.setdefault((case, reader), given) != given:
            raise DataError(
                f"{table}, row {line}: reader {reader} says two different things of case {case}. Keep one row."
            )
        patient = row[places.patient].strip() if places.patient is not None else ""
        if patient and said.patients.setdefault(case, patient) != patient:
            raise DataError(
                f"{table}, row {line}: case {case} belongs to patient {said.patients[case]} and to {patient}. "
                "Mend the row."
            )
    return said


def _codes(table: Path, label: str, texts: Iterable[str]) -> tuple[dict[str, float], tuple[str, ...]]:
    """Number of each text of a label; the sorted words where the texts are words."""
    distinct = sorted(set(texts))
    numbers = {text: _number(text) for text in distinct}
    words = tuple(text for text, number in numbers.items() if number is None)
    if not words:
        return {text: np.nan if number is None else number for text, number in numbers.items()}, ()
    mixed = [text for text, number in numbers.items() if number is not None and not np.isnan(number)]
    if mixed:
        raise DataError(
            f"{table}: expected numbers or words in column {label}, found both, such as {mixed[0]!r} and {words[0]!r}. "
            "Write all of them one way; leave a reading blank that was not given."
        )
    position = {text: float(place) for place, text in enumerate(words)}
    return {text: position.get(text, np.nan) for text in distinct}, words


def _number(text: str) -> float | None:
    """The number, NaN for a blank, ``None`` for a word."""
    if not text:
        return np.nan
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else np.nan
