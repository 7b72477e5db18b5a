"""What ``predictions.json`` says of a member, and whether the members mean the same."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from medimg.errors import ConfigError, DataError

PREDICTIONS = "predictions.json"

Kind = Literal["probabilities", "masks", "table"]
"""What is combined: ``<case>.npz``, ``<case>.nii.gz``, or the rows of ``per_case.csv``."""

# What members of a kind must have in common. Masks of a softmax and of regions may meet: only values count.
_SHARED: dict[Kind, tuple[str, ...]] = {
    "probabilities": ("classes", "head", "labels"),
    "masks": ("classes", "labels"),
    "table": ("classes", "task"),
}


@dataclass(frozen=True, slots=True)
class Description:
    """What is known of a folder of predictions; ``None`` where its ``predictions.json`` does not say.

    Attributes:
        classes: Classes or regions in the order of the channels, the background left out.
        head: ``softmax`` or ``sigmoid``.
        labels: Value in the masks of each class or region, in writing order.
        task: Kind of a classification: binary, multiclass or multilabel; ``targets`` for several at once.
        split: Hash of the whole split of the run, the same for all its folds.
        checkpoint: Weights that predicted.
        fold: Fold of the split in which the weights did not train; ``None`` also for several folds put together.
        part: Which cases these are: ``test``, held out from all folds; ``validation``, those of the fold; ``predict``.
        in_split: Of cases that were predicted, how many train or validate in the split.
    """

    classes: tuple[str, ...] | None = None
    head: str | None = None
    labels: dict[str, int] | None = None
    task: str | None = None
    split: str | None = None
    checkpoint: str | None = None
    fold: int | None = None
    part: str | None = None
    in_split: int | None = None


def read_description(folder: Path) -> Description:
    """Read ``predictions.json`` of a folder; a folder without one says nothing.

    Raises:
        DataError: If the file cannot be read, or a value is of another kind than expected.
    """
    path = folder / PREDICTIONS
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Description()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}). Predict again, or mend the file.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected names and values, found {type(content).__name__}. Predict again.")
    classes, labels = content.get("classes"), content.get("labels")
    if classes is not None and not (isinstance(classes, list) and _are(str, classes)):
        raise DataError(f"{path}: expected a list of names as classes, found {classes!r}. Mend the file.")
    if labels is not None and not (isinstance(labels, dict) and _are(int, labels.values())):
        raise DataError(
            f"{path}: expected a whole number for each of the labels, found {labels!r}. Mend the file."
        )
    single: dict[str, Any] = {}
    for name in ("head", "task", "split", "checkpoint", "part", "fold", "in_split"):
        value = single[name] = content.get(name)
        kind, noun = (int, "whole number") if name in ("fold", "in_split") else (str, "word")
        if value is not None and not _are(kind, [value]):
            raise DataError(f"{path}: expected a {noun} as {name}, found {value!r}. Mend the file.")
    return Description(classes=tuple(classes) if classes else None, labels=labels or None, **single)


def _are(kind: type, values: Any) -> bool:
    return all(isinstance(value, kind) and not isinstance(value, bool) for value in values)


def agreed_description(
    names: Sequence[str], descriptions: Sequence[Description], kind: Kind, *, mixed_splits: bool = False
) -> Description:
    """Put together what the members say, where they mean the same.

    Args:
        names: Name of each member, for messages.
        descriptions: What each member says.
        kind: What is combined.
        mixed_splits: Let members of different splits meet.

    Returns:
        What holds for all members; a value that only some state is taken from them, but of ``part`` and ``in_split``
        that of the member whose cases are the most doubtful: test cases, then predicted and unknown ones.

    Raises:
        DataError: If a member predicts several targets at once, members differ in classes, labels, head or task, stem
            from different splits, or are of different folds of one split of which one may have been trained on cases
            that another is judged by.

    Example:
        >>> both = [Description(classes=("a",), head="softmax"), Description(labels={"a": 1})]
        >>> agreed_description(["A", "B"], both, "probabilities").labels
        {'a': 1}
    """
    several = next(
        (name for name, one in zip(names, descriptions, strict=True) if one.task == "targets"), None
    )
    if several is not None:
        raise DataError(
            f"{several}: predicts several targets at once, numbers among them, and only labels and masks are combined. "
            "Score each run by itself with medimg test."
        )
    if not mixed_splits:
        _expect_unseen(names, descriptions)
    common: dict[str, Any] = {}
    for field in fields(Description):
        stated = [
            (name, value)
            for name, description in zip(names, descriptions, strict=True)
            if (value := getattr(description, field.name)) is not None
        ]
        if not stated:
            continue
        first, value = stated[0]
        other = next(((n, v) for n, v in stated if _differ(field.name, value, v, kind)), None)
        if other is None:
            common[field.name] = value
        elif field.name == "split" and not mixed_splits:
            raise DataError(
                f"members of two splits: {first} has split {value}, {other[0]} {other[1]}. Cases that one member "
                "was trained on may be judged by it. Take members of one split; or, if no member saw "
                "these cases in training, as with a test set held out from all folds, add --mixed_splits."
            )
        elif field.name in _SHARED[kind]:
            raise DataError(
                f"{PREDICTIONS}: expected the same {field.name} in all members, found {_shown(value)} in {first} "
                f"and {_shown(other[1])} in {other[0]}. Combine members of one task only."
            )
    common.pop("checkpoint", None)
    return Description(**common | _cases_of_all(descriptions))


def _cases_of_all(descriptions: Sequence[Description]) -> dict[str, Any]:
    """Which cases all members predict: the word of one that they are unseen does not hold for the others."""
    parts, trained = ([getattr(one, name) for one in descriptions] for name in ("part", "in_split"))
    doubtful = next((part for part in ("test", "predict", None) if part in parts), parts[0])
    seen = max((number for number in trained if number is not None), default=None)
    return {"part": doubtful, "in_split": None if seen == 0 and None in trained else seen}


def _expect_unseen(names: Sequence[str], descriptions: Sequence[Description]) -> None:
    """Refuse folds of one split whose cases one of them may have been trained on.

    Cases held out for the test, and predicted ones that stand nowhere in the split, are new to every fold.
    """
    known = [(name, one) for name, one in zip(names, descriptions, strict=True) if one.split is not None]
    if len({one.fold for _, one in known}) < 2 or len({one.split for _, one in known}) > 1:
        return
    for name, one in known:
        if one.part == "test" or (one.part == "predict" and one.in_split == 0):
            continue
        cases = "cases of which nothing says that no fold trained on them"
        if one.part == "predict" and one.in_split:
            cases = f"{one.in_split} cases of the split itself, on which other folds were trained"
        elif one.part == "validation":
            cases = "validation cases, on which other folds were trained"
        folds = ", ".join("several" if other.fold is None else str(other.fold) for _, other in known)
        raise DataError(
            f"members of different folds ({folds}) of the split {one.split}: {name} predicts {cases}. Put folds "
            "side by side with medimg crossval --gather, predict cases held out from all folds, or add "
            "--mixed_splits if no score will be read off these cases."
        )


def _differ(field: str, one: Any, other: Any, kind: Kind) -> bool:
    if kind == "masks" and field == "classes":
        return set(one) != set(other)
    if kind == "probabilities" and field == "labels":  # regions are written in this order
        return list(one.items()) != list(other.items())
    return bool(one != other)


def _shown(value: Any) -> str:
    return str(list(value) if isinstance(value, tuple) else value)


@dataclass(frozen=True, slots=True)
class ChannelScheme:
    """How channels of probabilities become label values.

    Attributes:
        head: ``softmax``, channel 0 being the background, or ``sigmoid`` for regions.
        values: Value to write for each channel; ``None`` writes the channel's number (softmax only).
        order: Channels in writing order, later ones over earlier ones (sigmoid only).
    """

    head: Literal["softmax", "sigmoid"] = "softmax"
    values: tuple[int, ...] | None = None
    order: tuple[int, ...] = ()


def channel_scheme(description: Description) -> ChannelScheme:
    """Derive what the channels mean.

    Args:
        description: What all members agree on; where none says anything, the channels are exclusive classes
            that are written as 0, 1, 2, ...

    Raises:
        ConfigError: If the classes and the labels do not fit, or regions lack their labels.

    Example:
        >>> regions = Description(("WT", "TC"), "sigmoid", {"WT": 2, "TC": 1})
        >>> channel_scheme(regions)
        ChannelScheme(head='sigmoid', values=(2, 1), order=(0, 1))
        >>> channel_scheme(Description(("a", "b"), "softmax", {"a": 1, "b": 4})).values
        (0, 1, 4)
    """
    head, labels = description.head or "softmax", description.labels
    classes = description.classes or (tuple(labels) if labels else None)
    if head not in ("softmax", "sigmoid"):
        raise ConfigError(f"{PREDICTIONS}: expected head softmax or sigmoid, found {head!r}. Mend the file.")
    if labels is not None and set(labels) != set(classes or ()):
        raise ConfigError(
            f"{PREDICTIONS}: expected a label for each of the classes {list(classes or ())}, "
            f"found {list(labels)}. Mend the file."
        )
    if head == "sigmoid":
        if classes is None or labels is None:
            raise ConfigError(
                f"regions (head sigmoid) need classes and labels in {PREDICTIONS} of at least one member, "
                "found none: without them nobody knows which value each region is written as."
            )
        order = tuple(classes.index(name) for name in labels)
        return ChannelScheme("sigmoid", tuple(labels[name] for name in classes), order)
    if classes is None:
        return ChannelScheme()
    if labels is None:
        return ChannelScheme("softmax", tuple(range(len(classes) + 1)))
    return ChannelScheme("softmax", (0, *(labels[name] for name in classes)))
