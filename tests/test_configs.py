"""Every config parses and builds, and the tiny ones run."""

import copy
import csv
import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml

from medimg.cli import main
from medimg.commands.run import RunCLI
from medimg.commands.trust import set_policy
from medimg.errors import ConfigError

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
OVERLAYS = sorted((ROOT / "configs" / "overlays").glob("*.yaml"))
STUDY = ROOT / "configs" / "case_study"
# What run.sh lays over each other: the recipe, an overlay if one is given, and a member.
STUDIES = [[STUDY / "base.yaml"]]
for pair in ("members", "cpu-small", "hybrid", "hybrid-cpu-small"):
    below = [ROOT / "configs" / "overlays" / "cpu-small.yaml"] if pair.endswith("cpu-small") else []
    STUDIES += [[STUDY / "base.yaml", *below, member] for member in sorted((STUDY / pair).glob("*.yaml"))]
SEGMENTATION = [path for path in CONFIGS if "medimg.tasks.SegmentationTask" in path.read_text()]
IMAGE_MASKS = [path for path in CONFIGS if "ImageSegmentationTask" in path.read_text()]
CLASSIFICATION = [path for path in CONFIGS if "ClassificationTask" in path.read_text()]
# Volumes with labels are built in tests/datamodules/test_labelled_volumes.py.
CLASSIFICATION = [path for path in CLASSIFICATION if "LabelledVolumeDataModule" not in path.read_text()]
# The classification's tiny config runs in tests/tasks/test_classification.py.
TINY = [
    path for path in sorted((ROOT / "tests" / "conf").glob("*.yaml")) if path.stem in ("softmax", "regions")
]


# ---- the tiny runs ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Done:
    """A tiny run through fit, test and predict.

    Attributes:
        run: The run's folder.
        root: Folder of its data.
        classes: Label values of each class or region.
        shown: What each verb printed.
    """

    run: Path
    root: Path
    classes: dict[str, tuple[int, ...]]
    shown: dict[str, str]


def write_data(kind, folder, writers):
    """Fake data for a tiny config: 4 labelled cases and an unlabelled one, on oblique grids."""
    decathlon, brats = writers
    if kind == "softmax":
        return decathlon(folder, cases=4, tests=1), {"anterior": (1,), "posterior": (2,)}
    brats(folder, 4, shape=(18, 16, 14))
    brats(folder, ["BraTS-GLI-00900-000"], masks=False, shape=(18, 16, 14))
    return folder, {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}


@pytest.fixture(scope="module", params=TINY, ids=lambda path: path.stem)
def done(request, tmp_path_factory, write_decathlon, write_brats):
    config = request.param
    folder = tmp_path_factory.mktemp(config.stem)
    root, classes = write_data(config.stem, folder / "data", (write_decathlon, write_brats))
    run = folder / "lightning_logs" / config.stem / "version_0"
    capture = request.config.pluginmanager.getplugin("capturemanager")
    shown = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for verb in ("fit", "test", "predict"):
            path = config if verb == "fit" else run / "config.yaml"
            capture.read_global_capture()
            assert main([verb, "--config", str(path), "--data.root", str(root)]) == 0
            shown[verb] = "".join(capture.read_global_capture())
    return Done(run, root, classes, shown)


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


CHECKPOINTS = {"best.ckpt", "last.ckpt", "last-previous.ckpt"}


def test_a_run_leaves_what_the_readme_promises(done):
    names = {path.name for path in done.run.iterdir()}
    assert {"config.yaml", "metrics.csv", "checkpoints", "test", "predict"} <= names
    assert {path.name for path in (done.run / "checkpoints").iterdir()} == CHECKPOINTS
    assert any(name.startswith("events.out.tfevents") for name in names)
    columns = set(rows_of(done.run / "metrics.csv")[0])
    wanted = {"train/loss_step", "train/loss_epoch", "val/loss", "val/dice", "train/data_wait"}
    assert wanted | {f"val/dice_{name}" for name in done.classes} <= columns


