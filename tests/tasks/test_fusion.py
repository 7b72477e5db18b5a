"""A classification of several inputs: fits, is scored, survives what is missing, and refuses what does not fit."""

import copy
import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from medimg.cli import main
from medimg.commands.run import RunCLI
from medimg.commands.trust import set_policy
from medimg.datamodules import BatchOptions, CacheOptions, FusionDataModule, ImageInput, ImageOptions
from medimg.datasets import FusionColumns, FusionTable
from medimg.errors import ConfigError
from medimg.models import FusionClassifier, TableEncoder, TimmClassifier
from medimg.phantoms.fusion import write_fusion
from medimg.tasks import FusionTask, LabelScoring, TrainingOptions
from medimg.tasks.learning_rates import RateOptions

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "fusion.yaml"


def words(**more):
    settings = {
        "trainer.accelerator": "cpu",
        "trainer.max_epochs": "1",
        "trainer.check_val_every_n_epoch": "1",
        "trainer.enable_progress_bar": "false",
        **more,
    }
    return [word for key, value in settings.items() for word in (f"--{key}", value)]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """configs/fusion.yaml for an epoch of thirty small phantoms, with a tiny encoder."""
    folder = tmp_path_factory.mktemp("fusion")
    root = folder / "data"
    write_fusion(root, cases=30, size=32)
    overlay = folder / "tiny.yaml"
    overlay.write_text(
        """
model: {init_args: {scoring: {resamples: 10}, network: {init_args: {width: 16, branches: {
  image: {class_path: medimg.models.TimmClassifier, init_args: {
    architecture: test_resnet, num_classes: 0, in_channels: 1}},
  table: {class_path: medimg.models.TableEncoder, init_args: {
    numeric: [age, marker], categorical: {smoking: [never, former, current], sex: [F, M]}}}}}}}}
data: {init_args: {batch: {batch_size: 6}}}
"""
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        configs = ["--config", str(CONFIG), "--config", str(overlay)]
        assert main(["fit", *configs, "--data.root", str(root), *words()]) == 0
        run = folder / "lightning_logs" / "fusion" / "version_0"
        assert main(["test", "--config", str(run / "config.yaml")]) == 0
        for name in ("table", "image"):
            drop = ["--data.drop", f"[{name}]", "--out", f"no-{name}"]
            assert main(["test", "--config", str(run / "config.yaml"), *drop]) == 0
        assert main(["predict", "--config", str(run / "config.yaml")]) == 0
    return run


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_the_held_out_cases_are_scored_once_with_and_without_an_input(done):
    held = [f"F{n + 1:05d}" for n in range(30) if n % 10 > 6]
    tables = [done / "test", done.parents[2] / "no-table", done.parents[2] / "no-image"]
    probs = []
    for folder in tables:
        found = rows(folder / "per_case.csv")
        assert [row["case_id"] for row in found] == held
        assert set(found[0]) == {"case_id", "patient_id", "target_malignant", "prob_malignant"}
        probs.append([float(row["prob_malignant"]) for row in found])
    assert len({tuple(one) for one in probs}) == 3
    assert all(0 <= prob <= 1 for one in probs for prob in one)
    assert len(rows(done / "predict" / "per_case.csv")) == 30


@pytest.mark.slow
def test_the_checkpoint_keeps_what_the_table_was_standardised_by(done):
    state = torch.load(done / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    table = rows(done.parents[2] / "data" / "cases.csv")
    ages = torch.tensor([float(row["age"]) for row in table if row["split"] == "train"])
    assert float(state["network.branches.table.mean"][0]) == pytest.approx(float(ages.mean()), rel=1e-5)
    assert state["network.shape_image"].tolist() == [1, 64, 64, 0]


@pytest.mark.slow
@pytest.mark.parametrize("format", ["torch-export", "onnx"])
def test_the_run_is_exported_with_all_its_inputs(done, format, tmp_path):
    target = tmp_path / {"torch-export": "a.pt2", "onnx": "a.onnx"}[format]
    assert main(["export", str(done), "--format", format, "--out", str(target)]) == 0
    facts = json.loads(target.with_suffix(".json").read_text())
    assert set(facts["inputs"]) == {"image", "table", "category", "present"}
    assert facts["inputs"]["image"]["shape"] == ["batch", 1, 64, 64]
    assert facts["check"]["largest_difference"] < 1e-4


SHIPPED = [
    ["fusion.yaml"],
    pytest.param(["fusion.yaml", "overlays/fusion-small.yaml"], marks=pytest.mark.slow),
]


@pytest.mark.parametrize("names", SHIPPED, ids=lambda names: "+".join(names))
def test_the_shipped_config_builds_and_its_network_fits_its_labels(names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    set_policy([])
    configs = [ROOT / "configs" / name for name in names]
    given = [word for config in configs for word in ("--config", str(config))]
    cli = RunCLI("fit", [*given, "--data.root", str(tmp_path), "--trainer.accelerator", "cpu"], configs)
    cli.give_back()
    network, data = copy.deepcopy(cli.model.network).eval(), cli.datamodule
    network.note_shapes(data.input_shapes)
    assert set(network.branches) == set(data.inputs)
    assert network(**network.example_inputs()).shape == (2, len(cli.model.classes))


@pytest.mark.slow
def test_the_shipped_config_of_reports_builds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    set_policy([])
    config = ROOT / "configs" / "openi.yaml"
    cli = RunCLI("fit", ["--config", str(config), "--data.root", str(tmp_path)], [config])
    cli.give_back()
    network, data = cli.model.network.eval(), cli.datamodule
    network.note_shapes(data.input_shapes)
    with torch.no_grad():
        assert network(**network.example_inputs()).shape == (2, 1)


def network(**options):
    branches = {"image": TimmClassifier("test_resnet", 0, in_channels=1), "table": TableEncoder(["age"])}
    return FusionClassifier(branches, 1, width=8, **options)


def test_what_is_for_images_alone_is_refused():
    common = {"task": "binary", "classes": ["a"]}
    with pytest.raises(
        ConfigError, match=r"expected a medimg\.models\.FusionClassifier as the network, found Linear"
    ):
        FusionTask(nn.Linear(1, 1), **common)
    for options in ({"compile": True}, {"training": TrainingOptions(mixup_alpha=0.2)}):
        with pytest.raises(ConfigError, match="compile, pooling, mixup and cutmix are for images alone"):
            FusionTask(network(), **common, **options)


def test_a_pretrained_branch_may_learn_more_slowly():
    rates = TrainingOptions(rates=RateOptions(backbone_lr_scale=0.1))
    task = FusionTask(network(), task="binary", classes=["a"], training=rates)
    optimizer = task.optimizer([p for p in task.parameters() if p.requires_grad])
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    image, table = (next(task.network.branches[name].parameters()) for name in ("image", "table"))
    assert rate[id(image)] == pytest.approx(0.1 * rate[id(table)])
    assert rate[id(task.network.head_module.weight)] == rate[id(table)]


MISFITS = [
    (
        ["--data.dataset.columns.numeric", "[marker, age]"],
        "the network's table has numeric ['age', 'marker'] and categorical",
    ),
    (
        ["--data.images", "{}"],
        "the network has branches for image, table, and the data give table: remove image",
    ),
]


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """Twenty small phantoms."""
    root = tmp_path_factory.mktemp("phantoms") / "data"
    write_fusion(root, cases=20, size=32)
    return root


@pytest.mark.parametrize(("more", "said"), MISFITS, ids=[more[0] for more, _ in MISFITS])
def test_a_network_that_does_not_fit_the_data_is_refused(phantoms, tmp_path, monkeypatch, capsys, more, said):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--config", str(CONFIG), "--data.root", str(phantoms), *words(), *more]) == 2
    assert said in capsys.readouterr().err


def test_it_fits_and_is_scored_with_and_without_an_input(phantoms, tmp_path):
    columns = FusionColumns(
        id="case_id",
        patient="patient_id",
        split="split",
        labels=("malignant",),
        images={"image": "image"},
        numeric=("age",),
    )
    task = FusionTask(network(), task="binary", classes=["malignant"], scoring=LabelScoring(resamples=10))
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=tmp_path,
    )
    probs = {}
    for drop in ((), ("table",), ("image",)):
        data = FusionDataModule(
            phantoms,
            dataset=FusionTable(Path("cases.csv"), columns),
            images={"image": ImageInput(ImageOptions(size=(32, 32), channels=1, mean=(0.4,), std=(0.2,)))},
            batch=BatchOptions(batch_size=4),
            cache=CacheOptions(tmp_path / "kept"),
            drop=drop,
        )
        if not drop:
            trainer.fit(task, datamodule=data)
        task.predictions_folder = tmp_path / f"without{drop}"
        trainer.test(task, datamodule=data, verbose=False)
        table = rows(task.predictions_folder / "per_case.csv")
        assert [row["case_id"] for row in table] == [f"F{n + 1:05d}" for n in range(20) if n % 10 > 6]
        probs[drop] = tuple(float(row["prob_malignant"]) for row in table)
    ages = [float(row["age"]) for row in rows(phantoms / "cases.csv") if row["split"] == "train"]
    assert float(task.network.branches["table"].mean[0]) == pytest.approx(np.mean(ages), rel=1e-5)
    assert task.network.shape_image.tolist() == [1, 32, 32, 0]
    assert len(set(probs.values())) == 3
    assert all(len(set(one)) > 1 for one in probs.values())
