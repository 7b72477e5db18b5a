"""DICOM PS3.15, Table E.1-1, edition 2024b: which attributes say who somebody is, and what becomes of them.

The rows stand in ``table_e1_1.csv``, one an attribute: the action of the basic profile and of each option.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, get_args

EDITION = "2024b"
Option = Literal["dates", "full_dates", "uids", "device", "patient", "institution"]
"""What may be retained: ``dates`` shifts them, ``full_dates`` leaves them."""
OPTIONS: tuple[Option, ...] = get_args(Option)
Action = Literal["keep", "drop", "empty", "dummy", "uid", "shift", "items"]
"""``items``: a sequence whose items are treated one by one."""

# Where the table leaves a choice to an attribute's type (1, 2 or 3 in its IOD), the action that is valid for each of
# the types it names is taken: a dummy is valid for all, an empty value for types 2 and 3.
_ACTIONS: dict[str, Action] = {
    "X": "drop",
    "Z": "empty",
    "D": "dummy",
    "U": "uid",
    "X/Z": "empty",
    "X/D": "dummy",
    "Z/D": "dummy",
    "X/Z/D": "dummy",
    "X/Z/U*": "items",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table.

    Attributes:
        tag: Eight hexadecimal digits, ``X`` for any digit, or ``ODD`` for all private groups.
        basic: Code of the basic profile, such as ``X/Z/D``.
        options: ``K`` or ``C`` for each option that has one.
    """

    tag: str
    basic: str
    options: Mapping[str, str]

    def action(self, retain: frozenset[Option]) -> Action:
        """What becomes of the attribute; cleaning (``C``) is done for dates only, else the basic profile holds."""
        if any(self.options.get(option) == "K" for option in retain):
            return "keep"
        if "dates" in retain and self.options.get("dates") == "C":
            return "shift"
        return _ACTIONS[self.basic]


@cache
def rows() -> Mapping[str, Row]:
    """Every row by its tag: 617 tags and 4 patterns."""
    text = (files("medimg.curation") / "table_e1_1.csv").read_text(encoding="ascii")
    read = csv.DictReader(text.splitlines())
    return {
        line["tag"]: Row(
            line["tag"], line["basic"], {name: line[name] for name in list(line)[2:] if line[name]}
        )
        for line in read
    }


def find_row(tag: int) -> Row | None:
    """Return the row that an attribute falls under, ``None`` if the table does not name it.

    Args:
        tag: Group and element, such as ``0x00100010``.

    Example:
        >>> find_row(0x00100010).basic, find_row(0x60023000).tag, find_row(0x00091001).tag
        ('Z', '60XX3000', 'ODD')
        >>> find_row(0x00280010) is None
        True
    """
    if (tag >> 16) & 1:
        return rows()["ODD"]
    text = f"{tag:08X}"
    patterns = {"50": "50XXXXXX", "60": f"60XX{text[4:]}"}
    return rows().get(text) or rows().get(patterns.get(text[:2], ""))
