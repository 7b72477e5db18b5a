import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from sklearn.model_selection import KFold

from medimg.errors import DataError
from medimg.preparation.split_rows import rows_of_splits
from medimg.preparation.split_table import write_split_table
from medimg.preparation.splits import Split, choose_split, patient_folds, read_split_file, split_hash
from medimg.records import DatasetIndex, Record


def records(patients):
    return tuple(Record(f"case_{n:03d}", patient, ()) for n, patient in enumerate(patients))


def index_of(cases, folds=()):
    return DatasetIndex("set", Path("set"), ("MRI",), {"a": 1}, cases, folds=folds)


def write_folds(path, *folds):
    path.write_text(json.dumps([{"train": train, "val": val} for train, val in folds]))
    return path


@pytest.mark.parametrize("cases", [5, 6, 12, 23, 97, 200])
def test_one_case_a_patient_gives_nnunets_folds(cases):
    own = records([f"p{n:03d}" for n in range(cases)])
    ids = [record.case_id for record in own]
    expected = [
        ([ids[i] for i in train], [ids[i] for i in val])
        for train, val in KFold(5, shuffle=True, random_state=12345).split(ids)
    ]
    assert [(list(split.train), list(split.val)) for split in patient_folds(own, 5)] == expected


def test_no_patient_stands_on_both_sides():
    own = records([f"p{n % 17}" for n in range(60)])
    patient = {record.case_id: record.patient_id for record in own}
    splits = patient_folds(own, 5)
    for split in splits:
        assert not {patient[c] for c in split.train} & {patient[c] for c in split.val}
        assert sorted(split.train + split.val) == sorted(patient)
    assert set(Counter(case for split in splits for case in split.val).values()) == {1}


def test_too_few_patients_are_refused_with_the_way_out():
    with pytest.raises(
        DataError, match=r"5 folds need at least 5 patients, found 2: p0, p1.*split\.by to case"
    ):
        patient_folds(records(["p0", "p1", "p0", "p1", "p0", "p1"]), 5)


def test_a_file_comes_before_published_folds_and_those_before_dealing(tmp_path):
    cases = records(["a", "b", "c", "d", "e"])
    ids = [record.case_id for record in cases]
    published = index_of(cases, ((tuple(ids[:4]), tuple(ids[4:])),))
    assert choose_split(published, fold=0, num_folds=5).val == ("case_004",)
    path = write_folds(tmp_path / "splits.json", (ids[1:], ids[:1]))
    assert choose_split(published, fold=0, num_folds=5, split_file=path).val == ("case_000",)
    assert choose_split(index_of(cases), fold=2, num_folds=5) == patient_folds(cases, 5)[2]
    with pytest.raises(DataError, match="fold 1 does not exist: expected 0 to 0"):
        choose_split(published, fold=1, num_folds=5)


def test_fault_22_a_patient_on_both_sides_is_refused_unless_asked_for(tmp_path):
    index = index_of(records(["p0", "p0", "p1"]))
    path = write_folds(tmp_path / "splits.json", (["case_000", "case_002"], ["case_001"]))
    with pytest.raises(DataError, match=r"1 patients on both sides, such as 'p0'.*allow_leaky"):
        choose_split(index, fold=0, num_folds=5, split_file=path)
    split = choose_split(index, fold=0, num_folds=5, split_file=path, allow_leaky=True)
    assert split.leaky == ("p0",)


@pytest.mark.parametrize(
    ("fold", "said"),
    [
        ((["case_000"], ["case_009"]), "has no mask for, such as 'case_009'"),
        ((["case_000", "case_001"], ["case_001"]), "into both train and val, such as 'case_001'"),
        ((["case_000"], []), "train or val empty"),
    ],
)
def test_splits_that_cannot_be_used(tmp_path, fold, said):
    path = write_folds(tmp_path / "splits.json", fold)
    with pytest.raises(DataError, match=said):
        choose_split(index_of(records(["a", "b"])), fold=0, num_folds=5, split_file=path, allow_leaky=True)


@pytest.mark.parametrize("text", ["", "{", '[["a"]]', '[{"train": []}]', "3"])
def test_a_file_of_another_form_is_refused(tmp_path, text):
    path = tmp_path / "splits.json"
    path.write_text(text)
    with pytest.raises(DataError, match="expected a JSON list"):
        read_split_file(path)
    with pytest.raises(DataError, match="no split file at"):
        read_split_file(tmp_path / "none.json")


def test_the_digest_tells_splits_apart():
    assert Split(("a",), ("b",)).digest == Split(("a",), ("b",)).digest
    assert Split(("a",), ("b",)).digest != Split(("b",), ("a",)).digest


def test_all_folds_of_a_split_have_one_hash_and_another_dealing_has_another(tmp_path):
    index = index_of(records([f"p{n}" for n in range(9)]))
    hashes = {choose_split(index, fold=fold, num_folds=3).whole for fold in range(3)}
    assert len(hashes) == 1
    assert len({choose_split(index, fold=fold, num_folds=3).digest for fold in range(3)}) == 3
    assert choose_split(index, fold=0, num_folds=3).folds == 3
    assert hashes != {choose_split(index, fold=0, num_folds=4).whole}
    assert hashes != {choose_split(replace(index, records=index.records[1:]), fold=0, num_folds=3).whole}


