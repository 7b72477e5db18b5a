"""Every case is scored once, on its side of the split, as the network will see it."""

import logging
import os
from pathlib import Path

import albumentations as A
import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch.trainer.states import TrainerFn
from PIL import Image

from medimg.cli import main
from medimg.datamodules import (
    BatchOptions,
    CacheOptions,
    ImageDataModule,
    ImageOptions,
    SplitOptions,
    stack_positions,
)
from medimg.datasets import HistologyTiles, ImageFolder, MedMNIST
from medimg.datasets.table import ImageTable
from medimg.datasets.write_table import write_table
from medimg.errors import CheckpointError, ConfigError
from medimg.preparation.image_prepare import ImagePreparation, prepare_images
from medimg.records import TableColumns
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


class Studies(ImageTable):
    """A table that predicts the same studies."""

    def unlabelled(self, root):
        return self.index(root)


STUDIES = Studies(
    Path("cases.csv"), TableColumns("id", "patient", ("{id}.dcm",), labels=("x",), group="patient")
)
HEIGHTS = {"a": [3.0, 1.0, 2.0], "b": [-1.0, -2.0], "c": [0.0], "d": [5.0, 4.0]}
CT = ImageOptions(size=(16, 16), channels=3, window=((-1350, 150), (50, 750), (-160, 240)))


@pytest.fixture
def make_studies(tmp_path, write_slice, write_table, stand_in):
    """``make_studies(verb, **options)``: four studies of one to three slices whose names are in no order."""
    rows = []
    for study, heights in HEIGHTS.items():
        for number, height in enumerate(heights):
            rows.append([f"{study}{number}", study, int(height > 1)])
            # Each slice has its own density, 10 Hounsfield units a millimetre.
            pixels = np.full((16, 20), 1024 + 10 * height, np.int16)
            write_slice(tmp_path / "set" / f"{study}{number}.dcm", height, pixels)
    write_table(tmp_path / "set" / "cases.csv", ["id", "patient", "x"], rows)

    def make(verb="fit", **options):
        batch = BatchOptions(batch_size=4, grouped=True)
        settings = {"image": CT, "batch": batch, "cache": CacheOptions(tmp_path / "kept")}
        data = ImageDataModule(
            tmp_path / "set", dataset=STUDIES, split=SplitOptions(num_folds=2), **{**settings, **options}
        )
        data.trainer = stand_in(verb)
        data.prepare_data()
        data.setup(verb)
        return data

    return make


def all_in_order(loaders):
    return {
        case: names
        for loader in loaders
        for batch in loader
        for case, names in zip(
            batch["case_id"],
            np.split(np.array(batch["image_id"]), np.cumsum(batch["sizes"])[:-1]),
            strict=True,
        )
    }


IN_ORDER = {"a": ["a1", "a2", "a0"], "b": ["b1", "b0"], "c": ["c0"], "d": ["d1", "d0"]}


@pytest.mark.parametrize("limit", [8.0, 1e-9])
def test_slices_come_in_the_order_of_their_places(make_studies, tmp_path, limit, monkeypatch):
    headers = []
    whole = stack_positions.read_position
    monkeypatch.setattr(stack_positions, "read_position", lambda path: (headers.append(path), whole(path))[1])
    data = make_studies(cache=CacheOptions(tmp_path / "kept", limit_gib=limit))
    found = all_in_order([data.train_dataloader(), data.val_dataloader()])
    assert {case: list(names) for case, names in found.items()} == IN_ORDER
    # Where images are kept the places come with the pixels.
    assert len(headers) == (0 if limit == 8.0 else 7)
    batch = next(iter(data.val_dataloader()))
    heights = np.array([HEIGHTS[name[0]][int(name[1])] for name in batch["image_id"]])
    assert batch["image_label"][:, 0].tolist() == (heights > 1).astype(float).tolist()
    expected = np.rint((10 * heights + 160) / 400 * 255)
    np.testing.assert_array_equal(batch["image"][:, 2, 8, 8], expected)
    assert (batch["image"][:, 1] == 0).all()


