import math
from dataclasses import replace
from pathlib import Path

import pytest

from medimg.datasets.image_masks import MaskFiles
from medimg.datasets.table import ImageTable, index_table
from medimg.errors import ConfigError, DataError
from medimg.records import TableColumns

COLUMNS = TableColumns("id", "patient", ("file",), ("x",))


@pytest.fixture
def write(tmp_path, write_table, write_picture):
    for number in range(4):
        write_picture(tmp_path / "img" / f"{number}.png", seed=number)

    def written(header, rows):
        return write_table(tmp_path / "cases.csv", header, rows)

    return written


def test_binary_labels(write, tmp_path):
    rows = [[f"c{n}", f"p{n}", f"img/{n}.png", value] for n, value in enumerate(["1", "0.0", "-1", ""])]
    index = index_table(write(["id", "patient", "file", "x"], rows), tmp_path, columns=COLUMNS)
    assert (index.name, index.task, index.classes) == ("cases", "binary", ("x",))
    values = [record.labels["x"] for record in index.records]
    assert values[:2] == [1, 0] and all(map(math.isnan, values[2:]))
    assert index.records[3].images == (tmp_path / "img/3.png",)


def test_a_column_of_masks_needs_no_label(write, tmp_path):
    columns = TableColumns("id", "patient", ("file",), mask="img/{outline}.png")
    rows = [["c0", "p0", "img/0.png", "1"], ["c1", "p1", "img/2.png", ""]]
    write(["id", "patient", "file", "outline"], rows)
    table = ImageTable(Path("cases.csv"), columns, mask_classes=True)
    index = table.index(tmp_path)
    assert [record.mask for record in index.records] == [tmp_path / "img/1.png", None]
    assert table.masks(index) == {"c0": MaskFiles((tmp_path / "img/1.png",), classes=True)}
    write(["id", "patient", "file", "outline"], [*rows, ["c2", "p2", "img/3.png", "9"]])
    with pytest.raises(DataError, match=r"img/9\.png"):
        table.index(tmp_path)


def test_places_along_a_stack(write, tmp_path):
    columns = TableColumns("id", "patient", ("file",), group="patient", position="z")
    write(
        ["id", "patient", "file", "z"],
        [[f"c{n}", "p", f"img/{n}.png", z] for n, z in enumerate(["-2.5", ""])],
    )
    index = index_table(tmp_path / "cases.csv", tmp_path, columns=columns)
    assert [record.position_mm for record in index.records] == [-2.5, None]
    write(["id", "patient", "file", "z"], [["c0", "p", "img/0.png", "nan"]])
    with pytest.raises(DataError, match="the position is 'nan'"):
        index_table(tmp_path / "cases.csv", tmp_path, columns=columns)


def test_every_other_column(write, tmp_path):
    columns = TableColumns(
        id="{patient}_{image}",
        patient="patient",
        images=("img/{image}.png", "other"),
        labels=("x", "y"),
        group="{patient}_{side}",
        fold="fold",
        weight="weight",
        split="part",
    )
    header = ["patient", "image", "other", "side", "x", "y", "fold", "weight", "part"]
    rows = [
        ["p0", "0", "img\\3.png", "L", "1", "0.5", "0", "2", "train"],
        ["p1", "1", "./img/3.png", "", "0", "", "1", "", "train"],
        ["p2", "2", "img/3.png", "R", "0", "1", "", "0.5", "test"],
        ["p3", "3", "img/3.png", "R", "0", "1", "", "0.5", "train"],
    ]
    index = index_table(write(header, rows), tmp_path, columns=columns, task="multilabel", classes=["a", "b"])
    first, second, third, _ = index.records
    assert (first.case_id, first.group, first.weight, first.split) == ("p0_0", "p0_L", 2.0, "train")
    assert first.images == (tmp_path / "img/0.png", tmp_path / "img/3.png")
    assert first.labels == {"a": 1.0, "b": 0.5}
    assert second.group is None and second.weight == 1.0 and math.isnan(second.labels["b"])
    assert third.split == "test"
    # Fold 0 validates p0; the row without a fold always trains, the one of the test split never stands in a fold.
    assert index.folds == ((("p1_1", "p3_3"), ("p0_0",)), (("p0_0", "p3_3"), ("p1_1",)))


@pytest.mark.parametrize(
    ("values", "classes", "expected"),
    [
        (["b", "a", "c", "a"], (), ("a", "b", "c")),
        (["1", "0", "2", "0"], ("a", "b", "c"), ("a", "b", "c")),
    ],
)
def test_a_class_column(write, tmp_path, values, classes, expected):
    rows = [[f"c{n}", f"c{n}", f"img/{n}.png", value] for n, value in enumerate(values)]
    table = write(["id", "patient", "file", "x"], rows)
    index = index_table(table, tmp_path, columns=COLUMNS, task="multiclass", classes=classes)
    assert index.classes == expected
    assert index.records[0].labels == {"a": 0.0, "b": 1.0, "c": 0.0}


