from pathlib import Path

import pytest

from medimg.errors import DataError
from medimg.submission.faults import Faults
from medimg.submission.ids import IdMap, check_ids, padded, read_breasts, read_id_map, unique_ids


def text(found, asked, **options):
    faults = Faults()
    check_ids(found, asked, faults, **options)
    return faults.text("f") if faults else ""


def test_all_kinds_are_listed_together():
    found = text(["a", "b", "b", "x"], ["a", "b", "c"])
    for part in ("doubled rows (1)", "b (2 times)", "missing rows (1)", "unknown rows (1)"):
        assert part in found


def test_order_counts_only_where_it_is_asked_for():
    assert text(["b", "a"], ["a", "b"]) == ""
    assert "1: b, not a" in text(["b", "a"], ["a", "b"], ordered=True)
    assert text(["a", "b"], ["a", "b"], ordered=True) == ""


def test_an_unknown_sample_finds_doubles_only():
    assert text(["z"], ()) == ""
    assert "doubled" in text(["z", "z"], ())


def test_a_map_renames_and_notes_what_it_lacks(write_table, tmp_path):
    path = write_table(tmp_path / "ids.csv", ["submission_id", "case_id"], [["00001-000", "a"]])
    names, faults = read_id_map(path), Faults()
    assert names.apply(["a", "b"], faults) == ["00001-000", "b"]
    assert "does not list (1):\n    b" in faults.text("f")


@pytest.mark.parametrize(
    ("rows", "message"), [([["a", "x"], ["a", "y"]], "case a is x and y"), ([["a", ""]], "Fill the blank")]
)
def test_a_map_that_is_unclear_is_refused(write_table, tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        read_id_map(write_table(tmp_path / "ids.csv", ["case_id", "submission_id"], rows))


def test_images_become_breasts_and_breasts_stay(write_table, tmp_path):
    path = write_table(tmp_path / "t.csv", ["patient_id", "image_id", "laterality"], [["1", "77", "L"]])
    names, faults = read_breasts(path), Faults()
    assert names.apply(["1_77", "1_L"], faults) == ["1_L", "1_L"]
    assert not faults


def test_numbers_are_padded():
    assert padded("BraTS2021_7", 5) == "00007"
    assert padded("x", 5) == "x"


def test_a_doubled_sample_is_refused():
    with pytest.raises(DataError, match="more than once"):
        unique_ids(Path("s.csv"), ["a", "a"])
    assert IdMap({}, Path("m")).strict
