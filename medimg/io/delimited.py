"""Text tables as spreadsheets save them: between commas, tabs or, where the comma is a decimal sign, semicolons."""

import csv
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Protocol


class Rows(Protocol):
    """Rows of fields, and the line of the file on which the last one ended."""

    line_num: int

    def __iter__(self) -> Iterator[list[str]]: ...

    def __next__(self) -> list[str]: ...


def read_rows(lines: Iterable[str], path: Path) -> Rows:
    """Split the lines of a table into fields, the header first.

    Fields are separated by tabs in ``.tsv``, else by commas, or by semicolons if the header has these and no comma.

    Args:
        lines: Lines of the file, its byte order mark removed.
        path: Its name.

    Raises:
        csv.Error: On the way, where quotes are not closed as they should be.

    Example:
        >>> list(read_rows(["case;grade", "c1;0,5"], Path("cases.csv")))
        [['case', 'grade'], ['c1', '0,5']]
    """
    rest = iter(lines)
    header = next(rest, "")
    delimiter = "\t" if ".tsv" in path.suffixes else ";" if ";" in header and "," not in header else ","
    return csv.reader(chain([header] if header else [], rest), delimiter=delimiter, strict=True)
