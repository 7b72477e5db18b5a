import math
import os
from pathlib import Path

import pytest

from medimg.datasets.chexpert import COMPETITION_LABELS, LABELS, MIMICCXR, CheXpert
from medimg.errors import ConfigError, DataError

FACTS = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA"]


def row(path, **labels):
    values = [labels.get(name.replace(" ", "_"), "") for name in LABELS]
    return [path, "Female", 68, "Frontal", "AP", *values]


@pytest.fixture
def root(tmp_path, write_picture, write_table):
    root = tmp_path / "CheXpert-v1.0-small"
    train = [
        row("CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg", Edema="-1.0", Fracture="1.0"),
        row("CheXpert-v1.0-small/train/patient00001/study1/view2_lateral.jpg", Edema="0.0", Fracture="-1.0"),
    ]
    valid = [row("CheXpert-v1.0-small/valid/patient64541/study1/view1_frontal.jpg", Edema="1.0")]
    for name, rows in (("train", train), ("valid", valid)):
        write_table(root / f"{name}.csv", [*FACTS, *LABELS], rows)
        for path, *_ in rows:
            write_picture(tmp_path / path)
    return root


def test_records(root):
    index = CheXpert().index(root)
    assert (index.task, index.classes) == ("multilabel", LABELS)
    first, _, third = index.records
    assert first.case_id == "patient00001/study1/view1_frontal"
    assert (first.patient_id, first.group, first.split) == ("patient00001", "patient00001/study1", "train")
    assert first.images == (root / "train/patient00001/study1/view1_frontal.jpg",)
    assert (third.patient_id, third.split) == ("patient64541", "val")


def test_the_root_may_be_the_folder_above(root, write_table):
    (root / "train.csv").rename(root.parent / "train.csv")
    index = CheXpert().index(root.parent)
    assert index.records[0].images[0].is_file()


@pytest.mark.parametrize(("policy", "value"), [("zeros", 0.0), ("ones", 1.0), ("ignore", math.nan)])
def test_one_policy_for_all(root, policy, value):
    labels = CheXpert(uncertain=policy).index(root).records[0].labels
    assert labels["Edema"] == pytest.approx(value, nan_ok=True)
    assert labels["Fracture"] == 1.0
    assert math.isnan(labels["Pneumonia"])


def test_a_policy_a_label_and_blanks(root):
    index = CheXpert(uncertain={"Edema": "ones", "Fracture": "zeros"}, blank="zeros").index(root)
    first, second, _ = index.records
    assert (first.labels["Edema"], second.labels["Fracture"], first.labels["Pneumonia"]) == (1.0, 0.0, 0.0)


def test_some_labels_only(root):
    assert CheXpert(labels=COMPETITION_LABELS).index(root).classes == COMPETITION_LABELS


def test_settings_and_rows_that_cannot_be_used(root, write_table):
    for bad in ({"uncertain": "maybe"}, {"uncertain": {"Edema": "maybe"}}):
        with pytest.raises(ConfigError, match="expected zeros, ones or ignore for"):
            CheXpert(**bad).index(root)
    with pytest.raises(ConfigError, match="'Measles' is no label"):
        CheXpert(uncertain={"Measles": "ones"}).index(root)
    with pytest.raises(ConfigError, match="blank: expected ignore or zeros"):
        CheXpert(uncertain="ones", blank="ones").index(root)
    rows = [row("patient1/x.jpg"), row("train/patient00001/study1/view1_frontal.jpg", Edema="2")]
    write_table(root / "train.csv", [*FACTS, *LABELS], rows)
    with pytest.raises(DataError) as refused:
        CheXpert(uncertain="ones").index(root)
    assert "train.csv, line 2: the path 'patient1/x.jpg'" in str(refused.value)
    assert "train.csv, line 3: a label is '2'" in str(refused.value)


def test_mimic(tmp_path, write_picture, write_table):
    split = "mimic-cxr-2.0.0-split.csv.gz"
    rows = [
        ["img-a", "50001", "10000032", "train"],
        ["img-b", "50001", "10000032", "train"],
        ["img-c", "50002", "10000099", "validate"],
    ]
    write_table(tmp_path / split, ["dicom_id", "study_id", "subject_id", "split"], rows)
    labels = ["" if name != "Edema" else "-1.0" for name in LABELS]
    write_table(
        tmp_path / "mimic-cxr-2.0.0-chexpert.csv",
        ["subject_id", "study_id", *LABELS],
        [["10000032", "50001", *labels]],
    )
    for image, study, patient, _ in rows:
        write_picture(tmp_path / "files" / "p10" / f"p{patient}" / f"s{study}" / f"{image}.jpg")
    index = MIMICCXR(uncertain="ones").index(tmp_path)
    first, second, third = index.records
    assert (first.case_id, first.patient_id, first.group) == ("img-a", "10000032", "50001")
    assert first.labels["Edema"] == second.labels["Edema"] == 1.0
    assert third.split == "val" and all(math.isnan(value) for value in third.labels.values())
    assert third.images[0].is_file()


@pytest.mark.real
def test_the_whole_table():
    root = Path(os.environ["MEDIMG_REAL_DATA"]) / "tables"
    index = CheXpert(table=root / "chexpert_train.csv.gz", missing="keep").index(root)
    assert len(index.records) == 223_414
    assert len({record.patient_id for record in index.records}) == 64_540
    ones = sum(record.labels["No Finding"] == 1 for record in index.records)
    zeros = sum(record.labels["Enlarged Cardiomediastinum"] == 0 for record in index.records)
    assert (ones, zeros) == (22_381, 21_638)


def test_uncertain_labels_follow_the_options(tmp_path, write_table, write_picture):
    root = tmp_path / "CheXpert-v1.0-small"
    name = "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg"
    write_picture(tmp_path / name)
    labels = ("Edema", "Cardiomegaly", "Pneumonia")
    write_table(root / "train.csv", ["Path", *labels], [[name, "-1.0", "-1.0", ""]])
    images = CheXpert(uncertain={"Edema": "ones", "Cardiomegaly": "zeros"}, labels=labels)
    (record,) = images.index(root).records
    assert (record.labels["Edema"], record.labels["Cardiomegaly"]) == (1.0, 0.0)
    assert record.labels["Pneumonia"] != record.labels["Pneumonia"]  # NaN: not mentioned
    assert record.group == "patient00001/study1"
