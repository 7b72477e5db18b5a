import numpy as np
import pytest
from pydicom import dcmread
from writers.dicom import write_dicom

from medimg.curation.deidentify_dicom import IMPLEMENTATION, Policy, clean_dicom, is_head
from medimg.curation.deidentify_dicom import write_dicom as write_clean
from medimg.curation.deidentify_key import Secret
from medimg.curation.deidentify_pixels import Box
from medimg.curation.deidentify_streams import LeftOut, Refused
from medimg.io.dicom.parse import open_dataset

SECRET = Secret(b"a key of the tests")
PIXELS = np.arange(30, dtype=np.uint16).reshape(5, 6)
CT = {"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}


def clean(path, policy=None):
    return clean_dicom(path, path.name, SECRET, policy or Policy())


def test_the_file_around_the_header_is_new(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", PIXELS, elements=CT | {"PatientName": "Doe^Jane"})
    raw = path.read_bytes()
    path.write_bytes(b"Jane Doe".ljust(128, b"x") + raw[128:])
    made, syntax, counts, before = clean(path)
    write_clean(tmp_path / "b.dcm", made, syntax)
    content = (tmp_path / "b.dcm").read_bytes()
    assert content[:132] == b"\0" * 128 + b"DICM"
    meta = dcmread(tmp_path / "b.dcm").file_meta
    assert meta.ImplementationClassUID == IMPLEMENTATION
    assert meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID != before.SOPInstanceUID
    assert {element.keyword for element in meta} == {
        "FileMetaInformationGroupLength", "FileMetaInformationVersion", "MediaStorageSOPClassUID",
        "MediaStorageSOPInstanceUID", "TransferSyntaxUID", "ImplementationClassUID", "ImplementationVersionName",
    }  # fmt: skip
    assert np.array_equal(dcmread(tmp_path / "b.dcm").pixel_array, PIXELS)
    assert counts["uids"] == 4


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"SOPClassUID": "1.2.840.10008.1.3.10"}, "directory"),
        ({"EncapsulatedDocument": b"%PDF", "MIMETypeOfEncapsulatedDocument": "application/pdf"}, "document"),
        ({"PixelData": None}, "without an image"),
        ({"SOPClassUID": "1.3.12.2.1107.5.9.1"}, "private kind"),
    ],
)
def test_what_is_no_image_is_left_out(tmp_path, elements, message):
    path = write_dicom(tmp_path / "a.dcm", PIXELS, elements=CT | elements)
    with pytest.raises(LeftOut, match=message):
        clean(path)


def test_burned_in_text_needs_boxes_or_a_statement(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", PIXELS, elements={"Modality": "US", "PatientName": "Doe"})
    with pytest.raises(Refused, match=r"may show a name: modality US.*four empty fields") as refused:
        clean(path)
    assert "Doe" not in str(refused.value)
    for boxes, blank in (((Box("a.dcm"),), 0), ((Box("a.dcm", 0, 0, 2, 2),), 2)):
        made = clean(path, Policy(boxes=boxes))[0]
        assert made.BurnedInAnnotation == "NO"
        assert made.DeidentificationMethodCodeSequence[-1].CodeValue == "113101"
        assert np.frombuffer(made.PixelData, np.uint16)[1] == (1 if not blank else 0)
    with pytest.raises(Refused, match="may show a name"):
        clean(path, Policy(boxes=(Box("b.dcm"),)))


def test_a_statement_in_the_file_is_believed_under_the_same_key_only(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", PIXELS, elements={"Modality": "US"})
    made, syntax, *_ = clean(path, Policy(boxes=(Box("*"),)))
    write_clean(tmp_path / "b.dcm", made, syntax)
    assert clean(tmp_path / "b.dcm")[0] == made
    with pytest.raises(Refused, match="may show a name"):
        clean_dicom(tmp_path / "b.dcm", "b.dcm", Secret(b"another key of 16"), Policy())


def test_heads_need_a_statement(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", PIXELS, elements=CT | {"StudyDescription": "CT Brain plain"})
    assert is_head(open_dataset(path).dataset)
    with pytest.raises(Refused, match="--faces defaced"):
        clean(path)
    assert clean(path, Policy(faces="kept"))[0].RecognizableVisualFeatures == "YES"
    assert clean(path, Policy(faces="defaced"))[0].RecognizableVisualFeatures == "NO"
    chest = write_dicom(tmp_path / "b.dcm", PIXELS, elements=CT | {"BodyPartExamined": "CHEST"})
    assert "RecognizableVisualFeatures" not in clean(chest)[0]
    film = write_dicom(
        tmp_path / "c.dcm", PIXELS, elements=CT | {"Modality": "DX", "BodyPartExamined": "SKULL"}
    )
    assert not is_head(open_dataset(film).dataset)


def test_a_file_without_ids_gets_them(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", PIXELS, elements=CT)
    dataset = dcmread(path)
    del dataset.SOPInstanceUID, dataset.SOPClassUID
    dataset.save_as(tmp_path / "b.dcm", enforce_file_format=False)
    made, *_ = clean(tmp_path / "b.dcm")
    assert made.SOPInstanceUID == SECRET.uid("file b.dcm")
