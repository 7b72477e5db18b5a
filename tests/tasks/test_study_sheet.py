"""The sheet of studies and slices: each once, scored by the tables that are written."""

import json

import numpy as np
import pytest

from medimg.errors import DataError
from medimg.scoring.embolism import EXAM_LABELS, embolism_log_loss
from medimg.scoring.label_table import label_row, read_label_table
from medimg.scoring.table import read_per_case
from medimg.tasks.study_sheet import StudySheet, embolism_interval

IMAGE = "pe_present_on_image"


def drawn(labels=EXAM_LABELS, studies=5, slices=3):
    """Rows of studies and of their slices with random targets and probabilities."""
    rng = np.random.default_rng(0)
    exams, images = [], []
    for number in range(studies):
        name = f"e{number}"
        exams.append(label_row(name, name, labels, rng.random(len(labels)), rng.integers(0, 2, len(labels))))
        for place in range(slices):
            seen = rng.integers(0, 2)
            images.append(
                {**label_row(f"{name}.{place}", name, [IMAGE], rng.random(1), [seen]), "study": name}
            )
    return exams, images


def score_of(exams, images):
    columns = [
        [row[f"{what}_{label}"] for label in EXAM_LABELS] for what in ("target", "prob") for row in exams
    ]
    target, prob = columns[: len(exams)], columns[len(exams) :]
    names = [row["case_id"] for row in exams]
    return embolism_log_loss(
        target,
        prob,
        [row[f"target_{IMAGE}"] for row in images],
        [row[f"prob_{IMAGE}"] for row in images],
        [names.index(row["study"]) for row in images],
    )


def test_the_competition_s_score_is_that_of_the_rows_in_any_order():
    exams, images = drawn()
    found = embolism_interval(exams[::-1], images[::-1], resamples=50)
    assert found.mean == pytest.approx(score_of(exams, images))
    assert found.low < found.mean < found.high
    assert found.n == 5
    turned, _ = drawn(labels=EXAM_LABELS[::-1])
    assert embolism_interval(turned, images, resamples=5).mean == pytest.approx(score_of(turned, images))


def test_without_all_its_labels_there_is_no_score():
    exams, images = drawn()
    assert embolism_interval(drawn(EXAM_LABELS[:-1])[0], images, resamples=5) is None
    exams[0][f"target_{EXAM_LABELS[0]}"] = np.nan
    assert embolism_interval(exams, images, resamples=5) is None


def test_both_tables_and_both_summaries_are_written(tmp_path, caplog):
    exams, images = drawn()
    sheet = StudySheet()
    for row in [*exams, exams[0]]:  # a case that two processes scored counts once
        sheet.add(row)
    for row in [*images, images[0]]:
        sheet.add_image(row)
    with caplog.at_level("INFO"):
        assert sheet.finish(tmp_path, "test: phantoms", "multilabel", settings={}, resamples=20) is not None
    assert [row["case_id"] for row in read_label_table(tmp_path / "per_case.csv")] == [
        f"e{n}" for n in range(5)
    ]
    summary = json.loads((tmp_path / "image_summary.json").read_text())
    assert summary["n_cases"] == 15
    assert summary["weighted_log_loss"]["mean"] == pytest.approx(score_of(exams, images))
    assert "weighted log loss of RSNA's embolism challenge, lower is better" in caplog.text
    # The sheet is empty again: a next stage begins anew.
    with pytest.raises(DataError, match="no case was scored"):
        sheet.write(tmp_path)


def test_a_slice_scored_twice_with_different_results_is_refused(tmp_path):
    exams, images = drawn()
    sheet = StudySheet()
    for row in exams:
        sheet.add(row)
    for row in [*images, {**images[0], f"prob_{IMAGE}": 0.123}]:
        sheet.add_image(row)
    with pytest.raises(DataError, match=r"case e0\.0 was scored twice"):
        sheet.write(tmp_path)
    assert not (tmp_path / "per_image.csv").exists()
    with pytest.raises(DataError):
        read_per_case(tmp_path / "per_image.csv")
