"""No patient and no case on two sides, whoever made the split."""

import json

import pytest

from medimg.datamodules.image_split import choose_image_split
from medimg.errors import DataError
from medimg.records import ImageIndex, Record


def index_of(splits=(), patients=(), folds=()):
    count = max(len(splits), len(patients), 12)
    records = tuple(
        Record(
            f"c{i:02d}",
            patients[i] if i < len(patients) else f"p{i}",
            (),
            labels={"x": float(i % 2)},
            split=splits[i] if i < len(splits) else None,
        )
        for i in range(count)
    )
    return ImageIndex("set", None, "binary", ("x",), records, folds)


def test_published_splits_are_taken_as_they_are():
    def never():
        raise AssertionError("copies are looked for only where folds are dealt")

    index = index_of(splits=["train"] * 6 + ["val"] * 3 + ["test"] * 3)
    split = choose_image_split(index, fold=0, num_folds=5, copies=never)
    assert split.train == tuple(f"c{i:02d}" for i in range(6))
    assert split.val == ("c06", "c07", "c08")


def test_folds_are_dealt_around_the_test_cases_and_keep_copies_together():
    index = index_of(splits=["test"] * 2)
    held = []
    for fold in range(3):
        split = choose_image_split(index, fold=fold, num_folds=3, copies=lambda: [{"c04", "c09"}])
        assert ("c04" in split.val) == ("c09" in split.val)
        held += split.val
    assert sorted(held) == [f"c{i:02d}" for i in range(2, 12)]


def test_a_file_is_checked(tmp_path):
    path = tmp_path / "splits.json"

    def choose(train, val, index=None, **options):
        path.write_text(json.dumps([{"train": train, "val": val}]))
        return choose_image_split(index or index_of(), fold=0, num_folds=5, split_file=path, **options)

    assert choose(["c00"], ["c01"]).val == ("c01",)
    with pytest.raises(DataError, match="does not have, such as 'zz'"):
        choose(["c00"], ["zz"])
    with pytest.raises(DataError, match="both train and val, such as 'c00'"):
        choose(["c00"], ["c00"])
    with pytest.raises(DataError, match="empty"):
        choose(["c00"], [])
    shared = index_of(patients=["p", "p"])
    with pytest.raises(DataError, match=r"1 patients into both train and val, such as 'p'.*allow_leaky"):
        choose(["c00"], ["c01"], shared)
    assert choose(["c00"], ["c01"], shared, allow_leaky=True).leaky == ("p",)


def test_a_patient_of_the_test_cases_does_not_train():
    index = index_of(
        splits=["train"] * 6 + ["val"] * 3 + ["test"] * 3,
        patients=["p"] + [f"q{i}" for i in range(10)] + ["p"],
    )
    with pytest.raises(DataError, match="both train and test, such as 'p'"):
        choose_image_split(index, fold=0, num_folds=5)
    assert choose_image_split(index, fold=0, num_folds=5, allow_leaky=True).leaky == ("p",)


def test_a_fold_that_does_not_exist():
    with pytest.raises(DataError, match="fold 3 does not exist: expected 0 to 2"):
        choose_image_split(index_of(), fold=3, num_folds=3)


def test_cases_are_dealt_whatever_their_patient_only_when_asked_and_the_run_is_marked():
    index = index_of(patients=["p"] * 12)
    with pytest.raises(DataError, match="groups of cases that stay together"):
        choose_image_split(index, fold=0, num_folds=3)
    splits = [choose_image_split(index, fold=fold, num_folds=3, by="case") for fold in range(3)]
    assert sorted(case for split in splits for case in split.val) == [f"c{i:02d}" for i in range(12)]
    assert all(split.leaky == ("p",) for split in splits)


def test_a_patient_whom_a_table_holds_out_may_not_train(tmp_path):
    index = index_of(patients=["p", "p"])  # c00 and c01
    rows = [f"c{i:02d},x,{'test' if i == 0 else i % 2}" for i in range(12)]
    (tmp_path / "s.csv").write_text("\n".join(["case_id,patient_id,fold", *rows]) + "\n")
    with pytest.raises(DataError, match=r"1 patients into both train and test, such as 'p'"):
        choose_image_split(index, fold=0, num_folds=2, split_file=tmp_path / "s.csv")
