import pytest

from medimg.curation.adjudication import (
    agreed,
    gather_labels,
    in_conflict,
    letters,
    refuse_missing,
    refuse_third,
)
from medimg.curation.readings import Columns
from medimg.curation.worklists import code_of
from medimg.errors import ConfigError, DataError


def test_letters_hide_who_said_what():
    answers = {"anna": {"mass": "1"}, "ben": {"mass": "0"}}
    drawn = [letters(f"case {number}", answers, 0) for number in range(40)]
    assert all(
        set(one) == {"A", "B"} and one == letters(f"case {n}", answers, 0) for n, one in enumerate(drawn)
    )
    # Neither reader is always A.
    assert {one["A"]["reader"] for one in drawn} == {"anna", "ben"}


def test_the_third_reader_is_another_one():
    refuse_third("carla", {"anna", "ben"}, 0)
    for third in ("anna", ""):
        with pytest.raises(ConfigError, match="has read cases as one of the first two"):
            refuse_third(third, {"anna", "ben"}, 0)
    with pytest.raises(ConfigError, match="--third carla"):
        refuse_third("carla", {code_of("carla", 3)}, 3)


def test_values_that_are_no_conflict_become_one():
    assert [agreed(texts) for texts in (["x", "x"], ["4", "3"], ["", "2"], ["", ""])] == ["x", "3", "2", ""]


def test_cases_without_a_decision_are_named_or_left_out():
    assert refuse_missing(["a"], ["b"], leave_out=True) == {"a", "b"}
    assert refuse_missing([], [], leave_out=False) == set()
    with pytest.raises(
        DataError, match=r"1 in conflict lack one \(a\), and 0 have fewer than two readings \(none\)"
    ):
        refuse_missing(["a"], [], leave_out=False)


def test_only_cases_read_twice_are_in_conflict():
    cases = [
        {"case_id": "a", "answers": {"x": 1, "y": 2}, "conflict": "differs"},
        {"case_id": "b", "answers": {"x": 1}, "conflict": "differs"},
        {"case_id": "c", "answers": {"x": 1, "y": 1}, "conflict": ""},
    ]
    assert list(in_conflict({"cases": cases})) == ["a"]


def test_two_answers_of_one_reader_in_two_tables_are_refused(tmp_path):
    for name, value in (("one", 1), ("two", 0)):
        (tmp_path / f"{name}.csv").write_text(f"case_id,reader,mass\na,anna,{value}\na,ben,1\n")
    tables = [tmp_path / "one.csv", tmp_path / "two.csv"]
    said, patients = gather_labels(tables[:1], Columns())
    assert said == {"a": {"anna": {"mass": "1"}, "ben": {"mass": "1"}}}
    assert set(patients) == {"a"}
    with pytest.raises(DataError, match="reader anna says of case a what no other table says"):
        gather_labels(tables, Columns())
