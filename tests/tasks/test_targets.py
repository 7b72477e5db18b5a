"""Several targets of a case: what is unknown teaches nothing, numbers come back in their unit, each case once."""

import copy
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule
from sklearn.metrics import mean_absolute_error, roc_auc_score
from torch import nn
from torch.utils.data import DataLoader

from medimg.callbacks import PredictionWriter
from medimg.cli import main
from medimg.commands.export_facts import describe
from medimg.commands.export_network import difference_of, trace, write
from medimg.commands.export_source import Trained
from medimg.commands.run import RunCLI
from medimg.commands.trust import set_policy
from medimg.datamodules.volume_samples import collate_volumes
from medimg.errors import CheckpointError, ConfigError, DataError
from medimg.inference import FlipTTA
from medimg.models import ResNet3D, TimmClassifier
from medimg.phantoms.nodules import write_nodules
from medimg.records import ImageIndex, Record
from medimg.scoring.targets import Target
from medimg.tasks import MultiTargetTask, TargetScoring

NAN = float("nan")
CONFIGS = Path(__file__).parents[2] / "configs"
COLUMNS = ("malignant", "grade", "size", "x", "unused")
TARGETS = [
    Target("size", "regression", unit="mm"),
    Target("malignant", "binary"),
    Target("grade", "ordinal", classes=("1", "2", "3")),
    Target("place", "regression", columns=("x",), unit="mm"),
]


