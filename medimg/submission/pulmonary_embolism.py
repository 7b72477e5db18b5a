"""Consistency of an exam, as RSNA's pulmonary embolism challenge demands it.

Reference:
    Colak et al., "The RSNA Pulmonary Embolism CT Dataset", Radiology: Artificial Intelligence 3, 2021.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from medimg.datasets.image_table import read_table
from medimg.scoring import embolism_rules
from medimg.scoring.embolism import EXAM_LABELS
from medimg.scoring.embolism_rules import CHRONIC, RATIOS, SIDES, WITHOUT

_CUT = 0.5
# The least that counts as above the cut and survives being written and read in single precision.
_ABOVE = 0.500001

Exam = dict[str, float]


def read_exams(path: Path) -> dict[str, list[str]]:
    """Read ``--cases`` of RSNA PE: the images of each exam, from the competition's ``test.csv``.

    Returns:
        ``SOPInstanceUID`` of each image by ``StudyInstanceUID``.

    Raises:
        DataError: If the table cannot be read or lacks the columns.
    """
    exams: dict[str, list[str]] = {}
    for _, (study, image) in read_table(path).select(["StudyInstanceUID", "SOPInstanceUID"]):
        exams.setdefault(study, []).append(image)
    return exams


def broken_rules(labels: Mapping[str, float], images: Sequence[float]) -> list[str]:
    """What an exam contradicts itself in; empty if it does not.

    Args:
        labels: Probability of each of ``EXAM_LABELS``.
        images: Probability of each image.

    Example:
        >>> broken_rules(dict.fromkeys(EXAM_LABELS, 0.2), [0.1, 0.3])
        ['no positive image: exactly one of negative and indeterminate']
    """
    row = [[labels[name] for name in EXAM_LABELS]]
    found = embolism_rules.broken_rules(row, [max(images, default=0.0)])
    return [rule for rule, broken in found.items() if broken[0]]


def enforce(labels: Mapping[str, float], images: Sequence[float]) -> tuple[Exam, list[float]]:
    """The consistent probabilities that are nearest to those given.

    Nearest is the least sum of absolute changes over the nine labels and all images, found exactly: with and
    without embolism are both tried, and in each the rules touch labels that do not overlap.

    Args:
        labels: Probability of each of ``EXAM_LABELS``.
        images: Probability of each image.

    Returns:
        Labels and images; those of a consistent exam unchanged.

    Example:
        >>> exam = dict.fromkeys(EXAM_LABELS, 0.2) | {"negative_exam_for_pe": 0.4}
        >>> changed, images = enforce(exam, [0.1, 0.3])
        >>> {name: value for name, value in changed.items() if value != exam[name]}, images
        ({'negative_exam_for_pe': 0.500001}, [0.1, 0.3])
    """
    negative = _without_embolism(labels, images)
    if not images:
        return negative
    positive = _with_embolism(labels, images)
    return min(positive, negative, key=lambda exam: _distance(labels, images, *exam))


def _with_embolism(labels: Mapping[str, float], images: Sequence[float]) -> tuple[Exam, list[float]]:
    exam, pictures = dict(labels), list(images)
    if max(pictures) <= _CUT:
        pictures[pictures.index(max(pictures))] = _ABOVE
    _lower(exam, WITHOUT)
    _keep_one(exam, RATIOS)
    if all(exam[name] <= _CUT for name in SIDES):
        exam[max(SIDES, key=lambda name: exam[name])] = _ABOVE
    if all(exam[name] > _CUT for name in CHRONIC):
        _lower(exam, (min(CHRONIC, key=lambda name: exam[name]),))
    return exam, pictures


def _without_embolism(labels: Mapping[str, float], images: Sequence[float]) -> tuple[Exam, list[float]]:
    exam = dict(labels)
    _lower(exam, (*CHRONIC, *SIDES, *RATIOS))
    _keep_one(exam, WITHOUT)
    return exam, [min(value, _CUT) for value in images]


def _lower(exam: Exam, names: Sequence[str]) -> None:
    for name in names:
        exam[name] = min(exam[name], _CUT)


def _keep_one(exam: Exam, names: Sequence[str]) -> None:
    """Exactly one above the cut: the highest one, whichever side of the cut both are on."""
    first, second = sorted(names, key=lambda name: -exam[name])
    exam[first] = exam[first] if exam[first] > _CUT else _ABOVE
    exam[second] = min(exam[second], _CUT)


def _distance(
    labels: Mapping[str, float], images: Sequence[float], exam: Exam, pictures: Sequence[float]
) -> tuple[float, int]:
    changes = [abs(exam[name] - labels[name]) for name in EXAM_LABELS]
    changes += [abs(a - b) for a, b in zip(pictures, images, strict=True)]
    return sum(changes), sum(change > 0 for change in changes)