@pytest.mark.parametrize("limit", [8.0, 1e-9])
@pytest.mark.parametrize("verb", ["fit", "predict"])
def test_prepared_slices_keep_their_order(make_studies, tmp_path, limit, verb):
    in_hu = ImagePreparation(windows_hu=((-160, 240),))
    prepared = prepare_images(STUDIES.index(tmp_path / "set"), in_hu, tmp_path / "png").index
    columns = write_table(tmp_path / "png" / "cases.csv", prepared)
    data = ImageDataModule(
        tmp_path / "png",
        dataset=Studies(Path("cases.csv"), columns),
        split=SplitOptions(num_folds=2),
        image=ImageOptions(size=(16, 16), channels=1, mean=(0.5,), std=(0.5,)),
        batch=BatchOptions(batch_size=4, grouped=True),
        cache=CacheOptions(tmp_path / "kept-png", limit_gib=limit),
    )
    data.trainer = make_studies(verb).trainer
    data.prepare_data()
    data.setup(verb)
    loaders = (
        [data.predict_dataloader()] if verb == "predict" else [data.train_dataloader(), data.val_dataloader()]
    )
    assert {case: list(names) for case, names in all_in_order(loaders).items()} == IN_ORDER


def test_prediction_has_the_same_order_and_names_its_images(make_studies):
    data = make_studies("predict")
    found = all_in_order([data.predict_dataloader()])
    assert {case: list(names) for case, names in found.items()} == IN_ORDER
    batch = next(iter(data.predict_dataloader()))
    assert "image_label" not in batch
    assert data.record("a1").images[0].name == "a1.dcm"


NEIGHBOURS = BatchOptions(grouped=True, max_images=2, consecutive=True)


def test_neighbours_without_places_are_warned_about(make_folder, caplog):
    make_folder(batch=NEIGHBOURS)
    assert "no image of set says its place along a stack" in caplog.text


def test_neighbours_are_drawn_in_the_order_of_their_places(make_studies, caplog):
    data = make_studies(batch=NEIGHBOURS)
    assert "its place along a stack" not in caplog.text
    found = all_in_order([data.train_dataloader(), data.val_dataloader()])
    assert list(found["a"]) in (["a1", "a2"], ["a2", "a0"], ["a1", "a2", "a0"])  # the last where it is scored
    assert list(found["d"]) == ["d1", "d0"]


def test_windows_and_batch_parse_from_a_config(tmp_path):
    parser = ArgumentParser()
    parser.add_subclass_arguments(ImageDataModule, "data")
    (tmp_path / "c.yaml").write_text(
        """
class_path: medimg.datamodules.ImageDataModule
init_args:
  dataset: {class_path: medimg.datasets.ImageFolder}
  image: {size: [8, 8], channels: 2, window: [[-1350, 150], [50, 750]], mean: [0.5], std: [0.5]}
  batch: {grouped: true, max_images: 24, consecutive: true}
"""
    )
    found = parser.parse_args([f"--data={tmp_path / 'c.yaml'}"]).data.init_args
    assert found.image.window == ((-1350.0, 150.0), (50.0, 750.0))
    assert (found.batch.consecutive, found.batch.masks, found.batch.views) == (True, False, 1)
    changed = parser.parse_args(
        [f"--data={tmp_path / 'c.yaml'}", "--data.image.window=[[0,1],[2,3]]", "--data.batch.masks=true"]
    ).data.init_args
    assert changed.image.window == ((0.0, 1.0), (2.0, 3.0)) and changed.batch.masks
    single = parser.parse_args(
        [f"--data={tmp_path / 'c.yaml'}", "--data.image.window=[-160,240]"]
    ).data.init_args
    assert single.image.window == (-160.0, 240.0)


@pytest.fixture
def masked(tmp_path, write_class_folders, write_picture):
    """The pictures of the set are their own masks, but for the first."""
    root = write_class_folders(tmp_path / "set", {"benign": 6, "malignant": 4})
    for path in sorted(root.rglob("*.png"))[1:]:
        pixels = np.asarray(Image.open(path))
        write_picture(path, np.where(pixels > 127, 255, 0).astype(np.uint8))
        write_picture(
            path.with_name(f"{path.stem}_mask.png"), np.where(pixels > 127, 255, 0).astype(np.uint8)
        )
    return root


