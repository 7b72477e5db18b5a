import math
import os
from pathlib import Path

import numpy as np
import pytest

from medimg.datasets.folder import ImageFolder
from medimg.errors import DataError
from medimg.preparation.image_splits import (
    file_hash,
    identical_files,
    image_folds,
    official_splits,
    official_test,
    split_images,
)
from medimg.records import ImageIndex, Record


def make_index(task="multilabel", patients=120, labels=("a", "b", "rare"), seed=0, **more):
    """One to four cases a patient; label k is held by about one case in 2, 4 and 20."""
    rng = np.random.default_rng(seed)
    records = []
    for patient in range(patients):
        for _ in range(rng.integers(1, 5)):
            values = {
                name: float(rng.random() < p) for name, p in zip(labels, (0.5, 0.25, 0.05), strict=False)
            }
            if task == "multiclass":
                drawn = rng.choice(len(labels), p=[0.7, 0.2, 0.1])
                values = {name: float(place == drawn) for place, name in enumerate(labels)}
            records.append(Record(f"c{len(records):04d}", f"p{patient}", (), labels=values))
    return ImageIndex("fake", Path(), task, tuple(labels), tuple(records), **more)


def rates(index, splits):
    labels = {r.case_id: [r.labels[name] for name in index.classes] for r in index.records}
    return np.array([np.nanmean([labels[case] for case in split.val], axis=0) for split in splits])


@pytest.mark.parametrize(
    ("task", "labels"),
    [("binary", ("a",)), ("multiclass", ("a", "b", "rare")), ("multilabel", ("a", "b", "rare"))],
)
def test_folds_part_patients_and_keep_labels(task, labels):
    index = make_index(task, labels=labels)
    splits = image_folds(index, 5, seed=1)
    patient_of = {r.case_id: r.patient_id for r in index.records}
    for split in splits:
        assert not {patient_of[c] for c in split.train} & {patient_of[c] for c in split.val}
        assert sorted((*split.train, *split.val)) == [r.case_id for r in index.records]
    assert sorted(case for split in splits for case in split.val) == [r.case_id for r in index.records]
    sizes = [len(split.val) for split in splits]
    assert max(sizes) - min(sizes) <= 4
    overall = np.array([[r.labels[name] for name in labels] for r in index.records]).mean(axis=0)
    # A random deal of these patients varies by 0.03 to 0.06.
    assert np.abs(rates(index, splits) - overall).max() < 0.015


def test_large_and_small_numbers_are_dealt_evenly():
    rng = np.random.default_rng(0)
    records = tuple(
        Record(
            f"c{n:03d}",
            f"p{n // 2}",
            (),
            labels={"malignant": float(n % 3 == 0), "offset": rng.normal(-5, 9)},
        )
        for n in range(120)
    )
    index = ImageIndex("fake", Path(), "targets", ("malignant", "offset"), records)
    large = {
        r.case_id: r.labels["offset"] > np.median([r.labels["offset"] for r in records]) for r in records
    }
    for split in image_folds(index, 5, seed=1):
        assert np.mean([large[case] for case in split.val]) == pytest.approx(0.5, abs=0.06)
        assert np.mean([int(case[1:]) % 3 == 0 for case in split.val]) == pytest.approx(1 / 3, abs=0.06)


def test_one_seed_gives_one_split():
    index = make_index()
    assert image_folds(index, 4, seed=3) == image_folds(index, 4, seed=3)
    assert image_folds(index, 4, seed=3) != image_folds(index, 4, seed=4)


def test_what_belongs_together_stays_together():
    index = make_index()
    together = [{"c0000", "c0100"}, {"c0100", "c0200"}, {"c0001", "unknown"}]
    for split in image_folds(index, 5, keep_together=together):
        assert len({"c0000", "c0100", "c0200"} & set(split.val)) in (0, 3)


def test_unknown_labels_and_cases_without_any():
    index = make_index()
    records = [
        Record(r.case_id, r.patient_id, (), labels={**r.labels, "a": math.nan})
        if n % 2
        else Record(r.case_id, r.patient_id, ())
        for n, r in enumerate(index.records)
    ]
    splits = image_folds(ImageIndex("x", Path(), "multilabel", index.classes, tuple(records)), 3)
    blank = {r.case_id for r in records if not r.labels}
    share = [len(blank & set(split.val)) / len(split.val) for split in splits]
    assert max(share) - min(share) < 0.03


def test_rare_labels_are_dealt_one_a_fold(caplog):
    labels = [{"x": float(n < 4), "y": float(n % 2)} for n in range(40)]
    records = tuple(Record(f"c{n:02d}", f"p{n}", (), labels=found) for n, found in enumerate(labels))
    index = ImageIndex("x", Path(), "multilabel", ("x", "y"), records)
    for split in image_folds(index, 4):
        assert sum(int(case[1:]) < 4 for case in split.val) == 1 and len(split.val) == 10
    assert not caplog.text
    image_folds(index, 5)
    assert "fewer patients than folds have x (4)" in caplog.text


def test_too_few_patients():
    index = make_index(patients=3)
    with pytest.raises(DataError, match="4 folds: expected at least 2, and no more than the 3 groups"):
        image_folds(index, 4)
    assert len(image_folds(index, 3)) == 3


