import pytest

from medimg.datasets.long_table import read_header, stream_table
from medimg.errors import DataError


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.csv.zip"])
def test_rows_come_one_by_one_with_their_lines(tmp_path, write_table, name):
    path = write_table(tmp_path / name, ["id", " x", "y"], [["a", " 1 ", 2], ["b", 3, 4]])
    assert list(stream_table(path, ["x", "id"])) == [(2, ("1", "a")), (3, ("3", "b"))]
    assert read_header(path) == ("id", "x", "y")


def test_the_first_row_is_there_before_the_last_is_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id\na\nb,c\n")
    rows = stream_table(path, ["id"])
    assert next(rows) == (2, ("a",))
    with pytest.raises(DataError, match=r"a.csv, line 3: has 2 fields, expected 1"):
        next(rows)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "found an empty file"),
        ("id\n", "holds a header and no row"),
        ("x\n1\n", "expected the columns id; found x"),
        ("id,id\n1,2\n", "the column id stands twice"),
        ('id\n"a', "cannot be read as a table"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, said):
    path = tmp_path / "a.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=said):
        list(stream_table(path, ["id"]))


def test_a_missing_or_damaged_table_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no such table"):
        list(stream_table(tmp_path / "a.csv", ["id"]))
    (tmp_path / "b.csv.gz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="cannot be read as a table"):
        read_header(tmp_path / "b.csv.gz")
