from pathlib import Path

import pytest

from medimg.curation.readings import read_readings
from medimg.datasets.image_table import read_table
from medimg.io.delimited import read_rows


@pytest.mark.parametrize(
    ("name", "lines", "rows"),
    [
        ("a.csv", ["x,y;z", "1,2;3"], [["x", "y;z"], ["1", "2;3"]]),
        ("a.csv", ["x;y", '"a;b";0,5'], [["x", "y"], ["a;b", "0,5"]]),
        ("a.tsv.gz", ["x;y\tz", "1;2\t3"], [["x;y", "z"], ["1;2", "3"]]),
        ("a.csv", ["x", "1"], [["x"], ["1"]]),
        ("a.csv", [], []),
    ],
)
def test_the_header_tells_what_separates(name, lines, rows):
    assert list(read_rows(lines, Path(name))) == rows


def test_lines_are_counted_from_the_header_on():
    rows = read_rows(["x;y\n", "1;2\n", '"3\n', '4";5\n'], Path("a.csv"))
    assert [(row, rows.line_num) for row in rows][1:] == [(["1", "2"], 2), (["3\n4", "5"], 4)]


def test_tables_of_a_spreadsheet_with_decimal_commas_are_read(tmp_path):
    path = tmp_path / "cases.csv"
    path.write_text("\ufeffcase;reader;label\r\n1;a;x\r\n1;b;y\r\n", encoding="utf-8")
    assert read_table(path).header == ("case", "reader", "label")
    assert list(read_readings(path).readers) == ["a", "b"]
