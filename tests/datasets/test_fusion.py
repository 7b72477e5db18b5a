"""A table of cases with several inputs: what is blank is missing, what is wrong is named."""

from pathlib import Path

import numpy as np
import pytest

from medimg.datasets import FusionColumns, FusionTable
from medimg.datasets.fusion import present_inputs
from medimg.errors import ConfigError, DataError
from medimg.io.dicom.write_series import write_series
from medimg.io.grid import Grid

HEADER = ["id", "patient", "sick", "split", "ct", "mri", "age", "sex", "finding", "conclusion", "note"]
ROWS = [
    ["c", "p2", "1", "train", "c.png", "c2.png", "40.5", "F", "A mass.", "Malignant.", ""],
    ["a", "p1", "0", "train", "a.png", "", "", "M", "", "Benign.", "notes/a.txt"],
    ["b", "p1", "", "test", "", "", "NA", "", "", "", ""],
    ["d", "p3", "1", "val", "./d.png", "", "60", "other", "", "", ""],
]
COLUMNS = {
    "id": "id",
    "patient": "patient",
    "labels": ("sick",),
    "split": "split",
    "images": {"image": "ct", "image_2": "mri"},
    "numeric": ("age",),
    "categorical": {"sex": ("F", "M")},
    "text": ("finding", "conclusion"),
    "text_file": "note",
}


@pytest.fixture
def root(tmp_path, write_table, write_picture):
    write_table(tmp_path / "t.csv", HEADER, ROWS)
    for name in ("a", "c", "c2", "d"):
        write_picture(tmp_path / f"{name}.png")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("Since 2019: größer.\n", encoding="utf-8")
    return tmp_path


def make(**options):
    return FusionTable(Path("t.csv"), FusionColumns(**{**COLUMNS, **options}))


def test_every_input_of_every_case_is_found(root):
    cases = make().cases(root)
    assert [r.case_id for r in cases.index.records] == ["a", "b", "c", "d"]
    assert [r.split for r in cases.index.records] == ["train", "test", "train", "val"]
    assert [r.labels["sick"] for r in cases.index.records[2:]] == [1.0, 1.0]
    assert np.isnan(cases.index.records[1].labels["sick"])
    assert {r.case_id: r.images[0].name for r in cases.pictures["image"].records} == {
        "a": "a.png",
        "c": "c.png",
        "d": "d.png",
    }
    assert [r.images for r in cases.pictures["image_2"].records] == [(root / "c2.png",)]
    np.testing.assert_array_equal(cases.numbers, np.float32([[np.nan], [np.nan], [40.5], [60]]))
    assert cases.codes.tolist() == [[3], [0], [2], [1]]
    assert cases.texts == ("Benign. Since 2019: größer.", "", "A mass. Malignant.", "")
    assert make().inputs == ("image", "image_2", "table", "text")
    assert present_inputs(cases) == {
        "image": {"a", "c", "d"},
        "image_2": {"c"},
        "table": {"a", "c", "d"},  # a has a sex alone; b has nothing
        "text": {"a", "c"},
    }


def test_an_unknown_category_counts_as_unknown_and_is_told(root, caplog):
    make().cases(root)
    assert "1 of 4 values of sex are none of F, M and count as unknown" in caplog.text


def test_new_cases_need_no_labels(root, write_table):
    places = [HEADER.index(name) for name in HEADER if name not in ("sick", "split")]
    write_table(root / "t.csv", [HEADER[p] for p in places], [[row[p] for p in places] for row in ROWS])
    cases = make().cases(root, labelled=False)
    assert len(cases.index.records) == 4
    assert not any(record.labels for record in cases.index.records)
    with pytest.raises(DataError, match="expected the columns sick, split"):
        make().cases(root)


def test_inputs_are_those_that_are_named(root):
    lone = make(images={}, text=(), text_file=None)
    assert lone.inputs == ("table",)
    assert lone.cases(root).texts == ()
    assert make(numeric=(), categorical={}).inputs == ("image", "image_2", "text")


def test_files_that_are_not_there_are_named_or_missing(root, caplog):
    (root / "c2.png").unlink()
    (root / "notes" / "a.txt").unlink()
    with pytest.raises(DataError, match=r"2 files are not there, the first .*c2\.png; set missing to skip"):
        make().cases(root)
    cases = FusionTable(Path("t.csv"), FusionColumns(**COLUMNS), missing="skip").cases(root)
    assert cases.texts[0] == "Benign."
    assert not cases.pictures["image_2"].records
    assert len(cases.index.records) == 4
    assert "2 files are not there and count as missing" in caplog.text


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("age", "old", "line 2: age is 'old'; expected a number, or blank where it is missing"),
        ("age", "inf", "line 2: age is 'inf'"),
        ("ct", "../x.png", r"line 2: .*expected the path of an image below this folder, found '\.\./x\.png'"),
    ],
)
def test_fields_that_cannot_be_used_are_named(root, write_table, column, value, said):
    rows = [list(row) for row in ROWS]
    rows[0][HEADER.index(column)] = value
    write_table(root / "t.csv", HEADER, rows)
    with pytest.raises(DataError, match=said):
        make().cases(root)


def test_a_note_that_is_no_text_is_named(root):
    (root / "notes" / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"line 3: .*a\.txt cannot be read as UTF-8 text"):
        make().cases(root)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"images": {"ct": "ct"}}, "columns.images: expected image and image_2, found ct"),
        ({"numeric": ("sick",)}, "sick is a label and an input at once"),
        ({"numeric": ("age", "age")}, "a column stands twice in age, age"),
    ],
)
def test_columns_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        make(**options)


def test_a_series_of_slices_is_one_volume(root, write_table):
    write_series(root / "series", np.zeros((3, 4, 4)), Grid((3, 4, 4), np.diag([-1.0, -1, 2, 1])))
    rows = [list(row) for row in ROWS]
    rows[0][HEADER.index("mri")] = "series"
    write_table(root / "t.csv", HEADER, rows)
    (record,) = make().cases(root).pictures["image_2"].records
    assert sorted(record.images) == sorted((root / "series").iterdir())
    assert len(record.images) == 3
