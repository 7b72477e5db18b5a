"""Volumes with labels: each scored once, on its side of the split, as the network will see it."""

import copy
import csv
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from medimg.cli import main
from medimg.commands.run import RunCLI
from medimg.commands.trust import set_policy
from medimg.datamodules import (
    BatchOptions,
    CacheOptions,
    LabelledVolumeDataModule,
    PseudoOptions,
    SplitOptions,
    VolumeOptions,
)
from medimg.datasets import ImageTable, MedMNIST, TableColumns
from medimg.errors import CheckpointError, ConfigError, DataError
from medimg.io.dicom.write_series import write_series
from medimg.io.grid import Grid
from medimg.transforms import Augment3D, Brightness, RandomSpatial

ROOT = Path(__file__).parents[2]
COLUMNS = TableColumns(id="id", patient="patient", images=("image",), labels=("sick",))
STILL = RandomSpatial(rotation_probability=0, scale_probability=0, mirror_axes=())
AUGMENT = partial(Augment3D, spatial=STILL, intensity=[Brightness(probability=1.0)])
VOLUME = VolumeOptions(size=(8, 8, 8), normalization="range", bits=8)


@pytest.fixture
def root(tmp_path, write_volume, write_table, make_case):
    """Ten volumes of five patients, the sick ones with a brighter middle; one has no label."""
    rows = []
    for n in range(10):
        image, _ = make_case((9, 10, 8), seed=n)
        image[:, 3:6, 3:7, 3:6] += np.int16(400 * (n % 2))
        write_volume(tmp_path / "set" / f"c{n}.nii.gz", image[0])
        rows.append([f"c{n}", f"p{n // 2}", f"c{n}.nii.gz", "" if n == 9 else str(n % 2)])
    write_table(tmp_path / "set" / "t.csv", ["id", "patient", "image", "sick"], rows)
    return tmp_path / "set"


@pytest.fixture
def make(root, tmp_path, stand_in, monkeypatch):
    """``make(verb, rank, world, **options)``: the ten volumes in two folds."""
    # Ten small files are read before other processes have started.
    monkeypatch.setattr("medimg.datamodules.labelled_volumes.usable_cores", lambda: 1)

    def build(verb="fit", rank=0, world=1, **options):
        settings = {
            "dataset": ImageTable(Path("t.csv"), COLUMNS),
            "split": SplitOptions(num_folds=2),
            "volume": VOLUME,
            "batch": BatchOptions(batch_size=2),
            "cache": CacheOptions(tmp_path / "kept"),
        }
        data = LabelledVolumeDataModule(options.pop("root", root), **{**settings, **options})
        data.trainer = stand_in(verb, rank, world, training=verb == "fit")
        data.prepare_data()
        data.setup(verb)
        return data

    return build


def ids(loader):
    return [case for batch in loader for case in batch["case_id"]]


def test_every_case_is_scored_once_whatever_the_number_of_processes(make):
    data = make("test")
    whole = ids(data.test_dataloader())
    assert sorted(whole) == sorted(data.split.val)
    parts = [case for rank in range(3) for case in ids(make("test", rank, 3).test_dataloader())]
    assert sorted(parts) == sorted(whole)
    with pytest.raises(ConfigError, match="9 processes for"):
        make("test", 0, 9).test_dataloader()


def test_patients_stay_on_one_side_and_the_unlabelled_do_not_train(make):
    data = make()
    owner = {f"c{n}": f"p{n // 2}" for n in range(10)}
    train, val = ({owner[case] for case in side} for side in (data.split.train, data.split.val))
    assert not train & val
    held = make(fold=1)
    assert {*data.split.val, *held.split.val} == set(owner)
    for one in (data, held):
        drawn = {case for _ in range(3) for case in ids(one.train_dataloader())}
        assert "c9" not in drawn
        assert drawn <= set(one.split.train)
    assert data.train_labels.shape[1] == 1
    assert data.index.classes == ("sick",)


def test_a_batch_is_what_the_network_sees(make):
    data = make("validate")
    batch = next(iter(data.val_dataloader()))
    assert batch["image"].dtype == torch.uint8
    assert "seed" not in batch
    seen = data.on_after_batch_transfer(batch, 0)
    assert seen["image"].shape == (2, 1, 8, 8, 8)
    assert seen["image"].dtype == torch.float32
    assert -1 <= seen["image"].min() < -0.8
    assert 0.8 < seen["image"].max() <= 1
    assert seen["label"].shape == (2, 1)


