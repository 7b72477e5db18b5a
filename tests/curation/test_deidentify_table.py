"""Every row of Table E.1-1: at the top and inside a sequence, explicit and implicit."""

import io
import json
import os
from collections import Counter
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medimg.curation.deidentify_dataset import clean_header
from medimg.curation.deidentify_key import Secret
from medimg.curation.deidentify_table import OPTIONS, find_row, rows

SECRET = Secret(b"a key of the tests")
# Hexadecimal tags of a pattern stand for all that match it.
PATTERNS = {"50XXXXXX": 0x50003000, "60XX3000": 0x60023000, "60XX4000": 0x60024000, "ODD": 0x00291001}
# Other words than the rest, since an option keeps no text that holds the patient's own.
IDENTITY = (0x00100010, 0x00100020, 0x00101000, 0x00101001, 0x00080050)
VALUES = {
    "DA": "20200229", "TM": "115959", "DT": "20200229115959", "AS": "044Y", "DS": "77.5", "IS": "77", "US": 77,
    "UI": "1.2.826.0.1.777", "SQ": None, "OB": b"original", "OW": b"original", "UN": b"original", "UR": "http://original",
}  # fmt: skip


def tag_of(row):
    return PATTERNS.get(row.tag) or int(row.tag, 16)


def kind_of(tag):
    return (
        "LO" if tag >> 16 & 1 else "OB" if tag >> 24 in (0x50, 0x60) else dictionary_VR(tag).split(" or ")[0]
    )


def holder():
    """A data set with an original value in every row."""
    dataset = Dataset()
    for row in rows().values():
        tag = tag_of(row)
        if tag >> 16 < 8:
            continue  # commands never stand in a file
        kind = kind_of(tag)
        value = VALUES.get(kind, "ORIGINAL")
        if kind == "SQ":
            item = Dataset()
            item.add_new(0x00081030, "LO", "ORIGINAL")
            value = Sequence([item])
        dataset.add_new(tag, kind, "PERSON" if tag in IDENTITY else value)
    dataset.add_new(0x00290010, "LO", "MAKER")
    return dataset


def cleaned(retain, syntax):
    dataset, groups = holder(), Dataset()
    groups.FrameContentSequence = [holder()]
    dataset.SharedFunctionalGroupsSequence = [groups]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset)
    buffer.seek(0)
    made, _ = clean_header(dcmread(buffer, force=True), SECRET, frozenset(retain))
    return made, made.SharedFunctionalGroupsSequence[0].FrameContentSequence[0]


def expected(row, retain):
    """Written again from the standard's words, apart from the code."""
    if any(row.options.get(option) == "K" for option in retain):
        # Bytes may hold any text, so they are never kept as they are.
        return {"changed"} if kind_of(tag_of(row)) == "OB" else {"kept"}
    if "dates" in retain and row.options.get("dates") == "C":
        return {"changed", "kept"} if kind_of(tag_of(row)) not in ("DA", "DT") else {"changed"}
    return {
        "X": {"absent"}, "Z": {"empty"}, "D": {"changed"}, "U": {"changed"}, "X/Z": {"absent", "empty"},
        "X/D": {"absent", "changed"}, "Z/D": {"empty", "changed"}, "X/Z/D": {"absent", "empty", "changed"},
        "X/Z/U*": {"absent", "empty", "changed"},
    }[row.basic]  # fmt: skip


def state(dataset, tag):
    if tag not in dataset:
        return "absent"
    value = dataset[tag].value
    if isinstance(value, Sequence):
        return "changed" if value and "ORIGINAL" not in str(value) else "empty" if not value else "kept"
    if value in (None, "", b"", []):
        return "empty"
    if tag in IDENTITY:
        return "kept" if "PERSON" in str(value) else "changed"
    return "kept" if str(value) == str(VALUES.get(kind_of(tag), "ORIGINAL")) else "changed"


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian], ids=["explicit", "implicit"]
)
@pytest.mark.parametrize("retain", [(), ("dates",), tuple(set(OPTIONS) - {"dates"})], ids=len)
def test_every_row_is_obeyed_at_both_depths(retain, syntax):
    seen = 0
    for depth, dataset in enumerate(cleaned(retain, syntax)):
        for row in rows().values():
            tag = tag_of(row)
            if tag >> 16 < 8:
                assert tag not in dataset
                continue
            found = state(dataset, tag)
            if row.tag in ("00100010", "00100020"):  # a pseudonym in place of nothing
                assert found == "changed"
            elif row.tag in ("00120063", "00120064"):  # says what was done
                assert found == ("changed" if depth == 0 else "absent")
            elif kind_of(tag) == "SQ":
                # Items are treated one by one: what stood in them never stays.
                assert found != "kept", (row.tag, depth)
            else:
                allowed = expected(row, retain)
                assert found in allowed, (row.tag, row.basic, depth, found, allowed)
            seen += 1
    assert seen == 2 * sum(tag_of(row) >> 16 >= 8 for row in rows().values())


def test_the_table_has_the_editions_rows():
    assert len(rows()) == 621
    assert sum(tag in PATTERNS for tag in rows()) == 4
    assert Counter(row.basic for row in rows().values())["X"] == 384
    for tag, found in (
        (0x00100010, "Z"),
        (0x00200052, "U"),
        (0x00080023, "Z/D"),
        (0x50AA1234, "X"),
        (0x00110010, "X"),
    ):
        assert find_row(tag).basic == found
    assert find_row(0x60000010) is None


@pytest.mark.real
def test_the_table_is_the_standards():
    path = Path(os.environ["MEDIMG_REAL_DATA"]) / "dicom-standard" / "ps3.15-table-e.1-1.json"
    facts = {entry["id"].upper(): entry for entry in json.loads(path.read_text())}
    columns = {"rtnUIDsOpt": "uids", "rtnLongFullDatesOpt": "full_dates", "rtnLongModifDatesOpt": "dates",
               "rtnPatCharsOpt": "patient", "rtnDevIdOpt": "device", "rtnInstIdOpt": "institution"}  # fmt: skip
    assert len(facts) == len(rows())
    for tag, entry in facts.items():
        row = rows()[tag if len(tag) == 8 else "ODD"]
        assert row.basic == entry["basicProfile"]
        for name, option in columns.items():
            assert row.options.get(option) == entry.get(name), (tag, option)
