"""Every case is scored once, on its side of the split, as the network will see it."""

import logging
import os
from pathlib import Path

import albumentations as A
import numpy as np
import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn

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
    ImageFolder,
    ImageTable,
    MedMNIST,
    RSNAMammography,
    RSNAPneumonia,
    SIIMPneumothorax,
    TableColumns,
    VinBigData,
)
from medimg.datasets.chexpert import LABELS as CHEXPERT
from medimg.datasets.ranzcr import LABELS as TUBES
from medimg.errors import CheckpointError, ConfigError, DataError
from medimg.phantoms.mammography import write_mammography
from medimg.transforms.image2d import AlbumentationsTransform

IMAGE = ImageOptions(size=(16, 16), channels=1, mean=(0.5,), std=(0.25,))


@pytest.fixture
def make_folder(tmp_path, write_class_folders, stand_in):
    """``make_folder(verb, rank, world, **options)``: 6 benign and 4 malignant pictures in two folds."""

    def make(verb="fit", rank=0, world=1, **options):
        root = tmp_path / "set"
        if not root.exists():
            write_class_folders(root, {"benign": 6, "malignant": 4})
        settings = {
            "dataset": ImageFolder(positive=("malignant",)),
            "split": SplitOptions(num_folds=2),
            "image": IMAGE,
            "batch": BatchOptions(batch_size=2),
            "cache": CacheOptions(tmp_path / "kept"),
        }
        data = ImageDataModule(root, **{**settings, **options})
        data.trainer = stand_in(verb, rank, world)
        data.prepare_data()
        data.setup(verb)
        return data

    return make


def ids(loader):
    return [case for batch in loader for case in batch["case_id"]]


@pytest.mark.parametrize("verb", ["fit", "validate", "test"])
def test_every_case_is_scored_once_whatever_the_number_of_processes(make_folder, verb):
    data = make_folder(verb)
    loader = data.test_dataloader if verb == "test" else data.val_dataloader
    whole = ids(loader())
    assert sorted(whole) == sorted(data.split.val)
    parts = []
    for rank in range(3):
        part = make_folder(verb, rank, 3)
        parts += ids(part.test_dataloader() if verb == "test" else part.val_dataloader())
    assert sorted(parts) == sorted(whole)


def test_more_processes_than_cases_are_refused(make_folder):
    with pytest.raises(ConfigError, match="9 processes for 5 cases"):
        make_folder("test", 0, 9).test_dataloader()


def test_folds_partition_the_cases(make_folder):
    held = [make_folder(fold=fold).split.val for fold in range(2)]
    assert not set(held[0]) & set(held[1])
    assert len(held[0]) + len(held[1]) == 10
    assert all(sum("malignant/" in case for case in part) == 2 for part in held)


def test_training_sees_its_own_side_once_an_epoch(make_folder):
    data = make_folder()
    assert (
        sorted(ids(data.train_dataloader())) == sorted(data.split.train)[:4]
        or len(ids(data.train_dataloader())) == 4
    )
    assert set(ids(data.train_dataloader())) <= set(data.split.train)


def test_images_are_normalised_on_the_device(make_folder):
    data = make_folder("validate")
    batch = next(iter(data.val_dataloader()))
    assert batch["image"].dtype == torch.uint8
    found = data.on_after_batch_transfer(batch, 0)["image"]
    torch.testing.assert_close(found, (batch["image"] / 255 - 0.5) / 0.25)


def test_normalize_in_the_list_takes_the_place_of_ours(make_folder):
    data = make_folder("validate", transform=AlbumentationsTransform([A.Normalize((0.5,), (0.25,))]))
    batch = next(iter(data.val_dataloader()))
    plain = next(iter(make_folder("validate").val_dataloader()))
    found = data.on_after_batch_transfer(batch, 0)["image"]
    torch.testing.assert_close(found, (plain["image"] / 255 - 0.5) / 0.25, rtol=1e-4, atol=1e-4)


