import csv
import json
import math
import time

import numpy as np
import pytest
from sklearn import metrics

from medimg.errors import DataError
from medimg.scoring.classification import sensitivity_at_specificity
from medimg.scoring.label_table import (
    label_arrays,
    label_row,
    read_label_table,
    summarise_labels,
    write_label_table,
)
from medimg.scoring.table import write_summary

NAN = math.nan
LABELS = ["nodule", "mass", "hernia"]


def multilabel(n=80, seed=0, per_patient=2):
    """Rows of three labels; unknown targets in the first, no positive in the last."""
    generator = np.random.default_rng(seed)
    target = (generator.random((n, 3)) < [0.3, 0.5, 0.0]).astype(float)
    prob = (0.7 * generator.random((n, 3)) + 0.3 * target).round(2)
    target[:10, 0] = NAN
    rows = [
        label_row(f"c{i:05}", f"p{i // per_patient}", LABELS, prob[i], target[i]) for i in range(n)
    ]  # fmt: skip
    return rows, target, prob


def multiclass(n=90, seed=0):
    generator = np.random.default_rng(seed)
    index = generator.integers(0, 3, n)
    prob = generator.dirichlet(np.ones(3), n) + 0.4 * np.eye(3)[index]
    prob /= prob.sum(1, keepdims=True)
    rows = [label_row(f"c{i:05}", "", LABELS, prob[i], np.eye(3)[index[i]]) for i in range(n)]
    return rows, index, prob


def test_the_file_is_written_once_a_case_and_read_with_every_digit(tmp_path):
    path = tmp_path / "run" / "per_case.csv"
    rows = [label_row("b", "007", ["a, b"], [1 / 3], [-1]), label_row("a", "p", ["a, b"], [1e-17], [1])]
    write_label_table(path, [*rows, rows[0]])
    with path.open(newline="") as stream:
        assert next(csv.reader(stream)) == ["case_id", "patient_id", "target_a, b", "prob_a, b"]
    back = read_label_table(path)
    assert back[0] == rows[1]
    assert (back[1]["patient_id"], back[1]["prob_a, b"]) == ("007", 1 / 3)
    assert math.isnan(back[1]["target_a, b"])
    assert [file.name for file in path.parent.iterdir()] == ["per_case.csv"]


def test_a_prediction_is_the_table_without_targets(tmp_path):
    row = label_row("a", "p", LABELS, [0.1, 0.2, 0.3])
    assert list(row) == ["case_id", "patient_id", "prob_nodule", "prob_mass", "prob_hernia"]
    write_label_table(tmp_path / "per_case.csv", [row])
    rows = read_label_table(tmp_path / "per_case.csv")
    assert rows == [row]
    with pytest.raises(DataError, match="Predictions without targets cannot be scored"):
        label_arrays(rows)


def test_another_table_is_refused_by_name(tmp_path):
    (tmp_path / "per_case.csv").write_text("case_id,dice_ET\na,0.5\n")
    with pytest.raises(DataError, match=r"per_case\.csv: expected columns prob_<label>, found case_id, dice"):
        read_label_table(tmp_path / "per_case.csv")


@pytest.mark.parametrize(
    ("prob", "target", "message"),
    [
        (1.5, 1, r"case c7: expected a probability in \[0, 1\] in column prob_mass, found 1.5"),
        (NAN, 1, "case c7: expected a probability .* found nan"),
        (0.5, 2, "case c7: expected 1, 0 or a share .* in column target_mass, found 2"),
    ],
)
def test_a_value_out_of_range_names_case_and_column(prob, target, message):
    with pytest.raises(DataError, match=message):
        label_arrays(
            [label_row("c1", "", ["mass"], [0.1], [0]), label_row("c7", "", ["mass"], [prob], [target])]
        )


def test_a_row_needs_as_many_values_as_labels():
    with pytest.raises(ValueError, match="zip"):
        label_row("a", "p", LABELS, [0.5, 0.5], [1, 0, 0])


