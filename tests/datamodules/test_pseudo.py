"""Pseudo-labelled cases train in every fold, and never under the name of a case that judges."""

import re
import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from medimg.datamodules import (
    BatchOptions,
    CacheOptions,
    ImageDataModule,
    ImageOptions,
    PatchOptions,
    PseudoOptions,
    SplitOptions,
)
from medimg.datamodules.pseudo import weighed
from medimg.datasets import ImageFolder
from medimg.datasets.image_set import list_images
from medimg.errors import CheckpointError, ConfigError, DataError
from medimg.io.nifti import read_mask, write_mask
from medimg.preparation.image_pixels import read_pixels
from medimg.preparation.pseudo_note import PseudoNote, note_path, write_note
from medimg.preparation.pseudo_table import write_pseudo_table
from medimg.records import ImageIndex, Record

IMAGE = ImageOptions(size=(16, 16), channels=1, mean=(0.5,), std=(0.25,))


def label(root, out, weight=0.5, classes=("malignant",)):
    """Pseudo-labels of every picture of a folder: the first is malignant, the others are not."""
    found = list_images(root)
    index = ImageIndex(found.name, root, "binary", classes, found.records)
    values = {record.case_id: np.array([float(not n)]) for n, record in enumerate(found.records)}
    write_pseudo_table(out, index, values, dict.fromkeys(values, weight), PseudoNote(1, root, middle=(0.5,)))
    return out


@pytest.fixture
def make(tmp_path, write_class_folders, write_picture, stand_in, monkeypatch):
    """``make(verb, pseudo=..., **options)``: ten labelled pictures in two folds, and three pseudo-labelled ones."""

    monkeypatch.setattr("medimg.datamodules.images.usable_cores", lambda: 1)  # processes take long to start

    def build(verb="fit", **options):
        root = tmp_path / "set"
        if not root.exists():
            write_class_folders(root, {"benign": 6, "malignant": 4})
            for number in range(3):
                write_picture(tmp_path / "new" / f"{number}.png", seed=50 + number)
        table = tmp_path / "labels.csv"
        if not table.exists():
            label(tmp_path / "new", table)
        settings = {
            "dataset": ImageFolder(positive=("malignant",)),
            "split": SplitOptions(num_folds=2),
            "image": IMAGE,
            "batch": BatchOptions(batch_size=1),
            "cache": CacheOptions(tmp_path / "kept"),
            "pseudo": PseudoOptions(table, weight=0.5),
        }
        data = ImageDataModule(root, **{**settings, **options})
        data.trainer = stand_in(verb)
        data.prepare_data()
        data.setup(verb)
        return data

    return build


def samples(loader):
    return {batch["case_id"][0]: batch for batch in loader}


def test_they_train_in_every_fold_and_judge_in_none(make):
    for fold in range(2):
        data = make(fold=fold)
        new = {"0.png", "1.png", "2.png"}
        train = samples(data.train_dataloader())
        assert set(train) == {*data.split.train, *new}
        assert new.isdisjoint(samples(data.val_dataloader()))
        plain = make(fold=fold, pseudo=PseudoOptions())
        assert data.split == plain.split
        assert set(samples(data.val_dataloader())) == set(samples(plain.val_dataloader()))


def test_their_weight_and_labels_reach_the_loss(make):
    train = samples(make().train_dataloader())
    # 0.5 of the table times 0.5 of the option.
    assert [float(train[f"{n}.png"]["weight"]) for n in range(3)] == [0.25] * 3
    assert [float(train[f"{n}.png"]["label"]) for n in range(3)] == [1, 0, 0]
    assert all(float(batch["weight"]) == 1 for case, batch in train.items() if "/" in case)


def test_their_pixels_are_their_own(make, tmp_path):
    kept = samples(make().train_dataloader())["1.png"]["image"]
    found = read_pixels(Record("1", "1", (tmp_path / "new" / "1.png",)), IMAGE)
    np.testing.assert_array_equal(kept[0], found)


