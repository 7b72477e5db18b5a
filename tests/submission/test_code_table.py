import csv

import numpy as np
import pytest

from medimg.errors import DataError
from medimg.io.rle import decode
from medimg.submission.code_table import (
    CodeTask,
    check_codes,
    code_fault,
    planes_by_id,
    read_asked_rows,
    write_codes,
)
from medimg.submission.faults import Faults
from medimg.submission.formats import FORMATS
from medimg.submission.ids import IdMap
from medimg.submission.pictures import find_planes

HUBMAP, UW, SIIM = FORMATS["hubmap"], FORMATS["uw-madison"], FORMATS["siim-pneumothorax"]
VALUES = {"large_bowel": 1, "small_bowel": 2, "stomach": 3}


@pytest.fixture
def masks(write_picture, tmp_path):
    """Two tiles, one of them empty."""
    full = np.zeros((5, 4), np.uint8)
    full[:3, 0] = full[4, 1] = full[:4, 2] = 255
    write_picture(tmp_path / "masks" / "a.png", full)
    write_picture(tmp_path / "masks" / "b.png", np.zeros((5, 4), np.uint8))
    return tmp_path / "masks"


def rows(path):
    with path.open() as stream:
        return [tuple(row) for row in csv.reader(stream)]


def planes(folder, names=None, faults=None):
    return planes_by_id(folder, names, Faults() if faults is None else faults)


def test_masks_become_codes_in_the_order_of_the_sample(masks, tmp_path):
    task = CodeTask(HUBMAP, (("b",), ("a",)), {})
    assert write_codes(tmp_path / "out.csv", task, planes(masks), Faults()) == 2
    assert rows(tmp_path / "out.csv") == [("id", "predicted"), ("b", ""), ("a", "1 3 10 5")]


def test_a_sample_without_rows_takes_all_masks_sorted(masks, tmp_path):
    write_codes(tmp_path / "out.csv", CodeTask(HUBMAP, (), {}), planes(masks), Faults())
    assert [name for name, _ in rows(tmp_path / "out.csv")[1:]] == ["a", "b"]


def test_slices_of_a_volume_become_three_rows_each(write_volume, tmp_path):
    mask = np.random.default_rng(0).integers(0, 4, (2, 6, 5)).astype(np.uint8)
    write_volume(tmp_path / "m" / "case1_day2.nii.gz", mask)
    asked = tuple((f"case1_day2_slice_000{n}", name) for n in (1, 2) for name in VALUES)
    for keys in (asked, ()):
        write_codes(tmp_path / "out.csv", CodeTask(UW, keys, VALUES), planes(tmp_path / "m"), Faults())
        header, *found = rows(tmp_path / "out.csv")
        assert header == ("id", "class", "predicted")
        assert tuple(row[:2] for row in found) == asked
        for name, label, code in found:
            expected = mask[int(name[-1]) - 1] == VALUES[label]
            np.testing.assert_array_equal(decode(code, (6, 5)), expected)


def test_a_volume_is_renamed_with_all_its_slices(write_volume, tmp_path):
    write_volume(tmp_path / "m" / "c.nii.gz", np.zeros((2, 3, 3), np.uint8))
    names, faults = IdMap({"c": "case1_day2"}, tmp_path), Faults()
    assert set(planes(tmp_path / "m", names, faults)) == {"case1_day2_slice_0001", "case1_day2_slice_0002"}
    assert not faults
    planes(tmp_path / "m", IdMap({}, tmp_path), faults)
    assert "does not list (2)" in faults.text("x")


def test_relative_codes_write_minus_one_for_empty_masks(write_picture, tmp_path):
    mask = np.zeros((1024, 1024), np.uint8)
    write_picture(tmp_path / "m" / "b.png", mask)
    mask[2:5, 1] = 1
    mask[0, 2] = 1
    write_picture(tmp_path / "m" / "a.png", mask)
    task = CodeTask(SIIM, (("a",), ("b",)), {})
    write_codes(tmp_path / "out.csv", task, planes(tmp_path / "m"), Faults())
    assert rows(tmp_path / "out.csv")[1:] == [("a", "1026 3 1019 1"), ("b", "-1")]
    faults = Faults()
    assert check_codes(tmp_path / "out.csv", task, faults) == 2
    assert not faults


def test_empty_masks_need_the_sample_alone(tmp_path):
    write_codes(tmp_path / "out.csv", CodeTask(HUBMAP, (("a",), ("b",)), {}), None, Faults())
    assert rows(tmp_path / "out.csv")[1:] == [("a", ""), ("b", "")]
    with pytest.raises(DataError, match="no rows"):
        write_codes(tmp_path / "none.csv", CodeTask(HUBMAP, (), {}), None, Faults())
    assert not (tmp_path / "none.csv").exists()


