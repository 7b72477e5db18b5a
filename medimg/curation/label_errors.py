"""Labels that are probably wrong, found by predictions of cases that the network was not trained on.

Reference:
    Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset labels", Journal of Artificial
    Intelligence Research 70, 2021, arXiv:1911.00068.
"""

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medimg.errors import DataError
from medimg.io.files import atomic_write
from medimg.records import Task
from medimg.scoring.confusion import known_classes
from medimg.scoring.label_table import LabelArrays
from medimg.scoring.ranking import FloatArray, IndexArray


@dataclass(frozen=True, slots=True, eq=False)
class ConfidentJoint:
    """What the predictions say of the labels.

    Attributes:
        counts: Cases by given label and by the class they confidently belong to, shape (K, K); cases that belong
            confidently to none are not counted.
        estimate: The same scaled to all cases of each given label, shape (K, K): off the diagonal it estimates the
            number of wrong labels.
        thresholds: Mean probability of each class among the cases that are labelled with it, shape (K,).
        classes: Class that each case confidently belongs to, -1 for none, shape (N,).
    """

    counts: FloatArray
    estimate: FloatArray
    thresholds: FloatArray
    classes: IndexArray


def confident_joint(given: npt.ArrayLike, probs: npt.ArrayLike) -> ConfidentJoint:
    """Count the cases that are labelled with one class and confidently belong to another.

    A case belongs confidently to a class if its probability reaches the mean probability of that class among the
    cases labelled with it; of several such classes, to the most probable.

    Args:
        given: Label of each case, an index in [0, K), shape (N,).
        probs: Out-of-fold probabilities, shape (N, K).

    Returns:
        The counts and what they are made from.

    Raises:
        DataError: If shapes do not fit, or a class has no case.

    Example:
        >>> probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.05, 0.95]])
        >>> confident_joint([0, 0, 1, 1, 0], probs).counts
        array([[2., 1.],
               [0., 1.]])

    Reference:
        Northcutt, Jiang and Chuang 2021, arXiv:1911.00068, equations 1 to 3.
    """
    labels, prob = np.asarray(given, np.intp), np.asarray(probs, np.float64)
    if prob.ndim != 2 or labels.shape != prob.shape[:1]:
        raise DataError(
            f"expected labels (N,) and probabilities (N, K), found {labels.shape} and {prob.shape}."
        )
    k = prob.shape[1]
    size = np.bincount(labels, minlength=k).astype(np.float64)
    if len(size) != k or not size.all():
        raise DataError(
            f"expected cases of each of the {k} classes, found {size.astype(int).tolist()}. "
            "Wrong labels can be told only among classes that have cases."
        )
    thresholds = np.array([prob[labels == place, place].mean() for place in range(k)])
    confident = prob >= thresholds
    classes = np.where(confident, prob, -1.0).argmax(axis=1)
    classes = np.where(confident.any(axis=1), classes, -1)
    counts = np.zeros((k, k))
    np.add.at(counts, (labels[classes >= 0], classes[classes >= 0]), 1)
    rows = counts.sum(axis=1, keepdims=True)
    scaled = np.where(rows > 0, counts / np.maximum(rows, 1), np.eye(k)) * size[:, None]
    return ConfidentJoint(counts, scaled, thresholds, classes)


@dataclass(frozen=True, slots=True)
class Suspect:
    """A label that is probably wrong.

    Attributes:
        case_id: The case.
        patient_id: Its patient.
        label: The label in question; empty for exclusive classes.
        given: What the label says.
        suggested: What the predictions say.
        margin: Probability of what is given minus that of the most probable other class, in [-1, 1]; the lower, the
            more suspect.
        prob_given: Probability of what is given.
        copy_of: A case with the same picture and another label; empty where the predictions alone raise the suspicion.
    """

    case_id: str
    patient_id: str
    label: str
    given: str
    suggested: str
    margin: float
    prob_given: float
    copy_of: str = ""


