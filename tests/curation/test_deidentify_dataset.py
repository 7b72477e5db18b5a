from datetime import datetime

import pytest
from pydicom.dataset import Dataset

from medimg.curation.deidentify_dataset import clean_header
from medimg.curation.deidentify_key import Secret

SECRET = Secret(b"a key of the tests")


def study(patient="Doe 17", **elements):
    dataset = Dataset()
    dataset.PatientID, dataset.PatientName, dataset.StudyInstanceUID = patient, "Doe^Jane", "1.2.3"
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def clean(dataset, *retain):
    return clean_header(dataset, SECRET, frozenset(retain))[0]


def test_what_training_needs_stays_to_the_digit():
    dataset = study(
        Modality="CT", Rows=4, PixelSpacing=["0.70312500", "0.703125"], ImagePositionPatient=["-1.5", "2e-3", "3"],
        WindowCenter="40", RescaleType="HU", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], BodyPartExamined="CHEST",
    )  # fmt: skip
    made = clean(dataset)
    assert [one.original_string for one in made.PixelSpacing] == ["0.70312500", "0.703125"]
    assert list(made.ImagePositionPatient) == [-1.5, 0.002, 3.0]
    assert (made.Modality, made.RescaleType, made.BodyPartExamined) == ("CT", "HU", "CHEST")
    assert list(made.ImageType) == ["ORIGINAL", "PRIMARY", "AXIAL"]
    assert made.PatientIdentityRemoved == "YES"
    assert made.DeidentificationMethodCodeSequence[0].CodeValue == "113100"


def test_words_that_nobody_knows_go():
    made = clean(
        study(Modality="JANE", ImageType=["ORIGINAL", "DOE"], BodyPartExamined="JANE DOE", StackID="Doe")
    )
    assert made.Modality == "OT"
    assert list(made.ImageType) == ["ORIGINAL", "OTHER"]
    assert "BodyPartExamined" not in made
    assert "StackID" not in made


def test_intervals_of_a_patient_stay_exact_and_patients_differ():
    first = study(StudyDate="20240228", AcquisitionDateTime="20240301120000.5+0100", StudyTime="235959")
    second = study(StudyDate="20250301", StudyTime="after lunch", AcquisitionDateTime="2024")
    one, two = clean(first, "dates"), clean(second, "dates")
    days = [datetime.strptime(str(made.StudyDate), "%Y%m%d") for made in (one, two)]
    assert (days[1] - days[0]).days == 367
    moved = datetime.strptime(str(one.AcquisitionDateTime)[:8], "%Y%m%d")
    assert (moved - days[0]).days == 2
    assert str(one.AcquisitionDateTime).endswith("120000.5+0100")
    assert one.StudyTime == "235959"
    assert not two.StudyTime
    assert not two.AcquisitionDateTime
    assert days[0] < datetime(2024, 2, 28)
    assert one.LongitudinalTemporalInformationModified == "MODIFIED"
    other = clean(study("Roe", StudyDate="20240228"), "dates")
    assert other.StudyDate != one.StudyDate
    assert clean(first, "full_dates").StudyDate == "20240228"
    assert not clean(first).StudyDate


def test_a_second_pass_does_not_move_dates_or_ids_again():
    once = clean(study(StudyDate="20240228", PatientAge="091Y", SOPInstanceUID="1.2.4"), "dates", "patient")
    assert clean(once, "dates", "patient") == once
    assert once.PatientAge == "090Y"
    assert clean(study(PatientAge="045Y", PatientSex="F"), "patient").PatientSex == "F"
    assert not clean(study(PatientSex="F")).PatientSex


def test_uids_map_alike_and_the_standards_own_stay():
    item = Dataset()
    item.ReferencedSOPInstanceUID, item.ReferencedSOPClassUID = "1.2.9", "1.2.840.10008.5.1.4.1.1.2"
    made = clean(study(SOPInstanceUID="1.2.9", SourceImageSequence=[item], FrameOfReferenceUID=""))
    assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == made.SOPInstanceUID != "1.2.9"
    assert made.SourceImageSequence[0].ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert made.FrameOfReferenceUID == ""
    assert clean(study(SOPInstanceUID="1.2.9"), "uids").SOPInstanceUID == "1.2.9"
    assert clean(study("Roe")).StudyInstanceUID == made.StudyInstanceUID


def test_retained_text_never_names_the_patient():
    dataset = study(
        InstitutionName="Clinic of Jane", StationName="CT 2", InstitutionalDepartmentName="Radiology"
    )
    made = clean(dataset, "institution", "device")
    assert "InstitutionName" not in made
    assert made.InstitutionalDepartmentName == "Radiology"
    assert made.StationName == "CT 2"
    assert (
        "StationName" not in clean(study(StationName="CT 2"))
        or clean(study(StationName="CT 2")).StationName != "CT 2"
    )


def test_a_patient_without_an_id_is_told_by_the_study():
    assert clean(study("")).PatientID == clean(study("")).PatientID
    assert clean(study("")).PatientID != clean(study("", StudyInstanceUID="1.2.5")).PatientID


def test_segments_are_named_by_their_codes():
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "10200004", "SCT", "Jane's liver"
    known, unknown = Dataset(), Dataset()
    known.SegmentNumber, known.SegmentLabel, known.SegmentedPropertyTypeCodeSequence = 1, "Jane", [code]
    unknown.SegmentNumber, unknown.SegmentLabel = 2, "Jane"
    made = clean(study(SegmentSequence=[known, unknown]))
    assert [item.SegmentLabel for item in made.SegmentSequence] == ["Liver structure", "Segment 2"]


@pytest.mark.parametrize("kind", ["LO", "UN", "OB"])
def test_a_file_cannot_smuggle_text_by_stating_another_kind(kind):
    dataset = study()
    dataset.add_new(0x00280010, kind, b"Jane Doe" if kind != "LO" else "Jane Doe")
    assert "Rows" not in clean(dataset)
