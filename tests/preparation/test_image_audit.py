import csv
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medimg.datasets.chestxray14 import ChestXray14
from medimg.datasets.folder import ImageFolder
from medimg.preparation.image_audit import (
    audit_images,
    check_image,
    copies,
    keep_together,
    write_image_reports,
)
from medimg.preparation.image_splits import image_folds
from medimg.records import ImageIndex, Record


@pytest.fixture
def make_index(tmp_path, write_picture):
    """``make_index([seed or pixels, ...], **columns)``: a record for each picture."""

    def make(pictures, **columns):
        records = []
        for number, picture in enumerate(pictures):
            more = {name: values[number] for name, values in columns.items()}
            path = tmp_path / f"{number}.png"
            if isinstance(picture, Path):
                path = picture
            elif isinstance(picture, np.ndarray):
                write_picture(path, picture)
            else:
                write_picture(path, seed=picture)
            records.append(Record(f"c{number}", more.pop("patient_id", f"p{number}"), (path,), **more))
        return ImageIndex("fake", tmp_path, "binary", ("x",), tuple(records))

    return make


def texts(report):
    return [f"{finding.verdict} {finding.kind}: {finding.text}" for finding in report.findings]


def test_a_good_set_has_no_findings(make_index):
    reports = audit_images(make_index(range(5), labels=[{"x": 1.0}] * 5))
    assert [report.verdict for report in reports] == ["ok"] * 5
    first = reports[0]
    assert (first.shape, first.value_type) == ((1, 32, 40), "uint8") and first.low < first.high


def test_files_that_cannot_be_read(make_index, tmp_path):
    index = make_index([1, 2, 3])
    index.records[0].images[0].write_bytes(b"")
    index.records[1].images[0].unlink()
    cut = index.records[2].images[0]
    cut.write_bytes(cut.read_bytes()[:200])
    reports = audit_images(index)
    assert [report.findings[0].kind for report in reports] == ["unreadable", "missing", "unreadable"]
    assert all(report.verdict == "refuse" and report.shape is None for report in reports)
    assert "0.png" in reports[0].findings[0].text


@pytest.mark.parametrize(
    ("task", "labels", "says"),
    [
        ("binary", {"x": 2.0}, "the label x is 2"),
        ("binary", {"x": -1.0}, "the label x is -1"),
        ("binary", {"y": 1.0}, "the label y is not one of x, z"),
        ("multiclass", {"x": 1.0, "z": 1.0}, "the classes sum to 2"),
    ],
)
def test_labels_out_of_range(make_index, task, labels, says):
    record = make_index([1], labels=[labels]).records[0]
    report = check_image(record, ImageIndex("a", Path(), task, ("x", "z"), ()))
    assert report.verdict == "refuse" and says in texts(report)[0]


def test_numbers_of_several_targets_are_fine(make_index):
    index = replace(make_index([1, 2], labels=[{"x": -3.5}, {"x": 40.0}]), task="targets")
    assert [texts(report) for report in audit_images(index)] == [[], []]


def test_unknown_and_soft_labels_are_fine(make_index):
    record = make_index([1], labels=[{"x": math.nan, "z": 0.3}]).records[0]
    assert check_image(record, ImageIndex("a", Path(), "multilabel", ("x", "z"), ())).verdict == "ok"


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (np.full((32, 32), 9, np.uint8), "every pixel has the value 9"),
        (
            np.pad(np.full((1, 1), 200, np.uint8), ((0, 63), (0, 63))),
            "all but 0.1% of the pixels have one value",
        ),
        (np.arange(1024, dtype=np.uint16).reshape(32, 32) % 200, "16-bit file with values up to 199 only"),
        (np.arange(100, dtype=np.uint8).reshape(10, 10), "is 10 x 10 pixels"),
    ],
)
def test_surprising_values(make_index, pixels, says):
    (report,) = audit_images(make_index([pixels]))
    assert report.verdict == "warn" and any(says in text for text in texts(report))


def test_a_file_unlike_the_others(make_index):
    deep = np.arange(1024, dtype=np.uint16).reshape(32, 32) * 64
    reports = audit_images(make_index([*range(24), deep]))
    assert "has 1 channels of uint16, where most have 1 of uint8" in texts(reports[-1])[0]
    assert sum(report.verdict == "warn" for report in reports) == 1


def test_a_patient_in_two_splits(make_index):
    index = make_index([1, 2, 3], split=["train", "val", "val"], patient_id=["p", "p", "q"])
    reports = audit_images(index)
    assert [report.verdict for report in reports] == ["refuse", "refuse", "ok"]
    assert "patient p stands in train and val" in texts(reports[0])[0]


