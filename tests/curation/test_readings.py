import gzip

import numpy as np
import pytest

from medimg.curation.readings import Columns, read_readings
from medimg.errors import DataError


def write(path, *lines):
    text = "\n".join(lines) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def test_numbers_words_and_blanks(tmp_path):
    table = write(
        tmp_path / "r.csv",
        "case_id,patient_id,reader,grade,type",
        "b,p1,ben,2,mass",
        "a,p2,anna,1,cyst",
        "b,p1,anna,,mass",
        "",
        "a,p2,anna,1,cyst",  # said again, alike
    )
    found = read_readings(table)
    assert (found.cases, found.patients, found.readers) == (("b", "a"), ("p1", "p2"), ("anna", "ben"))
    assert found.labels == ("grade", "type")
    np.testing.assert_array_equal(found.values[:, :, 0], [[np.nan, 2], [1, np.nan]])
    np.testing.assert_array_equal(found.values[:, :, 1], [[1, 1], [0, np.nan]])
    assert found.words == {"type": ("cyst", "mass")}
    assert (found.text("type", 1.0), found.text("grade", 2.0), found.text("grade", np.nan)) == (
        "mass",
        "2",
        "",
    )
    assert read_readings(table, Columns(labels=("grade",))).labels == ("grade",)


@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz"])
def test_a_row_for_each_finding(tmp_path, name):
    table = write(
        tmp_path / name,
        "image_id,class_name,rad_id,x",
        "i,mass,R2,1",
        "i,mass,R2,5",  # a second box of one finding
        "i,cyst,R2,",
        "i,No finding,R1,",
        "j,cyst,R1,",
    )
    columns = Columns(finding="class_name", no_finding="No finding")
    found = read_readings(table, columns)
    assert (found.labels, found.readers, found.patients) == (("cyst", "mass"), ("R1", "R2"), ("i", "j"))
    np.testing.assert_array_equal(found.values[0], [[0, 0], [1, 1]])
    np.testing.assert_array_equal(found.values[1], [[1, 0], [np.nan, np.nan]])
    with pytest.raises(DataError, match="expected the findings lump in column class_name, found cyst, mass"):
        read_readings(table, Columns(labels=("lump",), finding="class_name", no_finding="No finding"))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["who,reader,x", "a,b,1"], "expected a column of cases, case_id or case or image_id; found who"),
        (["case,x", "a,1"], "expected a column of readers"),
        (["case,reader", "a,b"], "expected the columns of one label or more"),
        (["case,reader,x,x", "a,b,1,1"], "expected the columns x, x once each"),
        (["case,reader,x"], "found no rows"),
        (["case,reader,x", "a,b"], "row 2: has 2 fields, expected 3"),
        (["case,reader,x", "a,,1"], "row 2: expected a case and a reader"),
        (["case,reader,x", "a,b,1", "a,b,2"], "row 3: reader b says two different things of case a"),
        (["case,reader,x", "a,b,1", "a,c,yes"], "expected numbers or words in column x, found both, such as"),
        (
            ["case,reader,patient_id,x", "a,b,p,1", "a,c,q,1"],
            "row 3: case a belongs to patient p and to q",
        ),
        (["case,reader,x", 'a,b,"1'], "cannot be read as a table"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, lines, message):
    with pytest.raises(DataError, match=message):
        read_readings(write(tmp_path / "r.csv", *lines))


def test_no_table(tmp_path):
    with pytest.raises(DataError, match="there is no such table"):
        read_readings(tmp_path / "r.csv")
    with pytest.raises(DataError, match="expected the columns y once each"):
        read_readings(write(tmp_path / "r.csv", "case,reader,x", "a,b,1"), Columns(labels=("y",)))
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"case,reader,x\na,b,1\n")[:-6])
    with pytest.raises(DataError, match="cannot be read as a table"):
        read_readings(tmp_path / "cut.csv.gz")