def test_test_scores_the_validation_cases_once_and_says_so(done):
    rows = rows_of(done.run / "test" / "per_case.csv")
    masks = sorted(path.name for path in (done.run / "test" / "masks").glob("*.nii.gz"))
    assert masks == [f"{row['case_id']}.nii.gz" for row in rows]
    assert len(rows) == 2  # 4 labelled cases in 2 folds
    assert {f"{metric}_{name}" for metric in ("dice", "hd95", "nsd") for name in done.classes} <= set(rows[0])
    summary = json.loads((done.run / "test" / "summary.json").read_text())
    assert summary["n_cases"] == 2
    assert "validation cases of fold 0" in summary["title"]
    assert summary["settings"]["empty"] == "brats"


def reference_of(root, case_id):
    return next(
        path for path in root.rglob("*.nii.gz") if (path.parent.name == "labelsTr" and path.name.startswith(case_id))
        or path.name == f"{case_id}-seg.nii.gz"
    )  # fmt: skip


def test_the_table_is_that_of_the_written_masks(done):
    for row in rows_of(done.run / "test" / "per_case.csv"):
        pred = np.asarray(nib.load(done.run / "test" / "masks" / f"{row['case_id']}.nii.gz").dataobj)
        target = np.asarray(nib.load(reference_of(done.root, row["case_id"])).dataobj)
        for name, values in done.classes.items():
            a, b = np.isin(pred, values), np.isin(target, values)
            dice = 2 * (a & b).sum() / (a.sum() + b.sum())
            assert float(row[f"dice_{name}"]) == pytest.approx(dice, abs=1e-9)


def test_predictions_lie_on_the_grid_of_their_images(done):
    folder = done.run / "predict"
    names = {path.name.removesuffix(".nii.gz") for path in folder.glob("*.nii.gz")}
    assert len(names) == 5  # labelled or not
    for name in names:
        source = next(path for path in done.root.rglob(f"{name}*.nii.gz") if "label" not in str(path))
        image, mask = nib.load(source), nib.load(folder / f"{name}.nii.gz")
        assert mask.shape == image.shape[:3]
        np.testing.assert_allclose(mask.affine, image.affine, atol=1e-6)
        assert mask.header["sform_code"] == image.header["sform_code"]
        assert set(np.unique(np.asarray(mask.dataobj))) <= {0, 1, 2, 3}
        probs = np.load(folder / f"{name}.npz")["probs"]
        channels = len(done.classes) + (len(done.classes) == 2)
        assert probs.dtype == np.float16
        assert probs.shape == (channels, *mask.shape[::-1])
        if channels > len(done.classes):
            np.testing.assert_allclose(probs.astype(np.float32).sum(0), 1, atol=5e-3)
    facts = json.loads((folder / "predictions.json").read_text())
    assert facts["classes"] == list(done.classes)


def test_pictures_and_the_learning_rate_are_logged(done):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(done.run), size_guidance={"images": 0})
    events.Reload()
    assert events.Tags()["images"]
    assert {"train/loss_step", "val/dice"} <= set(events.Tags()["scalars"])


# ---- the configs that are shipped ----------------------------------------------------------------


def build(words):
    """Model, data and trainer of a command line, as ``medimg fit`` builds them."""
    set_policy([])
    configs = [Path(word) for flag, word in itertools.pairwise(words) if flag == "--config"]
    cli = RunCLI("fit", words, configs)
    cli.give_back()
    return cli


