"""Every case is scored once, on its side of the split, as the network will see it."""

import logging
import os
from pathlib import Path

import albumentations as A
import numpy as np
import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn

from medimg.cli import main
from medimg.datamodules import (
    BatchOptions,
    CacheOptions,
    ImageDataModule,
    ImageOptions,
    SplitOptions,
)
from medimg.datasets import (
    ImageFolder,
    MedMNIST,
)
from medimg.errors import CheckpointError, ConfigError
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


def test_images_that_a_table_of_folds_holds_out_are_the_test(make_folder, tmp_path):
    root = make_folder().root
    assert (
        main(["split", str(root), "--folds", "2", "--holdout", "0.2", "--out", str(tmp_path / "s.csv")]) == 0
    )
    rows = (tmp_path / "s.csv").read_text().splitlines()[1:]
    held = sorted(row.split(",")[0] for row in rows if row.endswith(",test"))
    assert len(held) == 2
    data = make_folder("test", split=SplitOptions(file=tmp_path / "s.csv"))
    assert sorted(ids(data.test_dataloader())) == held
    assert data.scored_title == "held-out test cases of set"
