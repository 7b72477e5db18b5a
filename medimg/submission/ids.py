"""Ids of a submission: which are asked for, and what cases of our own are called there."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medimg.datasets.image_table import Table, read_table
from medimg.errors import DataError
from medimg.submission.faults import Faults

_SHOWN = 5


def check_ids(
    found: Sequence[str], asked: Sequence[str], faults: Faults, *, what: str = "rows", ordered: bool = False
) -> None:
    """Note ids that are missing, unknown, doubled or out of order.

    Args:
        found: Ids of the submission.
        asked: Ids of the sample; empty: unknown, so that only doubled ones are noted.
        faults: Takes the faults.
        what: What the ids name.
        ordered: Expect the order of the sample too.

    Example:
        >>> faults = Faults()
        >>> check_ids(["a", "a", "c"], ["a", "b"], faults)
        >>> print(faults.text("out.csv"))
        out.csv: 3 faults
          doubled rows (1):
            a (2 times)
          missing rows (1):
            b
          unknown rows (1):
            c
    """
    counts = Counter(found)
    for name, count in counts.items():
        if count > 1:
            faults.add(f"doubled {what}", f"{name} ({count} times)")
    if not asked:
        return
    wanted = set(asked)
    missing = [name for name in asked if name not in counts]
    unknown = [name for name in counts if name not in wanted]
    for kind, names in (("missing", missing), ("unknown", unknown)):
        for name in names:
            faults.add(f"{kind} {what}", name)
    if ordered and len(found) == len(asked) and not missing and not unknown:
        for number, (name, expected) in enumerate(zip(found, asked, strict=True), 1):
            if name != expected:
                faults.add(f"{what} in another order than the sample's", f"{number}: {name}, not {expected}")


def check_blanks(table: Table, columns: Sequence[str], faults: Faults) -> None:
    """Note names with blanks around them: organisers compare them as they stand.

    Args:
        table: The submission.
        columns: Columns that hold ids, without the blanks around their names.
        faults: Takes the faults.
    """
    places = table.places(columns)
    names = [(1, name) for name in table.written]
    names += [
        (line, row[place]) for line, row in zip(table.lines, table.rows, strict=True) for place in places
    ]
    for line, name in names:
        if name != name.strip():
            faults.add("names with blanks around it", f"line {line}: {name!r}")


@dataclass(frozen=True, slots=True)
class IdMap:
    """What our cases are called by the organisers.

    Attributes:
        names: Submission id by case id.
        path: The table that says so.
        strict: Whether a case that the table lacks is a fault; otherwise it keeps its name.
    """

    names: dict[str, str]
    path: Path
    strict: bool = True

    def apply(self, cases: Sequence[str], faults: Faults) -> list[str]:
        """The submission id of each case; a case that is not listed keeps its name."""
        if self.strict:
            for case in cases:
                if case not in self.names:
                    faults.add(f"cases that {self.path} does not list", case)
        return [self.names.get(case, case) for case in cases]


def read_id_map(path: Path) -> IdMap:
    """Read ``--id_map``: a table of the columns ``case_id,submission_id``.

    Raises:
        DataError: If it cannot be read, lacks a column, or gives a case two names or none.
    """
    names: dict[str, str] = {}
    for line, (case, name) in read_table(path).select(["case_id", "submission_id"]):
        if not case or not name:
            raise DataError(f"{path}, line {line}: expected a case_id and a submission_id. Fill the blank.")
        if names.setdefault(case, name) != name:
            raise DataError(
                f"{path}, line {line}: case {case} is {names[case]} and {name}. Keep one of the two."
            )
    return IdMap(names, path)


def read_breasts(path: Path) -> IdMap:
    """Read ``--cases`` of RSNA mammography: the breast of each image, from the competition's ``test.csv``.

    The case id of an image is ``<patient_id>_<image_id>``, as the data module calls it. Predictions of whole
    breasts keep their names.

    Raises:
        DataError: If the table cannot be read or lacks ``patient_id``, ``image_id`` and ``laterality``.
    """
    rows = read_table(path).select(["patient_id", "image_id", "laterality"])
    return IdMap(
        {f"{patient}_{image}": f"{patient}_{side}" for _, (patient, image, side) in rows}, path, strict=False
    )


def padded(name: str, digits: int) -> str:
    """The number that ends an id, padded with zeros; other ids stay as they are.

    Args:
        name: An id.
        digits: Length to pad to; 0 leaves all ids alone.

    Example:
        >>> padded("12", 5), padded("BraTS2021_00012", 5), padded("a", 5), padded("12", 0)
        ('00012', '00012', 'a', '12')
    """
    match = re.fullmatch(r"(?:.*\D)?(\d+)", name) if digits else None
    return match[1].zfill(digits) if match else name


def unique_ids(path: Path, ids: Sequence[str]) -> tuple[str, ...]:
    """Ids of a sample, refused where one stands twice.

    Raises:
        DataError: Names the doubled ids.
    """
    doubled = [name for name, count in Counter(ids).items() if count > 1]
    if doubled:
        raise DataError(
            f"{path}: the sample holds {', '.join(doubled[:_SHOWN])} more than once. Get it again."
        )
    return tuple(ids)
