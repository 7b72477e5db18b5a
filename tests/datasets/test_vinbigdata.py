import os
from pathlib import Path

import pytest

from medimg.datasets.vinbigdata import LABELS, VinBigData
from medimg.errors import ConfigError, DataError

HEADER = ["image_id", "class_name", "class_id", "rad_id", "x_min", "y_min", "x_max", "y_max"]
BOX = [1, 2, 3, 4]
ROWS = [
    *(["a", "No finding", 14, reader, "", "", "", ""] for reader in ("R1", "R2", "R3")),
    ["b", "Cardiomegaly", 3, "R1", *BOX],
    ["b", "Cardiomegaly", 3, "R2", *BOX],
    ["b", "Cardiomegaly", 3, "R2", *BOX],  # two boxes of one reader count once
    ["b", "ILD", 5, "R1", *BOX],
    ["b", "ILD", 5, "R1", *BOX],
    ["b", "No finding", 14, "R3", "", "", "", ""],
]


@pytest.mark.parametrize(
    ("merge", "heart", "ild"),
    [("any", 1.0, 1.0), ("majority", 1.0, 0.0), ("all", 0.0, 0.0), ("mean", 2 / 3, 1 / 3)],
)
def test_readers_are_merged(tmp_path, write_table, merge, heart, ild):
    write_table(tmp_path / "train.csv", HEADER, ROWS)
    index = VinBigData(merge=merge, missing="keep").index(tmp_path)
    none, some = index.records
    assert index.classes == LABELS and sum(none.labels.values()) == 0
    assert some.labels["Cardiomegaly"] == pytest.approx(heart)
    assert some.labels["ILD"] == pytest.approx(ild)
    assert some.images == (tmp_path / "train" / "b.dicom",)


def test_unknown_rule_and_class(tmp_path, write_table):
    write_table(tmp_path / "train.csv", HEADER, [["a", "ILD", 4, "R1", *BOX]])
    with pytest.raises(ConfigError, match="merge: expected any, majority, all, mean"):
        VinBigData(merge="most").index(tmp_path)
    with pytest.raises(DataError, match="line 2: class '4' is named 'ILD'"):
        VinBigData(missing="keep").index(tmp_path)


@pytest.mark.real
def test_the_whole_table():
    root = Path(os.environ["MEDIMG_REAL_DATA"]) / "tables"
    index = VinBigData(merge="any", table=root / "vinbigdata-train.csv.gz", missing="keep").index(root)
    assert len(index.records) == 15_000
    assert sum(not any(record.labels.values()) for record in index.records) == 10_606


def test_a_soft_vote_of_readers(tmp_path, write_table, write_picture):
    rows = [
        ["a", "Aortic enlargement", 0, "R1", 1, 1, 2, 2],
        *(["a", "No finding", 14, f"R{n}", "", "", "", ""] for n in (2, 3)),
    ]
    write_table(tmp_path / "train.csv", HEADER, rows)
    write_picture(tmp_path / "train" / "a.png")
    (record,) = VinBigData(merge="mean").index(tmp_path).records
    assert max(record.labels.values()) == pytest.approx(1 / 3)
