import os
from pathlib import Path

import pytest

from medimg.datasets.rsna_pneumonia import RSNAPneumonia, pneumonia_boxes
from medimg.errors import DataError

HEADER = ["patientId", "x", "y", "width", "height", "Target"]
ROWS = [
    ["a", "", "", "", "", 0],
    ["b", "264.0", "152.0", "213.0", "379.0", 1],
    ["b", "562.0", "152.0", "256.0", "453.0", 1],
]


def test_several_rows_an_image(tmp_path, write_table, write_picture):
    table = write_table(tmp_path / "stage_2_train_labels.csv.zip", HEADER, ROWS)
    for name in "ab":
        write_picture(tmp_path / "stage_2_train_images" / f"{name}.png")
    index = RSNAPneumonia().index(tmp_path)
    assert [(r.case_id, r.labels["pneumonia"], r.images[0].name) for r in index.records] == [
        ("a", 0.0, "a.png"),
        ("b", 1.0, "b.png"),
    ]
    assert pneumonia_boxes(table) == {"b": [(264.0, 152.0, 213.0, 379.0), (562.0, 152.0, 256.0, 453.0)]}


def test_rows_that_contradict_each_other(tmp_path, write_table):
    table = write_table(tmp_path / "t.csv", HEADER, [*ROWS, ["a", 1, 1, 2, 2, 1], ["c", "", "", "", "", 2]])
    with pytest.raises(DataError) as refused:
        RSNAPneumonia(table=table, missing="keep").index(tmp_path)
    assert "line 5: a has Target 1, and 0 in line 2" in str(refused.value)
    assert "line 6: Target is '2'" in str(refused.value)


def test_a_positive_row_without_a_box(tmp_path, write_table):
    table = write_table(tmp_path / "t.csv", HEADER, [["a", "", "", "", "", 1]])
    with pytest.raises(DataError, match="line 2: Target is 1, and the box is"):
        pneumonia_boxes(table)


@pytest.mark.real
def test_the_whole_table():
    table = Path(os.environ["MEDIMG_REAL_DATA"]) / "tables" / "kaggle_stage_2_train_labels.csv.zip"
    index = RSNAPneumonia(table=table, missing="keep").index(table.parent)
    assert len(index.records) == 26_684
    assert sum(record.labels["pneumonia"] for record in index.records) == 6_012
    assert sum(map(len, pneumonia_boxes(table).values())) == 9_555