def test_numbered_classes_are_in_order_of_their_numbers(write, tmp_path):
    rows = [[f"c{n}", f"c{n}", f"img/{n}.png", value] for n, value in enumerate(["10", "9", "-1", ""])]
    table = write(["id", "patient", "file", "x"], rows)
    index = index_table(table, tmp_path, columns=COLUMNS, task="multiclass", classes=["9", "10"])
    assert index.records[0].labels == {"9": 0.0, "10": 1.0}
    assert all(math.isnan(value) for value in index.records[2].labels.values())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"x": "2"}, "line 2: the label x is '2'; expected 1, 0, a number between, -1 or blank"),
        ({"patient": ""}, "line 2: the patient is blank"),
        ({"file": "../secret.png"}, "below this folder"),
        ({"file": "img/7.png"}, "1 of 1 cases have no image"),
        ({"weight": "-2"}, "line 2: the weight is '-2'"),
        ({"part": "holdout"}, "line 2: the split is 'holdout'"),
    ],
)
def test_rows_that_cannot_be_used(write, tmp_path, change, says):
    row = {
        "id": "c0",
        "patient": "p",
        "file": "img/0.png",
        "x": "1",
        "weight": "1",
        "part": "train",
        **change,
    }
    columns = replace(COLUMNS, weight="weight", split="part")
    with pytest.raises(DataError, match=says):
        index_table(write(list(row), [list(row.values())]), tmp_path, columns=columns)


def test_duplicate_ids_are_refused(write, tmp_path):
    rows = [["c0", "p", "img/0.png", "1"], ["c0", "p", "img/1.png", "1"]]
    with pytest.raises(DataError, match="line 3: the id c0 is used already in line 2"):
        index_table(write(["id", "patient", "file", "x"], rows), tmp_path, columns=COLUMNS)


def test_unknown_column_and_class_are_named(write, tmp_path):
    table = write(["id", "patient", "file", "x"], [["c0", "p", "img/0.png", "z"]])
    with pytest.raises(DataError, match="expected the columns side; found id, patient"):
        index_table(table, tmp_path, columns=replace(COLUMNS, group="side"))
    with pytest.raises(DataError, match="the class x is 'z'; expected one of a, b"):
        index_table(table, tmp_path, columns=COLUMNS, task="multiclass", classes=["a", "b"])


def test_one_hot_columns_must_sum_to_one(write, tmp_path):
    columns = replace(COLUMNS, labels=("x", "y"))
    table = write(["id", "patient", "file", "x", "y"], [["c0", "p", "img/0.png", "1", "1"]])
    with pytest.raises(DataError, match="the classes sum to 2"):
        index_table(table, tmp_path, columns=columns, task="multiclass")


def test_settings_that_do_not_fit(write, tmp_path):
    table = write(["id", "patient", "file", "x", "fold"], [["c0", "p", "img/0.png", "1", "0"]])
    with pytest.raises(ConfigError, match="a binary task has one label"):
        index_table(table, tmp_path, columns=replace(COLUMNS, labels=("x", "y")))
    with pytest.raises(ConfigError, match="one name for each of the 1 label columns"):
        index_table(table, tmp_path, columns=COLUMNS, task="multilabel", classes=["a", "b"])
    with pytest.raises(ConfigError, match="a name stands twice"):
        index_table(
            table,
            tmp_path,
            columns=replace(COLUMNS, labels=("x", "y")),
            task="multilabel",
            classes=["a", "a"],
        )
    with pytest.raises(ConfigError, match="at least one column of image paths"):
        index_table(table, tmp_path, columns=replace(COLUMNS, images=()))
    with pytest.raises(DataError, match="one fold only"):
        index_table(table, tmp_path, columns=replace(COLUMNS, fold="fold"))


def test_a_class_column_is_read_by_its_values_and_unknown_is_no_class(tmp_path, write_table):
    columns = TableColumns(id="id", patient="id", images=("{id}.png",), labels=("grade",))
    values = ["0", "1", "2", "10", "-1", ""]
    table = write_table(tmp_path / "t.csv", ["id", "grade"], [[f"c{n}", v] for n, v in enumerate(values)])
    index = index_table(table, tmp_path, columns=columns, task="multiclass", missing="keep")
    assert index.classes == ("0", "1", "2", "10")
    assert all(math.isnan(v) for record in index.records[4:] for v in record.labels.values())


def test_a_number_is_no_position_where_the_classes_are_numbers(tmp_path, write_table):
    columns = TableColumns(id="id", patient="id", images=("{id}.png",), labels=("birads",))
    table = write_table(tmp_path / "t.csv", ["id", "birads"], [["a", "1"], ["b", "0"]])
    with pytest.raises(DataError, match=r"the class birads is '0'; expected one of 1, 2, 3"):
        index_table(
            table, tmp_path, columns=columns, task="multiclass", classes=["1", "2", "3"], missing="keep"
        )
