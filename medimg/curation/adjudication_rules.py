"""When two readings are in conflict: rules such as ``differs``, ``distance>1`` or ``dice<0.8 or lesion``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import generate_binary_structure, label

from medimg.errors import ConfigError
from medimg.scoring.overlap import dice

_RULE = re.compile(r"(differs|lesion)|(distance)\s*>\s*(\d+(?:\.\d+)?)|(dice)\s*<\s*(0?\.\d+|1(?:\.0*)?)")
_TOUCHING = generate_binary_structure(3, 3)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule; readings are in conflict where any part says so.

    Attributes:
        text: As the user wrote it.
        differs: Any difference.
        lesion: A connected part (26 neighbours) of one mask that the other does not touch.
        distance: Largest difference of grades that is still agreement.
        dice: Smallest Dice that is still agreement.
    """

    text: str
    differs: bool = False
    lesion: bool = False
    distance: float | None = None
    dice: float | None = None

    def of_labels(self, first: float, second: float) -> str:
        """Why two values are in conflict, empty if they are not. NaN is an answer not given, and conflicts.

        Example:
            >>> parse_rule("distance>1").of_labels(1, 3), parse_rule("distance>1").of_labels(1, 2)
            ('distance 2 > 1', '')
        """
        if np.isnan(first) != np.isnan(second):
            return "one answer only"
        if self.differs and first != second and not np.isnan(first):
            return "differs"
        if self.distance is not None and abs(first - second) > self.distance:
            return f"distance {abs(first - second):g} > {self.distance:g}"
        return ""

    def of_masks(
        self, first: NDArray[np.integer], second: NDArray[np.integer], labels: Mapping[str, int]
    ) -> list[str]:
        """Why two masks of one shape are in conflict, label by label; two empty ones agree."""
        reasons = []
        for name, value in labels.items():
            a, b = first == value, second == value
            score = dice(a, b, empty="one")
            if self.differs and (a != b).any():
                reasons.append(f"{name}: differs, Dice {score:.3f}")
            if self.dice is not None and score < self.dice:
                reasons.append(f"{name}: Dice {score:.3f} < {self.dice:g}")
            alone = _alone(a, b) + _alone(b, a) if self.lesion else 0
            if alone:
                reasons.append(f"{name}: {alone} lesions that only one has")
        return reasons


def parse_rule(text: str) -> Rule:
    """Read a rule.

    Args:
        text: ``differs``, ``distance>D`` (labels), ``dice<D``, ``lesion`` (masks), or several joined by ``or``.

    Raises:
        ConfigError: If a part is none of these.

    Example:
        >>> rule = parse_rule("dice<0.8 or lesion")
        >>> rule.dice, rule.lesion, rule.differs
        (0.8, True, False)
    """
    found = [(part, _RULE.fullmatch(part.strip())) for part in re.split(r"\s+or\s+", text.strip())]
    for part, match in found:
        if match is None:
            raise ConfigError(
                f"--rule: expected differs, distance>D, dice<D (0 to 1), lesion, or several with 'or', found {part!r}."
            )
    groups = [match.groups() for _, match in found if match is not None]
    words = {group[0] for group in groups}
    distances = [float(group[2]) for group in groups if group[1]]
    dices = [float(group[4]) for group in groups if group[3]]
    return Rule(
        text,
        differs="differs" in words,
        lesion="lesion" in words,
        distance=min(distances) if distances else None,
        dice=max(dices) if dices else None,
    )


def _alone(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> int:
    """Number of connected parts that the other does not touch."""
    parts, number = label(mask, structure=_TOUCHING)
    return int(number) - len(set(np.unique(parts[other]).tolist()) - {0})
