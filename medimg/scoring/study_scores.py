"""Scores of whole studies: the weighted log losses of RSNA's embolism and spine challenges."""

from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medimg.errors import DataError
from medimg.scoring.answers import fault_list, grade, need_columns, probability, read_answers, read_lines
from medimg.scoring.embolism import EXAM_LABELS, EXAM_WEIGHT, IMAGE_LABEL, embolism_losses
from medimg.scoring.embolism_rules import broken_rules
from medimg.scoring.label_answers import patients_of, read_label_answers
from medimg.scoring.label_forms import SPINE_FORM
from medimg.scoring.label_table import label_arrays
from medimg.scoring.official import LEVEL, OfficialScore, figure
from medimg.scoring.ranking import FloatArray, IndexArray
from medimg.scoring.ratio_bootstrap import ratio_interval
from medimg.scoring.spine import SPINE_LABELS, spine_losses
from medimg.scoring.table import CASE_COLUMN, PATIENT_COLUMN


def score_spine(pred: Path, ref: Path | None, *, resamples: int = 1000) -> OfficialScore:
    """Score predictions of the cervical spine challenge.

    Args:
        pred: ``row_id,fractured``, or a ``per_case.csv`` with a row a study.
        ref: ``train.csv`` of the challenge; ``None`` takes the targets of the ``per_case.csv``.
        resamples: Draws of the bootstrap over patients.

    Raises:
        DataError: If a row is missing, doubled or unknown, or a value cannot be read.
    """
    rows = read_label_answers(pred, ref, SPINE_FORM)
    table = label_arrays(rows)
    if unknown := np.isnan(table.target).any(axis=1).sum():
        raise DataError(
            f"{ref or pred}: {unknown} exams have a label that is blank; this loss needs all of them."
        )
    order = [table.labels.index(label) for label in SPINE_LABELS]
    losses = spine_losses(table.truth[:, order], table.prob[:, order])
    interval = ratio_interval(
        [(losses, np.ones(len(losses)))], groups=table.patient_ids, level=LEVEL, resamples=resamples
    )
    by_case = dict(zip(table.case_ids, losses.tolist(), strict=True))
    return OfficialScore(
        title=SPINE_FORM.title,
        figures=(figure("weighted log loss", interval, "exams"),),
        unit="exams",
        rows=[{**row, "loss": by_case[str(row[CASE_COLUMN])]} for row in rows],
        n_patients=len(set(patients_of(rows))),
        n_answers=len(rows) * len(SPINE_LABELS),
    )


@dataclass(frozen=True, slots=True)
class _Exams:
    """The reference: N exams and their M images."""

    names: list[str]
    target: FloatArray  # (N, 9)
    images: list[str]
    image_target: FloatArray  # (M,)
    exam: IndexArray  # (M,), the exam of each image


def score_embolism(pred: Path, ref: Path, *, resamples: int = 1000) -> OfficialScore:
    """Score a submission of the pulmonary embolism challenge, and count the exams that contradict themselves.

    Args:
        pred: ``id,label``: nine rows ``<StudyInstanceUID>_<label>`` an exam, one row an image.
        ref: ``train.csv`` of the challenge, one row an image.
        resamples: Draws of the bootstrap over exams.

    Raises:
        DataError: If a row is missing, doubled or unknown, or a value cannot be read.
    """
    exams = _read_exams(ref)
    n = len(exams.names)
    answers = read_answers(
        pred,
        [*(f"{name}_{label}" for name in exams.names for label in EXAM_LABELS), *exams.images],
        ["label"],
        key=lambda line: line["id"],
        key_columns=["id"],
        parse=lambda text, _: probability(text),
    )
    values = np.fromiter((value for (value,) in answers), np.float64, len(answers))
    prob, image_prob = values[: n * len(EXAM_LABELS)].reshape(n, -1), values[n * len(EXAM_LABELS) :]
    labels, images, weight = embolism_losses(exams.target, prob, exams.image_target, image_prob, exams.exam)
    highest = np.zeros(n)
    np.maximum.at(highest, exams.exam, image_prob)
    exam_weight = np.full(n, EXAM_WEIGHT)
    figures = [
        figure(name, ratio_interval([part], groups=exams.names, level=LEVEL, resamples=resamples), "exams")
        for name, part in (
            ("weighted log loss", (labels + images, exam_weight + weight)),
            ("  labels of exams", (labels, exam_weight)),
            ("  images", (images, weight)),
        )
    ]
    columns = zip(exams.names, prob, labels, images, weight, highest, strict=True)
    return OfficialScore(
        title="RSNA pulmonary embolism 2020: weighted log loss",
        figures=tuple(figures),
        unit="exams",
        rows=[
            {
                CASE_COLUMN: name,
                PATIENT_COLUMN: name,
                **{f"prob_{label}": float(p) for label, p in zip(EXAM_LABELS, probs, strict=True)},
                "highest_image": float(high),
                "exam_loss": float(exam_loss),
                "image_loss": float(image_loss),
                "image_weight": float(image_weight),
            }
            for name, probs, exam_loss, image_loss, image_weight, high in columns
        ],
        n_patients=n,
        n_answers=len(values),
        broken={
            rule: [exams.names[position] for position in np.flatnonzero(broken)]
            for rule, broken in broken_rules(prob, highest).items()
        },
    )


def _read_exams(path: Path) -> _Exams:
    """Labels of the exams and images; every image of an exam must repeat the exam's labels."""
    positions: dict[str, int] = {}
    targets: list[tuple[int, ...]] = []
    images: dict[str, None] = {}
    image_target, exam = array("d"), array("q")
    faults: dict[str, list[str]] = {}
    for number, line in enumerate(read_lines(path)):
        if number == 0:
            wanted = ["StudyInstanceUID", "SOPInstanceUID", IMAGE_LABEL, *EXAM_LABELS]
            need_columns(path, line, wanted, "the reference")
        name, image = line["StudyInstanceUID"], line["SOPInstanceUID"]
        try:
            labels = tuple(grade(line[label], 2) for label in EXAM_LABELS)
            seen = grade(line[IMAGE_LABEL], 2)
        except DataError as fault:
            faults.setdefault(f"label {fault}", []).append(image)
            continue
        if image in images:
            faults.setdefault("doubled", []).append(image)
            continue
        images[image] = None
        if name not in positions:
            positions[name] = len(targets)
            targets.append(labels)
        elif targets[positions[name]] != labels:
            faults.setdefault("whose labels of the exam differ from another image's", []).append(image)
        image_target.append(seen)
        exam.append(positions[name])
    if faults:
        raise DataError(fault_list(path, faults))
    return _Exams(
        list(positions),
        np.array(targets, np.float64),
        list(images),
        np.array(image_target),
        np.array(exam, np.intp),
    )
