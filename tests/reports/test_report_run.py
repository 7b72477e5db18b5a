import json

import numpy as np
import pytest
import yaml
from PIL import Image

from medimg.errors import DataError
from medimg.reports.blocks import Code, Figures, Table, Text
from medimg.reports.entries import read_entries
from medimg.reports.report_run import (
    agreement_section,
    data_section,
    explain_section,
    machine_section,
    method_section,
    training_section,
)
from medimg.reports.run_files import read_run
from medimg.scoring.label_table import label_row, write_label_table

CONFIG = {
    "seed_everything": 0,
    "model": {
        "class_path": "medimg.tasks.ClassificationTask",
        "init_args": {"task": "binary", "classes": ["x"]},
    },
    "data": {"class_path": "medimg.datamodules.ImageDataModule", "init_args": {"root": "/home/anna/BUSI"}},
}


@pytest.fixture
def folder(tmp_path):
    run = tmp_path / "a" / "version_0"
    rows = [label_row(f"c{n}", f"p{n // 2}", ["x"], [0.2], [n % 2]) for n in range(4)]
    write_label_table(run / "test" / "per_case.csv", rows)
    (run / "test" / "predictions.json").write_text(json.dumps({"task": "binary", "split": "abc"}))
    (run / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return run


def read(folder):
    (entry,), _ = read_entries([folder])
    return read_run(entry)


def facts(section):
    return {row[0]: row[1] for block in section.blocks if isinstance(block, Table) for row in block.rows}


def test_data_are_told_with_counts_and_hashes(folder):
    (folder / "split.json").write_text('{"split": "abc", "fold": 1, "folds": 5, "validation": ["c0", "c1"]}')
    found = facts(data_section(read(folder)))
    assert found["scored"] == "4 cases of 2 patients, the cases of its test"
    assert found["hash of the split"] == "abc" and len(found["hash of the cases and their truth"]) == 12
    assert found["fold"] == "1 of 5, 2 cases held out"
    assert found["data module"] == "ImageDataModule"


def test_a_test_on_validation_cases_is_called_one(folder):
    (folder / "split.json").write_text(
        '{"split": "abc", "fold": 1, "folds": 5, "validation": ["c0"], "test": []}'
    )
    scored = facts(data_section(read(folder)))["scored"]
    assert scored.startswith(
        "4 cases of 2 patients, its validation cases: the epoch may have been chosen on them"
    )


def test_what_was_not_recorded_is_said_to_be_missing(folder):
    run = read(folder)
    assert facts(training_section(run)) == {
        "time": "not measured",
        "steps": "not measured",
        "energy": "not measured",
    }
    assert "no metrics.csv" in training_section(run).blocks[0].text
    assert isinstance(machine_section(run).blocks[0], Text)


def test_cost_and_machine_are_those_of_the_record(folder):
    record = {
        "seconds": 90,
        "joules": 1.8e6,
        "steps": 40,
        "device": "H200",
        "devices": 2,
        "packages": {"torch": "2.10"},
    }
    (folder / "record.json").write_text(json.dumps(record))
    run = read(folder)
    assert facts(training_section(run)) == {
        "time": "1.5 minutes of fitting", "steps": "40", "energy": "0.5 kWh of the GPUs",
    }  # fmt: skip
    assert facts(machine_section(run)) | {"torch": "2.10", "device": "H200, 2 devices"} == facts(
        machine_section(run)
    )


def test_time_of_some_folds_is_not_the_time_of_all(tmp_path, folder):
    cv = tmp_path / "cv"
    for fold in range(2):
        run = cv / f"fold_{fold}" / "version_0"
        run.mkdir(parents=True)
        (run / "config.yaml").write_text("{}")
    (cv / "fold_0" / "version_0" / "record.json").write_text('{"seconds": 60, "steps": 3}')
    (folder / "test").rename(cv / "out_of_fold")
    assert facts(training_section(read(cv)))["time"] == "not measured"


def test_curves_are_drawn_by_metric(folder):
    (folder / "metrics.csv").write_text(
        "epoch,train/loss_epoch,val/loss,val/auroc\n0,0.9,,\n0,,0.8,0.6\n1,0.5,,\n"
    )
    (figures,) = [block for block in training_section(read(folder)).blocks if isinstance(block, Figures)]
    assert [figure.alt for figure in figures.figures] == [
        "Loss by epoch: train/loss, val/loss.", "Score by epoch: val/auroc.",
    ]  # fmt: skip


def test_settings_tell_no_folder_of_a_person(folder):
    section = method_section(read(folder))
    assert "anna" not in str(section)
    codes = {block.summary: block.text for block in section.blocks if isinstance(block, Code)}
    assert ".../BUSI" in codes["Config"] and "@" in codes["BibTeX"]


def test_explanations_are_those_of_the_runs_own_cases(tmp_path):
    (tmp_path / "c0").mkdir()
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "c0" / "x.png")
    (tmp_path / "table.csv").write_text(
        "case_id,label,method,picture\nc0,x,gradcam,c0/x.png\nother,x,gradcam,other/x.png\n"
    )
    section = explain_section(tmp_path, {"c0": "case 1"})
    (figures,) = section.blocks
    assert [figure.caption for figure in figures.figures] == ["case 1: x, gradcam"]
    assert (
        explain_section(tmp_path, {"c9": "case 9"}) is None and explain_section(tmp_path / "c0", {}) is None
    )
    (tmp_path / "table.csv").write_text("case,label\na,b\n")
    with pytest.raises(DataError, match="expected what `medimg explain` writes"):
        explain_section(tmp_path, {})


def test_agreement_is_shown_as_it_was_written(tmp_path):
    (tmp_path / "agreement.csv").write_text("label,kappa\nmass,0.51234\n")
    (table,) = agreement_section(tmp_path).blocks
    assert table.head == ("label", "kappa") and table.rows == (("mass", "0.512"),)
    with pytest.raises(DataError, match=r"found no agreement\.csv"):
        agreement_section(tmp_path / "nothing")
