import gzip
import zipfile

import pytest

from medimg.datasets.image_table import Table, find_table, need_table, read_table
from medimg.errors import DataError


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.csv.zip"])
def test_reads_every_packing(tmp_path, write_table, name):
    table = read_table(write_table(tmp_path / name, ["id", " x"], [["c1", "a,b"], ["c2", ""]]))
    assert table.header == ("id", "x")
    assert list(table.select(["x", "id"])) == [(2, ["a,b", "c1"]), (3, ["", "c2"])]


def test_tabs_blank_lines_and_byte_order_mark(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"\xef\xbb\xbfid\tx\n\nc1\t1\n\n")
    assert list(read_table(tmp_path / "a.tsv").select(["id"])) == [(3, ["c1"])]


def test_headers_with_a_comma_inside_brackets(tmp_path):
    (tmp_path / "a.csv").write_text("id,Size[Width,Height],Gap[x,y]\nc1,2682,2749,0.1,0.2\n")
    table = read_table(tmp_path / "a.csv")
    assert table.header == ("id", "Size[Width]", "Size[Height]", "Gap[x]", "Gap[y]")


def test_fields_longer_than_csv_takes_by_default(tmp_path):
    code = "1 2 " * 100_000
    (tmp_path / "a.csv").write_text(f"id,rle\nc1,{code}\n")
    assert read_table(tmp_path / "a.csv").rows[0][1] == code


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty file"),
        (b"id,x\nc1\n", "line 2: has 1 fields, expected 2"),
        (b"id,x\nc1,1,2\n", "line 2: has 3 fields, expected 2"),
        (b"id,x\nc1,\xff\n", "cannot be read as a table"),
        (b'id,x\nc1,"open\n', "cannot be read as a table"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, content, says):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_table(tmp_path / "a.csv")


def test_damaged_packings_are_refused(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"id,x\nc1,1\n" * 1000)[:-20])
    (tmp_path / "b.csv.gz").write_bytes(b"id,x\n")
    (tmp_path / "c.csv.zip").write_bytes(b"PK")
    for name in ("a.csv.gz", "b.csv.gz", "c.csv.zip", "none.csv"):
        with pytest.raises(DataError, match=name):
            read_table(tmp_path / name)


def test_a_zip_of_two_tables_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", "id\n1\n")
        archive.writestr("b.csv", "id\n1\n")
    with pytest.raises(DataError, match="expected one CSV file inside, found 2"):
        read_table(tmp_path / "a.zip")


def test_a_bomb_is_refused(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"id\n" + b"\0" * (100 << 20), 9))
    with pytest.raises(DataError, match="unpacks to more than 500 times"):
        read_table(tmp_path / "a.csv.gz")


def test_columns_missing_or_twice(tmp_path):
    table = Table(tmp_path / "a.csv", ("id", "x", "x"), [["1", "2", "3"]], [2])
    with pytest.raises(DataError, match="expected the columns y; found id, x, x"):
        list(table.select(["id", "y"]))
    with pytest.raises(DataError, match="x stands twice"):
        list(table.select(["x"]))
    assert table.has("id") and not table.has("id", "y")


def test_find_table(tmp_path, write_table):
    path = write_table(tmp_path / "b.csv.gz", ["id"], [])
    assert find_table(tmp_path, ["a.csv", "b.csv"]) == path
    assert find_table(tmp_path, ["a.csv"]) is None
    with pytest.raises(DataError, match=r"the Fake table a.csv or c.csv"):
        need_table(tmp_path, ["a.csv", "c.csv"], "Fake")


@pytest.mark.parametrize(
    "name", ["../evil.csv", "/etc/evil.csv", "a/../../evil.sh", "..\\\\evil.csv", "C:\\\\evil.csv"]
)
def test_an_archive_that_leads_out_of_its_folder_is_refused(tmp_path, name):  # 48
    with zipfile.ZipFile(tmp_path / "a.csv.zip", "w") as archive:
        archive.writestr("a.csv", "id,x\nc1,1\n")
        archive.writestr(name, "id,x\nc1,1\n")
    with pytest.raises(DataError, match="leads out of the folder"):
        read_table(tmp_path / "a.csv.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv.zip"]
