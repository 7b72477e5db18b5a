"""What a label may be: values that the plan names, or else the words that readers used."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from medimg.errors import ConfigError, DataError

Values = Mapping[str, Sequence[str]]
"""Values of each label; none for a label that may have any number."""

_SHOWN = 5


def parse_values(text: str) -> dict[str, tuple[str, ...]]:
    """Read labels and, where they are given, their values.

    Args:
        text: Labels with commas between them, values behind ``=`` with bars between them.

    Raises:
        ConfigError: If a label or one of its values is blank or stands twice.

    Example:
        >>> parse_values("mass=no|yes, grade=1|2.0, notes")
        {'mass': ('no', 'yes'), 'grade': ('1', '2'), 'notes': ()}
        >>> parse_values("")
        {}
    """
    found: dict[str, tuple[str, ...]] = {}
    for part in text.split(",") if text.strip() else ():
        name, equals, given = (piece.strip() for piece in part.partition("="))
        values = tuple(canonical(one) for one in given.split("|")) if equals else ()
        if not name or name in found or not all(values) or len(set(values)) < len(values):
            raise ConfigError(
                f"--labels: expected labels such as mass=no|yes,grade=1|2|3, each label and value once, found {text!r}."
            )
        found[name] = values
    return found


def canonical(text: str) -> str:
    """A value as tables of readings have it: numbers without needless digits.

    Example:
        >>> canonical(" 2.0 "), canonical("Yes"), canonical("1e3")
        ('2', 'Yes', '1000')
    """
    text = text.strip()
    try:
        return f"{float(text):g}"
    except ValueError:
        return text


def known_values(cases: Sequence[Mapping[str, Any]], named: Values) -> dict[str, tuple[str, ...]]:
    """Values of each label: those that are named, or else all words that readers used; none where they are numbers.

    Args:
        cases: Cases with the answers of their readers.
        named: Values that the plan names.

    Example:
        >>> answers = {"A": {"labels": {"mass": "yes", "grade": "2"}}, "B": {"labels": {"mass": "no", "grade": ""}}}
        >>> known_values([{"answers": answers}], {})
        {'mass': ('no', 'yes'), 'grade': ()}
    """
    said: dict[str, set[str]] = {}
    for case in cases:
        for answer in case["answers"].values():
            for label, text in answer["labels"].items():
                said.setdefault(label, set()).update([text] if text else [])
    return {
        label: tuple(named.get(label) or (() if all(map(_is_number, texts)) else sorted(texts)))
        for label, texts in said.items()
    }


def refuse_unknown(where: str, said: Mapping[str, Mapping[str, str]], values: Values) -> None:
    """Refuse answers that are none of the values of their label.

    Args:
        where: Whose answers they are, in which file.
        said: Answers by case and label; blank ones were not given.
        values: Values of each label; a label that is not among them may be anything.

    Raises:
        DataError: If there are such answers, with the nearest of the values.

    Example:
        >>> refuse_unknown("work.csv", {"c1": {"mass": "yess"}}, {"mass": ("no", "yes")})
        Traceback (most recent call last):
        medimg.errors.DataError: work.csv: found values that are none of their label: mass 'yess' of case c1 (expected
        no or yes; the nearest is yes). Nothing was written. Mend them, or name all values to medimg adjudicate
        conflicts: --labels 'mass=no|yes'.
    """
    faults = [
        (case, label, text)
        for case, answers in said.items()
        for label, text in answers.items()
        if text and label in values and not _fits(text, values[label])
    ]
    if faults:
        told = "; ".join(_fault(case, label, text, values[label]) for case, label, text in faults[:_SHOWN])
        more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        label = faults[0][1]
        named = f"{label}={'|'.join(values[label]) or '1|2|3'}"
        raise DataError(
            f"{where}: found values that are none of their label: {told}{more}. Nothing was written. Mend them, or "
            f"name all values to medimg adjudicate conflicts: --labels '{named}'."
        )


def _fits(text: str, values: Sequence[str]) -> bool:
    return canonical(text) in values if values else _is_number(text)


def _is_number(text: str) -> bool:
    try:
        return float(text) == float(text)
    except ValueError:
        return False


def _fault(case: str, label: str, text: str, values: Sequence[str]) -> str:
    if not values:
        return f"{label} {text!r} of case {case} (expected a number)"
    near = get_close_matches(text.lower(), {one.lower(): one for one in values}, n=1, cutoff=0.5)
    nearest = next((one for one in values if near and one.lower() == near[0]), "")
    expected = " or ".join([", ".join(values[:-1]), values[-1]]) if len(values) > 1 else values[0]
    return f"{label} {text!r} of case {case} (expected {expected}{f'; the nearest is {nearest}' if nearest else ''})"