@pytest.mark.parametrize("config", SEGMENTATION, ids=lambda path: path.stem)
def test_a_config_builds_and_its_network_fits_its_classes(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cli = build(["--config", str(config), "--data.root", str(tmp_path), "--trainer.accelerator", "cpu"])
    task, data = cli.model, cli.datamodule
    # Without memory or arithmetic: shapes alone.
    network = copy.deepcopy(task.network).to("meta").eval()
    channels = next(parameter for parameter in network.parameters()).shape[1]
    logits = network(torch.empty(1, channels, *data.patches.size, device="meta"))
    task._check_channels(logits)
    assert logits.shape[2:] == data.patches.size
    for inferer in (task.inferer, task.final_inferer):
        while hasattr(inferer, "inferer"):
            inferer = inferer.inferer
        assert tuple(inferer.roi_size) == data.patches.size
    if data.regions is not None:
        assert tuple(data.regions) == task.classes
    if data.augmentation is not None:
        assert data.augmentation.patch_size == data.patches.size


@pytest.mark.parametrize("config", IMAGE_MASKS, ids=lambda path: path.stem)
def test_a_segmentation_of_images_builds_and_keeps_their_size(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("medimg.models.weights._is_reachable", lambda: False)
    cli = build(["--config", str(config), "--data.root", str(tmp_path), "--trainer.accelerator", "cpu"])
    task, data = cli.model, cli.datamodule
    assert data.batch.masks
    task.network.load_state_dict(task.network.state_dict())  # stands in for weights out of reach
    network = copy.deepcopy(task.network).to("meta").eval()
    logits = network(torch.empty(1, data.image.channels, *data.image.size, device="meta"))
    task._check_channels(logits)
    assert logits.shape[2:] == data.image.size


@pytest.mark.parametrize(
    "configs",
    [[path] for path in CLASSIFICATION] + STUDIES,
    ids=lambda paths: "+".join(p.stem for p in paths),
)
def test_a_classification_builds_and_its_network_fits_its_labels(configs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("medimg.models.weights._is_reachable", lambda: False)
    words = [word for config in configs for word in ("--config", str(config))]
    cli = build([*words, "--data.root", str(tmp_path), "--trainer.accelerator", "cpu"])
    task, data = cli.model, cli.datamodule
    if data.transform is not None:
        sizes = [one.size for one in data.transform.random if hasattr(one, "size")]
        assert all(tuple(size) == data.image.size for size in sizes)
    # Weights that a checkpoint would bring; shapes are all that is looked at.
    task.network.load_state_dict(task.network.state_dict())
    network = copy.deepcopy(task.network).to("meta").eval()
    logits = network(torch.empty(1, data.image.channels, *data.image.size, device="meta"))
    assert logits.shape == (1, len(task.classes))
    assert data.batch.grouped == (task.pooling is not None)
    if task.pooling is not None and task.pooling.over == "features":
        assert task.pooling.in_features == network.num_features


UNET = {
    "input_channels": 1, "n_stages": 3, "features_per_stage": [4, 8, 8], "conv_op": "torch.nn.Conv3d",
    "kernel_sizes": 3,
    "strides": [1, 2, 2], "n_conv_per_stage_decoder": [1, 1], "num_classes": 3, "conv_bias": True,
    "norm_op": "torch.nn.InstanceNorm3d", "norm_op_kwargs": {"affine": True}, "nonlin": "torch.nn.LeakyReLU",
    "deep_supervision": True,
}  # fmt: skip
DYNAMIC = "dynamic_network_architectures.architectures.unet"
NETWORKS = {
    "monai.networks.nets.SegResNet": {
        "in_channels": 1, "out_channels": 3, "init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1],
    },
    "monai.networks.nets.SwinUNETR": {
        "in_channels": 1, "out_channels": 3, "depths": [1] * 4, "num_heads": [1] * 4, "feature_size": 12,
    },
    f"{DYNAMIC}.PlainConvUNet": {**UNET, "n_conv_per_stage": [1, 1, 1]},
    f"{DYNAMIC}.ResidualEncoderUNet": {**UNET, "n_blocks_per_stage": [1, 1, 1]},
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS, ids=lambda name: name.rpartition(".")[2])
def test_a_network_is_named_by_its_class_path(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overlay = tmp_path / "network.yaml"
    network = {"class_path": name, "init_args": NETWORKS[name]}
    overlay.write_text(yaml.safe_dump({"model": {"init_args": {"network": network}}}))
    config = ROOT / "tests" / "conf" / "softmax.yaml"
    cli = build(["--config", str(config), "--config", str(overlay), "--data.root", str(tmp_path)])
    task = cli.model
    assert type(task.network).__name__ == name.rpartition(".")[2]
    monkeypatch.setattr(task, "log", lambda *args, **options: None)
    image, mask = torch.randn(1, 1, 64, 32, 32), torch.randint(0, 3, (1, 1, 64, 32, 32), dtype=torch.uint8)
    loss = task.training_step({"image": image, "mask": mask}, 0)
    loss.backward()
    levels = task.network(image)
    assert isinstance(levels, list) == (name.startswith(DYNAMIC))  # deep supervision
    with torch.no_grad():
        assert task.eval()(image).shape == (1, 3, 64, 32, 32)


@pytest.mark.parametrize(
    ("config", "overlay"),
    [
        pytest.param(config, overlay, marks=() if config.stem in ("brats", "busi") else pytest.mark.slow)
        for config, overlay in itertools.product(CONFIGS, OVERLAYS)
        # The demo is BraTS; those for small machines are made for one config each.
        if not overlay.stem.endswith("-small") and (overlay.stem != "demo" or config.stem == "brats")
    ],
    ids=lambda path: path.stem,
)
def test_overlays_combine_with_every_config(config, overlay, capsys):
    assert main(["fit", "--config", str(config), "--config", str(overlay), "--print_config"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    for key, value in yaml.safe_load(overlay.read_text())["trainer"].items():
        assert shown["trainer"][key] == value
    assert shown["model"]["init_args"].get("classes") == yaml.safe_load(config.read_text())["model"][
        "init_args"
    ].get("classes")


def test_the_case_study_is_the_recipe_in_full_with_two_architectures(capsys):
    """Every setting that the article names, also where a smaller machine shares the work differently."""
    architectures = {}
    for configs in STUDIES[1:]:
        assert main(["fit", *(w for path in configs for w in ("--config", str(path))), "--print_config"]) == 0
        found = yaml.safe_load(capsys.readouterr().out)
        model, data, trainer = found["model"]["init_args"], found["data"]["init_args"], found["trainer"]
        network = model["network"]
        kind = (network["class_path"].rpartition(".")[2], network["init_args"]["architecture"])
        architectures.setdefault(configs[-1].parent.name, set()).add(kind)
        assert network["init_args"]["num_classes"] == 1 and network["init_args"]["weights"]
        assert data["batch"]["batch_size"] * trainer["accumulate_grad_batches"] == 32
        assert model["optimizer"]["class_path"] == "torch.optim.AdamW"
        assert model["scheduler"] == {
            "class_path": "medimg.tasks.CosineSchedule",
            "init_args": {"eta_min": 1e-6, "warmup": 0.0},
        }
        assert model["loss"]["class_path"] == "medimg.losses.FocalLoss"
        names = [one["class_path"].rpartition(".")[2] for one in data["transform"]["init_args"]["transforms"]]
        assert {"RandomResizedCrop", "RandomBrightnessContrast"} <= set(names)
        if len(configs) == 2:
            assert data["image"]["size"] == [224, 224]
            assert model["optimizer"]["init_args"]["lr"] == 3e-5
            assert model["loss"]["init_args"]["alpha"] == 0.85
    plain, hybrid, lite = "TimmClassifier", "EfficientNetTransUNet", "tf_efficientnet_lite0"
    assert architectures == {
        "members": {(plain, "resnet50"), (plain, "densenet121")},
        "cpu-small": {(plain, lite), (plain, "tf_efficientnet_lite2")},
        "hybrid": {(plain, "tf_efficientnet_b7"), (hybrid, "tf_efficientnet_b7")},
        "hybrid-cpu-small": {(plain, lite), (hybrid, lite)},
    }


def test_the_demo_builds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    demo = ROOT / "configs" / "overlays" / "demo.yaml"
    cli = build(["--config", str(ROOT / "configs" / "brats.yaml"), "--config", str(demo)])
    assert cli.datamodule.phantom is not None
    assert cli.trainer.max_epochs < 1000


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_config_without_data_says_how_to_get_them(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cli = build(["--config", str(config), "--trainer.accelerator", "cpu"])
    with pytest.raises(ConfigError, match=r"--data\.root"):
        cli.datamodule.prepare_data()


WRONG_SETS = [
    (["--data.dataset", "MedMNISTT"], "there is no class MedMNISTT. Did you mean MedMNIST?"),
    (["--data.dataset", "medimg.datasets.RANZCRR"], "Did you mean medimg.datasets.RANZCR?"),
    (["--data.dataset", "os.system"], "data.dataset: a config may not name os.system."),
    (["--data.dataset", "medimg.datamodules.ImageDataModule"], "data.dataset: expected a ImageSet, but"),
    (["--data.dataset", "medimg.datasets.ImageSet"], "is abstract: name one of its subclasses."),
    (["--data.dataset", "null"], "medimg.datamodules.ImageDataModule also needs: dataset."),
    (["--data.dataset.nmae", "x"], "medimg.datasets.MedMNIST has no argument 'nmae'. Did you mean name?"),
    # A table without a file and columns says so.
    (
        ["--data.dataset", "ImageTable"],
        "data.dataset: medimg.datasets.ImageTable also needs: file, columns.id",
    ),
]


@pytest.mark.parametrize(("words", "said"), WRONG_SETS, ids=[" ".join(words) for words, _ in WRONG_SETS])
def test_a_wrong_set_of_images_is_refused_in_a_few_lines(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--config", str(ROOT / "configs" / "pneumoniamnist.yaml"), *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) < 4


def test_the_set_of_images_is_chosen_and_set_on_the_command_line(tmp_path, capsys):
    words = ["fit", "--config", str(ROOT / "configs" / "pneumoniamnist.yaml"), "--print_config"]
    found = []
    for more in (
        ["--data.dataset.init_args.name", "breastmnist"],
        ["--data.dataset.name", "breastmnist"],
        ["--data.dataset", "CheXpert", "--data.dataset.uncertain", "{Edema: ones}"],
        ["--data.dataset", "medimg.datasets.ImageFolder", "--data.dataset.positive", "[a, b]"],
    ):
        assert main([*words, *more]) == 0
        data = yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]
        found.append((data["dataset"]["class_path"], data["dataset"]["init_args"]))
    medmnist = ("medimg.datasets.MedMNIST", {"name": "breastmnist"})
    assert found[:2] == [medmnist, medmnist]
    assert found[2][0] == "medimg.datasets.CheXpert"
    assert found[2][1]["uncertain"] == {"Edema": "ones"}
    assert found[3][1] == {"patient": None, "positive": ["a", "b"]}


# ---- real images ---------------------------------------------------------------------------------


@pytest.mark.real
def test_trained_on_the_decathlons_tumours_it_predicts_brats_2023(tmp_path, monkeypatch, caplog):
    data = Path(os.environ["MEDIMG_REAL_DATA"])
    monkeypatch.chdir(tmp_path)
    configs = [ROOT / "configs" / "brats.yaml", ROOT / "configs" / "overlays" / "demo.yaml"]
    small = {
        "trainer.max_epochs": "1",
        "trainer.check_val_every_n_epoch": "1",
        "data.phantom": "null",
        "data.split.by": "case",
        "data.patches.size": "[16, 48, 48]",
        "data.patches.batches_per_epoch": "4",
    }
    words = [word for config in configs for word in ("--config", str(config))]
    words += [word for key, value in small.items() for word in (f"--{key}", value)]
    # One patient: only an explicit split by case, which marks the run.
    assert main(["fit", *words, "--data.root", str(data / "Task01_BrainTumourPatches")]) == 0
    assert "LEAKY SPLIT" in caplog.text
    (run,) = (tmp_path / "lightning_logs").glob("*/version_0")
    words = ["predict", "--config", str(run / "config.yaml"), "--ckpt_path", "last"]
    assert main([*words, "--data.predict_root", str(data / "BraTS2023")]) == 0
    (mask,) = (run / "predict").glob("*.nii.gz")
    assert mask.name == "BraTS-GLI-00001-000.nii.gz"
    found = nib.load(mask)
    source = nib.load(next((data / "BraTS2023").rglob("*-t1n.nii.gz")))
    assert found.shape == source.shape == (240, 240, 155)
    np.testing.assert_array_equal(found.affine, source.affine)
    assert set(np.unique(np.asarray(found.dataobj))) <= {0, 1, 2, 3}
