"""Each layout of 2D images, from tables and pictures on disk to batches."""

import os
from pathlib import Path

import numpy as np
import pytest

from medimg.datamodules import (
    BatchOptions,
    CacheOptions,
    ImageDataModule,
    ImageOptions,
    SplitOptions,
)
from medimg.datasets import (
    ISIC2020,
    MIMICCXR,
    RANZCR,
    ChestXray14,
    CheXpert,
    ImageTable,
    RSNAMammography,
    RSNAPneumonia,
    SIIMPneumothorax,
    TableColumns,
    VinBigData,
)
from medimg.datasets.chexpert import LABELS as CHEXPERT
from medimg.errors import DataError
from medimg.phantoms.mammography import write_mammography
from medimg.scoring.label_forms import RANZCR_LABELS as TUBES

IMAGE = ImageOptions(size=(16, 16), channels=1, mean=(0.5,), std=(0.25,))

NUMBERS = range(4)
BOXES = ["x_min", "y_min", "x_max", "y_max"]
# Four patients each: the set, its tables, its pictures, its name, task and number of labels, and a label that the
# odd ones have.
LAYOUTS = [
    (
        ChestXray14(),
        {
            "Data_Entry_2017.csv": (
                ["Image Index", "Finding Labels", "Patient ID"],
                [[f"{n:08d}_000.png", "Hernia" if n % 2 else "No Finding", n] for n in NUMBERS],
            )
        },
        [f"images_001/images/{n:08d}_000.png" for n in NUMBERS],
        ("ChestX-ray14", "multilabel", 14, "Hernia"),
    ),
    (
        CheXpert(blank="zeros"),
        {
            "train.csv": (
                ["Path", *CHEXPERT],
                [
                    [f"CheXpert-v1.0/train/patient{n:05d}/study1/view1_frontal.jpg", n % 2, *[""] * 13]
                    for n in NUMBERS
                ],
            )
        },
        [f"train/patient{n:05d}/study1/view1_frontal.jpg" for n in NUMBERS],
        ("CheXpert", "multilabel", 14, "No Finding"),
    ),
    (
        MIMICCXR(labels=("Edema", "Fracture"), uncertain="ones"),
        {
            "mimic-cxr-2.0.0-split.csv": (
                ["dicom_id", "study_id", "subject_id", "split"],
                [[f"d{n}", f"5{n}", f"1000{n}", "train"] for n in NUMBERS],
            ),
            "mimic-cxr-2.0.0-chexpert.csv": (
                ["study_id", *CHEXPERT],
                [[f"5{n}", *[-1.0 if n % 2 else 0.0] * 14] for n in NUMBERS],
            ),
        },
        [f"files/p10/p1000{n}/s5{n}/d{n}.jpg" for n in NUMBERS],
        ("MIMIC-CXR", "multilabel", 2, "Edema"),
    ),
    (
        VinBigData(),
        {
            "train.csv": (
                ["image_id", "class_name", "class_id", "rad_id", *BOXES],
                [
                    [
                        f"i{n}",
                        *(["Aortic enlargement", 0] if n % 2 else ["No finding", 14]),
                        f"R{reader}",
                        *([1, 1, 2, 2] if n % 2 else [""] * 4),
                    ]
                    for n in NUMBERS
                    for reader in range(3)
                ],
            )
        },
        [f"train/i{n}.png" for n in NUMBERS],
        ("VinBigData", "multilabel", 14, "Aortic enlargement"),
    ),
    (
        RSNAPneumonia(),
        {
            "stage_2_train_labels.csv": (
                ["patientId", "x", "y", "width", "height", "Target"],
                [[f"i{n}", *([1, 1, 2, 2] if n % 2 else [""] * 4), n % 2] for n in NUMBERS],
            )
        },
        [f"stage_2_train_images/i{n}.png" for n in NUMBERS],
        ("RSNA-pneumonia", "binary", 1, "pneumonia"),
    ),
    (
        SIIMPneumothorax(),
        {
            "train-rle.csv": (
                ["ImageId", " EncodedPixels"],
                [[f"1.{n}", "5 2" if n % 2 else "-1"] for n in NUMBERS],
            )
        },
        [f"train/1.{n}.png" for n in NUMBERS],
        ("SIIM-pneumothorax", "binary", 1, "pneumothorax"),
    ),
    (
        RANZCR(),
        {
            "train.csv": (
                ["StudyInstanceUID", *TUBES, "PatientID"],
                [[f"1.{n}", n % 2, *[0] * 10, f"p{n}"] for n in NUMBERS],
            )
        },
        [f"train/1.{n}.jpg" for n in NUMBERS],
        ("RANZCR", "multilabel", 11, "ETT - Abnormal"),
    ),
]


def name_of(value):
    return type(value).__name__