@pytest.mark.parametrize("limit", [8.0, 1e-9])
@pytest.mark.parametrize("keep_aspect", [True, False])
def test_masks_come_with_the_images(make_folder, masked, tmp_path, limit, keep_aspect):
    image = ImageOptions(size=(32, 40), channels=1, mean=(0.5,), std=(0.25,), keep_aspect=keep_aspect)
    data = make_folder(
        batch=BatchOptions(batch_size=2, masks=True),
        cache=CacheOptions(tmp_path / "kept", limit_gib=limit),
        transform=AlbumentationsTransform([A.HorizontalFlip(), A.VerticalFlip()]),
        image=image,
    )
    seen = set()
    for loader in (data.train_dataloader(), data.val_dataloader()):
        for batch in loader:
            assert batch["mask"].dtype == torch.uint8 and batch["mask"].shape[1:] == (1, 32, 40)
            for case, mask, pixels in zip(batch["case_id"], batch["mask"], batch["image"], strict=True):
                seen.add(case)
                expected = torch.full_like(mask, 255) if case.endswith("benign (1).png") else pixels // 255
                assert torch.equal(mask, expected)
    assert any(case.endswith("benign (1).png") for case in seen)
    assert data.reference("benign/benign (1).png") is None
    reference = data.reference("benign/benign (2).png")
    assert reference.shape == (32, 40) and set(np.unique(reference)) == {0, 1}
    assert data.record("benign/benign (2).png").patient_id == "benign/benign (2).png"


@pytest.mark.parametrize("columns", [TableColumns("id", "patient", ("file",), mask="mask"), None])
def test_masks_teach_without_a_label(tmp_path, write_picture, write_table, stand_in, columns):
    rows = []
    for n in range(8):
        write_picture(tmp_path / "set" / "images" / f"{n}.png", seed=n)
        write_picture(tmp_path / "set" / "masks" / f"{n}.png", np.full((32, 40), 255 * (n % 2), np.uint8))
        rows.append([n, n, f"images/{n}.png", f"masks/{n}.png" if n < 6 else ""])
    write_table(tmp_path / "set" / "cases.csv", ["id", "patient", "file", "mask"], rows)
    data = ImageDataModule(
        tmp_path / "set",
        dataset=HistologyTiles() if columns is None else ImageTable(Path("cases.csv"), columns),
        split=SplitOptions(num_folds=2),
        batch=BatchOptions(batch_size=1, masks=True),
        image=ImageOptions(size=(16, 16), channels=1, mean=(0.5,), std=(0.5,)),
        cache=CacheOptions(tmp_path / "kept"),
    )
    data.trainer = stand_in("fit")
    data.prepare_data()
    data.setup("fit")
    masked = {str(n) for n in range(8 if columns is None else 6)}
    for loader, side in (
        (data.train_dataloader(), data.split.train),
        (data.val_dataloader(), data.split.val),
    ):
        batches = list(loader)
        assert {case for batch in batches for case in batch["case_id"]} == masked & set(side)
        for batch in batches:
            assert int(batch["mask"].max()) == int(batch["case_id"][0]) % 2
    assert data.split_facts()["validation"] == sorted(masked & set(data.split.val))


def test_a_set_without_masks_says_so(make_folder):
    with pytest.raises(
        ConfigError, match=r"batch\.masks: ImageFolder finds no mask .* with a.png beside a_mask.png"
    ):
        make_folder(batch=BatchOptions(masks=True))


def test_views_need_no_label(make_studies, tmp_path, write_table):
    names = [f"{study}{number}" for study, heights in HEIGHTS.items() for number in range(len(heights))]
    rows = [[name, name[0], 0 if name == "a0" else ""] for name in names]
    write_table(tmp_path / "set" / "cases.csv", ["id", "patient", "x"], rows)
    transform = AlbumentationsTransform(preset="ct_views")
    for fold in (0, 1):
        data = make_studies(fold=fold, batch=BatchOptions(batch_size=1, views=2), transform=transform)
        train = list(data.train_dataloader())
        assert sorted(case for batch in train for case in batch["case_id"]) == sorted(data.split.train)
        assert all(len(batch["image"]) == 2 for batch in train)


def test_views_train_and_do_not_score(make_folder):
    batch = BatchOptions(batch_size=2, views=2)
    transform = AlbumentationsTransform(preset="ultrasound_views")
    data = make_folder(batch=batch, transform=transform)
    found = next(iter(data.train_dataloader()))
    assert found["image"].shape == (4, 1, 16, 16) and found["sizes"].tolist() == [2, 2]
    assert len(found["case_id"]) == 2
    scored = next(iter(data.val_dataloader()))
    assert len(scored["image"]) == 2 and "sizes" not in scored
    with pytest.raises(
        ConfigError, match=r"2 views of an image differ by their augmentation: set .*transform"
    ):
        make_folder(batch=batch)