def test_classes_are_counted_with_them(make):
    assert len(make().train_labels) == 5 + 3


def test_scoring_needs_none_of_them(make, tmp_path):
    make()
    shutil.rmtree(tmp_path / "new")
    for verb in ("validate", "test"):
        assert len(samples(make(verb).val_dataloader())) == 5


def test_a_copy_of_a_labelled_picture_is_refused_whatever_its_name_and_format(make, tmp_path):
    make(pseudo=PseudoOptions())
    original = tmp_path / "set" / "benign" / "benign (1).png"
    Image.open(original).save(tmp_path / "new" / "1.bmp")
    label(tmp_path / "new", tmp_path / "labels.csv")
    with pytest.raises(
        DataError, match=r"1\.bmp: its pixels are those of the labelled case benign/benign \(1\)\.png"
    ):
        make()
    shutil.copy(original, tmp_path / "new" / "1.png")
    (tmp_path / "new" / "1.bmp").unlink()
    label(tmp_path / "new", tmp_path / "labels.csv")
    with pytest.raises(DataError, match=r"1\.png: its pixels are those of the labelled case"):
        make()


def test_a_case_of_the_data_set_is_refused_by_its_id(make, tmp_path, write_picture):
    make(pseudo=PseudoOptions())
    write_picture(tmp_path / "new" / "benign" / "benign (2).png", seed=99)
    label(tmp_path / "new", tmp_path / "labels.csv")
    with pytest.raises(DataError, match=r"benign/benign \(2\)\.png: it stands in the labelled data"):
        make()


def test_other_labels_are_refused(make, tmp_path):
    make(pseudo=PseudoOptions())
    label(tmp_path / "new", tmp_path / "labels.csv", classes=("mass",))
    with pytest.raises(ConfigError, match="is binary with mass, the data are binary with malignant"):
        make()


def test_a_run_is_resumed_with_the_same_cases_only(make, tmp_path):
    state = make().state_dict()
    make().load_state_dict(state)
    for other in (
        make(pseudo=PseudoOptions()),
        make(pseudo=PseudoOptions(tmp_path / "labels.csv", weight=0.25)),
    ):
        with pytest.raises(CheckpointError, match=r"pseudo: \w+ x 0\.5 in the checkpoint"):
            other.load_state_dict(state)
    label(tmp_path / "new", tmp_path / "labels.csv", weight=1.0)
    with pytest.raises(CheckpointError, match="pseudo"):
        make().load_state_dict(state)


def test_a_case_that_has_got_its_label_since_does_not_judge_what_it_trained(make):
    state = make().state_dict()
    assert state["pseudo_train"] == ["0.png", "1.png", "2.png"]
    same = make("test")
    same.load_state_dict(state)
    scored = same._scored_ids()[0]
    with pytest.raises(
        CheckpointError, match=rf"trained on 1 of the 5 cases to be scored, such as {re.escape(scored)}"
    ):
        same.load_state_dict({**state, "pseudo_train": [scored]})


def test_a_running_training_does_not_need_the_table_any_more(make, tmp_path):
    data = make()
    (tmp_path / "labels.csv").unlink()
    assert "pseudo" in data.state_dict()


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_is_above_0(weight):
    with pytest.raises(ConfigError, match=r"pseudo\.weight: expected a number above 0"):
        PseudoOptions(weight=weight)


def test_weights_multiply():
    assert [one.weight for one in weighed([Record("a", "a", (), weight=0.5), Record("b", "b", ())], 0.5)] == [
        0.25,
        0.5,
    ]


# ---- volumes ----------------------------------------------------------------------------------