def test_labels_score_as_scikit_learn_on_their_known_cases():
    rows, target, prob = multilabel()
    summary = summarise_labels(rows, "multilabel", resamples=20, specificity=0.75)
    assert (summary["n_cases"], summary["n_patients"]) == (80, 40)
    for k, name in enumerate(LABELS[:2]):
        known = ~np.isnan(target[:, k])
        truth, shown = target[known, k], prob[known, k]
        found = {metric: labels[name]["mean"] for metric, labels in summary["labels"].items()}
        assert found["auroc"] == pytest.approx(metrics.roc_auc_score(truth, shown))
        assert found["average_precision"] == pytest.approx(metrics.average_precision_score(truth, shown))
        expected = sensitivity_at_specificity(target[:, k], prob[:, k], 0.75)
        assert found["sensitivity"] == pytest.approx(expected)
        assert found["f1"] == pytest.approx(metrics.f1_score(truth, shown > 0.5))
        assert found["kappa"] == pytest.approx(metrics.cohen_kappa_score(truth, shown > 0.5))
        row = summary["labels"]["auroc"][name]
        assert row["low"] <= row["mean"] <= row["high"]
        assert (row["n"], row["n_left_out"]) == (int(known.sum()), int((~known).sum()))
    counts = {"n": 70, "n_positive": int(np.nansum(target[:, 0])), "n_left_out": 10}
    assert summary["counts"]["nodule"] == counts


def test_the_absent_label_is_nan_and_left_out_of_the_mean_with_its_number():
    rows, _, _ = multilabel()
    summary = summarise_labels(rows, "multilabel", resamples=20)
    for metric in (
        "auroc",
        "average_precision",
        "sensitivity",
        "f1",
        "balanced_accuracy",
        "kappa",
        "ece",
        "pf1",
    ):
        labels, macro = summary["labels"][metric], summary["macro"][metric]
        assert math.isnan(labels["hernia"]["mean"])
        assert macro["mean"] == pytest.approx((labels["nodule"]["mean"] + labels["mass"]["mean"]) / 2)
        assert (macro["n"], macro["n_left_out"]) == (2, 1)
        assert macro["low"] < macro["mean"] < macro["high"]
    assert summary["macro"]["accuracy"]["n"] == 3  # a right no is a right call
    assert summary["counts"]["hernia"]["n_positive"] == 0