def test_copies_in_classes_and_splits(make_index, tmp_path, make_picture):
    Image.fromarray(make_picture(1)).save(tmp_path / "other.tiff")
    index = make_index(
        [1, tmp_path / "other.tiff", 2, 2],
        labels=[{"x": 1.0}, {"x": 0.0}, {"x": 1.0}, {"x": 1.0}],
        split=["train", "train", "train", "test"],
    )
    reports = audit_images(index)
    assert texts(reports[0]) == [
        "warn conflicts: has the same pixels as c1 (labelled none, and this one x; of patient p1)"
    ]
    assert texts(reports[2]) == [
        "warn copies: has the same pixels as c3 (in test, and this one in train; of patient p3)"
    ]
    assert keep_together(reports) == [{"c0", "c1"}, {"c2", "c3"}]


def test_look_alikes(make_index, make_picture, tmp_path):
    large = make_picture(1, (200, 240))
    Image.fromarray(large).resize((180, 150)).save(tmp_path / "small.jpg", quality=60)
    index = make_index([large, tmp_path / "small.jpg", 2])
    reports = audit_images(index)
    assert texts(reports[0]) == ["warn look-alikes: looks like c1 (of patient p1)"]
    assert [report.verdict for report in audit_images(index, look_alikes=False)] == ["ok"] * 3
    assert keep_together(reports) == [] and keep_together(reports, look_alikes=True) == [{"c0", "c1"}]


def test_members_of_one_file(tmp_path, make_picture):
    train = np.stack([make_picture(n, (28, 28)) for n in range(3)])
    np.savez(tmp_path / "a.npz", train_images=train, test_images=train[1:2])
    records = [
        Record(f"{split}_{n}", f"{split}_{n}", (tmp_path / "a.npz",), split=split, member=n)
        for split, n in [("train", 0), ("train", 1), ("train", 2), ("test", 0)]
    ]
    reports = audit_images(ImageIndex("a", tmp_path, "binary", ("x",), tuple(records)))
    assert keep_together(reports) == [{"train_1", "test_0"}]
    assert "in test, and this one in train" in texts(reports[1])[0] and not texts(reports[0])


def test_rows_of_the_table(make_index, tmp_path):
    index = make_index([1, 1])
    write_image_reports(tmp_path / "audit.csv", audit_images(index))
    with (tmp_path / "audit.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["case_id"], first["verdict"], first["height"], first["width"]) == ("c0", "warn", "32", "40")
    assert first["pixel_hash"] == second["pixel_hash"] and len(first["difference_hash"]) == 16
    assert "has the same pixels as c1" in first["findings"]


@pytest.mark.real
def test_the_picture_that_busi_files_under_two_classes():
    index = ImageFolder().index(Path(os.environ["MEDIMG_REAL_DATA"]) / "BUSI")
    reports = audit_images(index)
    conflicts = {
        r.record.case_id: texts(r)[0] for r in reports if any(f.kind == "conflicts" for f in r.findings)
    }
    assert set(conflicts) == {"benign/benign (433).png", "malignant/malignant (145).png"}
    assert "labelled malignant, and this one benign" in conflicts["benign/benign (433).png"]
    together = keep_together(reports, look_alikes=True)
    assert len(together) > 40
    for split in image_folds(index, 5, keep_together=together):
        assert all(len(pair & set(split.val)) in (0, 2) for pair in together)


@pytest.mark.real
def test_validation_images_that_repeat_training_images():
    root = Path(os.environ["MEDIMG_REAL_DATA"]) / "NIH-ChestXray14"
    reports = audit_images(ChestXray14(missing="keep", repeats="separate").index(root))
    copied = [r for r in reports if any(f.kind == "copies" for f in r.findings)]
    assert len(copied) == 2 * 198
    assert {r.record.split for r in copied} == {"train", "val"}
    assert sum(r.shape is not None for r in copied) == 8
    assert all(r.verdict == "refuse" for r in copied)


def test_many_copies_are_reported_by_their_number(tmp_path, write_class_folders):
    index = ImageFolder().index(write_class_folders(tmp_path, {"a": 1, "b": 1}))
    first = audit_images(index)[0]
    # As many pairs as these would not fit into memory.
    reports = [replace(first, findings=()) for _ in range(100_000)]
    assert [len(group) for group in copies(reports)] == [100_000]
    assert len(keep_together(reports, look_alikes=True)) == 1