@pytest.fixture
def make_volumes(make_decathlon, tmp_path, monkeypatch):
    """``make_volumes(**options)``: four labelled volumes, and a pseudo-labelled one of the unlabelled."""
    monkeypatch.setattr("medimg.datamodules.base.usable_cores", lambda: 1)

    def build(weight=1.0, **options):
        make_decathlon(ready=False)
        root, folder = tmp_path / "Task4", tmp_path / "masks"
        if not folder.exists():
            # Only the front half is sure, and all of it is label 2.
            mask = np.full(read_mask(root / "labelsTr" / "fake_000.nii.gz").shape, 255, np.uint8)
            mask[: len(mask) // 2] = 2
            write_mask(folder / "fake_900.nii.gz", mask, like=root / "imagesTs" / "fake_900.nii.gz")
            labels = {"anterior": 1, "posterior": 2}
            write_note(
                note_path(folder), PseudoNote(1, root, labels=labels, ignore=255, weights={"fake_900": 0.5})
            )
        return make_decathlon(pseudo=PseudoOptions(folder, weight=weight), **options)

    return build


def test_volumes_are_drawn_in_their_share(make_volumes):
    data = make_volumes(fold=1, patches=PatchOptions(size=(4, 4, 4), batch_size=2, batches_per_epoch=50))
    batches = list(data.train_dataloader())
    drawn = Counter(case for batch in batches for case in batch["case_id"])
    assert set(drawn) == {*data.split.train, "fake_900"}
    # Weights of 1, 1 and 0.5 of 100 patches.
    assert drawn["fake_900"] == 20
    assert all(drawn[case] == 40 for case in data.split.train)
    masks = [m for b in batches for c, m in zip(b["case_id"], b["mask"], strict=True) if c == "fake_900"]
    assert {int(value) for mask in masks for value in mask.unique()} == {2, 255}
    validated = {case for batch in data.val_dataloader() for case in batch["case_id"]}
    assert validated == set(data.split.val)
    assert data.state_dict()["pseudo"].endswith(" x 1")
    assert data.state_dict()["pseudo_train"] == ["fake_900"]


def test_a_labelled_volume_under_another_name_is_refused(make_volumes, tmp_path):
    make_volumes()
    shutil.copy(
        tmp_path / "Task4" / "imagesTr" / "fake_002.nii.gz",
        tmp_path / "Task4" / "imagesTs" / "fake_900.nii.gz",
    )
    with pytest.raises(DataError, match="fake_900: an image of it is that of the labelled case fake_002"):
        make_volumes()


def test_a_folder_of_images_that_is_gone_is_named(make_volumes, tmp_path):
    make_volumes()
    write_note(
        note_path(tmp_path / "masks"), PseudoNote(1, tmp_path / "gone", ignore=255, weights={"fake_900": 1.0})
    )
    with pytest.raises(DataError, match=r"lie below .*gone, and there is no such folder"):
        make_volumes()


@pytest.mark.parametrize(
    ("members", "warned"),
    [
        ([{"split": "s", "fold": 0}], False),
        ([{"split": "s", "fold": 1}], True),
        ([{"split": "s", "fold": 0}, {"split": "s", "fold": None}], True),  # an ensemble of folds
        ([{"split": None, "fold": None}], False),  # nobody knows
        ([], False),
    ],
)
def test_labels_by_networks_that_trained_on_the_validation_cases_are_warned_of(
    tmp_path, caplog, members, warned
):
    (tmp_path / "labels.csv").write_text("case_id\n")
    write_note(
        note_path(tmp_path / "labels.csv"), PseudoNote(1, tmp_path, {"members": members}, middle=(0.5,))
    )
    PseudoOptions(tmp_path / "labels.csv").warn_of_teachers(0)
    assert ("trained on validation cases of fold 0" in caplog.text) is warned


def test_copies_that_cannot_be_looked_for_are_said(make, tmp_path, caplog):
    make()
    assert "are not looked for" not in caplog.text
    make(cache=CacheOptions(tmp_path / "kept", limit_gib=1e-9))
    assert "copies of labelled images in another file format are not looked for" in caplog.text