@pytest.mark.parametrize(
    ("images", "tables", "pictures", "expected"), LAYOUTS, ids=[name_of(row[0]) for row in LAYOUTS]
)
def test_films_of_each_layout_are_set_up(
    tmp_path, write_table, write_picture, images, tables, pictures, expected
):
    root = tmp_path / "set"
    for name, (header, rows) in tables.items():
        write_table(root / name, header, rows)
    for seed, name in enumerate(pictures):
        write_picture(root / name, seed=seed)
    data = ImageDataModule(
        root, dataset=images, image=IMAGE, split=SplitOptions(num_folds=2), cache=CacheOptions(tmp_path / "kept"),
        batch=BatchOptions(batch_size=2),
    )  # fmt: skip
    data.prepare_data()
    data.setup("fit")
    name, task, labels, odd = expected
    index = data.index
    assert (index.name, index.task, len(index.classes)) == (name, task, labels)
    assert [record.labels[odd] for record in index.records] == [0, 1, 0, 1]
    assert [record.images for record in index.records] == [(root / name,) for name in pictures]
    assert len({record.patient_id for record in index.records}) == 4
    assert sorted([*data.split.train, *data.split.val]) == [record.case_id for record in index.records]
    (batch,) = data.val_dataloader()
    assert batch["image"].shape == (2, 1, 16, 16)


@pytest.mark.parametrize("images", [row[0] for row in LAYOUTS], ids=name_of)
def test_films_have_sides_and_a_missing_table_is_named(images, tmp_path):
    assert images.has_laterality
    with pytest.raises(DataError, match=str(tmp_path)):
        ImageDataModule(tmp_path, dataset=images).setup("fit")


@pytest.mark.real
def test_the_real_radiographs_split_without_a_shared_patient(tmp_path):
    root = Path(os.environ["MEDIMG_REAL_DATA"]) / "NIH-ChestXray14"
    data = ImageDataModule(
        root, dataset=ChestXray14(missing="skip", repeats="held_out"), cache=CacheOptions(tmp_path),
        image=ImageOptions(size=(32, 32), channels=1, mean=(0.5,), std=(0.5,)),
    )  # fmt: skip
    data.prepare_data()
    data.setup("fit")
    cases = [*data.split.train, *data.split.val, *data._set_up.test]
    assert len(cases) == len(set(cases)) == 32
    assert data.train_labels.shape == (len(data.split.train), 14)


def test_a_table(tmp_path, write_picture, write_table):
    for number in range(8):
        write_picture(tmp_path / f"{number}.png", seed=number)
    rows = [[n, n // 2, f"{n}.png", n % 2, n // 4, 0.5] for n in range(8)]
    write_table(tmp_path / "t.csv", ["id", "patient", "file", "mass", "fold", "weight"], rows)
    columns = TableColumns("id", "patient", ("file",), ("mass",), fold="fold", weight="weight")
    data = ImageDataModule(
        tmp_path, dataset=ImageTable(Path("t.csv"), columns), image=IMAGE, fold=1,
        batch=BatchOptions(batch_size=4), cache=CacheOptions(tmp_path / "kept"), split=SplitOptions(),
    )  # fmt: skip
    data.prepare_data()
    data.setup("fit")
    assert data.split.val == ("4", "5", "6", "7")
    (batch,) = data.train_dataloader()
    assert batch["weight"].tolist() == [0.5] * 4


def test_breasts_of_phantoms(tmp_path):
    root = tmp_path / "phantoms"
    write_mammography(root, patients=6, size=(64, 64))
    data = ImageDataModule(
        root, dataset=RSNAMammography(), cache=CacheOptions(tmp_path / "kept"), split=SplitOptions(num_folds=2),
        image=ImageOptions(size=(32, 24), channels=1, bits=16, mean=(0.5,), std=(0.5,)),
        batch=BatchOptions(batch_size=3, grouped=True),
    )  # fmt: skip
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.val_dataloader()))
    assert batch["sizes"].tolist() == [2, 2, 2]
    assert batch["image"].shape == (6, 1, 32, 24)
    assert batch["image"].min() >= 0 and batch["image"].max() <= 1
    assert all(case.endswith(("_L", "_R")) for case in batch["case_id"])
    # MONOCHROME1 is turned around: the air around the breast is dark in every file.
    whole = np.concatenate([batch["image"].numpy() for batch in data.val_dataloader()])
    assert np.median(whole, axis=(1, 2, 3)).max() < 0.5
    unlabelled = data.dataset.unlabelled(root)
    assert len(unlabelled.records) == 24
    assert not any(record.labels for record in unlabelled.records)


def test_copies_that_the_archive_lists(tmp_path, write_table, write_picture):
    header = [
        "image_name",
        "patient_id",
        "sex",
        "age_approx",
        "anatom_site_general_challenge",
        "diagnosis",
        "benign_malignant",
        "target",
    ]
    rows = [[f"I{n}", f"P{n}", "", "", "", "", "", n % 2] for n in range(6)]
    write_table(tmp_path / "train.csv", header, rows)
    for number in range(6):
        write_picture(tmp_path / "jpeg" / "train" / f"I{number}.jpg", seed=number)
    write_table(
        tmp_path / "ISIC_2020_Training_Duplicates.csv", ["image_name_1", "image_name_2"], [["I0", "I3"]]
    )
    for fold in range(3):
        data = ImageDataModule(
            tmp_path, dataset=ISIC2020(), image=ImageOptions(size=(16, 16)), fold=fold,
            cache=CacheOptions(tmp_path / "kept"), split=SplitOptions(num_folds=3),
        )  # fmt: skip
        data.prepare_data()
        data.setup("fit")
        assert len({"I0", "I3"} & set(data.split.val)) in (0, 2)
