import hashlib

import pytest

from medimg.errors import DataError
from medimg.preparation.split_table import SplitRow, read_split_table, write_split_table

ROWS = [SplitRow("b, 2", "p", 0), SplitRow("c", "q", None), SplitRow("a", "r", 1)]


def test_what_is_written_is_read_and_the_digest_is_that_of_the_file(tmp_path):
    path = tmp_path / "new" / "splits.csv"
    digest = write_split_table(path, ROWS)
    assert path.read_text() == 'case_id,patient_id,fold\na,r,1\n"b, 2",p,0\nc,q,test\n'
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(digest)
    assert read_split_table(path) == sorted(ROWS, key=lambda row: row.case_id)
    assert write_split_table(path, ROWS[::-1]) == digest


def test_further_columns_and_another_order_are_read(tmp_path):
    path = tmp_path / "splits.csv"
    path.write_text("fold,note,case_id,patient_id\n0,x,a,p\n1,,b,q\n")
    assert read_split_table(path) == [SplitRow("a", "p", 0), SplitRow("b", "q", 1)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a header with column names"),
        ("case_id,fold\na,0\n", "expected the columns patient_id; found case_id, fold"),
        ("case_id,patient_id,fold\na,p\n", "line 2: has 2 fields, expected 3"),
        ("case_id,patient_id,fold\n,p,0\n", "line 2: case_id is blank"),
        ("case_id,patient_id,fold\na,,0\n", "line 2: patient_id is blank"),
        ("case_id,patient_id,fold\na,p,0\na,p,1\n", "line 3: the case a stands in line 2 already"),
        ("case_id,patient_id,fold\na,p,train\n", "line 2: expected a fold from 0 on, or test, found 'train'"),
        ("case_id,patient_id,fold\na,p,-1\n", "expected a fold from 0 on, or test, found '-1'"),
        ("case_id,patient_id,fold\na,p,\n", "expected a fold from 0 on, or test, found ''"),
        ("case_id,patient_id,fold\na,p,0\nb,q,2\n", "without a gap; found 0, 2"),
        ("case_id,patient_id,fold\na,p,1\nb,q,2\n", "without a gap; found 1, 2"),
        ("case_id,patient_id,fold\na,p,0\nb,q,test\n", "two folds or more.*found 0"),
        ("case_id,patient_id,fold\na,p,test\n", "found none"),
    ],
)
def test_a_table_that_is_no_split_is_refused(tmp_path, text, said):
    path = tmp_path / "splits.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        read_split_table(path)


def test_no_table(tmp_path):
    with pytest.raises(DataError, match="there is no such table"):
        read_split_table(tmp_path / "splits.csv")
