import csv
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import recall_score

from medimg.cli import main
from medimg.ensembling.calibration_file import read_calibration
from medimg.io.raster import read_raster
from medimg.scoring.label_table import label_row, read_label_table, write_label_table

FACTS = {"task": "multilabel", "part": "validation", "split": "s1"}


def make(folder, facts=FACTS, labels=("a", "b", "never"), n=200):
    rng = np.random.default_rng(0)
    z = rng.normal(-0.5, 1.5, (n, len(labels)))
    target = (rng.random(z.shape) < expit(z)).astype(float)
    if "never" in labels:
        target[:, -1] = 0
    probs = expit(3 * z)
    if facts.get("task") == "multiclass":
        target, probs = np.eye(len(labels))[z.argmax(1)], probs / probs.sum(1, keepdims=True)
    rows = [label_row(f"c{i:03d}", f"p{i // 2}", labels, probs[i], target[i]) for i in range(n)]
    write_label_table(folder / "per_case.csv", rows)
    (folder / "predictions.json").write_text(json.dumps(facts))
    return folder


def test_the_command_line_fits_prints_draws_and_says_what_is_next(tmp_path, capsys):
    folder, out, plot = make(tmp_path / "oof"), tmp_path / "new" / "c.json", tmp_path / "r.png"
    words = ["calibrate", str(folder), "--method", "platt", "--out", str(out), "--plot", str(plot)]
    assert main([*words, "--threshold", "sensitivity", "--target", "0.9"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0] == "platt, fitted on 200 cases of 100 patients"
    assert lines[-2:] == [
        f"calibration: {out}",
        f"next: medimg ensemble RUN RUN --part predict --out DIR --calibration {out}",
    ]
    assert printed.err == (
        "warning: never stays as it is: cases with and without the label are needed, found 0 positive and 200 "
        "negative ones\n"
    )
    found = read_calibration(out)
    assert (found.kind, found.labels, found.cases, found.patients) == ("platt", ("a", "b", "never"), 200, 100)
    assert (found.split, found.rule, set(found.maps)) == ("s1", "sensitivity 0.9", {"a", "b"})
    assert read_raster(plot).shape[0] == 3
    with (folder / "per_case.csv").open() as stream:
        table = list(csv.DictReader(stream))
    called = found.calibrate_rows(
        [{k: float(v) if "_id" not in k else v for k, v in row.items()} for row in table]
    )
    truth = [float(row["target_a"]) for row in table]
    assert 0.9 <= recall_score(truth, [row["pred_a"] for row in called]) < 0.93
    row = next(line.split() for line in lines if line.startswith("a ") and len(line.split()) == 6)
    assert float(row[2]) == pytest.approx(recall_score(truth, [r["pred_a"] for r in called]), abs=1e-4)


def test_a_single_run_predicts_next_and_two_runs_print_the_same(tmp_path, capsys):
    run = tmp_path / "version_0"
    make(run / "test")
    (run / "config.yaml").write_text("")
    outputs = []
    for name in ("one.json", "two.json"):
        assert main(["calibrate", str(run), "--method", "temperature", "--out", str(tmp_path / name)]) == 0
        outputs.append(capsys.readouterr().out.replace(name, ""))
    assert outputs[0] == outputs[1]
    assert (
        outputs[0].splitlines()[-1].startswith(f"next: medimg predict --config {run / 'config.yaml'} --calib")
    )
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_a_calibration_that_does_not_help_is_said_so(tmp_path, capsys):
    rng = np.random.default_rng(4)
    prob = rng.random(60)
    rows = [label_row(f"c{i}", "", ["x"], [p], [float(rng.random() < p)]) for i, p in enumerate(prob)]
    write_label_table(tmp_path / "oof" / "per_case.csv", rows)
    words = ["calibrate", str(tmp_path / "oof"), "--method", "isotonic", "--unseen", "--out"]
    assert main([*words, str(tmp_path / "c.json")]) == 0
    assert "warning: on unseen patients the log loss rises from" in capsys.readouterr().err


REFUSED = [
    (["--threshold", "fbeta"], "--beta goes with --threshold fbeta, and fbeta needs it"),
    (["--threshold", "f1", "--beta", "2"], "--beta goes with --threshold fbeta"),
    (["--threshold", "fbeta", "--beta", "0"], "--beta: expected a number above 0, found 0"),
    (["--target", "0.9"], "--target goes with --threshold sensitivity"),
    (["--threshold", "sensitivity", "--target", "95"], "--target: expected a sensitivity above 0, up to 1"),
    (["--plot", "."], "expected the name of a new file, found a folder"),
]


@pytest.mark.parametrize(("more", "said"), REFUSED)
def test_options_that_do_not_fit_are_refused(tmp_path, capsys, more, said):
    out = tmp_path / "c.json"
    words = ["calibrate", str(make(tmp_path / "oof")), "--method", "platt", "--out", str(out)]
    assert main([*words, *more]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_files_are_kept_unless_asked(tmp_path, capsys):
    folder, out = make(tmp_path / "oof"), tmp_path / "c.json"
    words = ["calibrate", str(folder), "--method", "platt", "--out", str(out)]
    out.write_text("mine")
    assert main(words) == 2
    assert "is there already" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert main([*words, "--overwrite"]) == 0
    table = folder / "per_case.csv"
    before = table.read_bytes()
    assert main(["calibrate", str(table), "--method", "platt", "--overwrite", "--out", str(table)]) == 2
    assert table.read_bytes() == before


def test_test_cases_and_thresholds_of_classes_are_refused(tmp_path, capsys):
    out = tmp_path / "c.json"
    words = ["--method", "temperature", "--out", str(out)]
    test = make(tmp_path / "a", FACTS | {"part": "test"})
    assert main(["calibrate", str(test), *words, "--unseen"]) == 2
    assert "these are test cases" in capsys.readouterr().err
    classes = make(tmp_path / "b", FACTS | {"task": "multiclass"}, labels=("x", "y", "z"))
    assert main(["calibrate", str(classes), *words, "--threshold", "f1"]) == 2
    assert "the most probable one is called" in capsys.readouterr().err
    assert not out.exists()


def test_the_help_loads_none_of_what_is_heavy():
    code = (
        "import sys; from medimg.cli import main; main(['calibrate', '--help']); "
        "print({'torch', 'lightning', 'scipy.optimize', 'matplotlib', 'nibabel'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
    assert "--threshold" in done.stdout


@pytest.mark.slow
def test_a_run_tests_and_predicts_with_a_calibration(tmp_path, monkeypatch, write_class_folders, caplog):
    monkeypatch.chdir(tmp_path)
    write_class_folders(tmp_path / "data", {"benign": 6, "malignant": 4})
    config = Path(__file__).parents[1] / "conf" / "classification.yaml"
    assert main(["fit", "--config", str(config), "--data.root", "data", "--score_best", "false"]) == 0
    run = Path("lightning_logs/classification/version_0")
    assert main(["test", "--config", str(run / "config.yaml")]) == 0
    # Of so few cases nothing can be fitted, so the user's own file stands in.
    file = tmp_path / "c.json"
    parameters = {"malignant": {"a": 0.5, "b": 1.0}}
    split = json.loads((run / "test" / "predictions.json").read_text())["split"]
    content = {
        "version": 1, "kind": "platt", "task": "binary", "labels": ["malignant"], "parameters": parameters,
        "thresholds": {"malignant": 0.4}, "rule": "f1", "cases": 10, "patients": 10, "split": split,
    }  # fmt: skip
    file.write_text(json.dumps(content))
    for verb in ("test", "predict"):
        words = ["--config", str(run / "config.yaml"), "--calibration", str(file)]
        assert main([verb, *words, *(["--data.predict_root", "data"] if verb == "predict" else [])]) == 0
        folder = run / f"{verb}_calibrated"
        facts = json.loads((folder / "predictions.json").read_text())
        assert facts["calibration"] == hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        assert main(["calibrate", str(folder), "--method", "platt", "--unseen", "--out", "d.json"]) == 2
    assert "fitted on the validation cases of this split" in caplog.text
    raw = read_label_table(run / "test" / "per_case.csv")
    calibrated = read_label_table(run / "test_calibrated" / "per_case.csv")
    for row, other in zip(read_calibration(file).calibrate_rows(raw), calibrated, strict=True):
        assert list(other) == list(row)
        assert other["prob_malignant"] == pytest.approx(row["prob_malignant"], rel=1e-6)
        assert (other["case_id"], other["target_malignant"]) == (row["case_id"], row["target_malignant"])
    assert {row["pred_malignant"] for row in calibrated} <= {0.0, 1.0}
