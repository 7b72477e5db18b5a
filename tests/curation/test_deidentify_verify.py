import numpy as np
import pytest
from pydicom.dataset import Dataset
from writers.dicom import write_dicom

from medimg.curation.deidentify_key import Secret
from medimg.curation.deidentify_verify import Originals, find_originals, originals_of, violations

SECRET = Secret(b"a key of the tests")
PIXELS = np.zeros((20, 20), np.uint8)


def test_what_identifies_is_collected_and_what_stays_is_not(tmp_path):
    item = Dataset()
    item.PersonName = "Roe^Ann"
    elements = {
        "PatientName": "Doeling^Jane", "StudyDescription": "knee of Jane", "BodyPartExamined": "CHEST",
        "Modality": "CT", "SpecificCharacterSet": "ISO_IR 100",
        "PixelSpacing": ["0.703125", "0.703125"], "ContentSequence": [item], "StudyDate": "20240229",
    }  # fmt: skip
    path = write_dicom(tmp_path / "a.dcm", PIXELS, elements=elements)
    found = originals_of(path, "ward17/Doeling_7.dcm", "DICOM", SECRET, frozenset())
    assert {"Doeling", "Jane", "Doeling^Jane", "knee of Jane", "ward17", "20240229"} <= found.own
    assert "Roe^Ann" in found.own
    assert not {"CHEST", "0.703125", "CT", "ISO_IR 100"} & found.own
    assert "20240229" not in found.shared
    assert {"Doeling", "ward17"} <= found.shared
    kept = originals_of(path, "a.dcm", "DICOM", SECRET, frozenset({"full_dates"}))
    assert "20240229" not in kept.own


@pytest.mark.parametrize(
    ("name", "elements", "pixels", "places"),
    [
        ("x.dcm", {}, b"", []),
        ("ward/doeling.dcm", {}, b"", ["name"]),
        ("x.dcm", {"PatientComments": "seen: DOELING"}, b"", ["header"]),
        ("x.dcm", {}, b"Jane Doeling", ["pixels"]),
        ("x.dcm", {}, "Jane Doeling".encode("utf-16-le"), ["pixels"]),
        ("x.dcm", {}, b"Doe", []),
    ],
)
def test_places_are_told_and_texts_are_not(tmp_path, name, elements, pixels, places):
    image = PIXELS.copy()
    image.ravel()[: len(pixels)] = list(pixels)
    path = write_dicom(tmp_path / "a.dcm", image, elements=elements)
    originals = Originals(frozenset({"Jane Doeling", "Doeling"}), frozenset())
    assert find_originals(path, name, "DICOM", originals, frozenset()) == places
    if places == ["header"]:
        assert find_originals(
            path, name, "DICOM", Originals(frozenset(), frozenset()), frozenset({"seen: doel"})
        )


def test_the_table_is_checked_again_at_every_depth():
    inner, outer = Dataset(), Dataset()
    inner.PatientComments, inner.Rows = "x", 3
    outer.SharedFunctionalGroupsSequence = [inner]
    outer.PatientBirthDate, outer.AccessionNumber = "", "7"
    outer.add_new(0x00290010, "LO", "x")
    assert violations(outer, frozenset()) == ["(0008,0050)", "(0029,0010)", "(0010,4000)"]
    outer.StudyDate = "20240101"
    assert "(0008,0020)" in violations(outer, frozenset())
    assert "(0008,0020)" not in violations(outer, frozenset({"full_dates"}))
