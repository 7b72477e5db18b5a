import csv
import logging

import numpy as np
import pytest

from medimg.datasets.rsna_hemorrhage import HEMORRHAGE_LABELS, RSNAHemorrhage
from medimg.errors import DataError
from medimg.io.dicom.write_series import write_series
from medimg.io.grid import Grid

TRUTH = {"ID_a": {"subdural", "any"}, "ID_b": set(), "ID_c": {"epidural", "intraventricular", "any"}}
PATIENTS = [["ID_a", "P1", "S1"], ["ID_b", "P1", "S1"], ["ID_c", "P2", "S2"]]


def rows_of(truth):
    return [
        [f"{image}_{label}", int(label in own)] for image, own in truth.items() for label in HEMORRHAGE_LABELS
    ]


@pytest.fixture
def root(tmp_path, write_table):
    write_table(tmp_path / "stage_2_train.csv", ["ID", "Label"], rows_of(TRUTH))
    write_table(tmp_path / "patients.csv", ["id", "patient", "study"], PATIENTS)
    (tmp_path / "stage_2_train").mkdir()
    for image in TRUTH:
        (tmp_path / "stage_2_train" / f"{image}.dcm").write_bytes(b"")
    return tmp_path


def test_six_rows_become_one_case(root):
    index = RSNAHemorrhage().index(root)
    assert (index.task, index.classes) == ("multilabel", HEMORRHAGE_LABELS)
    for record in index.records:
        assert {name for name, value in record.labels.items() if value} == TRUTH[record.case_id]
        assert set(record.labels.values()) <= {0.0, 1.0} and list(record.labels) == list(HEMORRHAGE_LABELS)
        assert record.images == (root / "stage_2_train" / f"{record.case_id}.dcm",)
    assert [[r.case_id, r.patient_id, r.group] for r in index.records] == PATIENTS


def test_rows_that_stand_twice_count_once_and_must_agree(root, write_table, caplog):
    rows = rows_of(TRUTH)
    write_table(root / "stage_2_train.csv", ["ID", "Label"], [*rows, *rows[:6]])
    with caplog.at_level(logging.WARNING):
        assert len(RSNAHemorrhage().index(root).records) == 3
    assert "6 rows stand twice and count once" in caplog.text
    write_table(root / "stage_2_train.csv", ["ID", "Label"], [*rows, ["ID_a_any", 0]])
    with pytest.raises(DataError, match=r"1 faults:\n  line 20: ID_a_any is 0 here and 1 in an earlier row"):
        RSNAHemorrhage().index(root)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (rows_of(TRUTH)[:-1], "ID_c: has no row for any"),
        (
            [*rows_of(TRUTH), ["ID_a_chronic", 1]],
            "line 20: expected <image>_<label> and 0 or 1, found 'ID_a_chronic'",
        ),
        ([*rows_of(TRUTH), ["ID_d_any", ""]], "found 'ID_d_any' and ''"),
    ],
)
def test_faulty_rows_are_named(root, write_table, rows, said):
    write_table(root / "stage_2_train.csv", ["ID", "Label"], rows)
    with pytest.raises(DataError, match=said):
        RSNAHemorrhage().index(root)


def test_any_is_compared_with_the_kinds(root, write_table, caplog):
    write_table(root / "stage_2_train.csv", ["ID", "Label"], rows_of(TRUTH | {"ID_b": {"any"}}))
    with caplog.at_level(logging.WARNING):
        RSNAHemorrhage().index(root)
    assert "1 images, the first ID_b, have a label `any`" in caplog.text


