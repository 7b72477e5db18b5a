from pathlib import Path

import pytest

from medimg.errors import DataError
from medimg.scoring.answers import fault_list, grade, probability, read_answers, read_lines


def table(folder, text, name="sub.csv"):
    path = folder / name
    path.write_text(text)
    return path


def read(path, wanted):
    return read_answers(
        path,
        wanted,
        ["p"],
        key=lambda line: line["id"],
        key_columns=["id"],
        parse=lambda text, _: probability(text),
        hint="Ids are words.",
    )


def test_values_come_in_the_order_of_the_reference(tmp_path):
    assert read(table(tmp_path, "id,p\nb,0.2\na,1\n"), ["a", "b"]) == [[1.0], [0.2]]


def test_every_kind_of_fault_is_listed_with_its_count(tmp_path):
    rows = ["a,0.1", "a,0.2", "b,", "c,nan", "d,1.5", "e,-0.1", "f,word", "x,0.5", "y,0.5", "z,"]
    path = table(tmp_path, "\n".join(["id,p", *rows]) + "\n")
    with pytest.raises(DataError) as fault:
        read(path, ["a", "b", "c", "d", "e", "f", "g", "h"])
    assert str(fault.value).splitlines() == [
        f"{path}: no score, because of faulty rows. Mend them and score again. Ids are words.",
        "  1 doubled: a",
        "  2 blank or NaN: b, c",
        "  2 outside [0, 1]: d, e",
        "  1 not a number: f",
        "  3 unknown to the reference: x, y, z",
        "  2 missing: g, h",
    ]


def test_long_lists_are_cut():
    assert fault_list(Path("a.csv"), {"missing": list("abcdefg")}).endswith(
        "  7 missing: a, b, c, d, e and 2 more"
    )


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(DataError, match=r"expected columns id, p .* found id, q; missing: p"):
        read(table(tmp_path, "id,q\na,1\n"), ["a"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least one row"),
        ("id,p\n", "at least one row"),
        ("id,p\na,1,2\n", "row 1 holds more values"),
        ("id,p\na,0.5\nb\n", "row 2 holds fewer values"),
        ("id,p,p\na,0.5,0.9\n", "column 'p' stands twice"),
        ('id,p\na,"0.5\n', "cannot be read as a CSV table"),
    ],
)
def test_tables_that_are_none(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        list(read_lines(table(tmp_path, text)))


def test_a_file_that_is_missing_or_binary(tmp_path):
    with pytest.raises(DataError, match="cannot be read as a CSV table"):
        list(read_lines(tmp_path / "none.csv"))
    (tmp_path / "bytes.csv").write_bytes(b"id,p\n\xff\xfe,1\n")
    with pytest.raises(DataError, match="cannot be read as a CSV table"):
        list(read_lines(tmp_path / "bytes.csv"))


def test_a_byte_order_mark_is_no_part_of_a_column(tmp_path):
    (tmp_path / "a.csv").write_bytes("\ufeffid,p\na,1\n".encode())
    assert next(read_lines(tmp_path / "a.csv")) == {"id": "a", "p": "1"}


@pytest.mark.parametrize(
    ("text", "message"), [("5", "0 to 4"), ("1.5", "0 to 4"), ("", "blank"), ("x", "not a number")]
)
def test_values_that_are_no_grade(text, message):
    with pytest.raises(DataError, match=message):
        grade(text, 5)


def test_a_mask_of_a_slide_is_longer_than_what_csv_takes_by_default(tmp_path):
    text = " ".join(f"{3 * n + 1} 1" for n in range(30_000))
    assert len(text) > 131_072
    assert [line["p"] for line in read_lines(table(tmp_path, f"id,p\na,{text}\n"))] == [text]


@pytest.mark.parametrize("text", ["0_1", "\u0661", "1__0"])
def test_only_plain_numbers_are_numbers(text):
    with pytest.raises(DataError, match="not a number"):
        probability(text)
    with pytest.raises(DataError, match="not a number"):
        grade(text, 5)
