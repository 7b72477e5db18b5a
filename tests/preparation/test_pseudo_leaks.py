import json
from pathlib import Path

import pytest

from medimg.ensembling.description import Description
from medimg.ensembling.members import Member
from medimg.errors import DataError
from medimg.preparation.pseudo_leaks import (
    expect_unlabelled,
    known_cases,
    loose_records,
    refuse_known,
    split_sides,
)
from medimg.preparation.split_table import SplitRow, write_split_table
from medimg.preparation.splits import read_split_file, split_hash
from medimg.records import Record


def test_a_table_of_folds_says_where_cases_and_patients_stand(tmp_path):
    path = tmp_path / "splits.csv"
    write_split_table(path, [SplitRow("a", "p", 0), SplitRow("b", "q", 1), SplitRow("c", "r", None)])
    cases, patients = split_sides(path)
    assert cases == {"a": "fold 0", "b": "fold 1", "c": "the test"}
    assert patients == {"p": "fold 0", "q": "fold 1", "r": "the test"}


def test_a_list_of_folds_knows_cases_that_only_train_too(tmp_path):
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps([{"train": ["a", "z"], "val": ["b"]}, {"train": ["b", "z"], "val": ["a"]}]))
    cases, patients = split_sides(path)
    assert cases == {"a": "fold 1", "b": "fold 0", "z": "the training cases"}
    assert not patients


def test_cases_are_known_by_id_by_patient_and_by_content(tmp_path):
    for name, content in {"old": b"one", "copy": b"one", "other": b"two", "new": b"three"}.items():
        (tmp_path / name).write_bytes(content)
    labelled = [Record("L1", "P1", (tmp_path / "old",))]
    records = [
        Record("a", "x", (tmp_path / "new",)),
        Record("b", "x2", (tmp_path / "other", tmp_path / "copy")),
        Record("c", "p", (tmp_path / "new",)),
        Record("d", "x3", (tmp_path / "new",)),
        Record("L1", "x4", (tmp_path / "new",)),
        Record("e", "P1", (tmp_path / "new",)),
    ]
    found = known_cases(
        records, sides={"d": "fold 2"}, patients={"p": "the test"}, labelled=labelled, where="s.csv"
    )
    assert found == {
        "b": "an image of it is that of the labelled case L1",
        "c": "its patient p stands in the test of s.csv",
        "d": "it stands in fold 2 of s.csv",
        "L1": "it stands in the labelled data",
        "e": "its patient P1 stands in the labelled data",
    }
    with pytest.raises(
        DataError, match=r"found 5 that are known:\n  L1: it stands .*\n  b: an image"
    ) as fault:
        refuse_known(found, "Do that.")
    assert str(fault.value).endswith("\nDo that.")
    refuse_known({}, "")


def test_copies_among_unlabelled_cases_are_no_matter(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"same")
    (tmp_path / "c").write_bytes(b"else")
    records = [Record(name, name, (tmp_path / name,)) for name in "ab"]
    assert not known_cases(records, labelled=[Record("c", "c", (tmp_path / "c",))])


def test_a_file_that_two_names_lead_to_is_a_copy(tmp_path):
    (tmp_path / "a").write_bytes(b"same")
    alike = [Record("x", "x", (tmp_path / "a",))]
    assert set(known_cases(alike, labelled=[Record("y", "y", (tmp_path / "a",))])) == {"x"}


def test_data_of_any_layout_is_listed_file_by_file(tmp_path, write_picture, write_volume, make_case):
    image, _ = make_case((4, 4, 4), 1, (1,), 0)
    write_volume(tmp_path / "deep" / "v.nii.gz", image[0])
    own = write_picture(tmp_path / "new" / "b.png")
    write_picture(tmp_path / "old" / "a.png")
    names = {Path(record.case_id).name for record in loose_records(tmp_path, {own})}
    assert names == {"v.nii.gz", "a.png"}


def test_predictions_of_cases_that_judge_and_of_another_split_are_refused(tmp_path):
    path = tmp_path / "splits.csv"
    rows = [SplitRow("a", "p", 0), SplitRow("b", "q", 1), SplitRow("c", "r", None)]
    write_split_table(path, rows)

    def check(**said):
        expect_unlabelled([Member("run", tmp_path, {}, {}, None, Description(**said))], path)

    for part in ("test", "validation"):
        with pytest.raises(DataError, match=f"run: these are predictions of {part} cases"):
            check(part=part)
    with pytest.raises(
        DataError, match=r"run: was trained by the split 0123, and .*splits\.csv is the split"
    ):
        check(split="0123", part="predict")
    check()
    check(split=split_hash(read_split_file(path)), part="predict")
