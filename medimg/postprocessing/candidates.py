"""Rules worth trying on a set of masks, with limits from the volumes that it holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg.postprocessing.cases import read_labels
from medimg.postprocessing.components import part_volumes
from medimg.postprocessing.rules import Rule

# Of what a case holds beside its largest component: from a quarter of the crumbs to nearly all of them.
_PART_QUANTILES = (0.25, 0.5, 0.75, 0.9)
# Of the whole volume in a case: the smallest cases only.
_CASE_QUANTILES = (0.05, 0.1, 0.2)
_DIGITS = 3


@dataclass(frozen=True, slots=True)
class Volumes:
    """Volumes of one case in mm3, by class.

    Attributes:
        parts: Of each component but the largest.
        whole: Of the class in the whole case; 0 where it is absent.
    """

    parts: Mapping[str, NDArray[np.float64]]
    whole: Mapping[str, float]


def measure(path: Path, classes: Mapping[str, tuple[int, ...]]) -> Volumes:
    """Measure the components of a mask.

    Args:
        path: The mask.
        classes: Label values of each class or region.

    Raises:
        DataError: If the mask cannot be read.
    """
    mask = read_labels(path)
    parts = {
        name: np.sort(part_volumes(mask.labels, values, voxel_mm3=mask.voxel_mm3))
        for name, values in classes.items()
    }
    return Volumes(
        parts={name: volumes[:-1] for name, volumes in parts.items()},
        whole={name: float(volumes.sum()) for name, volumes in parts.items()},
    )


def with_foreground(classes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Add the whole foreground, where no class is it already.

    Example:
        >>> with_foreground({"a": (1,), "b": (2,)})
        {'a': (1,), 'b': (2,), 'a+b': (1, 2)}
        >>> with_foreground({"WT": (1, 2), "TC": (1,)})
        {'WT': (1, 2), 'TC': (1,)}
    """
    everything = tuple(sorted({value for values in classes.values() for value in values}))
    if any(set(values) == set(everything) for values in classes.values()):
        return dict(classes)
    return {**classes, "+".join(classes): everything}


def make_candidates(classes: Mapping[str, tuple[int, ...]], volumes: Sequence[Volumes]) -> list[Rule]:
    """List the rules to try.

    Args:
        classes: Label values of each class or region.
        volumes: What each case holds.

    Returns:
        Each kind of rule for each class; limits where there is something below them.

    Example:
        >>> one = Volumes({"a": np.array([4.0])}, {"a": 40.0})
        >>> [str(rule) for rule in make_candidates({"a": (1,)}, [one, one])]
        ['keep_largest a', 'min_volume a=4.01', 'fill_holes a', 'fill_slices a', 'replace_small a:0:40.1']
    """
    rules: list[Rule] = []
    for name, values in classes.items():
        parts = np.concatenate([one.parts[name] for one in volumes])
        if len(parts):
            rules.append(Rule("keep_largest", name, values))
        rules += [Rule("min_volume", name, values, limit) for limit in _limits(parts, _PART_QUANTILES)]
        rules += [Rule("fill_holes", name, values), Rule("fill_slices", name, values)]
        whole = np.array([one.whole[name] for one in volumes])
        for limit in _limits(whole[whole > 0], _CASE_QUANTILES):
            rules += [
                Rule("replace_small", name, values, limit, (to,), called)
                for called, to in _substitutes(name, classes)
            ]
        rules += [
            Rule("inside", name, values, None, outer, called)
            for called, outer in classes.items()
            if set(values) < set(outer)
        ]
    return rules


def _limits(volumes: NDArray[np.float64], quantiles: Sequence[float]) -> list[float]:
    """Limits just above the quantiles, rounded so that a person can read them."""
    if not len(volumes):
        return []
    # A limit keeps what equals it, so it stands a little higher than the volume that is to go.
    found = {_rounded_up(value) for value in np.quantile(volumes, quantiles, method="lower").tolist()}
    return sorted(found)


def _rounded_up(volume: float) -> float:
    """The next number of three digits above a volume."""
    step = 10.0 ** (np.floor(np.log10(volume)) - (_DIGITS - 1))
    return float(f"{(np.floor(volume / step + 1e-9) + 1) * step:.{_DIGITS + 1}g}")


def _substitutes(name: str, classes: Mapping[str, tuple[int, ...]]) -> list[tuple[str, int]]:
    """What may take the place of a class: background, and other labels if it is one label itself."""
    values = classes[name]
    others = {other[0]: called for called, other in classes.items() if len(other) == 1}
    every = {value for other in classes.values() for value in other}
    named = [(others.get(value, str(value)), value) for value in sorted(every - set(values))]
    return [("0", 0), *(named if len(values) == 1 else [])]
