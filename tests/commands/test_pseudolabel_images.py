import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from medimg.cli import main
from medimg.commands.pseudolabel import pseudolabel
from medimg.commands.pseudolabel_images import ImageWords, rules_of
from medimg.errors import ConfigError, DataError
from medimg.preparation.pseudo_note import read_note
from medimg.preparation.split_table import SplitRow, write_split_table
from medimg.records import TableColumns
from medimg.scoring.label_table import label_row, write_label_table

PROBS = {"a.png": 0.99, "b.png": 0.96, "c.png": 0.5, "d.png": 0.02, "e.png": 0.04}


@pytest.fixture
def world(tmp_path, write_picture, monkeypatch):
    """Five unlabelled pictures and a split of two labelled ones."""
    for number, name in enumerate(PROBS):
        write_picture(tmp_path / "new" / name, seed=number)
    for number in (100, 101):
        write_picture(tmp_path / "old" / f"{number}.png", seed=number)
    write_split_table(tmp_path / "splits.csv", [SplitRow("100.png", "p1", 0), SplitRow("101.png", "p2", 1)])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def predict(folder, probs, labels=("x",), **facts):
    rows = [label_row(case, case, labels, np.atleast_1d(prob)) for case, prob in probs.items()]
    write_label_table(Path(folder) / "per_case.csv", rows)
    (Path(folder) / "predictions.json").write_text(
        json.dumps({"classes": list(labels), "task": "binary", **facts})
    )
    return Path(folder)


def run(*members, out="labels.csv", **options):
    options = {"images": Path("new"), "split": Path("splits.csv"), "labelled": Path("old"), **options}
    assert pseudolabel(list(members), out=Path(out), **options) == 0
    return table(out)


def table(path):
    with Path(path).open() as stream:
        return {row["case_id"]: row for row in csv.DictReader(stream)}


def labels(rows, name="x"):
    return {case: row[name] for case, row in rows.items()}


def test_the_command_line_writes_a_table_and_says_what_is_next(world, capsys):
    member = predict("m", PROBS)
    words = ["pseudolabel", str(member), "--out", "labels.csv", "--images", "new", "--split", "splits.csv"]
    assert (
        main([*words, "--positive", "0.95", "--negative", "x=0.03", "--labelled", "old", "--weight", "0.5"])
        == 0
    )
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "3 of 5 cases are sure, by 1 member: labels.csv"
    assert out[1].split() == ["x", "2", "positive,", "1", "negative,", "0", "blank"]
    assert (
        out[-1]
        == "next: medimg fit --config CONFIG --data.split.file splits.csv --data.pseudo.path labels.csv"
    )
    rows = table("labels.csv")
    assert labels(rows) == {"a.png": "1", "b.png": "1", "d.png": "0"}
    assert {row["weight"] for row in rows.values()} == {"0.5"}
    assert rows["a.png"]["image_0"] == "a.png" and rows["a.png"]["split"] == ""
    note = read_note(Path("labels.csv"))
    assert (note.round, note.images, note.task, note.classes) == (
        1,
        (world / "new").absolute(),
        "binary",
        ("x",),
    )
    assert note.settings["thresholds"] == {"positive": {"x": 0.95}, "negative": {"x": 0.03}}
    assert note.settings["members"][0]["folder"] == "m"
    assert note.settings["members"][0]["fold"] is None


def test_members_are_averaged_and_must_agree(world):
    one, other = predict("m", PROBS), predict("n", {**PROBS, "a.png": 0.93, "d.png": 0.0, "b.png": 0.45})
    rows = run(one, other, positive=["0.7"], negative=["0.3"], soft=True, weight="confidence")
    assert set(rows) == {"a.png", "d.png", "e.png"}  # b.png has a mean of 0.705, and one member says no
    assert float(rows["a.png"]["x"]) == pytest.approx(0.96)
    assert float(rows["d.png"]["weight"]) == pytest.approx(0.99)


def test_a_quota_of_each_side(world):
    assert labels(run(predict("m", PROBS), quota=["1"])) == {"a.png": "1", "d.png": "0"}
    rows = run(predict("m", PROBS), quota=["x:0=1"], overwrite=True)
    assert labels(rows) == {"a.png": "1", "b.png": "1", "d.png": "0"}