def test_classes_have_one_accuracy_and_kappa():
    rows, index, prob = multiclass()
    called = prob.argmax(1)
    summary = summarise_labels(rows, "multiclass", resamples=20)
    overall = {name: row["mean"] for name, row in summary["overall"].items()}
    assert overall["accuracy"] == pytest.approx(metrics.accuracy_score(index, called))
    assert overall["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(index, called))
    assert overall["kappa"] == pytest.approx(metrics.cohen_kappa_score(index, called))
    macro = {name: row["mean"] for name, row in summary["macro"].items()}
    assert macro["auroc"] == pytest.approx(metrics.roc_auc_score(index, prob, multi_class="ovr"))
    assert macro["f1"] == pytest.approx(metrics.f1_score(index, called, average="macro"))
    assert "accuracy" not in macro
    grades = summarise_labels(rows, "multiclass", resamples=5, ordinal=True)["overall"]
    expected = metrics.cohen_kappa_score(index, called, weights="quadratic")
    assert grades["quadratic_kappa"]["mean"] == pytest.approx(expected)


def test_a_case_of_unknown_class_is_left_out():
    rows, _, _ = multiclass()
    unknown = label_row("zzz", "", LABELS, [0.2, 0.5, 0.3], [-1, -1, -1])
    with_it = summarise_labels([*rows, unknown], "multiclass", resamples=5)
    without = summarise_labels(rows, "multiclass", resamples=5)
    assert with_it["overall"]["accuracy"]["mean"] == without["overall"]["accuracy"]["mean"]
    assert with_it["overall"]["accuracy"]["n_left_out"] == 1
    assert with_it["macro"]["auroc"]["mean"] == without["macro"]["auroc"]["mean"]


def test_the_truth_of_soft_and_unknown_targets():
    rows = [label_row(str(i), "", ["m"], [0.5], [target]) for i, target in enumerate([0.5, 0.4, 1, -1])]
    np.testing.assert_array_equal(label_arrays(rows).truth[:, 0], [1, 0, 1, NAN])


def test_a_threshold_moves_the_calls_and_soft_targets_are_halved():
    rows = [
        label_row(c, "", ["m"], [p], [t]) for c, p, t in [("a", 0.3, 0.8), ("b", 0.2, 0.4), ("c", 0.1, 0)]
    ]
    assert summarise_labels(rows, "binary", resamples=5)["labels"]["f1"]["m"]["mean"] == 0
    moved = summarise_labels(rows, "binary", resamples=5, thresholds={"m": 0.25})
    assert moved["labels"]["f1"]["m"]["mean"] == 1
    assert moved["thresholds"] == {"m": 0.25}


def test_whole_patients_are_drawn_which_widens_the_interval():
    rows, target, prob = multilabel(200, per_patient=1)
    repeated = [
        label_row(f"{i}-{copy}", f"p{i}", LABELS, prob[i], target[i]) for i in range(200) for copy in range(4)
    ]
    widths = []
    for table in (rows, repeated, [row | {"patient_id": ""} for row in repeated]):
        row = summarise_labels(table, "multilabel")["labels"]["auroc"]["mass"]
        widths.append(row["high"] - row["low"])
    assert widths[1] == pytest.approx(widths[0], rel=0.15)  # copies of cases tell nothing new
    assert widths[2] == pytest.approx(widths[0] / 2, rel=0.15)


def test_seed_and_order_of_rows():
    rows, _, _ = multilabel()
    first = summarise_labels(rows, "multilabel", resamples=50, seed=1)
    again = summarise_labels(rows[::-1] + rows[:5], "multilabel", resamples=50, seed=1)
    assert json.dumps(first) == json.dumps(again)  # NaN included
    other = summarise_labels(rows, "multilabel", resamples=50, seed=2)
    assert other["macro"]["auroc"]["low"] != first["macro"]["auroc"]["low"]


def test_one_case_and_unknown_labels_alone_do_not_crash():
    for task, labels, target in [
        ("binary", ["m"], [1]),
        ("multilabel", LABELS, [-1] * 3),
        ("multiclass", LABELS, [1, 0, 0]),
    ]:
        summary = summarise_labels(
            [label_row("a", "", labels, [0.4] * len(labels), target)], task, resamples=5
        )
        assert math.isnan(summary["macro"]["auroc"]["mean"])
        assert summary["macro"]["auroc"]["n"] == 0


def test_a_task_that_does_not_fit_is_refused():
    rows, _, _ = multilabel()
    with pytest.raises(DataError, match="a binary table has one label, found 3: nodule, mass, hernia"):
        summarise_labels(rows, "binary")
    with pytest.raises(DataError, match="two classes or more"):
        summarise_labels([label_row("a", "", ["m"], [0.4], [1])], "multiclass")
    with pytest.raises(ValueError, match="level"):
        summarise_labels(rows, "multilabel", level=95)
    with pytest.raises(ValueError, match="specificity"):
        summarise_labels(rows, "multilabel", specificity=90)


def test_the_summary_is_written_as_json(tmp_path):
    rows, _, _ = multilabel()
    summary = summarise_labels(rows, "multilabel", resamples=5)
    write_summary(tmp_path / "summary.json", summary, title="Fold 0", settings={"split": "val"})
    found = json.loads((tmp_path / "summary.json").read_text())
    assert found["labels"]["auroc"]["hernia"]["mean"] is None
    assert found["macro"]["auroc"] == summary["macro"]["auroc"]


def test_a_thousand_resamples_of_a_large_test_split_take_seconds():
    generator = np.random.default_rng(0)
    names = [f"l{k}" for k in range(14)]
    target, prob = (generator.random((5000, 14)) < 0.1).astype(float), generator.random((5000, 14))
    rows = [label_row(str(i), str(i // 3), names, prob[i], target[i]) for i in range(5000)]
    start = time.process_time()
    summarise_labels(rows, "multilabel", resamples=1000)
    assert time.process_time() - start < 10