def test_the_hash_is_that_of_the_table_wherever_the_folds_come_from(tmp_path):
    index = index_of(records([f"p{n}" for n in range(6)]))
    index = replace(index, test=(Record("t", "pt", ()),))
    dealt = patient_folds(index.records, 3)
    rows = rows_of_splits(dealt, (*index.records, *index.test), published_test=["t"], source="x")
    write_split_table(tmp_path / "splits.csv", rows)
    write_folds(tmp_path / "splits.json", *[(split.train, split.val) for split in dealt])
    found = {
        choose_split(index, fold=fold, num_folds=3, split_file=file).whole
        for fold in (0, 2)
        for file in (None, tmp_path / "splits.csv", tmp_path / "splits.json")
    }
    assert len(found) == 1
    assert len(found.pop()) == 12
    # One published split: the training cases are the last fold of its table.
    published = replace(index, folds=((dealt[0].train, dealt[0].val),))
    rows = rows_of_splits(dealt[:1], (*index.records, *index.test), published_test=["t"], source="x")
    write_split_table(tmp_path / "official.csv", rows)
    official = choose_split(published, fold=0, num_folds=5)
    assert (
        official.whole == choose_split(index, fold=0, num_folds=5, split_file=tmp_path / "official.csv").whole
    )


def test_the_hash_tells_everything_that_changes_who_trains_on_what():
    whole = [Split(("a", "b"), ("c",)), Split(("a", "c"), ("b",)), Split(("b", "c"), ("a",))]
    assert split_hash(whole) == split_hash([replace(split, train=split.train[::-1]) for split in whole])
    others = [
        whole[::-1],
        [replace(whole[0], train=("a",)), *whole[1:]],
        [replace(split, test=("d",)) for split in whole],
    ]
    assert len({split_hash(other) for other in (whole, *others)}) == 4


def test_one_patients_cases_are_split_by_case_only_on_request_and_marked():
    index = index_of(records(["a"] * 12))
    with pytest.raises(DataError, match=r"at least 5 patients, found 1.*split\.by to case"):
        choose_split(index, fold=0, num_folds=5)
    splits = [choose_split(index, fold=fold, num_folds=5, by="case") for fold in range(5)]
    assert sorted(case for split in splits for case in split.val) == sorted(r.case_id for r in index.records)
    assert all(split.leaky == ("a",) for split in splits)


def test_one_fold_is_none():
    with pytest.raises(DataError, match="at least 2 folds, found num_folds 0"):
        patient_folds([Record("a", "p", ()), Record("b", "q", ())], 0)


TABLE = "case_id,patient_id,fold\ncase_002,c,1\ncase_000,a,0\ncase_001,b,1\ncase_003,d,test\n"


def test_a_table_of_folds_is_read(tmp_path):
    path = tmp_path / "splits.csv"
    path.write_text(TABLE)
    index = index_of(records(["a", "b", "c", "d"]))
    split = choose_split(index, fold=0, num_folds=5, split_file=path)
    assert (split.train, split.val, split.test) == (("case_001", "case_002"), ("case_000",), ("case_003",))
    assert choose_split(index, fold=1, num_folds=5, split_file=path).val == ("case_001", "case_002")
    folds = write_folds(tmp_path / "splits.json", (["case_002", "case_001"], ["case_000"]))
    assert choose_split(index, fold=0, num_folds=5, split_file=folds).digest == split.digest
    with pytest.raises(DataError, match="fold 2 does not exist: expected 0 to 1"):
        choose_split(index, fold=2, num_folds=5, split_file=path)


def test_a_table_that_does_not_fit_the_data_is_refused(tmp_path):
    path = tmp_path / "splits.csv"
    path.write_text(TABLE)
    with pytest.raises(DataError, match="has no mask for, such as 'case_002'"):
        choose_split(index_of(records(["a", "b"])), fold=0, num_folds=5, split_file=path)
    with pytest.raises(DataError, match="1 patients on both sides, such as 'a'"):
        choose_split(index_of(records(["a", "a", "c", "d"])), fold=0, num_folds=5, split_file=path)
    # A patient who is kept for the test does not train either.
    tested = index_of(records(["a", "b", "c", "c"]))
    with pytest.raises(DataError, match="1 patients on both sides, such as 'c'"):
        choose_split(tested, fold=0, num_folds=5, split_file=path)
    leaky = choose_split(tested, fold=0, num_folds=5, split_file=path, allow_leaky=True)
    assert (leaky.leaky, leaky.test) == (("c",), ("case_003",))
    path.write_text("# folds\n" + TABLE)
    with pytest.raises(DataError, match=r"splits\.csv.*has 3 fields, expected 1"):
        choose_split(index_of(records("abcd")), fold=0, num_folds=5, split_file=path)