def test_exclusive_classes_become_one_hot_rows(world):
    probs = {"a.png": [0.97, 0.02, 0.01], "b.png": [0.6, 0.2, 0.2], "c.png": [0.0, 0.04, 0.96]}
    rows = run(predict("m", probs, "xyz", task="multiclass"))
    assert {case: [row[name] for name in "xyz"] for case, row in rows.items()} == {
        "a.png": ["1", "0", "0"],
        "c.png": ["0", "0", "1"],
    }
    with pytest.raises(ConfigError, match="--negative is for labels that are told apart"):
        run(predict("m", probs, "xyz", task="multiclass"), negative=["0.1"], overwrite=True)


def test_labels_that_are_not_sure_are_blank(world):
    rows = run(predict("m", {"a.png": [0.99, 0.5], "b.png": [0.5, 0.5]}, "xy", task="multilabel"))
    assert [(row["x"], row["y"]) for row in rows.values()] == [("1", "")]


def test_rounds_keep_what_is_not_contradicted(world, capsys):
    run(predict("m", PROBS))
    second = {"a.png": 0.7, "b.png": 0.4, "c.png": 0.97, "d.png": 0.98, "e.png": 0.01}
    rows = run(predict("n", second), out="two.csv", previous=Path("labels.csv"))
    assert labels(rows) == {"a.png": "1", "c.png": "1", "d.png": "1", "e.png": "0"}
    assert "round 2: 2 labels kept, 1 new, 1 dropped, 1 flipped" in capsys.readouterr().out
    note = read_note(Path("two.csv"))
    assert (note.round, note.settings["previous"]["path"]) == (2, "labels.csv")
    # What is not predicted any more stays as it was.
    rows = run(predict("o", {"c.png": 0.99}), out="three.csv", previous=Path("two.csv"))
    assert labels(rows) == {"a.png": "1", "c.png": "1", "d.png": "1", "e.png": "0"}
    assert "round 3: 4 labels kept, 0 new, 0 dropped, 0 flipped" in capsys.readouterr().out


def test_the_earlier_round_is_of_the_same_task_and_folder(world):
    run(predict("m", PROBS))
    with pytest.raises(
        ConfigError, match=r"--previous labels\.csv: is binary with x, and these predictions are"
    ):
        run(predict("n", PROBS, ["y"]), out="two.csv", previous=Path("labels.csv"))
    shutil.copytree("new", "newer")
    with pytest.raises(ConfigError, match=r"4 of its cases were not predicted now, such as a\.png"):
        few = {"c.png": 0.99}
        run(predict("n", few), out="two.csv", previous=Path("labels.csv"), images=Path("newer"))


def test_a_case_of_the_split_is_refused_under_any_name(world, write_picture):
    member = predict("m", {**PROBS, "100.png": 0.99, "z.png": 0.99})
    write_picture(world / "new" / "100.png", seed=7)
    shutil.copy(world / "old" / "101.png", world / "new" / "z.png")
    with pytest.raises(DataError, match="found 2 that are known") as fault:
        run(member)
    assert "100.png: it stands in fold 0 of splits.csv" in str(fault.value)
    assert "z.png: an image of it is that of the labelled case" in str(fault.value)
    assert not Path("labels.csv").exists()
    assert set(run(member, skip_known=True)) == {"a.png", "b.png", "d.png", "e.png"}


def test_the_patient_of_a_validation_case_is_refused(world, write_table):
    rows = [[case, "p2" if case == "d.png" else case, case] for case in PROBS]
    write_table(world / "new" / "cases.csv", ["id", "patient", "file"], rows)
    options = {"table": Path("new/cases.csv"), "columns": TableColumns("id", "patient", ("file",))}
    with pytest.raises(DataError, match=r"d\.png: its patient p2 stands in fold 1 of splits\.csv"):
        run(predict("m", PROBS), **options)


def test_predictions_of_labelled_cases_are_refused(world):
    write_label_table(Path("m/per_case.csv"), [label_row("a.png", "a", ["x"], [0.99], [1])])
    with pytest.raises(DataError, match=r"a\.png has a label already"):
        run(Path("m"))