def find_suspects(
    table: LabelArrays, task: Task, copies: Sequence[Collection[str]] = ()
) -> tuple[list[Suspect], dict[str, float]]:
    """Rank the labels of a table of out-of-fold predictions by how suspect they are.

    Exclusive classes are judged together; labels of a binary or multi-label table each for itself, present against
    absent. Unknown labels take no part, soft ones count as present from 0.5. Where one picture stands under two
    labels, one of them is wrong whatever the predictions say: such cases come first, those that the predictions
    contradict before the others.

    Args:
        table: Targets and out-of-fold probabilities.
        task: Kind of the labels.
        copies: Sets of cases that show one picture.

    Returns:
        The suspects, the most suspect first, and by label (for exclusive classes ``""``) the estimated number of wrong
        labels. A label whose known cases are all present or all absent is left out.

    Raises:
        DataError: If no label can be judged, or an exclusive class has no case.

    Example:
        >>> probs = np.array([[0.1], [0.2], [0.9], [0.8], [0.95]])
        >>> truth = np.array([[0.0], [0], [1], [1], [0]])
        >>> table = LabelArrays(tuple("abcde"), tuple("abcde"), ("mass",), truth, probs)
        >>> suspects, wrong = find_suspects(table, "binary")
        >>> [(one.case_id, one.given, one.suggested, round(one.margin, 2)) for one in suspects], wrong
        ([('e', 'no mass', 'mass', -0.9)], {'mass': 1.0})
    """
    if task == "multiclass":
        known, given = known_classes(table.target)
        suspects, wrong = _judge(
            table, np.flatnonzero(known), given, table.prob[known], "", table.labels, copies
        )
        return suspects, {"": wrong}
    every: list[Suspect] = []
    estimates: dict[str, float] = {}
    for place, label in enumerate(table.labels):
        rows = np.flatnonzero(~np.isnan(table.target[:, place]))
        given = (table.target[rows, place] >= 0.5).astype(np.intp)
        if len(np.unique(given)) < 2:
            continue
        prob = table.prob[rows, place]
        found, estimates[label] = _judge(
            table, rows, given, np.column_stack([1 - prob, prob]), label, (f"no {label}", label), copies
        )
        every += found
    if not estimates:
        raise DataError(
            f"expected a label with present and absent cases, found none among {', '.join(table.labels)}. "
            "Give out-of-fold predictions with targets, as medimg crossval writes them."
        )
    return sorted(every, key=lambda one: (not one.copy_of, one.margin, one.case_id)), estimates


def _judge(
    table: LabelArrays,
    rows: IndexArray,
    given: IndexArray,
    probs: FloatArray,
    label: str,
    names: Sequence[str],
    copies: Sequence[Collection[str]],
) -> tuple[list[Suspect], float]:
    """Suspects among some cases, the most suspect first, and the estimated number of wrong labels."""
    joint = confident_joint(given, probs)
    twins = _contradicted([table.case_ids[row] for row in rows], given, copies)
    wrong = np.flatnonzero((joint.classes >= 0) & (joint.classes != given))
    wrong = np.union1d(wrong, np.array(sorted(twins), np.intp))
    of_given = probs[np.arange(len(probs)), given]
    others = probs.copy()
    others[np.arange(len(probs)), given] = -np.inf
    margin = of_given - others.max(axis=1)
    found = [
        Suspect(
            table.case_ids[rows[n]],
            table.patient_ids[rows[n]],
            label,
            names[given[n]],
            names[given[twins[n]] if n in twins else joint.classes[n]],
            float(margin[n]),
            float(of_given[n]),
            table.case_ids[rows[twins[n]]] if n in twins else "",
        )
        for n in sorted(wrong.tolist(), key=lambda n: (n not in twins, margin[n], n))
    ]
    return found, float(joint.estimate.sum() - np.trace(joint.estimate))


def _contradicted(
    cases: Sequence[str], given: IndexArray, copies: Sequence[Collection[str]]
) -> dict[int, int]:
    """Positions of cases whose picture also stands under another label, each with the first such twin."""
    place = {case: number for number, case in enumerate(cases)}
    twins: dict[int, int] = {}
    for group in copies:
        members = sorted(place[case] for case in group if case in place)
        for one in members:
            others = [other for other in members if given[other] != given[one]]
            if others:
                twins[one] = others[0]
    return twins


def write_suspects(path: Path, suspects: Sequence[Suspect]) -> None:
    """Write the suspects as CSV in their order, with a rank from 1 on.

    Raises:
        ResourceError: If the file cannot be written.
    """
    head = ["rank", "case_id", "patient_id", "label", "given", "suggested", "margin", "prob_given", "copy_of"]
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for rank, one in enumerate(suspects, start=1):
            names = (one.case_id, one.patient_id, one.label, one.given, one.suggested)
            writer.writerow([rank, *names, f"{one.margin:.6g}", f"{one.prob_given:.6g}", one.copy_of])
