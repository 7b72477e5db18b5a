import csv
import statistics

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medimg.crossval.table import format_lines, scores_of, with_spread, write_lines
from medimg.scoring.label_table import label_row


def labelled(seed, labels=("x",)):
    rng = np.random.default_rng(seed)
    return [
        label_row(f"c{n}", f"c{n}", labels, rng.random(len(labels)), rng.permutation(len(labels)) + n & 1)
        for n in range(20)
    ]


def test_scores_of_labels_are_scikit_learns():
    rows = labelled(0, ("x", "y"))
    scores = scores_of(rows, "multilabel")
    expected = [roc_auc_score([r[f"target_{k}"] for r in rows], [r[f"prob_{k}"] for r in rows]) for k in "xy"]
    assert [scores["auroc_x"], scores["auroc_y"]] == pytest.approx(expected)
    assert scores["auroc"] == pytest.approx(np.mean(expected))
    one = scores_of([{k: v for k, v in row.items() if "y" not in k} for row in rows], "binary")
    assert one["auroc"] == pytest.approx(expected[0])
    assert "auroc_x" not in one  # would say the same again


def test_exclusive_classes_have_what_they_score_together():
    rng = np.random.default_rng(0)
    rows = [
        label_row(f"c{n}", "", ["a", "b", "c"], rng.dirichlet([1, 1, 1]), np.eye(3)[n % 3]) for n in range(30)
    ]
    hits = [
        max("abc", key=lambda k: row[f"prob_{k}"]) == max("abc", key=lambda k: row[f"target_{k}"])
        for row in rows
    ]
    assert scores_of(rows, "multiclass")["accuracy"] == pytest.approx(np.mean(hits))


def test_scores_of_masks_are_means_over_cases():
    rows = [
        {"case_id": "a", "dice_ET": 0.5, "dice_TC": 0.7, "hd95_ET": 3.0},
        {"case_id": "b", "dice_ET": float("nan"), "dice_TC": 0.9, "hd95_ET": 5.0},
    ]
    found = scores_of(rows, None)
    assert found == pytest.approx({"mean_dice": 0.65, "dice_ET": 0.5, "dice_TC": 0.8, "hd95_ET": 4.0})


def test_the_spread_is_that_of_the_statistics_module_and_gaps_stay_blank(tmp_path):
    nan = float("nan")
    lines = with_spread(
        {
            0: {"a": 0.1, "b": nan, "c": nan},
            2: {"a": 0.5, "b": 0.2, "c": nan},
            4: {"a": 0.9, "b": 0.6, "c": nan},
        }
    )
    assert lines["mean"]["a"] == pytest.approx(0.5)
    assert lines["std"]["a"] == pytest.approx(statistics.stdev([0.1, 0.5, 0.9]))
    assert lines["std"]["b"] == pytest.approx(statistics.stdev([0.2, 0.6]))
    write_lines(tmp_path / "crossval.csv", lines)
    with (tmp_path / "crossval.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["fold"] for row in rows] == ["0", "2", "4", "mean", "std"]
    assert [row["b"] for row in rows][:2] == ["", "0.2"]
    assert {row["c"] for row in rows} == {""}


def test_the_text_shows_what_is_judged():
    scores = {"mean_dice": 0.5, "dice_ET": 0.5, "hd95_ET": 3.0, "test_mean_dice": 0.4}
    text = format_lines(with_spread({0: scores, 1: scores}), "title")
    assert [line.split("  ")[0] for line in text.splitlines()] == [
        "title",
        "mean Dice",
        "Dice ET",
        "mean Dice, test cases",
    ]


def test_a_score_that_the_first_fold_lacks_has_its_column(tmp_path):
    lines = with_spread({0: {"dice_a": 0.5}, 1: {"dice_a": 0.7, "dice_b": 0.4}})
    assert lines["mean"] == pytest.approx({"dice_a": 0.6, "dice_b": 0.4})
    assert "Dice b" in format_lines(lines, "title") and "(nan, 0.4000)" in format_lines(lines, "title")
    write_lines(tmp_path / "crossval.csv", lines)
    with (tmp_path / "crossval.csv").open() as stream:
        assert [row["dice_b"] for row in csv.DictReader(stream)] == ["", "0.4", "0.4", ""]