def test_official_splits_name_themselves(tmp_path, stand_in):
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 9), ("val", 4), ("test", 5)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 2)[:, None].astype(np.uint8)
    np.savez(tmp_path / "pneumoniamnist.npz", **arrays)
    data = ImageDataModule(tmp_path, dataset=MedMNIST(), image=IMAGE, cache=CacheOptions(tmp_path / "kept"))
    data.trainer = stand_in("test")
    data.prepare_data()
    data.setup("test")
    assert sorted(ids(data.test_dataloader())) == [f"test_{i:06d}" for i in range(5)]
    assert data.scored_title == "official test cases of pneumoniamnist"
    data.trainer = stand_in("validate")
    assert len(ids(data.val_dataloader())) == 4
    assert data.scored_title == "official validation cases of pneumoniamnist"
    assert len(data.train_labels) == 9


def test_a_fold_says_that_it_is_one(make_folder):
    title = make_folder("test").scored_title
    assert title == "validation cases of fold 0 of set (the data set has no test split)"


@pytest.mark.parametrize(
    ("classes", "laterality", "warned"),
    [
        (("left_lung", "right_lung"), False, "left_lung, right_lung"),
        (("a", "b"), True, "mirrored heart"),
        (("a", "b"), False, ""),
    ],
)
def test_mirroring_is_warned_about_where_sides_matter(
    tmp_path, write_class_folders, stand_in, caplog, classes, laterality, warned
):
    class Sided(ImageFolder):
        has_laterality = laterality

    root = write_class_folders(tmp_path / "set", dict.fromkeys(classes, 3))
    data = ImageDataModule(
        root, dataset=Sided(), split=SplitOptions(num_folds=2), image=IMAGE, cache=CacheOptions(tmp_path / "kept"),
        transform=AlbumentationsTransform([A.HorizontalFlip()]),
    )  # fmt: skip
    data.trainer = stand_in("fit")
    data.prepare_data()
    with caplog.at_level(logging.WARNING):
        data.setup("fit")
    assert (warned in caplog.text) if warned else ("mirrors" not in caplog.text)


def test_a_checkpoint_of_other_data_or_of_the_cases_scored_is_refused(make_folder):
    state = make_folder().state_dict()
    make_folder().load_state_dict(state)
    make_folder("test").load_state_dict(state)
    with pytest.raises(CheckpointError, match="other data"):
        make_folder(fold=1).load_state_dict(state)
    with pytest.raises(CheckpointError, match=r"trained on 5 of the 5 cases to be scored"):
        make_folder("test", fold=1).load_state_dict(state)
    make_folder("predict", fold=1).load_state_dict(state)
    leaky = SplitOptions(num_folds=2, allow_leaky=True)
    make_folder("test", fold=1, split=leaky).load_state_dict(state)
    with pytest.raises(CheckpointError, match="other data"):
        make_folder(fold=1, split=leaky).load_state_dict(state)


def test_prediction_takes_any_folder_of_images(make_folder, tmp_path, write_picture):
    data = make_folder("predict")
    batches = list(data.predict_dataloader())
    assert len([case for batch in batches for case in batch["case_id"]]) == 10
    assert all("label" not in batch for batch in batches)
    write_picture(tmp_path / "new" / "deep" / "x.png")
    other = make_folder("predict", predict_root=tmp_path / "new")
    assert ids(other.predict_dataloader()) == ["deep/x.png"]


def test_no_root_says_how_to_give_one(tmp_path):
    data = ImageDataModule(dataset=ImageFolder(), cache=CacheOptions(tmp_path))
    with pytest.raises(ConfigError, match=r"--data\.root"):
        data.prepare_data()


def test_pictures_of_a_case(make_folder):
    data = make_folder()
    (pixels,) = data.pixels("benign/benign (1).png")
    assert pixels.shape == (1, 16, 16)
    assert pixels.min() >= 0 and pixels.max() <= 1
    assert data._fn == TrainerFn.FITTING


@pytest.mark.real
def test_the_twins_of_busi_stay_in_one_fold(tmp_path):
    root = Path(os.environ["MEDIMG_REAL_DATA"]) / "BUSI"
    for fold in range(5):
        data = ImageDataModule(
            root,
            dataset=ImageFolder(positive=("malignant",)),
            fold=fold,
            image=IMAGE,
            cache=CacheOptions(tmp_path),
        )
        data.prepare_data()
        data.setup("fit")
        twins = {"benign/benign (433).png", "malignant/malignant (145).png"}
        assert len(twins & set(data.split.val)) in (0, 2)


# ---- each layout ----------------------------------------------------------------------------------

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
