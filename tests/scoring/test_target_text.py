from medimg.scoring.target_text import format_target_table
from medimg.scoring.targets import Target, summarise_targets, target_row

TARGETS = (
    Target("malignant", "binary"),
    Target("grade", "ordinal", classes=("2", "3")),
    Target("position", "regression", columns=("z", "y"), unit="mm"),
)


def test_every_target_has_its_lines():
    nan = float("nan")
    rows = [
        target_row("a", "p", TARGETS, [0.9, 0.8, 0.2, 1.0, 5.0], [1, 1, 0, 2.0, 7.0]),
        target_row("b", "q", TARGETS, [0.2, 0.3, 0.7, 3.0, 5.0], [0, 0, 1, 4.0, 7.0]),
        target_row("c", "r", TARGETS, [0.1, 0.6, 0.4, 3.0, 5.0], [nan, 1, 0, 5.0, nan]),
    ]
    found = summarise_targets(rows, TARGETS, constants={"z": 3.0, "y": 7.0}, resamples=20)
    lines = format_target_table(found, "test: fold 0").splitlines()
    assert lines[:2] == ["test: fold 0", "3 cases of 3 patients; 95 % interval, patients resampled"]
    cells = [[cell for cell in line.split("   ") if cell] for line in lines[3:]]
    shown = {(line[0], line[1].strip()): (line[2].strip(), line[-1].strip()) for line in cells}
    assert shown["malignant", "AUROC"] == ("1.0000", "2 cases, 1 left out")
    assert shown["grade", "quadratic kappa"] == ("1.0000", "3 cases")
    assert shown["grade", "macro AUROC"] == ("1.0000", "3 cases")
    assert shown["z", "MAE mm"] == ("1.3333", "3 cases")
    assert shown["z", "MAE of the training mean mm"] == ("1.3333", "3 cases")
    assert shown["y", "MAE mm"] == ("2.0000", "2 cases, 1 left out")
    assert shown["y", "R2"] == shown["y", "Spearman"] == ("-", "2 cases, 1 left out")  # the truth is constant