def test_training_is_augmented_on_the_device_and_scoring_is_not(make):
    data = make(augmentation=AUGMENT)
    batch = next(iter(data.train_dataloader()))
    first, again = (data.on_after_batch_transfer(batch, 0)["image"] for _ in range(2))
    assert torch.equal(first, again)  # by the seeds of the batch
    plain = make().on_after_batch_transfer(batch, 0)["image"]
    assert not torch.allclose(first, plain)
    data.trainer.training = False
    assert torch.equal(data.on_after_batch_transfer(batch, 0)["image"], plain)


def test_views_for_self_supervision(make):
    data = make(augmentation=AUGMENT, batch=BatchOptions(batch_size=2, views=2))
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert batch["image"].shape == (4, 1, 8, 8, 8)
    assert batch["sizes"].tolist() == [2, 2]
    assert not torch.allclose(batch["image"][0], batch["image"][1])
    scored = next(iter(data.val_dataloader()))
    data.trainer.training = False
    assert "sizes" not in data.on_after_batch_transfer(scored, 0)


@pytest.mark.parametrize("fold", [0, 1])
def test_views_need_no_label(make, fold):
    options = {"fold": fold, "augmentation": AUGMENT}
    seen = ids(make(batch=BatchOptions(batch_size=1, views=2), **options).train_dataloader())
    assert sorted(seen) == sorted(make(**options).split.train)
    for batch in (BatchOptions(batch_size=1), BatchOptions(batch_size=1, views=2, balance=1.0)):
        assert "c9" not in ids(make(batch=batch, **options).train_dataloader())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch": BatchOptions(grouped=True)}, "batch.grouped: volumes are judged one by one"),
        ({"batch": BatchOptions(max_images=3)}, "batch.max_images: volumes are judged one by one"),
        ({"batch": BatchOptions(masks=True)}, "batch.masks: volumes are judged one by one"),
        ({"batch": BatchOptions(views=2)}, "2 views of a volume differ by their augmentation: set"),
    ],
)
def test_options_of_images_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        LabelledVolumeDataModule(dataset=MedMNIST(), **options)


def test_balance_draws_rare_labels_as_often(make, root):
    rows = list(csv.reader((root / "t.csv").open()))
    for row in rows[1:]:
        row[3] = str(int(row[0] in ("c0", "c9")))
    with (root / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    data = make(batch=BatchOptions(batch_size=1, balance=1.0))
    labels = [float(batch["label"]) for _ in range(20) for batch in data.train_dataloader()]
    assert 0.35 < np.mean(labels) < 0.65


def test_official_splits_name_themselves(tmp_path, make):
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 6), ("val", 3), ("test", 4)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, 8, 8, 8), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 2)[:, None].astype(np.uint8)
    np.savez(tmp_path / "nodulemnist3d.npz", **arrays)
    options = {
        "root": tmp_path, "dataset": MedMNIST(name="nodulemnist3d"),
        "volume": VolumeOptions(size=(8, 8, 8), normalization="bytes", bits=8),
    }  # fmt: skip
    data = make("test", **options)
    (batch,) = (*data.test_dataloader(),)[:1]
    assert batch["case_id"] == ["test_000000", "test_000001"]
    assert torch.equal(batch["image"][:, 0], torch.from_numpy(arrays["test_images"][:2]))
    assert data.scored_title == "official test cases of nodulemnist3d"
    assert make("validate", **options).scored_title == "official validation cases of nodulemnist3d"


def test_a_damaged_volume_and_wrong_channels_are_named(make, root):
    with pytest.raises(
        DataError, match=r"10 of 10 volumes cannot be used:\n.*c0: expected 2 channels \(a, b\)"
    ):
        make(volume=VolumeOptions(size=(8, 8, 8), channels=("a", "b")))
    (root / "c3.nii.gz").write_bytes((root / "c3.nii.gz").read_bytes()[:80])
    with pytest.raises(DataError, match=r"1 of 10 volumes cannot be used:\n.*c3\.nii\.gz"):
        make()