class Corners(nn.Module):
    """Outputs from the means of the eight corners alone."""

    def __init__(self, outputs=6):
        super().__init__()
        self.line = nn.Linear(8, outputs)

    def forward(self, image):
        halves = image.flatten(1).unflatten(1, [n for side in image.shape[2:] for n in (2, side // 2)])
        return self.line(halves.mean((2, 4, 6)).flatten(1))


class Cubes(LightningDataModule):
    """Cubes whose corners tell the labels: a third of the malignancies and every fourth size are unknown."""

    scored_title = "cubes"

    def __init__(self, n=192, **columns):
        super().__init__()
        rng = np.random.default_rng(0)
        corners = rng.normal(size=(n, 8)).astype(np.float32)
        self.images = torch.from_numpy(corners).view(n, 1, 2, 2, 2).repeat_interleave(2, 2)
        self.labels = np.stack(
            [corners[:, 0] > 0, 1 + (corners[:, 1] > -0.5) + (corners[:, 1] > 0.5),
             300 + 4 * corners[:, 2], corners[:, 3] / 100, rng.random(n)], 1,
        ).astype(np.float32)  # fmt: skip
        self.labels[::3, 0], self.labels[1::4, 2] = NAN, NAN
        for name, values in columns.items():
            self.labels[:, COLUMNS.index(name)] = values
        names = [f"c{number:03d}" for number in range(n)]
        records = [
            Record(name, f"p{number // 2}", (), labels=dict(zip(COLUMNS, map(float, row), strict=True)))
            for number, (name, row) in enumerate(zip(names, self.labels, strict=True))
        ]
        self.index = ImageIndex("cubes", Path("cubes"), "targets", COLUMNS, tuple(records))
        self.scored = range(n // 2, n)

    @property
    def train_labels(self):
        return self.labels[: len(self.labels) // 2]

    def _loader(self, cases, labelled=True):
        samples = []
        for case in cases:
            record = self.index.records[case]
            sample = {"image": self.images[case], "case_id": record.case_id, "patient_id": record.patient_id}
            more = {"label": torch.from_numpy(self.labels[case])} if labelled else {}
            samples.append(sample | more | {"weight": 1.0})
        return DataLoader(samples, batch_size=16, collate_fn=collate_volumes)

    def train_dataloader(self):
        return self._loader(range(len(self.labels) // 2))

    def val_dataloader(self):
        return self._loader(self.scored)

    test_dataloader = val_dataloader

    def predict_dataloader(self):
        return self._loader(self.scored, labelled=False)


def make_task(network=None, targets=TARGETS, lr=0.1, **options):
    settings = {
        "optimizer": lambda params: torch.optim.Adam(params, lr),
        "scoring": TargetScoring(resamples=20),
    }
    return MultiTargetTask(network or Corners(), targets=targets, **{**settings, **options})


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def column(rows, name):
    return np.array([float(row[name] or "nan") for row in rows])


@pytest.fixture(scope="module")
def fitted():
    """``fitted(balance)``: a trained task, each balance once."""
    kept = {}

    def fit(balance, trainer):
        if balance not in kept:
            torch.manual_seed(0)
            kept[balance] = make_task(balance=balance)
            trainer.fit(kept[balance], Cubes())
        return copy.deepcopy(kept[balance])  # a run leaves traces

    return fit


@pytest.mark.parametrize("balance", ["fixed", "uncertainty"])
def test_all_targets_are_learned_and_come_back_in_their_unit(fitted, balance, make_trainer, tmp_path):
    task = fitted(balance, make_trainer(max_epochs=25))
    make_trainer().test(task, Cubes(), verbose=False)
    rows = rows_of(tmp_path / "run" / "test" / "per_case.csv")
    assert [row["case_id"] for row in rows] == [f"c{number:03d}" for number in range(96, 192)]
    size, said = column(rows, "target_size"), column(rows, "pred_size")
    known = ~np.isnan(size)
    assert known.sum() == 72
    assert mean_absolute_error(size[known], said[known]) < 0.5 < 2 < abs(size[known] - 300).mean()
    place = column(rows, "target_x")
    assert (
        mean_absolute_error(place, column(rows, "pred_x")) < 0.25 * abs(place).mean()
    )  # hundredths, and hundreds
    malignant = column(rows, "target_malignant")
    known = ~np.isnan(malignant)
    assert roc_auc_score(malignant[known], column(rows, "prob_malignant")[known]) > 0.95
    probs = np.stack([column(rows, f"prob_grade_{grade}") for grade in "123"], 1)
    truth = np.stack([column(rows, f"target_grade_{grade}") for grade in "123"], 1)
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)
    assert (probs.argmax(1) == truth.argmax(1)).mean() > 0.75
    summary = json.loads((tmp_path / "run" / "test" / "summary.json").read_text())
    values = summary["targets"]["size"]["values"]
    assert values["mae"]["size"]["mean"] < 0.25 * values["mae_of_mean"]["size"]["mean"]
    training = Cubes().train_labels[:, COLUMNS.index("size")]
    assert summary["settings"]["training_means"]["size"] == pytest.approx(np.nanmean(training), rel=1e-6)
    assert task.spread[0] == pytest.approx(np.nanstd(training.astype(np.float64), ddof=1), rel=1e-5)


def test_predictions_hold_no_truth_and_say_what_they_are(fitted, make_trainer, tmp_path):
    task = fitted("fixed", make_trainer(max_epochs=25))
    trainer = make_trainer(callbacks=[PredictionWriter()])
    trainer.predict(task, Cubes(), return_predictions=False)
    rows = rows_of(next(tmp_path.rglob("per_case.csv")))
    outputs = ["pred_size", "prob_malignant", "prob_grade_1", "prob_grade_2", "prob_grade_3", "pred_x"]
    assert list(rows[0]) == ["case_id", "patient_id", *outputs]
    assert len(rows) == 96
    facts = json.loads(next(tmp_path.rglob("predictions.json")).read_text())
    assert facts["task"] == "targets"
    assert facts["classes"] == [name.partition("_")[2] for name in outputs]
    assert facts["targets"][0] == {"name": "size", "kind": "regression", "columns": ["size"], "classes": [],
                                   "unit": "mm"}  # fmt: skip


def test_saved_and_loaded_it_says_the_same(fitted, make_trainer, tmp_path):
    task = fitted("uncertainty", make_trainer(max_epochs=25))
    trainer = make_trainer()
    trainer.strategy.connect(task)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    again = make_task(balance="uncertainty")
    again.on_load_checkpoint(content)
    again.load_state_dict(content["state_dict"])
    image = Cubes().images[:5]
    with torch.no_grad():
        torch.testing.assert_close(again.answers(again(image)), task.answers(task(image)))
    with pytest.raises(
        CheckpointError, match=r"trained for .*'size', 'malignant', 'grade', 'place'.*says .'size'"
    ):
        make_task(Corners(1), targets=TARGETS[:1]).on_load_checkpoint(content)
    # An export takes the network alone, and its description the rest.
    bare = make_task(balance="uncertainty")
    bare.on_load_checkpoint(content)
    source = Trained(bare.eval(), {"data": {"init_args": {}}}, tmp_path / "last.ckpt")
    facts = describe(source, tmp_path / "a.onnx", "onnx", {"image": image}, None, 1e-4)
    assert facts["standardised"]["size"]["mean"] == pytest.approx(float(task.mean[0]))
    assert facts["standardised"].keys() == {"size", "x"}
    assert facts["output"]["shape"] == ["batch", 6]


@pytest.mark.parametrize("suffix", [pytest.param("onnx", marks=pytest.mark.slow), "torch-export"])
def test_its_network_is_exported(suffix, tmp_path):
    if suffix == "onnx":
        pytest.importorskip("onnxruntime")
    task = make_task().eval()
    inputs = {"image": torch.randn(2, 1, 4, 4, 4)}
    path = tmp_path / "network"
    write(trace(task.network, inputs), path, suffix)
    assert difference_of(path, suffix, lambda given: task(given["image"]), inputs) < 1e-4


NETWORKS = [
    (lambda: ResNet3D(10, num_classes=6, widen=0.125, stem_stride=1), (4, 1, 8, 8, 8)),
    (lambda: TimmClassifier("test_efficientnet", 6, in_channels=1), (4, 1, 32, 32)),
]


@pytest.mark.parametrize(("network", "shape"), NETWORKS, ids=["volumes", "images"])
def test_it_trains_in_bf16_on_volumes_and_images(network, shape, monkeypatch):
    task = make_task(network(), balance="uncertainty")
    monkeypatch.setattr(task, "log", lambda *args, **options: None)
    data = Cubes()
    task._columns = [COLUMNS.index(name) for name in ("size", "malignant", "grade", "x")]
    task._standardise(torch.from_numpy(data.train_labels))
    batch = {"image": torch.randn(shape), "label": torch.from_numpy(data.labels[:4]), "weight": torch.ones(4)}
    optimizer = torch.optim.SGD(task.parameters(), lr=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        loss = task.training_step(batch, 0)
    loss.backward()
    assert loss.isfinite() and all(parameter.grad is not None for parameter in task.parameters())
    optimizer.step()
    with torch.no_grad():
        assert task.eval().training_step(batch, 0).isfinite()


def test_views_are_averaged_in_the_unit(fitted, make_trainer, tmp_path):
    task = fitted("fixed", make_trainer(max_epochs=25))
    task.final_inferer, data = FlipTTA(), Cubes()
    make_trainer(default_root_dir=tmp_path / "flipped").validate(task, data, verbose=False)
    rows = rows_of(tmp_path / "flipped" / "validate" / "per_case.csv")
    with torch.no_grad():
        images = data.images[96:]
        wanted = (task.answers(task(images)) + task.answers(task(images.flip(-1)))) / 2
    np.testing.assert_allclose(column(rows, "pred_size"), wanted[:, 0].numpy(), rtol=1e-5)


# ---- refusals ------------------------------------------------------------------------------------


def test_a_network_with_other_outputs_is_told_how_many(make_trainer):
    with pytest.raises(ConfigError, match=r"for 6 outputs.*size, malignant, grade_1.*num_classes to 6"):
        make_trainer().fit(make_task(Corners(4)), Cubes())


WRONG = [
    ({"size": 5.0}, TARGETS, "size: expected different values among the training cases, found 96 known ones"),
    ({"size": NAN}, TARGETS, "size: expected different values among the training cases, found 0 known ones"),
    (
        {"grade": 4.0},
        TARGETS,
        r"cubes: c000: grade is 4; expected values near 1, 2, 3.* and 191 more. Mend the table",
    ),
    ({}, [Target("size", "binary")], r"c000: size is \d+.*expected 1, 0, a share between, or blank"),
]


@pytest.mark.parametrize(("columns", "targets", "said"), WRONG)
def test_values_that_teach_nothing_are_refused(columns, targets, said, make_trainer):
    with pytest.raises(DataError, match=said):
        make_trainer().fit(make_task(targets=targets), Cubes(**columns))


def test_a_column_that_the_data_lack_is_named(make_trainer):
    task = make_task(Corners(1), targets=[Target("volume", "regression")])
    with pytest.raises(ConfigError, match=r"no column volume: .*out of .'malignant', 'grade'"):
        make_trainer().fit(task, Cubes())


def test_groups_are_refused():
    with pytest.raises(ConfigError, match=r"leave data\.init_args\.batch\.grouped and views out"):
        make_task().training_step({"sizes": torch.ones(2), "label": torch.zeros(2, 5)}, 0)


# ---- by config -------------------------------------------------------------------------------------


@pytest.mark.parametrize("small", [False, True])
def test_the_shipped_config_builds_and_its_network_fits_its_targets(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = [CONFIGS / "nodules.yaml", *([CONFIGS / "overlays" / "nodules-small.yaml"] if small else [])]
    words = [word for path in files for word in ("--config", str(path))]
    set_policy([])
    cli = RunCLI("fit", [*words, "--data.root", str(tmp_path), "--trainer.accelerator", "cpu"], files)
    cli.give_back()
    task, data = cli.model, cli.datamodule
    network = copy.deepcopy(task.network).to("meta").eval()
    outputs = network(torch.empty(1, data.volume.in_channels, *data.volume.size, device="meta"))
    assert outputs.shape == (1, len(task.classes))
    assert {column for target in task.targets for column in target.columns} == set(data.dataset.targets)
    spatial = data.augmentation.spatial  # places and sizes stay what they are
    assert (spatial.rotation_probability, spatial.scale_probability, len(spatial.mirror_axes)) == (0, 0, 0)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The shipped config over phantoms: fit, test and predict; the run's folder."""
    folder = tmp_path_factory.mktemp("nodules")
    write_nodules(folder / "data", nodules=18, seed=1, size=16)
    configs = [CONFIGS / "nodules.yaml", CONFIGS / "overlays" / "nodules-small.yaml"]
    words = [word for path in configs for word in ("--config", str(path))]
    words += ["--trainer.max_epochs", "1", "--data.volume.size", "[12,12,12]", "--data.batch.batch_size", "4"]
    words += ["--data.split.num_folds", "2", "--model.losses.malignant", "medimg.losses.FocalLoss"]
    words += ["--model.losses.malignant.task", "binary"]
    run = folder / "lightning_logs" / "nodules" / "version_0"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["fit", *words, "--data.root", str(folder / "data")]) == 0
        for verb in ("test", "predict"):
            assert main([verb, "--config", str(run / "config.yaml")]) == 0
    return run


@pytest.mark.slow
def test_the_shipped_config_fits_tests_and_predicts(done):
    rows = rows_of(done / "test" / "per_case.csv")
    assert {"pred_diameter_mm", "pred_offset_z_mm", "prob_malignant", "prob_texture_5"} <= set(rows[0])
    assert len(rows_of(done / "predict" / "per_case.csv")) == 18 > len(rows)
    facts = json.loads((done / "test" / "predictions.json").read_text())
    assert (facts["task"], facts["part"], len(facts["classes"])) == ("targets", "validation", 12)
    columns = rows_of(done / "metrics.csv")[0].keys()
    assert {"train/loss_position", "val/loss", "val/mae_diameter_mm", "val/auroc_malignant"} <= columns


@pytest.mark.slow
def test_its_network_and_what_its_outputs_mean_are_exported(done):
    assert main(["export", str(done), "--format", "torch-export"]) == 0
    facts = json.loads(next((done / "export").glob("*.json")).read_text())
    assert facts["task"]["kind"] == "targets"
    assert facts["standardised"]["diameter_mm"]["spread"] > 1


@pytest.mark.slow
def test_two_processes_give_the_table_of_one(done):
    words = ["-m", "medimg", "test", "--config", str(done / "config.yaml")]
    words += ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    before = rows_of(done / "test" / "per_case.csv")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *words], check=True, cwd=done.parents[2], env=environment, timeout=300)
    after = rows_of(done / "test" / "per_case.csv")
    assert [row["case_id"] for row in after] == [row["case_id"] for row in before]
    np.testing.assert_allclose(
        column(after, "pred_diameter_mm"), column(before, "pred_diameter_mm"), rtol=1e-5
    )
