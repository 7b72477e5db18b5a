import json

import pytest
import yaml

from medimg.errors import DataError
from medimg.reports.entries import read_entries
from medimg.reports.run_files import read_run
from medimg.scoring.label_table import label_row, write_label_table


def write_table(folder):
    rows = [label_row(f"c{n}", f"p{n}", ["x"], [0.2 + 0.1 * n], [n % 2]) for n in range(6)]
    write_label_table(folder / "per_case.csv", rows)
    (folder / "predictions.json").write_text(json.dumps({"task": "binary", "split": "s1"}))


def write_fold(folder, offset=0.0):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"experiment": "cv"}))
    (folder / "metrics.csv").write_text(
        f"epoch,step,train/loss_step,train/loss_epoch,val/loss\n,4,0.5,,\n0,9,,{0.9 + offset},\n0,9,,,0.8\n1,19,,0.4,\n"
    )


def entry_of(path):
    (entry,), _ = read_entries([path])
    return entry


def test_a_run_is_read_with_what_lies_beside_its_table(tmp_path):
    run = tmp_path / "a" / "version_0"
    write_fold(run)
    write_table(run / "test")
    (run / "split.json").write_text('{"split": "s1", "fold": 2, "validation": ["c0"]}')
    (run / "record.json").write_text('{"seconds": 60, "device": "CPU"}')
    (run / "test" / "summary.json").write_text('{"thresholds": {"x": 0.4}}')
    found = read_run(entry_of(run))
    assert (found.part, found.folder, found.folds) == ("test", run, 1)
    assert found.config == {"experiment": "cv"} and found.split["fold"] == 2
    assert found.records == ({"seconds": 60, "device": "CPU"},)
    assert found.summary["thresholds"] == {"x": 0.4}
    (loss,) = found.history["train/loss_epoch"]
    assert [part.tolist() for part in loss] == [[0.0, 1.0], [0.9, 0.4]]
    assert found.history["val/loss"][0][0].tolist() == [0.0]
    assert "train/loss_step" not in found.history


def test_a_cross_validation_has_the_newest_run_of_each_fold(tmp_path):
    folder = tmp_path / "cv"
    write_fold(folder / "fold_0" / "version_2")
    write_fold(folder / "fold_0" / "version_10", 0.05)
    write_fold(folder / "fold_1" / "version_0")
    (folder / "fold_2" / "version_0").mkdir(parents=True)  # stopped before it wrote anything
    write_table(folder / "out_of_fold")
    (folder / "crossval.yaml").write_text("seed_everything: 0\n")
    (folder / "crossval.csv").write_text("fold,auroc\n0,0.9\nmean,0.9\n")
    found = read_run(entry_of(folder))
    assert (found.part, found.folds, found.config) == ("out_of_fold", 2, {"seed_everything": 0})
    assert [curve[1].tolist()[0] for curve in found.history["train/loss_epoch"]] == pytest.approx([0.95, 0.9])
    assert found.fold_scores[0] == {"fold": "0", "auroc": "0.9"}


def test_a_table_alone_leaves_the_rest_empty(tmp_path):
    write_table(tmp_path / "elsewhere")
    found = read_run(entry_of(tmp_path / "elsewhere"))
    assert (found.part, found.config, found.split, found.records, found.history) == ("table", {}, {}, (), {})


def test_a_damaged_summary_is_named(tmp_path):
    run = tmp_path / "version_0"
    write_fold(run)
    write_table(run / "test")
    (run / "test" / "summary.json").write_text("{")
    with pytest.raises(DataError, match=r"summary\.json: expected JSON"):
        read_run(entry_of(run))
