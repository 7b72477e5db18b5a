"""Rules that mend label maps, applied in order, and the file that holds them."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from medimg.errors import DataError
from medimg.io.files import atomic_write
from medimg.postprocessing.components import (
    CONNECTIVITIES,
    Connectivity,
    drop_outside,
    drop_small,
    fill_holes,
    keep_largest,
    replace_small,
)

RuleKind = Literal["inside", "keep_largest", "min_volume", "replace_small", "fill_holes", "fill_slices"]
KINDS: tuple[RuleKind, ...] = get_args(RuleKind)
"""In the order in which rules of the command line are applied; a file has its own order."""

RULES_FILE = "rules.json"

_WITH_VOLUME = ("min_volume", "replace_small")
_WITH_OTHER = ("inside", "replace_small")


@dataclass(frozen=True, slots=True)
class Rule:
    """One change to a label map.

    Attributes:
        rule: What to do.
        name: Class or region that it is done to, as the user calls it.
        values: Label values of that class or region.
        volume_mm3: Limit of ``min_volume`` and ``replace_small``, in mm3, of pictures in pixels.
        other: What encloses the region (``inside``) or takes its place (``replace_small``; 0 is background).
        other_name: What the user calls it.
        connectivity: Which voxels belong together: 6, 18 or 26; in 2D 4, 8 and 8.
    """

    rule: RuleKind
    name: str
    values: tuple[int, ...]
    volume_mm3: float | None = None
    other: tuple[int, ...] = ()
    other_name: str = ""
    connectivity: Connectivity = 26

    def __post_init__(self) -> None:
        if self.rule not in KINDS:
            raise ValueError(f"a rule of {', '.join(KINDS)} expected, found {self.rule!r}")
        if not self.values or min(self.values) < 1:
            raise ValueError(f"{self.rule}: label values of at least 1 expected, found {list(self.values)}")
        if self.connectivity not in CONNECTIVITIES:
            raise ValueError(f"{self.rule}: connectivity 6, 18 or 26 expected, found {self.connectivity}")
        volume = self.volume_mm3
        if (volume is not None) != (self.rule in _WITH_VOLUME) or not 0 < (volume or 1.0) < math.inf:
            expected = "a volume above 0" if self.rule in _WITH_VOLUME else "no volume"
            raise ValueError(f"{self.rule} of {self.name}: {expected} expected, found {volume}")
        if bool(self.other) != (self.rule in _WITH_OTHER):
            expected = "another class" if self.rule in _WITH_OTHER else "no other class"
            raise ValueError(f"{self.rule} of {self.name}: {expected} expected, found {list(self.other)}")
        if self.rule == "replace_small" and (len(self.other) != 1 or self.other[0] in self.values):
            raise ValueError(
                f"replace_small of {self.name}: one other label value to take its place expected, found "
                f"{list(self.other)}"
            )
        if self.rule == "inside" and set(self.other) <= set(self.values):
            raise ValueError(f"inside: {self.other_name} holds no label beside those of {self.name}")

    def __str__(self) -> str:
        words: dict[RuleKind, str] = {
            "inside": f"inside {self.name}:{self.other_name}",
            "replace_small": f"replace_small {self.name}:{self.other_name}:{self.volume_mm3:g}"
            if self.volume_mm3 is not None
            else "",
            "min_volume": f"min_volume {self.name}={self.volume_mm3:g}"
            if self.volume_mm3 is not None
            else "",
        }
        return words.get(self.rule, f"{self.rule} {self.name}")


def apply_rules(mask: NDArray[Any], rules: Sequence[Rule], *, voxel_mm3: float) -> NDArray[Any]:
    """Apply rules one after the other.

    Args:
        mask: Label map, shape (H, W) or (D, H, W).
        rules: The rules, in the order in which they apply.
        voxel_mm3: Volume of a voxel in mm3; 1 for a picture.

    Returns:
        A new label map of the same shape and type.

    Raises:
        DataError: If a rule would write a label that the type of the mask cannot hold.

    Example:
        >>> rules = [Rule("min_volume", "ET", (3,), 2.0), Rule("replace_small", "ET", (3,), 9.0, (1,), "NCR")]
        >>> apply_rules(np.array([[3, 0, 3, 3, 1]]), rules, voxel_mm3=1.0)
        array([[0, 0, 1, 1, 1]])
    """
    boxes = find_objects((mask != 0).astype(np.uint8))
    if not boxes or not rules:
        return mask.copy()
    top = np.iinfo(mask.dtype).max
    for rule in rules:
        if rule.rule == "replace_small" and rule.other[0] > top:
            raise DataError(
                f"{rule}: the mask holds labels up to {top} only. Write it with 16 bits, or choose another label."
            )
    # Work on the box of the foreground and one voxel around it: what lies outside is background anyway.
    box = tuple(
        slice(max(side.start - 1, 0), min(side.stop + 1, size))
        for side, size in zip(boxes[0], mask.shape, strict=True)
    )
    part = mask[box]
    for rule in rules:
        part = _apply(part, rule, voxel_mm3)
    result = mask.copy()
    result[box] = part
    return result


def _apply(mask: NDArray[Any], rule: Rule, voxel_mm3: float) -> NDArray[Any]:
    values, limit = rule.values, rule.volume_mm3 or 0.0
    match rule.rule:
        case "inside":
            return drop_outside(mask, values, rule.other, connectivity=rule.connectivity)
        case "keep_largest":
            return keep_largest(mask, values, connectivity=rule.connectivity)
        case "min_volume":
            return drop_small(
                mask, values, min_volume_mm3=limit, voxel_mm3=voxel_mm3, connectivity=rule.connectivity
            )
        case "replace_small":
            return replace_small(mask, values, to=rule.other[0], min_volume_mm3=limit, voxel_mm3=voxel_mm3)
        case "fill_holes" | "fill_slices":
            return fill_holes(mask, values, slicewise=rule.rule == "fill_slices")


def write_rules(path: Path, rules: Sequence[Rule], search: Mapping[str, Any] | None = None) -> None:
    """Write rules for ``read_rules``, whole or not at all.

    Args:
        path: JSON file to write.
        rules: The rules, in the order in which they apply.
        search: How they were found.

    Raises:
        ResourceError: If the file cannot be written.
    """
    content: dict[str, Any] = {"rules": [_plain(rule) for rule in rules]}
    if search is not None:
        content["search"] = dict(search)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _plain(rule: Rule) -> dict[str, Any]:
    return {name: value for name, value in asdict(rule).items() if value not in (None, (), "")}


def read_rules(path: Path) -> tuple[Rule, ...]:
    """Read rules that ``write_rules`` or a person wrote.

    Args:
        path: JSON file with a list ``rules``, each with the fields of ``Rule``.

    Returns:
        The rules, in the order in which they apply.

    Raises:
        DataError: If the file cannot be read, or a rule is not complete.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as rules ({error}). Write it with --search, or by hand."
        ) from error
    listed = content.get("rules") if isinstance(content, dict) else None
    if not isinstance(listed, list):
        raise DataError(f'{path}: expected {{"rules": [...]}}, found no such list. Write it with --search.')
    return tuple(_rule(path, number, fields) for number, fields in enumerate(listed, start=1))


def _rule(path: Path, number: int, fields: Any) -> Rule:
    try:
        return Rule(
            rule=fields["rule"],
            name=str(fields["name"]),
            values=_whole(fields["values"]),
            volume_mm3=None if fields.get("volume_mm3") is None else float(fields["volume_mm3"]),
            other=_whole(fields.get("other", [])),
            other_name=str(fields.get("other_name", "")),
            connectivity=cast(Connectivity, fields.get("connectivity", 26)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else error
        raise DataError(
            f"{path}: rule {number} cannot be used: {reason}. Mend it, or search again."
        ) from error


def _whole(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list) or any(not isinstance(v, int) or isinstance(v, bool) for v in values):
        raise TypeError(f"a list of whole label values expected, found {values!r}")
    return tuple(values)
