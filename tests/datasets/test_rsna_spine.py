import logging
import math

import pytest

from medimg.datasets.rsna_spine import FRACTURE_LABEL, RSNASpine
from medimg.errors import DataError
from medimg.scoring.spine import SPINE_LABELS

STUDY = "1.2.826.0.1.3680043."
HEADER = ["StudyInstanceUID", *SPINE_LABELS]
ROWS = [
    [f"{STUDY}1", 1, 0, 1, 0, 0, 0, 0, 0],
    [f"{STUDY}2", 0, 0, 0, 0, 0, 0, 0, 0],
    [f"{STUDY}3", 1, 0, 0, 0, 0, 0, 0, 1],
]


@pytest.fixture
def root(tmp_path, write_table):
    write_table(tmp_path / "train.csv", HEADER, ROWS)
    for study, *_ in ROWS:
        folder = tmp_path / "train_images" / study
        folder.mkdir(parents=True)
        for number in (1, 2, 10):
            (folder / f"{number}.dcm").write_bytes(b"")
    boxes = ["StudyInstanceUID", "x", "y", "width", "height", "slice_number"]
    write_table(tmp_path / "train_bounding_boxes.csv", boxes, [[f"{STUDY}1", 1.5, 2, 3, 4, 10]] * 2)
    (tmp_path / "segmentations").mkdir()
    (tmp_path / "segmentations" / f"{STUDY}2.nii").write_bytes(b"")
    return tmp_path


def test_slices_are_judged_with_their_study(root):
    index = RSNASpine().index(root)
    assert (index.task, index.classes, len(index.records)) == ("multilabel", SPINE_LABELS, 9)
    record = next(r for r in index.records if r.case_id == f"{STUDY}1_10")
    assert (record.group, record.patient_id) == (f"{STUDY}1",) * 2
    assert record.images == (root / "train_images" / f"{STUDY}1" / "10.dcm",)
    assert {name for name, value in record.labels.items() if value} == {"patient_overall", "C2"}


def test_a_study_is_one_volume_with_its_outlines(root):
    index = RSNASpine(unit="study").index(root)
    assert [record.case_id for record in index.records] == [row[0] for row in ROWS]
    assert [path.name for path in index.records[0].images] == ["1.dcm", "2.dcm", "10.dcm"]
    assert [record.mask for record in index.records] == [None, root / "segmentations" / f"{STUDY}2.nii", None]


def test_boxes_label_slices_where_they_were_drawn(root):
    index = RSNASpine(boxes=True).index(root)
    assert index.classes == (*SPINE_LABELS, FRACTURE_LABEL)
    found = {record.case_id.removeprefix(STUDY): record.labels[FRACTURE_LABEL] for record in index.records}
    assert (found["1_1"], found["1_2"], found["1_10"], found["2_10"]) == (0, 0, 1, 0)
    assert all(
        math.isnan(found[f"3_{number}"]) for number in (1, 2, 10)
    )  # fractured, and nobody outlined where


def test_faults_are_named(root, write_table):
    with pytest.raises(DataError, match="boxes label slices"):
        RSNASpine(boxes=True, unit="study").index(root)
    write_table(root / "train_bounding_boxes.csv", ["StudyInstanceUID", "slice_number"], [["9", 1]])
    with pytest.raises(DataError, match="9 is no study of"):
        RSNASpine(boxes=True).index(root)
    write_table(root / "train_bounding_boxes.csv", ["StudyInstanceUID", "slice_number"], [["9", "x"]])
    with pytest.raises(DataError, match="line 2: the slice is 'x'"):
        RSNASpine(boxes=True).index(root)
    (root / "train_bounding_boxes.csv").unlink()
    with pytest.raises(DataError, match=r"expected train_bounding_boxes.csv, found none"):
        RSNASpine(boxes=True).index(root)
    write_table(root / "train.csv", HEADER, [*ROWS, ["4", 0, 0, 0, 0, 0, 0, 0, 0], ["", *[0] * 8]])
    with pytest.raises(DataError, match="line 6: the case id is blank"):
        RSNASpine().index(root)
    write_table(root / "train.csv", HEADER, [*ROWS, ["4", 0, 0, 0, 0, 0, 0, 0, 0]])
    for unit in ("slice", "study"):
        with pytest.raises(
            DataError, match=r"1 of \d+ cases have no image, the first .*train_images/4/1.dcm"
        ):
            RSNASpine(unit=unit).index(root)
    write_table(root / "train.csv", HEADER, [["4", "yes", 0, 0, 0, 0, 0, 0, 0]])
    with pytest.raises(DataError, match="line 2: a label is 'yes'"):
        RSNASpine().index(root)


def test_patients_unlike_their_vertebrae_are_counted(root, write_table, caplog):
    write_table(root / "train.csv", HEADER, [[ROWS[0][0], 0, 1, *[0] * 6], *ROWS[1:]])
    with caplog.at_level(logging.WARNING):
        RSNASpine().index(root)
    assert f"in 1 studies, the first {STUDY}1, patient_overall is not that of the vertebrae" in caplog.text


def test_the_test_set_has_a_row_for_each_label(root, write_table):
    rows = [[f"7_{label}", "7", label] for label in SPINE_LABELS]
    write_table(root / "test.csv", ["row_id", "StudyInstanceUID", "prediction_type"], rows)
    (root / "test_images" / "7").mkdir(parents=True)
    for number in (1, 2):
        (root / "test_images" / "7" / f"{number}.dcm").write_bytes(b"")
    first, second = RSNASpine().unlabelled(root).records
    assert (first.case_id, second.case_id, first.group, first.labels) == ("7_1", "7_2", "7", {})
    (study,) = RSNASpine(unit="study").unlabelled(root).records
    assert [path.name for path in study.images] == ["1.dcm", "2.dcm"]
