import pytest

from medimg.errors import DataError
from medimg.preparation.split_rows import rows_of_splits
from medimg.preparation.split_table import SplitRow
from medimg.preparation.splits import Split, splits_of_rows
from medimg.records import Record

RECORDS = [Record(case, f"p{case}", ()) for case in "abcdef"]


def rows_of(*splits, test=(), records=RECORDS):
    return rows_of_splits(splits, records, published_test=test, source="file.json")


def folds_of(rows):
    return {row.case_id: row.fold for row in rows}


def split_of(train, val, test=""):
    return Split(tuple(train), tuple(val), test=tuple(test))


def test_folds_and_tests_of_every_case():
    given = [split_of("cde", "ab", "f"), split_of("abe", "cd", "f"), split_of("abcd", "e", "f")]
    rows = rows_of(*given)
    assert folds_of(rows) == {"a": 0, "b": 0, "c": 1, "d": 1, "e": 2, "f": None}
    assert rows[0] == SplitRow("a", "pa", 0)
    assert splits_of_rows(rows) == given


def test_a_published_split_is_fold_0_and_what_always_trains_the_last():
    rows = rows_of(split_of("abc", "de"), test="f")
    assert folds_of(rows) == {"a": 1, "b": 1, "c": 1, "d": 0, "e": 0, "f": None}
    first = splits_of_rows(rows)[0]
    assert (first.train, first.val, first.test) == (("a", "b", "c"), ("d", "e"), ("f",))


@pytest.mark.parametrize(
    ("splits", "test", "said"),
    [
        ([], "", "expected one fold or more"),
        ([split_of("abcde", "xf")], "", "names 1 cases that the data set does not have.*such as x"),
        ([split_of("abcd", "e", "y")], "f", "names 1 cases.*such as y"),
        ([split_of("abcd", "ef")], "f", "found f in fold 0 and also in the test"),
        ([split_of("abcde", "e")], "f", "fold 0 trains on e, which stands in fold 0"),
        ([split_of("abcdf", "e")], "f", "fold 0 trains on f, which stands in the test"),
        ([split_of("def", "abc"), split_of("abf", "cde")], "", "found c in fold 1 and also in fold 0"),
        ([split_of("def", "ab")], "", "leaves out 1 of 6 cases, such as c"),
        (
            [split_of("cde", "ab"), split_of("abf", "cde")],
            "",
            "fold 0 does not train on f, which stands in fold 2",
        ),
        ([split_of("", "abcdef")], "", "fold 0 leaves train or val empty"),
    ],
)
def test_what_is_no_split_of_these_cases_is_refused(splits, test, said):
    with pytest.raises(DataError, match=rf"file\.json: .*{said}"):
        rows_of(*splits, test=test)


@pytest.mark.parametrize(
    ("twin", "place"), [("d", "in fold 0 and in fold 1"), ("f", "in fold 1 and in the test")]
)
def test_a_patient_on_two_sides_is_refused(twin, place):
    records = [Record(case, "same" if case in ("a", twin) else case, ()) for case in "abcdef"]
    with pytest.raises(DataError, match=f"puts 1 patients on two sides, such as same, who stands {place}"):
        rows_of(split_of("abc", "de"), test="f", records=records)
