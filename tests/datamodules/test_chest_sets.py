"""Collections of chest films: their own layouts, and a word of warning before they are mirrored."""

import os
from pathlib import Path

import pytest

from medimg.datamodules import (
    CacheOptions,
    ChestXray14DataModule,
    CheXpertDataModule,
    ImageOptions,
    MIMICCXRDataModule,
    RANZCRDataModule,
    RSNAPneumoniaDataModule,
    SIIMPneumothoraxDataModule,
    VinBigDataModule,
)
from medimg.datamodules.chest_sets import ReportOptions
from medimg.errors import DataError

FAMILIES = [
    CheXpertDataModule, ChestXray14DataModule, MIMICCXRDataModule, RANZCRDataModule, RSNAPneumoniaDataModule,
    SIIMPneumothoraxDataModule, VinBigDataModule,
]  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_films_have_sides_and_a_missing_table_is_named(family, tmp_path):
    data = family(tmp_path)
    assert data.has_laterality
    with pytest.raises(DataError, match=str(tmp_path)):
        data.read_index(tmp_path)


def test_uncertain_labels_follow_the_options(tmp_path, write_table, write_picture):
    root = tmp_path / "CheXpert-v1.0-small"
    name = "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg"
    write_picture(tmp_path / name)
    labels = ("Edema", "Cardiomegaly", "Pneumonia")
    write_table(root / "train.csv", ["Path", *labels], [[name, "-1.0", "-1.0", ""]])
    reports = ReportOptions(uncertain={"Edema": "ones", "Cardiomegaly": "zeros"}, labels=labels)
    (record,) = CheXpertDataModule(root, reports=reports).read_index(root).records
    assert (record.labels["Edema"], record.labels["Cardiomegaly"]) == (1.0, 0.0)
    assert record.labels["Pneumonia"] != record.labels["Pneumonia"]  # NaN: not mentioned
    assert record.group == "patient00001/study1"


def test_a_soft_vote_of_readers(tmp_path, write_table, write_picture):
    header = ["image_id", "class_name", "class_id", "rad_id", "x_min", "y_min", "x_max", "y_max"]
    rows = [
        ["a", "Aortic enlargement", 0, "R1", 1, 1, 2, 2],
        *(["a", "No finding", 14, f"R{n}", "", "", "", ""] for n in (2, 3)),
    ]
    write_table(tmp_path / "train.csv", header, rows)
    write_picture(tmp_path / "train" / "a.png")
    (record,) = VinBigDataModule(tmp_path, merge="mean").read_index(tmp_path).records
    assert max(record.labels.values()) == pytest.approx(1 / 3)


@pytest.mark.real
def test_the_real_radiographs_split_without_a_shared_patient(tmp_path):
    root = Path(os.environ["MEDIMG_REAL_DATA"]) / "NIH-ChestXray14"
    data = ChestXray14DataModule(
        root, missing="skip", repeats="held_out", cache=CacheOptions(tmp_path),
        image=ImageOptions(size=(32, 32), channels=1, mean=(0.5,), std=(0.5,)),
    )  # fmt: skip
    data.prepare_data()
    data.setup("fit")
    cases = [*data.split.train, *data.split.val, *data._set_up.test]
    assert len(cases) == len(set(cases)) == 32
    assert data.train_labels.shape == (len(data.split.train), 14)
