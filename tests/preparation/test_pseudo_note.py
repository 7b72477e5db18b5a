from pathlib import Path

import pytest

from medimg.errors import DataError
from medimg.preparation.pseudo_note import PseudoNote, labels_digest, note_path, read_note, write_note
from medimg.records import TableColumns


def test_a_note_comes_back_as_it_was(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("case_id\na\n")
    columns = TableColumns("case_id", "patient_id", ("image_0",), ("x",), weight="weight")
    note = PseudoNote(2, Path("/images"), {"a": [1]}, "binary", ("x",), (0.5,), columns)
    write_note(note_path(table), note)
    assert read_note(table) == note
    folder = tmp_path / "masks"
    volumes = PseudoNote(1, Path("/images"), {}, labels={"a": 1}, ignore=255, weights={"c": 0.5})
    write_note(note_path(folder), volumes)
    assert read_note(folder) == volumes


def test_two_rounds_have_two_digests(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("case_id\na\n")
    write_note(note_path(table), PseudoNote(1, Path("i")))
    first = labels_digest(table)
    table.write_text("case_id\nb\n")
    second = labels_digest(table)
    write_note(note_path(table), PseudoNote(2, Path("i")))
    assert len({first, second, labels_digest(table)}) == 3


def test_what_is_missing_or_damaged_is_named(tmp_path):
    table = tmp_path / "labels.csv"
    with pytest.raises(DataError, match=r"labels\.csv: there are no such pseudo-labels"):
        read_note(table)
    table.write_text("case_id\na\n")
    with pytest.raises(DataError, match=r"expected labels\.pseudolabels\.json"):
        read_note(table)
    for text in ("{", "[]", '{"round": 1}'):
        note_path(table).write_text(text)
        with pytest.raises(DataError, match=r"cannot be read .* Run medimg pseudolabel again"):
            read_note(table)
    with pytest.raises(DataError, match="cannot be read"):
        labels_digest(tmp_path / "masks")