@pytest.mark.parametrize(("axes", "warned"), [((0, 1, 2), True), ((0, 1), False)])
def test_mirrors_that_harm_are_warned_of(make, root, caplog, axes, warned):
    spatial = RandomSpatial(mirror_axes=axes)
    columns = TableColumns(id="id", patient="patient", images=("image",), labels=("left_lung",))
    table = (root / "t.csv").read_text().replace("sick", "left_lung")
    (root / "t.csv").write_text(table)
    make(dataset=ImageTable(Path("t.csv"), columns), augmentation=partial(Augment3D, spatial=spatial))
    assert (
        "the augmentation mirrors left and right, and labels tell them apart (left_lung)" in caplog.text
    ) == warned


def test_cases_that_trained_are_not_scored(make):
    state = make().state_dict()
    other = make("test", fold=1)
    with pytest.raises(CheckpointError, match="the checkpoint was trained on"):
        other.load_state_dict(state)
    make("test").load_state_dict(state)


def test_predict_takes_files_or_series(make, root, tmp_path, make_case):
    assert len(ids(make("predict").predict_dataloader())) == 10
    found = make("predict", predict_root=root).predict_dataloader()
    assert sorted(ids(found)) == [f"c{n}" for n in range(10)]
    assert all("label" not in batch for batch in found)
    image, _ = make_case((6, 8, 8))
    write_series(tmp_path / "series", image[0], Grid((6, 8, 8), np.diag([-1.0, -1, 2, 1])))
    (batch,) = make("predict", predict_root=tmp_path / "series").predict_dataloader()
    assert batch["image"].shape == (1, 1, 8, 8, 8)


def test_memory_and_disk_stay_bounded(make, tmp_path, caplog):
    data = make(cache=CacheOptions(tmp_path / "none", limit_gib=1e-9))
    assert "volumes are read anew" in caplog.text
    assert not (tmp_path / "none").exists()
    kept = next(iter(make().val_dataloader()))["image"]
    assert torch.equal(next(iter(data.val_dataloader()))["image"], kept)


@pytest.fixture
def pseudo(tmp_path, write_volume, write_table, make_case):
    """Two pseudo-labelled volumes, as `medimg pseudolabel` notes them."""
    from medimg.preparation.pseudo_note import PseudoNote
    from medimg.preparation.pseudo_table import write_pseudo_table
    from medimg.records import ImageIndex, Record

    folder = tmp_path / "more"
    records = []
    for n in range(2):
        path = write_volume(folder / f"u{n}.nii.gz", make_case((9, 10, 8), seed=50 + n)[0][0])
        records.append(Record(f"u{n}", f"u{n}", (path,)))
    index = ImageIndex("more", folder, "binary", ("sick",), tuple(records))
    labels = {f"u{n}": np.array([float(n)]) for n in range(2)}
    note = PseudoNote(round=1, images=folder)
    write_pseudo_table(tmp_path / "pseudo.csv", index, labels, {"u0": 0.5, "u1": 1.0}, note)
    return tmp_path / "pseudo.csv"


def test_pseudo_labelled_volumes_train_in_every_fold_and_are_never_scored(make, pseudo):
    data = make(pseudo=PseudoOptions(pseudo, weight=0.5), batch=BatchOptions(batch_size=1))
    weight = {batch["case_id"][0]: float(batch["weight"]) for batch in data.train_dataloader()}
    assert (weight["u0"], weight["u1"]) == (0.25, 0.5)
    assert not {"u0", "u1"} & set(ids(data.val_dataloader()))
    assert data.state_dict()["pseudo_train"] == ["u0", "u1"]


def test_pseudo_labels_of_other_labels_are_refused(make, pseudo, root):
    columns = TableColumns(id="id", patient="patient", images=("image",), labels=("ill",))
    (root / "t.csv").write_text((root / "t.csv").read_text().replace("sick", "ill"))
    with pytest.raises(ConfigError, match=r"pseudo\.csv is binary with sick, the data are binary with ill"):
        make(dataset=ImageTable(Path("t.csv"), columns), pseudo=PseudoOptions(pseudo))


# ---- whole runs ------------------------------------------------------------------------------------


