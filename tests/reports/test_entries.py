import json
from pathlib import Path

import pytest
import yaml

from medimg.errors import DataError
from medimg.reports.entries import Entry, differing, find_tables, flat, read_entries
from medimg.scoring.label_table import label_row, write_label_table
from medimg.scoring.table import write_per_case


def write_labels(folder, probs=(0.1, 0.9), targets=(0, 1), **facts):
    rows = [
        label_row(f"c{n}", f"p{n}", ["x"], [p], None if targets is None else [targets[n]])
        for n, p in enumerate(probs)
    ]
    write_label_table(folder / "per_case.csv", rows)
    (folder / "predictions.json").write_text(json.dumps({"task": "binary", "split": "s1", **facts}))
    return folder


def write_run(run, lr, **facts):
    write_labels(run / "test", **facts)
    settings = {"lr": lr, "network": {"class_path": "medimg.models.Net", "init_args": {"depth": 3}}}
    content = {"experiment": run.parent.name, "model": {"init_args": settings}, "trainer": {"max_epochs": 2}}
    (run / "config.yaml").write_text(yaml.safe_dump(content))
    return run


def test_runs_folds_and_ensembles_are_found_below_a_folder(tmp_path):
    logs = tmp_path / "logs"
    write_run(logs / "a" / "version_0", 0.1)
    write_labels(logs / "a" / "version_0" / "validate")
    write_labels(logs / "b" / "version_3" / "validate")
    (logs / "b" / "version_3" / "config.yaml").write_text("{}")
    write_run(logs / "cv" / "fold_0" / "version_0", 0.1)
    write_labels(logs / "cv" / "out_of_fold")
    write_labels(tmp_path / "ensembles" / "ab")
    assert find_tables(logs) == [
        logs / "a" / "version_0" / "test" / "per_case.csv",
        logs / "b" / "version_3" / "validate" / "per_case.csv",
        logs / "cv" / "out_of_fold" / "per_case.csv",
    ]
    entries, left_out = read_entries([logs, tmp_path / "ensembles", logs / "cv"])
    names = ["logs/a/version_0", "logs/b/version_3/validate", "logs/cv", "ensembles/ab"]
    assert [entry.name for entry in entries] == names
    assert not left_out
    assert {entry.split for entry in entries} == {"s1"}
    assert entries[2].settings["model.lr"] == 0.1


def test_volumes_describe_their_masks_in_a_folder_of_their_own(tmp_path):
    rows = [{"case_id": "a", "patient_id": "p", "dice_ET": 0.5}]
    write_per_case(tmp_path / "run" / "test" / "per_case.csv", rows)
    (tmp_path / "run" / "test" / "masks").mkdir()
    (tmp_path / "run" / "test" / "masks" / "predictions.json").write_text('{"split": "s2"}')
    (entry,) = read_entries([tmp_path / "run"])[0]
    assert (entry.kind, entry.split, entry.settings) == ("volumes", "s2", {})


def test_predictions_without_truth_are_left_out(tmp_path):
    write_labels(tmp_path / "new", targets=None)
    write_labels(tmp_path / "old")
    entries, left_out = read_entries([tmp_path])
    assert [entry.name for entry in entries] == ["old"]
    (line,) = left_out
    assert line.startswith(f"{tmp_path / 'new' / 'per_case.csv'}: holds neither targets beside probabilities")


def test_a_path_without_scores_is_refused(tmp_path):
    write_labels(tmp_path / "old")
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        with pytest.raises(DataError, match=rf"{name}: no per_case\.csv of scored cases"):
            read_entries([tmp_path / "old", tmp_path / name])
    write_run(tmp_path / "run", 0.1)
    (tmp_path / "run" / "config.yaml").write_text(":\n  - [")
    with pytest.raises(DataError, match=r"config\.yaml: cannot be read"):
        read_entries([tmp_path / "run"])


def test_only_what_differs_is_told(tmp_path):
    write_run(tmp_path / "a" / "version_0", 0.1)
    write_run(tmp_path / "b" / "version_0", 0.2)
    members = [{"folder": "a", "weight": 0.5, "checkpoint": "x"}]
    write_labels(tmp_path / "ens", ensemble={"method": "mean", "members": members})
    entries, _ = read_entries([tmp_path])
    assert dict(entries[0].settings) == {
        "model.lr": 0.1,
        "model.network": "Net",
        "model.network.depth": 3,
        "trainer.max_epochs": 2,
    }
    assert differing(entries[:2]) == [{"model.lr": "0.1"}, {"model.lr": "0.2"}]
    assert differing(entries)[2] == {
        "ensemble.method": "mean",
        "ensemble.members.0.folder": "a",
        "ensemble.members.0.weight": "0.5",
    }
    assert differing(entries)[:2] == differing(entries[:2])


@pytest.mark.parametrize("change", [{"probs": (0.1, 0.9, 0.5), "targets": (0, 1, 1)}, {"targets": (0, 0)}])
def test_other_cases_or_another_truth_are_another_thing(tmp_path, change):
    for name, options in {"a": {}, "b": {"probs": (0.3, 0.2)}, "c": change}.items():
        write_labels(tmp_path / name, **options)
    one, same, other = read_entries([tmp_path])[0]
    assert one.scored() == same.scored() != other.scored()


def test_settings_as_dotted_names():
    stop = {"class_path": "a.Stop", "init_args": {"patience": 3}}
    content = {"trainer": {"callbacks": [stop, stop], "logger": None}, "seed": 0, "sizes": [1, 2], "none": {}}
    assert dict(flat(content)) == {
        "trainer.callbacks.Stop": "Stop",
        "trainer.callbacks.Stop.patience": 3,
        "trainer.callbacks.Stop2": "Stop",
        "trainer.callbacks.Stop2.patience": 3,
        "seed": 0,
        "sizes": "[1, 2]",
        "none": "{}",
    }


def test_what_follows_from_another_setting_is_left_out():
    settings = [
        {"tta": "Flip", "tta.axes": 2, "ema": "EMA", "ema.decay": 0.9, "ema.device": "cpu", "lr": 1},
        {"tta": "Turn", "tta.angle": 9, "ema": "EMA", "ema.decay": 0.8, "ema.device": "cpu", "lr": 1},
        {"tta": "Turn", "tta.angle": 5, "lr": 1, "seed": 3},
    ]
    entries = [Entry(str(n), Path(), (), "labels", settings=one) for n, one in enumerate(settings)]
    assert differing(entries) == [
        {"tta": "Flip", "ema": "EMA", "ema.decay": "0.9"},
        {"tta": "Turn", "ema": "EMA", "ema.decay": "0.8"},
        {"tta": "Turn", "seed": "3"},
    ]


def test_a_table_with_a_fault_is_named(tmp_path):
    write_labels(tmp_path / "good")
    table = write_labels(tmp_path / "bad") / "per_case.csv"
    table.write_text("case_id,patient_id,target_x,prob_x\na,p,1,1.5\n")
    entries, _ = read_entries([tmp_path])
    with pytest.raises(DataError, match=r"bad/per_case\.csv: case a: expected a probability"):
        entries[0].scored()
    table.write_text("case_id,patient_id,target_x,prob_x\na,p,1,0.5\na,p,1,0.75\n")
    with pytest.raises(DataError, match=r"bad/per_case\.csv: case a was scored twice"):
        read_entries([tmp_path])
