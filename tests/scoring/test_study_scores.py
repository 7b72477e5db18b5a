import csv

import numpy as np
import pytest

from medimg.errors import DataError
from medimg.scoring.embolism import EXAM_LABELS, embolism_log_loss
from medimg.scoring.spine import SPINE_LABELS, spine_losses
from medimg.scoring.study_scores import score_embolism, score_spine

IMAGES = {"e1": ["i1", "i2", "i3"], "e2": ["i4", "i5"]}
TARGET = {"e1": {"central_pe": 1, "rv_lv_ratio_lt_1": 1}, "e2": {"negative_exam_for_pe": 1}}
SEEN = {"i1": 1, "i2": 1}
NAMES = [image for images in IMAGES.values() for image in images]


def write(path, rows):
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def embolism(tmp_path):
    """Two exams of five images; the second one's prediction contradicts itself."""
    train = [
        {
            "StudyInstanceUID": exam,
            "SeriesInstanceUID": "s",
            "SOPInstanceUID": image,
            "pe_present_on_image": SEEN.get(image, 0),
            **{label: TARGET[exam].get(label, 0) for label in EXAM_LABELS},
        }
        for exam, images in IMAGES.items()
        for image in images
    ]
    answers = [
        {"id": f"{exam}_{label}", "label": 0.8 if TARGET[exam].get(label) else 0.1}
        for exam in IMAGES
        for label in EXAM_LABELS
    ]
    answers += [{"id": image, "label": p} for image, p in zip(NAMES, [0.9, 0.4, 0.2, 0.6, 0.1], strict=True)]
    return train, answers


def test_the_loss_and_the_broken_rules(tmp_path, embolism):
    train, answers = embolism
    score = score_embolism(
        write(tmp_path / "sub.csv", answers[::-1]), write(tmp_path / "train.csv", train), resamples=50
    )
    target = np.array([[TARGET[exam].get(label, 0) for label in EXAM_LABELS] for exam in IMAGES])
    expected = embolism_log_loss(
        target, np.where(target, 0.8, 0.1), [1, 1, 0, 0, 0], [0.9, 0.4, 0.2, 0.6, 0.1], [0, 0, 0, 1, 1]
    )
    assert score.figures[0].row["mean"] == pytest.approx(expected, rel=1e-12)
    assert (score.n_answers, score.n_patients, len(score.rows)) == (23, 2, 2)
    broken = {rule: cases for rule, cases in score.broken.items() if cases}
    assert broken == {
        "positive image: exactly one RV/LV ratio": ["e2"],
        "positive image: at least one of central, left and right": ["e2"],
        "positive image: neither negative nor indeterminate": ["e2"],
    }


def test_faults_of_a_submission_give_no_score(tmp_path, embolism):
    train, answers = embolism
    answers[3]["label"] = "nan"
    answers[-1]["label"] = 2
    faulty = [*answers[1:], answers[1], {"id": "i9", "label": 0.1}]
    with pytest.raises(DataError) as fault:
        score_embolism(write(tmp_path / "sub.csv", faulty), write(tmp_path / "train.csv", train))
    for line in (
        "1 blank or NaN: e1_acute_and_chronic_pe",
        "1 outside [0, 1]: i5",
        "1 doubled: e1_indeterminate",
        "1 unknown to the reference: i9",
        "1 missing: e1_negative_exam_for_pe",
    ):
        assert line in str(fault.value)


def test_a_reference_that_contradicts_itself_is_refused(tmp_path, embolism):
    train, answers = embolism
    train[1] = train[1] | {"central_pe": 0}
    train[3] = train[3] | {"indeterminate": "x"}
    with pytest.raises(DataError) as fault:
        score_embolism(
            write(tmp_path / "sub.csv", answers), write(tmp_path / "train.csv", [*train, train[0]])
        )
    assert "1 whose labels of the exam differ from another image's: i2" in str(fault.value)
    assert "1 label not a number: i4" in str(fault.value)
    assert "1 doubled: i1" in str(fault.value)


def test_spine_from_a_submission_and_from_a_table(tmp_path):
    generator = np.random.default_rng(6)
    target, prob = generator.integers(0, 2, (12, 8)), generator.random((12, 8))
    exams = [f"1.2.{n:02}" for n in range(12)]
    shuffled = [SPINE_LABELS[n] for n in (3, 0, 1, 2, 7, 6, 5, 4)]
    train = [
        {"StudyInstanceUID": exam} | {label: target[n, SPINE_LABELS.index(label)] for label in shuffled}
        for n, exam in enumerate(exams)
    ]
    answers = [
        {"row_id": f"{exam}_{label}", "fractured": prob[n, k]}
        for k, label in enumerate(SPINE_LABELS)
        for n, exam in enumerate(exams)
    ]
    table = [
        {"case_id": exam}
        | {f"target_{label}": target[n, SPINE_LABELS.index(label)] for label in shuffled}
        | {f"prob_{label}": prob[n, SPINE_LABELS.index(label)] for label in shuffled}
        for n, exam in enumerate(exams)
    ]
    losses = spine_losses(target, prob)
    for pred, ref in (
        (write(tmp_path / "sub.csv", answers), write(tmp_path / "train.csv", train)),
        (write(tmp_path / "per_case.csv", table), None),
    ):
        score = score_spine(pred, ref, resamples=50)
        assert score.figures[0].row["mean"] == pytest.approx(losses.mean(), rel=1e-12)
        assert [row["loss"] for row in score.rows] == pytest.approx(losses.tolist())
        assert score.n_answers == 96


def test_spine_needs_every_label(tmp_path):
    row = (
        {"case_id": "a"}
        | {f"target_{label}": 0 for label in SPINE_LABELS}
        | {f"prob_{label}": 0 for label in SPINE_LABELS}
    )
    with pytest.raises(DataError, match="1 exams have a label that is blank"):
        score_spine(write(tmp_path / "per_case.csv", [row | {"target_C3": ""}]), None)
