import os
from collections import Counter
from pathlib import Path

import pytest

from medimg.datasets.chestxray14 import LABELS, ChestXray14
from medimg.errors import DataError

HEADER = [
    *("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender"),
    *("View Position", "OriginalImage[Width", "Height]", "OriginalImagePixelSpacing[x", "y]"),
]
ROWS = [
    ["00000001_000.png", "Cardiomegaly|Emphysema", 0, "1", 57, "M", "PA", 2682, 2749, 0.1, 0.1],
    ["00000001_001.png", "No Finding", 1, "1", 58, "M", "PA", 2682, 2749, 0.1, 0.1],
    ["00000002_000.png", "Hernia", 0, "2", 80, "F", "AP", 2682, 2749, 0.1, 0.1],
]
TABLE = "Data_Entry_2017_v2020.csv"


@pytest.fixture
def root(tmp_path, write_picture, write_table):
    write_table(tmp_path / TABLE, HEADER, ROWS)
    for number, folder in enumerate(("images_001", "images_001", "images_012")):
        write_picture(tmp_path / folder / "images" / ROWS[number][0], seed=number)
    return tmp_path


def write_lists(root, train, test):
    (root / "train_val_list.txt").write_text("\n".join(train))
    (root / "test_list.txt").write_text("\n".join(test))


def write_simple(root, write_table, **tables):
    for name, rows in tables.items():
        full = [
            [image, int(image[:8]), *[int(label in labels) for label in LABELS]] for image, labels in rows
        ]
        write_table(root / f"{name.replace('_', '-')}.csv", ["Image", "PatientId", *LABELS], full)


def test_official_table(root):
    index = ChestXray14().index(root)
    assert (index.task, index.classes) == ("multilabel", LABELS)
    first, second, third = index.records
    assert (first.case_id, first.patient_id) == ("00000001_000", "00000001")
    assert {name for name, value in first.labels.items() if value} == {"Cardiomegaly", "Emphysema"}
    assert sum(second.labels.values()) == 0 and second.patient_id == first.patient_id
    assert third.images == (root / "images_012/images/00000002_000.png",)
    assert {record.split for record in index.records} == {None}


def test_official_lists(root):
    write_lists(root, ["00000001_000.png", "00000001_001.png"], ["00000002_000.png"])
    assert [record.split for record in ChestXray14().index(root).records] == ["train", "train", "test"]
    write_lists(root, ["00000001_000.png"], ["00000002_000.png"])
    with pytest.raises(DataError, match=r"00000001_001\.png stands in none of the lists"):
        ChestXray14().index(root)
    write_lists(root, ["00000001_000.png"], ["00000001_000.png"])
    with pytest.raises(DataError, match="stands in both official lists"):
        ChestXray14().index(root)
    (root / "test_list.txt").unlink()
    with pytest.raises(DataError, match=r"lacks test_list\.txt"):
        ChestXray14().index(root)


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (1, "Cardiomegaly|Measles", "the finding 'Cardiomegaly|Measles' is none of"),
        (1, "", "the finding '' is none of"),
        (3, "7", "not one of patient 7 by its name"),
        (3, "x", "the patient is 'x'; expected a number"),
        (0, "00000001_001.png", "used already"),
    ],
)
def test_rows_that_cannot_be_used(root, write_table, place, value, says):
    row = list(ROWS[0])
    row[place] = value
    write_table(root / TABLE, HEADER, [row, *ROWS[1:]])
    with pytest.raises(DataError) as refused:
        ChestXray14().index(root)
    assert says in str(refused.value)


def test_simplified_tables(tmp_path, write_table):
    write_simple(
        tmp_path,
        write_table,
        train_small=[("00000001_000.png", ["Mass"]), ("00000002_000.png", [])],
        valid_small=[("00000003_000.png", ["Edema"])],
        test=[("00000004_000.png", [])],
    )
    index = ChestXray14(missing="keep").index(tmp_path)
    assert [record.split for record in index.records] == ["train", "train", "val", "test"]
    assert index.records[0].labels["Mass"] == 1 and index.records[2].labels["Edema"] == 1


def test_images_in_two_tables(tmp_path, write_table):
    write_simple(
        tmp_path,
        write_table,
        train_small=[("00000001_000.png", []), ("00000002_000.png", [])],
        valid_small=[("00000001_000.png", [])],
    )
    with pytest.raises(DataError, match=r"1 images stand in more than one split, such as 00000001_000\.png"):
        ChestXray14(missing="keep").index(tmp_path)
    held = ChestXray14(missing="keep", repeats="held_out").index(tmp_path)
    assert [(r.case_id, r.split) for r in held.records] == [
        ("00000001_000", "val"),
        ("00000002_000", "train"),
    ]
    apart = ChestXray14(missing="keep", repeats="separate").index(tmp_path)
    assert [r.case_id for r in apart.records] == ["00000001_000@train", "00000001_000@val", "00000002_000"]


def test_no_table(tmp_path):
    with pytest.raises(DataError, match="expected the ChestXray14 table"):
        ChestXray14().index(tmp_path)


@pytest.mark.real
def test_the_whole_table():
    index = ChestXray14(missing="keep").index(Path(os.environ["MEDIMG_REAL_DATA"]) / "tables")
    assert len(index.records) == 112_120
    assert len({record.patient_id for record in index.records}) == 30_805
    positives = Counter(name for r in index.records for name, value in r.labels.items() if value)
    assert positives["Infiltration"] == 19_894 and positives["Hernia"] == 227
    assert sum(not any(record.labels.values()) for record in index.records) == 60_361


@pytest.mark.real
def test_the_course_tables():
    root = Path(os.environ["MEDIMG_REAL_DATA"]) / "NIH-ChestXray14"
    with pytest.raises(DataError, match="198 images stand in more than one split"):
        ChestXray14().index(root)
    kept = ChestXray14(missing="keep", repeats="held_out").index(root)
    assert Counter(r.split for r in kept.records) == {"train": 802, "val": 200, "test": 420}
    there = ChestXray14(missing="skip", repeats="held_out").index(root)
    assert Counter(r.split for r in there.records) == {"train": 15, "val": 4, "test": 13}