def test_every_fault_of_masks_is_listed_and_nothing_is_written(masks, write_picture, tmp_path):
    images = tmp_path / "images"
    for name, shape in (("a", (4, 5)), ("b", (5, 4)), ("c", (5, 4)), ("d", (5, 4))):
        write_picture(images / f"{name}.png", np.zeros(shape, np.uint8))
    (masks / "d.png").write_bytes(b"no picture")
    write_picture(masks / "z.png", np.zeros((5, 4), np.uint8))
    task = CodeTask(HUBMAP, tuple((name,) for name in "abcd"), {}, dict(find_planes(images)))
    with pytest.raises(DataError) as caught:
        write_codes(tmp_path / "out.csv", task, planes(masks), Faults())
    for part in (
        "missing masks (1):\n    c",
        "unknown masks (1):\n    z",
        "a: (5, 4), expected (4, 5) (H, W)",
        "files that cannot be read (1):",
    ):
        assert part in str(caught.value)
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def test_label_values_of_no_class_and_doubled_masks_are_named(write_picture, write_volume, tmp_path):
    write_volume(tmp_path / "m" / "c_1.nii.gz", np.full((1, 3, 3), 7, np.uint8))
    write_picture(tmp_path / "m" / "c_1_slice_0001.png", np.zeros((3, 3), np.uint8))
    faults = Faults()
    planes(tmp_path / "m", None, faults)
    assert "doubled masks (1)" in faults.text("x")
    (tmp_path / "m" / "c_1_slice_0001.png").unlink()
    with pytest.raises(DataError, match=r"\[7\], expected 0 and large_bowel=1, small_bowel=2, stomach=3"):
        write_codes(tmp_path / "out.csv", CodeTask(UW, (), VALUES), planes(tmp_path / "m"), Faults())


def test_probabilities_are_no_masks(write_picture, tmp_path):
    write_picture(tmp_path / "m" / "a.png", np.array([[0, 10, 200]], np.uint8))
    with pytest.raises(DataError, match=r"grey values; a mask holds 0 and one other \(1\):\n    a: 3 values"):
        write_codes(tmp_path / "out.csv", CodeTask(HUBMAP, (), {}), planes(tmp_path / "m"), Faults())


def test_a_table_from_elsewhere_is_checked_row_by_row(write_table, masks, tmp_path):
    header = ["id", "class", "predicted"]
    found = [["a", "stomach", "1 3"], ["a", "liver", ""], ["a", "stomach", "19 3"], ["a", "small_bowel", "5"]]
    path = write_table(tmp_path / "x.csv", header, found)
    asked = (("a", "stomach"), ("a", "large_bowel"))
    faults = Faults()
    assert check_codes(path, CodeTask(UW, asked, VALUES, dict(find_planes(masks))), faults) == 4
    for part in (
        "doubled rows (1):\n    a, stomach (2 times)",
        "missing rows (1):\n    a, large_bowel",
        "unknown classes (1):\n    a, liver",
        "a, stomach: runs that leave the picture (pixel 21 of 20)",
        "a, small_bowel: a start without its length",
    ):
        assert part in faults.text("x")


def test_order_and_columns_of_a_table_from_elsewhere(write_table, tmp_path):
    path = write_table(tmp_path / "x.csv", ["id", "predicted"], [["b", ""], ["a", ""]])
    assert read_asked_rows(path, HUBMAP) == (("b",), ("a",))
    faults = Faults()
    check_codes(path, CodeTask(HUBMAP, (("a",), ("b",)), {}), faults)
    assert "in another order" in faults.text("x")
    with pytest.raises(DataError, match="expected the columns id,class,predicted, found id,predicted"):
        read_asked_rows(path, UW)
    faults = Faults()
    check_codes(write_table(tmp_path / "y.csv", ["id", "predicted"], []), CodeTask(HUBMAP, (), {}), faults)
    assert "no rows" in faults.text("x")


@pytest.mark.parametrize(
    ("code", "relative", "fault"),
    [
        ("1 16", False, ""),
        ("1 3 4 2", False, ""),  # runs that touch do not overlap
        ("0 16", True, ""),
        ("5 2 3 2", False, "overlap"),
        ("0 2", False, "before pixel 1"),
        ("-1 2", True, "before pixel 1"),
        ("1 0", False, "without pixels"),
        ("1 17", False, "pixel 17 of 16"),
        ("10 3 2 2", True, "pixel 17 of 16"),
        ("1", False, "without its length"),
        ("-1", False, "'' for an empty mask"),
        ("9223372036854775807 9223372036854775807", False, "whole numbers"),
        ("9223372036854775807 9223372036854775807", True, "whole numbers"),
        ("1_0 3", False, "whole numbers"),
        ("1 a", False, "whole numbers"),
        ("1 99999999999999999999", False, "whole numbers"),
    ],
)
def test_codes(code, relative, fault):
    found = code_fault(code, (4, 4), relative=relative)
    assert fault in found
    assert bool(found) is bool(fault)


def test_a_class_that_the_format_does_not_know_is_refused(write_picture, tmp_path):
    write_picture(tmp_path / "m" / "a.png", np.array([[0, 1], [2, 3]], np.uint8))
    task = CodeTask(UW, (("a", "stomach"), ("a", "colon")), VALUES)
    for masks in (planes(tmp_path / "m"), None):
        with pytest.raises(DataError, match=r"unknown classes \(1\):\n    a, colon, expected large_bowel, "):
            write_codes(tmp_path / "out.csv", task, masks, Faults())
    assert not (tmp_path / "out.csv").exists()


def test_blanks_around_an_id_are_a_fault(tmp_path):
    (tmp_path / "x.csv").write_text("id,predicted\n a,1 3\n")
    faults = Faults()
    check_codes(tmp_path / "x.csv", CodeTask(HUBMAP, (("a",),), {}), faults)
    assert "blanks around it (1):\n    line 2: ' a'" in faults.text("x")
