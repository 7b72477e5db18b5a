"""Rules as they stand on the command line: ``--keep_largest ET --min_volume ET=50``."""

import math
from collections.abc import Mapping

from medimg.errors import ConfigError
from medimg.postprocessing.components import Connectivity
from medimg.postprocessing.rules import KINDS, Rule, RuleKind

Classes = Mapping[str, tuple[int, ...]]
"""Label values of each class or region that a rule may name."""

_FORMS: Mapping[RuleKind, str] = {
    "inside": "INNER:OUTER, such as TC:WT",
    "keep_largest": "NAME, such as 1 or liver",
    "min_volume": "NAME=MM3, such as ET=50",
    "replace_small": "FROM:TO:MM3, such as ET:NCR:200",
    "fill_holes": "NAME, such as 1 or liver",
    "fill_slices": "NAME, such as 1 or liver",
}


def parse_rules(
    words: Mapping[RuleKind, str | None], classes: Classes, *, connectivity: Connectivity = 26
) -> tuple[Rule, ...]:
    """Read the rules of the command line.

    Args:
        words: Text of each option, with commas between rules; ``None`` where it was not given.
        classes: Label values by name. A number is a name of its own, and ``A+B`` joins classes.
        connectivity: Which voxels belong together.

    Returns:
        The rules in the order of ``KINDS``.

    Raises:
        ConfigError: If a part cannot be read or names an unknown class.

    Example:
        >>> rules = parse_rules({"min_volume": "ET=50", "keep_largest": "1+2"}, {"ET": (3,)})
        >>> [str(rule) for rule in rules], rules[0].values
        (['keep_largest 1+2', 'min_volume ET=50'], (1, 2))
    """
    rules = []
    for kind in KINDS:
        for part in filter(None, (words.get(kind) or "").split(",")):
            try:
                rules.append(_parse(kind, part.strip(), classes, connectivity))
            except ValueError as error:
                raise ConfigError(f"--{kind} {part}: {error}. Expected {_FORMS[kind]}.") from error
    return tuple(rules)


def _parse(kind: RuleKind, text: str, classes: Classes, connectivity: Connectivity) -> Rule:
    name, volume, other = text, None, ""
    if kind == "min_volume":
        name, _, number = text.partition("=")
        volume = _volume(number)
    elif kind in ("replace_small", "inside"):
        parts = text.split(":")
        if len(parts) != (3 if kind == "replace_small" else 2):
            raise ValueError("cannot be read")
        name, other = parts[:2]
        volume = _volume(parts[2]) if kind == "replace_small" else None
    return Rule(
        rule=kind,
        name=name,
        values=values_of(name, classes),
        volume_mm3=volume,
        other=values_of(other, classes, background=kind == "replace_small") if other else (),
        other_name=other,
        connectivity=connectivity,
    )


def _volume(text: str) -> float:
    try:
        volume = float(text)
    except ValueError:
        volume = math.nan
    if not 0 < volume < math.inf:
        raise ValueError(f"{text!r} is no volume above 0 mm3")
    return volume


def values_of(name: str, classes: Classes, *, background: bool = False) -> tuple[int, ...]:
    """Label values that a name stands for.

    Args:
        name: A class, a number, or several of them joined by ``+``.
        classes: Label values by name.
        background: Whether 0 may be meant.

    Raises:
        ValueError: If a name is unknown.

    Example:
        >>> values_of("TC+2", {"TC": (1, 3)})
        (1, 2, 3)
    """
    values: set[int] = set()
    for part in name.split("+"):
        if part in classes:
            values.update(classes[part])
        elif part.isascii() and part.isdigit() and (int(part) or background):
            values.add(int(part))
        else:
            known = f"known are {', '.join(classes)}" if classes else "no class has a name"
            raise ValueError(f"there is no class {part!r}; {known}; name them with --labels NAME=VALUE,...")
    return tuple(sorted(values))
