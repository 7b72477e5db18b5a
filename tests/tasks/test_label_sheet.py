"""What is printed is what is written, and thresholds come from validation alone."""

import json
import logging

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score, roc_auc_score

from medimg.ensembling.calibration_file import Calibration
from medimg.ensembling.calibrators import Platt
from medimg.scoring.label_table import label_row, read_label_table
from medimg.tasks.label_sheet import LabelSheet, Thresholds, validation_thresholds

NAN = float("nan")


def rows(n=40, shift=0.0, labels=("mass",), seed=0):
    rng = np.random.default_rng(seed)
    target = np.arange(n) % 2
    probs = np.clip(0.25 + 0.2 * target + shift + 0.15 * rng.standard_normal(n), 0, 1)
    others = [NAN] * (len(labels) - 1)
    return [
        label_row(f"c{i:02d}", f"p{i // 2}", labels, [probs[i]] * len(labels), [float(target[i]), *others])
        for i in range(n)
    ]


def finished(tmp_path, table, thresholds=None, task="binary"):
    sheet = LabelSheet()
    for row in table:
        sheet.add(row)
    settings = {"checkpoint": "runs/best.ckpt"}
    return sheet.finish(tmp_path, "test: cases", task, settings=settings, resamples=20, thresholds=thresholds)


def test_numbers_are_those_of_the_written_rows(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        finished(tmp_path, rows(), Thresholds({"mass": 0.33}, frozenset({"other"}), "best.ckpt"))
    table = read_label_table(tmp_path / "per_case.csv")
    target = [row["target_mass"] for row in table]
    prob = np.array([row["prob_mass"] for row in table])
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["labels"]["auroc"]["mass"]["mean"] == pytest.approx(roc_auc_score(target, prob))
    assert summary["labels"]["accuracy"]["mass"]["mean"] == pytest.approx(accuracy_score(target, prob > 0.5))
    chosen = summary["at_validation_thresholds"]
    assert chosen["labels"]["accuracy"]["mass"]["mean"] == pytest.approx(accuracy_score(target, prob > 0.33))
    assert summary["settings"] == {"checkpoint": "runs/best.ckpt"}
    assert summary["n_patients"] == 20
    assert "called above 0.5" in caplog.text and "called above 0.33" in caplog.text


def test_a_repeated_case_counts_once(tmp_path):
    assert finished(tmp_path, rows() + rows())["n_cases"] == 40


def test_undefined_labels_are_null(tmp_path):
    finished(tmp_path, rows(labels=("mass", "never")), task="multilabel")
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["labels"]["auroc"]["never"]["mean"] is None
    assert summary["macro"]["auroc"]["n"] == 1


def test_grades_in_order_have_quadratic_kappa(tmp_path, caplog):
    rng = np.random.default_rng(0)
    truth, probs = rng.integers(3, size=60), rng.dirichlet(np.ones(3), size=60)
    sheet = LabelSheet()
    for n in range(60):
        sheet.add(label_row(f"c{n:02d}", f"p{n}", ["2", "3", "4"], probs[n], np.eye(3)[truth[n]]))
    with caplog.at_level(logging.INFO):
        summary = sheet.finish(tmp_path, "test: cases", "multiclass", settings={}, resamples=20, ordinal=True)
    expected = cohen_kappa_score(truth, probs.argmax(1), weights="quadratic")
    assert summary["overall"]["quadratic_kappa"]["mean"] == pytest.approx(expected)
    assert "quadratic kappa" in caplog.text


@pytest.mark.parametrize("rule", ["youden", "f1"])
def test_a_threshold_chosen_on_validation(tmp_path, rule):
    finished(tmp_path, rows(labels=("mass", "never")), task="multilabel")
    thresholds = validation_thresholds(tmp_path, ("mass", "never"), rule)
    found = thresholds.values
    assert found.keys() == {"mass"}
    assert thresholds.checkpoint == "runs/best.ckpt"
    assert len(thresholds.cases) == 40
    table = read_label_table(tmp_path / "per_case.csv")
    target = np.array([row["target_mass"] for row in table])
    prob = np.array([row["prob_mass"] for row in table])

    def value(cut):
        tp, fp = ((prob > cut) & (target == 1)).sum(), ((prob > cut) & (target == 0)).sum()
        if rule == "youden":
            return tp / (target == 1).sum() - fp / (target == 0).sum()
        return 2 * tp / (tp + fp + (target == 1).sum())

    assert value(found["mass"]) == pytest.approx(max(value(cut) for cut in np.linspace(0, 1, 2001)))


def test_without_a_validation_there_is_no_threshold(tmp_path):
    assert validation_thresholds(tmp_path, ("mass",), "youden") is None


@pytest.mark.parametrize(
    ("cases", "checkpoint", "said"),
    [({"c00"}, "best.ckpt", "the cases scored here are those"), ({"other"}, "last.ckpt", "for last.ckpt")],
)
def test_thresholds_of_the_same_cases_or_of_other_weights_are_not_reported(
    tmp_path, caplog, cases, checkpoint, said
):
    with caplog.at_level(logging.INFO):
        finished(tmp_path, rows(), Thresholds({"mass": 0.33}, frozenset(cases), checkpoint))
    assert said in caplog.text
    assert "called above 0.33" not in caplog.text
    assert "at_validation_thresholds" not in json.loads((tmp_path / "summary.json").read_text())


@pytest.mark.parametrize("cuts", [{}, {"mass": 0.2}])
def test_calibrated_rows_are_written_and_scored_at_the_calibrations_thresholds(tmp_path, caplog, cuts):
    sheet = LabelSheet()
    sheet.calibration = Calibration(
        "platt", "binary", ("mass",), {"mass": Platt(2.0, -1.0)}, cuts, digest="12ab"
    )
    table = rows()
    for row in table:
        sheet.add(row)
    stale = Thresholds({"mass": 0.33}, frozenset({"other"}), "best.ckpt")
    with caplog.at_level(logging.INFO):
        sheet.finish(
            tmp_path,
            "test: cases",
            "binary",
            settings={"checkpoint": "best.ckpt"},
            resamples=20,
            thresholds=stale,
        )
    written = read_label_table(tmp_path / "per_case.csv")
    raw = np.array([row["prob_mass"] for row in table]).clip(1e-12, 1 - 1e-12)
    expected = 1 / (1 + np.exp(1 - 2 * np.log(raw / (1 - raw))))
    np.testing.assert_allclose([row["prob_mass"] for row in written], expected)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["settings"]["calibration"] == "12ab"
    # Those of validation were chosen on other numbers.
    assert "at_validation_thresholds" not in summary and "called above 0.33" not in caplog.text
    assert ("at_calibration_thresholds" in summary) == ("pred_mass" in written[0]) == bool(cuts)
    if cuts:
        called = [row["pred_mass"] for row in written]
        assert called == [float(value > 0.2) for value in expected]
        target = [row["target_mass"] for row in written]
        found = summary["at_calibration_thresholds"]["labels"]["accuracy"]["mass"]["mean"]
        assert found == pytest.approx(accuracy_score(target, called))
