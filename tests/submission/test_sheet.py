from dataclasses import replace

import numpy as np
import pytest

from medimg.errors import DataError
from medimg.scoring.embolism import EXAM_LABELS
from medimg.submission.faults import Faults
from medimg.submission.formats import FORMATS
from medimg.submission.pulmonary_embolism import broken_rules
from medimg.submission.sheet import (
    Asked,
    Sheet,
    check_exams,
    check_sheet,
    enforce_exams,
    ordered_as,
    read_asked,
    read_sheet,
    write_sheet,
)

ISIC, PE, SPINE = FORMATS["isic2020"], FORMATS["rsna-pe"], FORMATS["spine2022"]


def test_what_is_written_is_read_again_to_the_last_digit(tmp_path):
    values = np.array([[0.1], [1 / 3], [1e-9]])
    sheet = Sheet(("image_name", "target"), ("a", "b", "c"), values)
    write_sheet(tmp_path / "out.csv", sheet)
    faults = Faults()
    again = read_sheet(tmp_path / "out.csv", ISIC, faults)
    assert (again.header, again.ids, bool(faults)) == (sheet.header, sheet.ids, False)
    np.testing.assert_array_equal(again.values, values)


def test_every_value_that_is_no_probability_is_named(write_table, tmp_path):
    rows = [
        ["a", "0.5"],
        ["b", ""],
        ["c", "nan"],
        ["d", "1.5"],
        ["e", "-0.1"],
        ["f", "yes"],
        ["g", "inf"],
        ["h", "0_1"],
    ]
    faults = Faults()
    read_sheet(write_table(tmp_path / "x.csv", ["image_name", "target"], rows), ISIC, faults)
    found = faults.text("x")
    assert "blank or NaN (2):\n    b, column target: blank\n    c, column target: nan" in found
    assert "outside [0, 1] (3):\n    d, column target: 1.5" in found
    assert "not a number (2):\n    f, column target: yes\n    h, column target: 0_1" in found


def test_other_columns_are_refused(write_table, tmp_path):
    path = write_table(tmp_path / "x.csv", ["image", "target"], [["a", "0.5"]])
    for read in (lambda: read_asked(path, ISIC), lambda: read_sheet(path, ISIC, Faults())):
        with pytest.raises(DataError, match="expected the columns image_name,target, found image,target"):
            read()
    narrow = write_table(tmp_path / "y.csv", ["id"], [["a"]])
    with pytest.raises(DataError, match="an id and a value"):
        read_asked(narrow, FORMATS["table"])


def test_ids_are_compared_with_pattern_and_sample():
    sheet = Sheet(("BraTS21ID", "MGMT_value"), ("00001", "2"), np.zeros((2, 1)))
    faults = Faults()
    check_sheet(sheet, FORMATS["rsna-miccai"], Asked(sheet.header, ("00001", "00002")), faults, ordered=True)
    for part in ("missing rows (1):\n    00002", "unknown rows (1):\n    2", "ids unlike"):
        assert part in faults.text("x")


def test_without_a_sample_each_case_needs_all_its_labels():
    ids = tuple(f"s_{label}" for label in SPINE.labels[1:])
    faults = Faults()
    check_sheet(Sheet(("row_id", "fractured"), ids, np.zeros((7, 1))), SPINE, None, faults, ordered=True)
    assert "s lacks C1" in faults.text("x")


def test_a_table_without_rows_and_with_other_columns_is_faulty():
    faults = Faults()
    check_sheet(
        Sheet(("a", "b"), (), np.zeros((0, 1))), FORMATS["table"], Asked(("a", "c"), ()), faults, ordered=True
    )
    assert "a,b, not a,c" in faults.text("x")
    assert "no rows" in faults.text("x")


def test_blanks_around_a_name_are_a_fault_since_organisers_compare_it_as_it_stands(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbfimage_name, target\r\n a, 0.5\r\n\r\nb,0.25\r\n")
    faults = Faults()
    assert read_sheet(tmp_path / "x.csv", ISIC, faults).ids == ("a", "b")
    assert "names with blanks around it (2):\n    line 1: ' target'\n    line 2: ' a'" in faults.text("x")


def test_an_embolism_table_without_a_sample_is_told_by_its_longest_label():
    ids = (*(f"s_{label}" for label in EXAM_LABELS), "i1")
    faults = Faults()
    sheet = Sheet(("id", "label"), ids, np.zeros((10, 1)))
    check_sheet(sheet, PE, None, faults, ordered=True)
    assert not faults
    check_sheet(replace(sheet, ids=ids[1:]), PE, None, faults, ordered=True)
    assert (
        faults.text("x")
        == "x: 1 fault\n  cases without a row for each label (1):\n    s lacks negative_exam_for_pe"
    )


def test_rows_take_the_order_of_the_sample():
    sheet = Sheet(("id", "x"), ("b", "a"), np.array([[2.0], [1.0]]))
    assert ordered_as(sheet, Asked(("id", "x"), ("a", "b"))).values.ravel().tolist() == [1, 2]
    assert ordered_as(sheet, Asked(("id", "x"), ())).ids == ("a", "b")


def pe_sheet():
    """Exam s1 contradicts itself, s2 does not."""
    rng = np.random.default_rng(1)
    ids = [f"{study}_{label}" for study in ("s1", "s2") for label in EXAM_LABELS] + ["i1", "i2", "i3"]
    values = rng.uniform(0.6, 0.9, len(ids))
    values[9:] = 0.2
    values[ids.index("s2_indeterminate")] = 0.7
    values[ids.index("i1")] = 0.8
    return Sheet(("id", "label"), tuple(ids), values[:, None]), {"s1": ["i1", "i2"], "s2": ["i3"]}


def test_exams_are_made_consistent_and_counted():
    sheet, exams = pe_sheet()
    faults = Faults()
    check_exams(sheet, exams, faults)
    assert "inconsistent exams (3)" in faults.text("x")
    assert "s2" not in faults.text("x")
    mended, changed = enforce_exams(sheet, exams)
    again = Faults()
    check_exams(mended, exams, again)
    assert (changed, bool(again)) == (1, False)
    value = dict(zip(mended.ids, mended.values[:, 0], strict=True))
    assert broken_rules({name: value[f"s1_{name}"] for name in EXAM_LABELS}, [value["i1"], value["i2"]]) == []
    np.testing.assert_array_equal(mended.values[9:18], sheet.values[9:18])


def test_exams_with_missing_rows_are_left_to_the_check_of_ids():
    sheet, exams = pe_sheet()
    short = Sheet(sheet.header, sheet.ids[1:], sheet.values[1:])
    assert enforce_exams(short, exams)[1] == 0
