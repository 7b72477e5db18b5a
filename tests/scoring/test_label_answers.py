import math

import pytest

from medimg.errors import DataError
from medimg.scoring.label_answers import read_label_answers
from medimg.scoring.label_forms import LABEL_FORMS, RANZCR_LABELS, SPINE_FORM


def table(folder, name, *lines):
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_submission_and_the_labels_of_its_competition(tmp_path):
    pred = table(tmp_path, "sub.csv", "image_name,target", "i2,0.25", "i1,0.75")
    ref = table(tmp_path, "train.csv", "image_name,patient_id,sex,target", "i1,p1,male,1", "i2,p1,male,0")
    rows = read_label_answers(pred, ref, LABEL_FORMS["isic2020"])
    assert rows == [
        {"case_id": "i1", "patient_id": "p1", "target_target": 1.0, "prob_target": 0.75},
        {"case_id": "i2", "patient_id": "p1", "target_target": 0.0, "prob_target": 0.25},
    ]


def test_a_table_of_medimg_and_the_labels_of_a_competition(tmp_path):
    pred = table(tmp_path, "per_case.csv", "case_id,patient_id,prob_malignant", "i1,p1,0.75")
    ref = table(tmp_path, "train.csv", "image_name,patient_id,target", "i1,p9,1")
    (row,) = read_label_answers(pred, ref, LABEL_FORMS["isic2020"])
    assert row == {"case_id": "i1", "patient_id": "p9", "target_malignant": 1.0, "prob_malignant": 0.75}


def test_a_table_of_medimg_holds_its_own_targets(tmp_path):
    pred = table(tmp_path, "per_case.csv", "case_id,target_a,prob_a,target_b,prob_b", "c,1,0.5,,0.25")
    (row,) = read_label_answers(pred, None, LABEL_FORMS["auroc"])
    assert (row["target_a"], row["prob_b"]) == (1.0, 0.25)
    assert math.isnan(float(row["target_b"]))


def test_breasts_are_named_by_patient_and_side(tmp_path):
    pred = table(tmp_path, "sub.csv", "prediction_id,cancer", "7_L,0.1", "7_R,0.9")
    lines = [
        "site_id,patient_id,image_id,laterality,view,cancer",
        "1,7,70,L,CC,0",
        "1,7,71,L,MLO,0",
        "1,7,72,R,CC,1",
    ]
    rows = read_label_answers(pred, table(tmp_path, "train.csv", *lines), LABEL_FORMS["rsna-mammography"])
    assert [(row["case_id"], row["patient_id"], row["target_cancer"]) for row in rows] == [
        ("7_L", "7", 0.0),
        ("7_R", "7", 1.0),
    ]
    torn = table(tmp_path, "torn.csv", *lines, "1,7,73,R,MLO,0")
    with pytest.raises(DataError, match="1 that stand twice with different labels: 7_R"):
        read_label_answers(pred, torn, LABEL_FORMS["rsna-mammography"])


def test_grades_become_classes(tmp_path):
    pred = table(tmp_path, "sub.csv", "id_code,diagnosis", "a,4", "b,0")
    ref = table(tmp_path, "train.csv", "id_code,diagnosis", "a,3", "b,0")
    first, second = read_label_answers(pred, ref, LABEL_FORMS["aptos"])
    assert [first[f"prob_{grade}"] for grade in range(5)] == [0, 0, 0, 0, 1]
    assert [first[f"target_{grade}"] for grade in range(5)] == [0, 0, 0, 1, 0]
    assert second["prob_0"] == second["target_0"] == 1
    probs = table(
        tmp_path,
        "per_case.csv",
        "case_id," + ",".join(f"prob_g{n}" for n in range(5)),
        "a,0,0,.5,.3,.2",
        "b,1,0,0,0,0",
    )
    (row, _) = read_label_answers(probs, ref, LABEL_FORMS["aptos"])
    assert (row["prob_g2"], row["target_g3"], row["target_g2"]) == (0.5, 1.0, 0.0)


def test_a_row_for_each_label_of_an_exam(tmp_path):
    labels = ["patient_overall", *(f"C{number}" for number in range(1, 8))]
    pred = table(
        tmp_path, "sub.csv", "row_id,fractured", *(f"1.2_{label},0.{n}" for n, label in enumerate(labels))
    )
    ref = table(tmp_path, "train.csv", "StudyInstanceUID," + ",".join(labels), "1.2,1,0,1,0,0,0,0,0")
    (row,) = read_label_answers(pred, ref, SPINE_FORM)
    assert (row["case_id"], row["patient_id"]) == ("1.2", "1.2")
    assert [row[f"prob_{label}"] for label in labels] == pytest.approx([n / 10 for n in range(8)])
    assert row["target_C2"] == 1.0


def test_faults_of_the_predictions_are_listed(tmp_path):
    pred = table(tmp_path, "sub.csv", "BraTS21ID,MGMT_value", "2,0.5", "00003,1.5")
    ref = table(tmp_path, "train.csv", "BraTS21ID,MGMT_value", "00002,1", "00003,0")
    with pytest.raises(DataError) as fault:
        read_label_answers(pred, ref, LABEL_FORMS["rsna-miccai"])
    assert "Ids have five digits" in str(fault.value)
    for line in ("1 unknown to the reference: 2", "1 outside [0, 1]: 00003", "1 missing: 00002"):
        assert line in str(fault.value)


def test_a_column_that_is_missing_is_named(tmp_path):
    pred = table(tmp_path, "sub.csv", "StudyInstanceUID," + ",".join(RANZCR_LABELS[:-1]), "s" + ",0" * 10)
    with pytest.raises(DataError, match="missing: Swan Ganz Catheter Present"):
        read_label_answers(pred, pred, LABEL_FORMS["ranzcr"])


def test_labels_that_are_neither_0_nor_1(tmp_path):
    pred = table(tmp_path, "sub.csv", "image_name,target", "i1,0.75")
    ref = table(tmp_path, "train.csv", "image_name,target", "i1,0.5")
    with pytest.raises(DataError, match="1 label neither 0 nor 1: i1"):
        read_label_answers(pred, ref, LABEL_FORMS["isic2020"])


def test_a_submission_needs_a_reference(tmp_path):
    pred = table(tmp_path, "sub.csv", "image_name,target", "i1,0.75")
    with pytest.raises(DataError, match="Give the table of labels behind it"):
        read_label_answers(pred, None, LABEL_FORMS["isic2020"])


def test_predictions_without_targets_need_a_reference(tmp_path):
    pred = table(tmp_path, "per_case.csv", "case_id,prob_a", "c,0.5")
    with pytest.raises(DataError, match="Give the table of labels behind it"):
        read_label_answers(pred, None, LABEL_FORMS["auroc"])


def test_one_label_is_expected_where_the_competition_has_one(tmp_path):
    pred = table(tmp_path, "per_case.csv", "case_id,prob_a,prob_b", "c,0.5,0.5")
    with pytest.raises(
        DataError, match=r"expected 1 column\(s\) prob_<label> for this metric, found 2: a, b"
    ):
        read_label_answers(pred, pred, LABEL_FORMS["isic2020"])
