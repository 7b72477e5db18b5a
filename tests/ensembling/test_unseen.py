import json
from pathlib import Path

import numpy as np
import pytest

from medimg.ensembling.unseen import read_unseen
from medimg.errors import DataError
from medimg.scoring.label_table import label_row, write_label_table

FACTS = {"classes": ["x"], "task": "binary", "part": "validation", "split": "s1", "checkpoint": "best.ckpt"}


def make(folder: Path, names="abcd", facts=FACTS, labels=("x",), probs=None, targets=None) -> Path:
    probs = np.linspace(0.1, 0.9, len(names))[:, None] if probs is None else probs
    targets = (np.arange(len(names)) % 2)[:, None] if targets is None else targets
    rows = [
        label_row(f"case_{name}", f"patient_{name}", labels, prob, target)
        for name, prob, target in zip(names, probs, targets, strict=True)
    ]
    write_label_table(folder / "per_case.csv", rows)
    if facts is not None:
        (folder / "predictions.json").write_text(json.dumps(facts))
    return folder


def test_folds_are_put_side_by_side(tmp_path):
    folders = [make(tmp_path / "f0", "ab"), make(tmp_path / "f1", "cd")]
    found = read_unseen([folders[0], folders[1] / "per_case.csv"])
    assert found.table.case_ids == ("case_a", "case_b", "case_c", "case_d")
    assert (found.task, found.split, found.run) == ("binary", "s1", None)


def test_a_run_that_scored_validation_cases_is_read(tmp_path):
    run = tmp_path / "version_0"
    make(run / "test")
    (run / "config.yaml").write_text("")
    for path in (run, run / "test", run / "test" / "per_case.csv"):
        assert read_unseen([path]).run == run


def test_unknown_targets_are_nan_in_every_spelling(tmp_path):
    folder = make(tmp_path / "oof")
    table = folder / "per_case.csv"
    lines = table.read_text().splitlines()
    spelt = ["", "-1", "nan", "-1.0"]
    changed = [
        f"{c},{p},{t},{q}" for t, (c, p, _, q) in zip(spelt, [x.split(",") for x in lines[1:]], strict=True)
    ]
    table.write_text("\n".join([lines[0], *changed]) + "\n")
    assert np.isnan(read_unseen([folder]).truth).all()


def test_test_cases_are_refused_whatever_the_user_says(tmp_path):
    folder = make(tmp_path / "oof", facts=FACTS | {"part": "test"})
    for vouched in (False, True):
        with pytest.raises(DataError, match=r"says that these are test cases.*out-of-fold predictions"):
            read_unseen([folder], vouched=vouched)


@pytest.mark.parametrize("name", ["test", "Test_set", "my-holdout", "x.testing"])
def test_a_split_named_test_is_refused(tmp_path, name):
    folder = make(tmp_path / name, facts=None)
    with pytest.raises(DataError, match="names test cases, and nothing is fitted on those"):
        read_unseen([folder], vouched=True)
    table = (folder / "per_case.csv").rename(make(tmp_path / "oof", facts=None) / "test.csv")
    with pytest.raises(DataError, match="'test' names test cases"):
        read_unseen([table], vouched=True)


@pytest.mark.parametrize("facts", [None, {"task": "binary", "split": "s1"}, FACTS | {"part": "predict"}])
def test_tables_that_say_nothing_need_the_users_word(tmp_path, facts):
    folder = make(tmp_path / "latest", facts=facts)  # not a word "test"
    with pytest.raises(DataError, match=r"nothing says which cases these are.*say so with --unseen"):
        read_unseen([folder])
    assert read_unseen([folder], vouched=True).task == "binary"


def test_an_old_runs_own_test_folder_needs_the_users_word(tmp_path):
    run = tmp_path / "version_0"
    make(run / "test", facts=None)
    (run / "config.yaml").write_text("")
    with pytest.raises(DataError, match="say so with --unseen"):
        read_unseen([run])
    assert read_unseen([run], vouched=True).run == run


def test_tables_that_do_not_belong_together_are_refused(tmp_path):
    first = make(tmp_path / "a", "ab")
    again = make(tmp_path / "again", "bc")
    with pytest.raises(DataError, match=r"case_id case_b stands in .*medimg ensemble"):
        read_unseen([first, again])
    table = make(tmp_path / "c", "cd") / "per_case.csv"
    table.write_text(table.read_text().replace("patient_c", "patient_a"))
    with pytest.raises(DataError, match="patient_id patient_a stands in"):
        read_unseen([first, table])
    for name, facts, said in (
        ("split", FACTS | {"split": "s2"}, "the same split in all tables, found s1 in .* and s2 in"),
        ("task", FACTS | {"task": "multilabel"}, "the same task in all tables"),
    ):
        with pytest.raises(DataError, match=said):
            read_unseen([first, make(tmp_path / name, "ef", facts=facts)])
    other = make(tmp_path / "labels", "ef", labels=("y",))
    with pytest.raises(DataError, match="the same columns in all tables"):
        read_unseen([first, other])


def test_a_calibrated_table_and_one_of_masks_are_refused(tmp_path):
    folder = make(tmp_path / "oof", facts=FACTS | {"calibration": "12ab"})
    with pytest.raises(DataError, match="went through the calibration 12ab already"):
        read_unseen([folder])
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "per_case.csv").write_text("case_id,dice_ET\na,0.5\n")
    with pytest.raises(DataError, match="Calibration is for classifications"):
        read_unseen([tmp_path / "masks"])


def test_predictions_without_targets_and_an_odd_task_are_refused(tmp_path):
    rows = [label_row("a", "p", ["x"], [0.5])]
    write_label_table(tmp_path / "oof" / "per_case.csv", rows)
    with pytest.raises(DataError, match="Predictions without targets"):
        read_unseen([tmp_path / "oof"], vouched=True)
    with pytest.raises(DataError, match="expected the task binary, multiclass, multilabel, found 'odd'"):
        read_unseen([make(tmp_path / "odd", facts=FACTS | {"task": "odd"})])


def test_the_task_follows_from_the_table_where_nothing_states_it(tmp_path):
    probs = np.array([[0.2, 0.8], [0.7, 0.3]])
    common = {"names": "ab", "labels": ("x", "y"), "facts": {"part": "validation"}}
    one_hot = make(tmp_path / "one", probs=probs, targets=np.eye(2), **common)
    found = read_unseen([one_hot])
    assert found.task == "multiclass"
    several = make(tmp_path / "two", probs=probs, targets=np.ones((2, 2)), **common)
    assert read_unseen([several]).task == "multilabel"
    sums = make(tmp_path / "three", probs=probs / 2, targets=np.eye(2), **common)
    assert read_unseen([sums]).task == "multilabel"


def test_of_soft_classes_the_largest_share_is_the_truth(tmp_path):
    targets = np.array([[0.4, 0.35, 0.25], [0, 0, 1], [np.nan, 0, 1]])
    facts = FACTS | {"task": "multiclass"}
    folder = make(tmp_path / "oof", "abc", facts, ("x", "y", "z"), np.full((3, 3), 1 / 3), targets)
    np.testing.assert_array_equal(read_unseen([folder]).truth, [[1, 0, 0], [0, 0, 1], [np.nan] * 3])
