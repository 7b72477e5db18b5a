"""What the labels of an nnU-Net data set mean: classes, regions that overlap, the ignore label."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medimg.errors import DataError


@dataclass(frozen=True, slots=True)
class LabelPlan:
    """Labels as `medimg.records.DatasetIndex` wants them.

    Attributes:
        labels: Value of each class; where regions overlap, the values alone have no name and are called
            ``label_1`` and so on.
        regions: Values that form each region; empty where classes do not overlap.
        region_labels: Value with which each region is written, in writing order.
        ignore: Value of voxels that take no part, if there is one.
    """

    labels: Mapping[str, int]
    regions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    region_labels: Mapping[str, int] = field(default_factory=dict)
    ignore: int | None = None


def plan_labels(path: Path, labels: object, order: object) -> LabelPlan:
    """Interpret ``labels`` and ``regions_class_order`` of a version 2 ``dataset.json``.

    Args:
        path: The file, for messages.
        labels: Name to value, or to a list of values where regions overlap.
        order: ``regions_class_order``: the value written for each region, in the order of the labels.

    Raises:
        DataError: If a value is no number, the background is not 0, ``ignore`` is not the highest value, or
            regions come without an order that fits.

    Example:
        >>> plan = plan_labels(Path("dataset.json"), {"background": 0, "WT": [1, 2], "TC": 2}, [1, 2])
        >>> plan.regions
        {'WT': (1, 2), 'TC': (2,)}
        >>> plan.region_labels
        {'WT': 1, 'TC': 2}
    """
    if not isinstance(labels, dict) or not labels:
        raise DataError(
            f'{path}: expected labels such as {{"background": 0}}, found {labels!r}. Mend the file.'
        )
    values = {str(name): _values(path, name, value) for name, value in labels.items()}
    if values.get("background", (0,)) != (0,):
        raise DataError(f"{path}: the background must have the value 0, found {labels['background']!r}.")
    ignore = _ignore(path, values)
    classes = {name: value for name, value in values.items() if value != (0,) and name != "ignore"}
    if not any(isinstance(value, list) for name, value in labels.items() if name in classes):
        return LabelPlan(_unique(path, classes), ignore=ignore)
    if not isinstance(order, list) or len(order) != len(classes) or not all(map(_is_value, order)):
        raise DataError(
            f"{path}: the labels hold regions, so regions_class_order must list {len(classes)} values, one "
            f"for each of {list(classes)}; found {order!r}. Add it: the value to write for each region."
        )
    written = {name: int(value) for name, value in zip(classes, order, strict=True)}
    single = {
        f"label_{value}": value for value in sorted({one for region in classes.values() for one in region})
    }
    return LabelPlan(single, classes, written, ignore)


def _is_value(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _values(path: Path, name: str, value: object) -> tuple[int, ...]:
    listed: list[Any] = value if isinstance(value, list) else [value]
    if not listed or not all(map(_is_value, listed)):
        raise DataError(f"{path}: the label {name!r} must be a number or a list of numbers, found {value!r}.")
    return tuple(int(one) for one in listed)


def _ignore(path: Path, values: Mapping[str, tuple[int, ...]]) -> int | None:
    if "ignore" not in values:
        return None
    highest = max(max(value) for value in values.values())
    if values["ignore"] != (highest,):
        raise DataError(
            f"{path}: 'ignore' must be the one highest label value ({highest}), "
            f"found {list(values['ignore'])}."
        )
    if any(highest in value for name, value in values.items() if name != "ignore"):
        raise DataError(
            f"{path}: the value {highest} stands for 'ignore' and for another label; renumber one."
        )
    return highest


def _unique(path: Path, classes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    labels = {name: value[0] for name, value in classes.items()}
    if len(set(labels.values())) < len(labels):
        raise DataError(f"{path}: two labels share a value: {labels}. Renumber one.")
    return labels