def split_index(*splits, patients=None):
    patients = patients or [f"p{n}" for n in range(len(splits))]
    records = [
        Record(f"c{n}", patient, (), labels={"a": float(n % 2)}, split=split)
        for n, (split, patient) in enumerate(zip(splits, patients, strict=True))
    ]
    return ImageIndex("fake", Path(), "binary", ("a",), tuple(records))


def test_official_splits_are_honoured():
    index = split_index("train", "train", "val", "val", "test")
    (split,) = image_folds(index, 5)
    assert (split.train, split.val) == (("c0", "c1"), ("c2", "c3"))
    assert official_test(index) == ("c4",)
    dealt = image_folds(index, 2, official=False)
    assert sorted(case for split in dealt for case in split.val) == ["c0", "c1", "c2", "c3"]
    only_test = split_index("train", "train", "train", "test")
    assert official_splits(only_test) == []
    assert sorted(case for split in image_folds(only_test, 3) for case in split.val) == ["c0", "c1", "c2"]


def test_official_folds_are_honoured():
    index = make_index(patients=2, folds=((("c0000",), ("c0001",)),))
    index = ImageIndex("x", Path(), "binary", ("a",), split_index(None, None).records, ((("c0",), ("c1",)),))
    assert image_folds(index, 5)[0].val == ("c1",)


def test_official_splits_that_leak_are_refused():
    with pytest.raises(DataError, match="puts 1 patients on both sides, such as 'p'"):
        image_folds(split_index("train", "val", patients=["p", "p"]), 5)
    with pytest.raises(DataError, match="puts copies on both sides: c0, c1"):
        image_folds(split_index("train", "val"), 5, keep_together=[{"c0", "c1"}])
    records = split_index("train", "val").records
    strange = ImageIndex("x", Path(), "binary", ("a",), records, ((("c0",), ("c9",)),))
    with pytest.raises(DataError, match="names 1 unknown cases, such as 'c9'"):
        image_folds(strange, 5)


def test_a_share_of_the_patients_is_kept_for_a_test_with_every_label():
    index = make_index()
    splits = split_images(index, 5, holdout=0.2, seed=1)
    patient_of = {r.case_id: r.patient_id for r in index.records}
    held = {patient_of[case] for case in splits[0].test}
    assert len(held) == 24  # 20 % of 120 patients
    for split in splits:
        assert split.test == splits[0].test
        sides = [{patient_of[case] for case in side} for side in (split.train, split.val, split.test)]
        assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
        assert sorted((*split.train, *split.val, *split.test)) == sorted(patient_of)
    assert splits == split_images(index, 5, holdout=0.2, seed=1)
    assert splits != split_images(index, 5, holdout=0.2, seed=2)
    labels = {r.case_id: [r.labels[name] for name in index.classes] for r in index.records}
    overall = np.mean(list(labels.values()), axis=0)
    assert np.abs(np.mean([labels[case] for case in splits[0].test], axis=0) - overall).max() < 0.03


@pytest.mark.parametrize("holdout", [1.0, -0.1, 0.001, 0.999])
def test_a_share_that_comes_to_none_or_all_is_refused(holdout):
    with pytest.raises(
        DataError, match="expected a share between 0 and 1 that comes to at least one patient"
    ):
        split_images(make_index(), 5, holdout=holdout)


def test_published_splits_are_passed_over_but_for_the_test_and_what_belongs_to_it():
    index = split_index("train", "val", "val", "train", "test", "train", patients=list("abcdee"))
    splits = split_images(index, 2, keep_together=[{"c0", "c4"}])
    assert splits[0].test == ("c0", "c4", "c5")  # a copy of a test case, and another case of its patient
    assert sorted(case for split in splits for case in split.val) == ["c1", "c2", "c3"]
    with pytest.raises(DataError, match="4 folds: expected at least 2, and no more than the 3 groups"):
        split_images(index, 4, keep_together=[{"c0", "c4"}])


def test_identical_files(tmp_path, write_picture):
    paths = [write_picture(tmp_path / f"{n}.png", seed=seed) for n, seed in enumerate((1, 2, 1, 3))]
    records = [Record(f"c{n}", f"p{n}", (path,)) for n, path in enumerate(paths)]
    records.append(Record("c9", "p9", (paths[3],)))
    assert identical_files(records) == [{"c0", "c2"}, {"c3", "c9"}]
    assert (
        identical_files(
            [Record("m0", "m0", (paths[0],), member=0), Record("m1", "m1", (paths[0],), member=1)]
        )
        == []
    )
    assert file_hash(paths[0]) == file_hash(paths[2]) != file_hash(paths[1])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png: cannot be read"):
        identical_files([Record("c", "p", (tmp_path / "gone.png",))])
    with pytest.raises(DataError, match=r"gone\.png: cannot be read"):
        file_hash(tmp_path / "gone.png")


@pytest.mark.real
def test_the_picture_that_busi_holds_twice_stays_in_one_fold():
    index = ImageFolder().index(Path(os.environ["MEDIMG_REAL_DATA"]) / "BUSI")
    twins = identical_files(index.records)
    assert twins == [{"benign/benign (433).png", "malignant/malignant (145).png"}]
    splits = image_folds(index, 5, keep_together=twins)
    assert all(len(twins[0] & set(split.val)) in (0, 2) for split in splits)
    assert np.ptp(rates(index, splits), axis=0).max() < 0.01