def test_without_patients_there_is_a_way_out(root, write_table):
    (root / "patients.csv").unlink()
    with pytest.raises(
        DataError, match=r"no table of patients .* set dataset.init_args.read_headers to true"
    ):
        RSNAHemorrhage().index(root)
    write_table(root / "elsewhere.csv", ["id", "patient", "study"], PATIENTS[:2])
    with pytest.raises(DataError, match=r"elsewhere.csv: 1 of 3 images have no patient, the first ID_c"):
        RSNAHemorrhage(patients="elsewhere.csv").index(root)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([["ID_a", "", "S1"]], "line 2: expected id, patient, study, found a blank"),
        ([["ID_a", "P1", "S1"], ["ID_b", "P2", "S1"]], "line 3: study S1 belongs to P1 in one row and to P2"),
        ([["ID_a", "P1", "S1"], ["ID_a", "P1", "S2"]], "line 3: ID_a stands twice with two studies"),
    ],
)
def test_a_faulty_table_of_patients_is_refused(root, write_table, rows, said):
    write_table(root / "patients.csv", ["id", "patient", "study"], rows)
    with pytest.raises(DataError, match=said):
        RSNAHemorrhage().index(root)


def write_scan(root, images, patient):
    """A DICOM series whose slices are called as the images are."""
    grid = Grid((len(images), 8, 8), np.diag([1.0, 1.0, 5.0, 1.0]))
    files = write_series(
        root / patient, np.zeros(grid.shape), grid, patient_id=patient, study_uid=f"1.2.{len(images)}"
    )
    for file, image in zip(files, images, strict=True):
        file.rename(root / "stage_2_train" / f"{image}.dcm")


def test_headers_are_read_once_and_kept(root):
    (root / "patients.csv").unlink()
    write_scan(root, ["ID_a", "ID_b"], "P1")
    write_scan(root, ["ID_c"], "P2")
    index = RSNAHemorrhage(read_headers=True).index(root)
    assert [(r.patient_id, r.group) for r in index.records] == [
        ("P1", "1.2.2"),
        ("P1", "1.2.2"),
        ("P2", "1.2.1"),
    ]
    with (root / "patients.csv").open(newline="") as file:
        assert {tuple(row.values()) for row in csv.DictReader(file)} == {
            ("ID_a", "P1", "1.2.2"),
            ("ID_b", "P1", "1.2.2"),
            ("ID_c", "P2", "1.2.1"),
        }
    for image in TRUTH:  # what is kept is not read again
        (root / "stage_2_train" / f"{image}.dcm").write_bytes(b"")
    assert RSNAHemorrhage().index(root) == index


def test_no_half_of_a_table_is_kept(root):
    (root / "patients.csv").unlink()
    write_scan(root, ["ID_a", "ID_b"], "P1")
    (root / "stage_2_train" / "ID_c.dcm").unlink()
    with pytest.raises(DataError, match="1 of 3 cases have no image"):
        RSNAHemorrhage(read_headers=True).index(root)
    assert not (root / "patients.csv").exists()
    assert len(RSNAHemorrhage(read_headers=True, missing="skip").index(root).records) == 2


def test_a_header_without_a_patient_is_refused(root):
    (root / "patients.csv").unlink()
    write_scan(root, ["ID_a", "ID_b", "ID_c"], "")
    with pytest.raises(DataError, match="its header lacks the patient"):
        RSNAHemorrhage(read_headers=True).index(root)
    assert not (root / "patients.csv").exists()


def test_the_test_set_comes_from_the_sample(root, write_table):
    rows = [[f"{image}_{label}", 0.5] for image in ("ID_x", "ID_y") for label in HEMORRHAGE_LABELS]
    write_table(root / "stage_2_sample_submission.csv", ["ID", "Label"], rows)
    write_table(root / "patients.csv", ["id", "patient", "study"], [*PATIENTS, ["ID_y", "P3", "S3"]])
    first, second = RSNAHemorrhage(missing="keep").unlabelled(root).records
    assert (first.case_id, first.patient_id, first.group, first.labels) == ("ID_x", "ID_x", None, {})
    assert (second.patient_id, second.group, second.images) == (
        "P3",
        "S3",
        (root / "stage_2_test" / "ID_y.dcm",),
    )
    (root / "stage_2_sample_submission.csv").unlink()
    assert len(RSNAHemorrhage().unlabelled(root).records) == 3  # every image below the root