def test_a_run_brings_its_config_and_with_it_the_labelled_data(
    world, write_class_folders, write_picture, capsys
):
    root = write_class_folders(world / "set", {"benign": 2, "malignant": 2})
    shutil.copy(root / "benign" / "benign (1).png", world / "new" / "c.png")
    run_folder = world / "logs" / "busi" / "version_0"
    predict(run_folder / "predict", PROBS)
    dataset = {"class_path": "medimg.datasets.ImageFolder", "init_args": {"positive": ["malignant"]}}
    section = {
        "class_path": "medimg.datamodules.ImageDataModule",
        "init_args": {"root": str(root), "dataset": dataset},
    }
    (run_folder / "config.yaml").write_text(json.dumps({"data": section}))
    with pytest.raises(DataError, match=r"c\.png: an image of it is that of the labelled case benign/benign"):
        run(run_folder, labelled=None)
    shutil.rmtree(root)
    run(run_folder, labelled=None)
    assert "copies of labelled images under other names are not looked for" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"positive": ["0.3"], "negative": ["0.5"]},
            "x: expected --negative below --positive, found 0.5 and 0.3",
        ),
        ({"weight": "much"}, "--weight much: expected a number above 0, or the word confidence"),
        ({"weight": "0"}, "--weight 0: expected a number above 0"),
        ({"max_spread": 2.0}, "--max_spread 2: expected a difference"),
        ({"min_dice": 0.5}, "--min_confidence and --min_dice are for volumes"),
        ({"table": Path("t.csv")}, "--table needs its columns"),
        ({"labelled": Path("nowhere")}, "--labelled nowhere: there is no such folder"),
        ({"out": "masks", "soft": True}, "--soft is for tables"),
        ({"out": "masks", "negative": ["0.1"]}, "--negative is for tables"),
        ({"task": "multilabel"}, "found binary, multilabel"),
    ],
)
def test_options_that_do_not_fit_are_refused(world, options, message):
    with pytest.raises(ConfigError, match=message):
        run(predict("m", PROBS), **options)


def test_the_task_is_asked_for_where_nothing_says_it(world):
    member = predict("m", {"a.png": [0.99, 0.5]}, "xy", task=None)
    with pytest.raises(ConfigError, match="--task: expected one of"):
        run(member)
    assert set(run(member, task="multilabel")) == {"a.png"}


def test_nothing_is_lost(world):
    member = predict("m", PROBS)
    run(member)
    before = Path("labels.csv").read_bytes()
    with pytest.raises(ConfigError, match=r"labels\.csv: exists already"):
        run(member)
    with pytest.raises(DataError, match=r"no case of 5 is sure enough: the surest reaches 0\.99"):
        run(member, positive=["1"], negative=["0"], overwrite=True)
    assert Path("labels.csv").read_bytes() == before
    Path("mine.csv").write_text("my own table\n")
    with pytest.raises(ConfigError, match=r"mine\.csv: was not written by this verb"):
        run(member, out="mine.csv", overwrite=True)
    assert Path("mine.csv").read_text() == "my own table\n"


def test_members_of_other_cases_or_labels_are_refused(world):
    one = predict("m", PROBS)
    with pytest.raises(DataError, match="expected the same cases in all members"):
        run(one, predict("n", {"a.png": 0.9}))
    with pytest.raises(DataError, match="expected the same labels in all members"):
        run(one, predict("o", PROBS, ["y"]))
    with pytest.raises(DataError, match=r"expected the per_case\.csv of a classification"):
        (Path("empty")).mkdir()
        run(Path("empty"))


def test_thresholds_by_name():
    rules = rules_of(ImageWords(["0.9"], ["b=0.2"], ["5,a:1=0.5"]), ["a", "b"], exclusive=False)
    assert rules.positive.tolist() == [0.9, 0.9]
    assert rules.negative.tolist() == [0.05, 0.2]
    assert rules.quota == {(0, 0): 5, (0, 1): 0.5, (1, 0): 5, (1, 1): 5}