CONFIGS = [
    path for path in sorted((ROOT / "configs").glob("*.yaml"))
    if "LabelledVolumeDataModule" in path.read_text() and "ClassificationTask" in path.read_text()
]  # fmt: skip


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_config_of_volumes_builds_and_its_network_fits_its_labels(config, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = [config, *([ROOT / "configs" / "overlays" / f"{config.stem}-small.yaml"] if small else [])]
    words = [word for path in files for word in ("--config", str(path))]
    set_policy([])
    cli = RunCLI("fit", [*words, "--data.root", str(tmp_path), "--trainer.accelerator", "cpu"], files)
    task, data = cli.model, cli.datamodule
    network = copy.deepcopy(task.network).to("meta").eval()
    logits = network(torch.empty(1, data.volume.in_channels, *data.volume.size, device="meta"))
    assert logits.shape == (1, len(task.classes))
    if data.augmentation is not None:
        assert data.augmentation.patch_size == data.volume.size
    if hasattr(data.dataset, "modalities"):
        assert tuple(data.dataset.modalities) == tuple(data.volume.channels)
        assert tuple(data.dataset.classes)[-len(task.classes) :] == task.classes


def test_the_grades_of_brats_2020_are_set_on_the_command_line(tmp_path, monkeypatch):
    """What the head of configs/glioma_grade.yaml says."""
    monkeypatch.chdir(tmp_path)
    config = ROOT / "configs" / "glioma_grade.yaml"
    words = ["--data.dataset.classes", "[LGG, HGG]", "--model.task", "binary", "--model.classes", "[HGG]"]
    words += ["--model.network.num_classes", "1", "--model.loss", "medimg.losses.MaskedBCELoss"]
    head = " ".join(line.removeprefix("#").strip() for line in config.read_text().splitlines()[:14])
    assert " ".join(f'"{word}"' if word.startswith("[") else word for word in words) in head
    set_policy([])
    cli = RunCLI("fit", ["--config", str(config), *words, "--trainer.accelerator", "cpu"], [config])
    assert type(cli.model.loss).__name__ == "MaskedBCELoss"
    assert cli.model.network.num_classes == len(cli.model.classes) == 1
    assert cli.datamodule.dataset.classes == ("LGG", "HGG")


@pytest.mark.slow
def test_fit_test_predict_and_export(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monitor = {"monitor": "val/auroc", "mode": "max", "filename": "best", "enable_version_counter": False}
    config = {
        "experiment": "volumes",
        "trainer": {
            "accelerator": "cpu", "precision": "32-true", "max_epochs": 2, "num_sanity_val_steps": 0,
            "enable_progress_bar": False, "log_every_n_steps": 1,
            "callbacks": [{"class_path": "ModelCheckpoint", "init_args": monitor}],
        },
        "model": {
            "class_path": "medimg.tasks.ClassificationTask",
            "init_args": {
                "task": "binary", "classes": ["sick"], "scoring": {"resamples": 10},
                "network": {
                    "class_path": "medimg.models.ResNet3D",
                    "init_args": {"depth": 10, "widen": 0.125, "stem_stride": 1},
                },
            },
        },
        "data": {
            "class_path": "medimg.datamodules.LabelledVolumeDataModule",
            "init_args": {
                "root": str(root),
                "dataset": {
                    "class_path": "medimg.datasets.VolumeTable",
                    "init_args": {
                        "file": "t.csv",
                        "columns": {"id": "id", "patient": "patient", "images": ["image"], "labels": ["sick"]},
                    },
                },
                "split": {"num_folds": 2},
                "volume": {"size": [8, 8, 8], "windows_hu": [[0, 400], [100, 800]], "bits": 8},
                "augmentation": {"class_path": "medimg.transforms.NNUNetAugmentation"},
                "batch": {"batch_size": 2},
                "cache": {"folder": str(tmp_path / "kept")},
            },
        },
    }  # fmt: skip
    config["model"]["init_args"]["network"]["init_args"]["in_channels"] = 2
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", "c.yaml"]) == 0
    run = tmp_path / "lightning_logs" / "volumes" / "version_0"
    assert main(["test", "--config", str(run / "config.yaml")]) == 0
    rows = list(csv.DictReader((run / "test" / "per_case.csv").open()))
    held = yaml.safe_load((run / "split.json").read_text())["validation"]
    assert [row["case_id"] for row in rows] == sorted(held)
    assert set(rows[0]) == {"case_id", "patient_id", "target_sick", "prob_sick"}
    words = ["--config", str(run / "config.yaml"), "--data.predict_root", str(root)]
    assert main(["predict", *words]) == 0
    assert len(list(csv.DictReader((run / "predict" / "per_case.csv").open()))) == 10
    assert main(["export", str(run), "--check"]) == 0
    (facts,) = (run / "export").glob("*.json")
    assert json.loads(facts.read_text())["inputs"]["image"]["shape"] == ["batch", 2, 8, 8, 8]
