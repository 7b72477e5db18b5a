import numpy as np

from medimg.scoring.label_table import label_row, summarise_labels
from medimg.scoring.label_text import format_label_table

PROBS = [0.9, 0.8, 0.6, 0.3, 0.2, 0.1]
TRUTH = [1, 1, 0, 1, 0, 0]


def text(task, labels, targets, **options):
    rows = [
        label_row(f"c{i}", f"p{i // 2}", labels, prob, target)
        for i, (prob, target) in enumerate(zip(np.array(PROBS)[:, None] * np.ones(len(labels)), targets, strict=True))
    ]  # fmt: skip
    return format_label_table(
        summarise_labels(rows, task, resamples=50, **options), "Test split"
    ).splitlines()


def test_binary_is_one_block_over_cases():
    lines = text("binary", ["mass"], [[t] for t in [*TRUTH[:5], -1]])
    assert lines[:3] == [
        "Test split",
        "6 cases of 3 patients; 95 % interval, patients resampled; mass is called above 0.5",
        "mass: 3 positive and 2 negative, 1 left out as unknown",
    ]
    assert lines[4].split() == ["metric", "value", "interval", "over"]
    assert lines[5].split()[:2] == ["AUROC", "0.8333"]
    assert lines[5].endswith("5 cases, 1 left out")
    assert [line.split("  ")[0] for line in lines[5:]] == [
        "AUROC", "AP", "sensitivity at 0.9 specificity", "F1", "ACC", "balanced ACC", "kappa", "ECE", "Brier", "pF1",
    ]  # fmt: skip


def test_labels_are_counted_and_an_undefined_one_is_a_dash():
    lines = text("multilabel", ["mass", "a rare one"], [[t, 0] for t in TRUTH], thresholds={"mass": 0.25})
    assert "labels are called above 0.25 (mass), 0.5 (a rare one)" in lines[1]
    assert lines[4].endswith("1 of 2 labels, 1 undefined")
    [rare] = [line.split("  ") for line in lines if line.startswith("a rare one")]
    cells = [cell.strip() for cell in rare if cell.strip()]
    assert cells[:8] == ["a rare one", "6", "0", "0", "-", "-", "-", "-"]
    header = next(line for line in lines if line.startswith("label"))
    assert header.split()[:4] == ["label", "cases", "positive", "unknown"]
    assert all(len(line) <= 140 for line in lines)


def test_classes_have_scores_together_and_one_by_one():
    lines = text("multiclass", ["a", "b"], [[t, 1 - t] for t in TRUTH])
    assert lines[1].endswith("the most probable class is called")
    assert next(line for line in lines if line.startswith("AUROC")).endswith("2 of 2 classes")
    assert next(line for line in lines if line.startswith("ACC")).endswith("6 cases")
    assert [line.split()[0] for line in lines[-2:]] == ["a", "b"]
