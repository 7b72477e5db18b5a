"""Views are checked, the encoder gets its file, and a probe scores it."""

import csv
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from torch import nn
from torch.optim import SGD
from writers.views import ViewData

from medimg.cli import main
from medimg.errors import ConfigError
from medimg.models import TimmClassifier
from medimg.models.encoder_file import encoder_facts, seen_names
from medimg.models.probes import fit_linear
from medimg.models.weights import read_weights
from medimg.tasks import ProbeOptions, SimCLRTask
from medimg.tasks.self_supervised import default_optimizer


def tiny(outputs=0):
    torch.manual_seed(0)
    return TimmClassifier("test_resnet", outputs, in_channels=1)


def make_task(encoder=None, **options):
    return SimCLRTask(encoder or tiny(), projection_dim=8, probe=ProbeOptions(resamples=20), **options)


@pytest.mark.parametrize(
    ("views", "said"),
    [(None, r"batch\.views to 2; the batch has sizes none for 8 images"), (3, r"sizes \[3\] for 24 images")],
)
def test_other_than_two_views_are_refused(views, said, make_trainer):
    with pytest.raises(ConfigError, match=said):
        make_trainer().fit(make_task(), datamodule=ViewData(views=views))


def test_the_option_is_looked_at_before_any_data(make_trainer):
    data = ViewData()
    data.batch = type("BatchOptions", (), {"views": 1})()
    with pytest.raises(ConfigError, match=r"set data\.init_args\.batch\.views to 2, found 1"):
        make_trainer().fit(make_task(), datamodule=data)


def test_an_encoder_must_give_features():
    with pytest.raises(ConfigError, match=r"a network with features and num_features, .* found Conv2d"):
        make_task(nn.Conv2d(1, 1, 1))
    with pytest.raises(ConfigError, match="it is frozen"):
        make_task(TimmClassifier("test_resnet", 1, in_channels=1, frozen_backbone=True))


def test_without_lightly_the_extra_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "lightly"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lightly", None)
    with pytest.raises(ConfigError, match=r"pip install 'medimg\[ssl\]'"):
        make_task()


def test_the_encoders_own_head_is_not_trained():
    task = make_task(tiny(outputs=2))
    assert not any(parameter.requires_grad for parameter in task.network.head_module.parameters())
    names = [name for name, parameter in task.named_parameters() if not parameter.requires_grad]
    assert names == ["network.body.fc.weight", "network.body.fc.bias"]


def test_a_run_writes_the_encoder_with_what_it_was_fitted_to(make_trainer, tmp_path):
    data, task = ViewData(), make_task()
    keep = ModelCheckpoint(tmp_path / "run" / "checkpoints", filename="best", save_on_train_epoch_end=True)
    make_trainer(max_epochs=2, enable_checkpointing=True, callbacks=[keep]).fit(task, datamodule=data)
    path = tmp_path / "run" / "encoder.safetensors"
    facts = encoder_facts(path)
    expected = {
        "method": "SimCLR",
        "architecture": "test_resnet",
        "epoch": 1,
        "step": 4,
        "data": "stripes",
        "fold": 0,
    }
    assert {key: facts[key] for key in expected} == expected
    assert facts["split"] == data.split.digest
    assert (len(facts["cases"]), len(facts["patients"])) == (16, 16)
    assert seen_names(facts, "stripes", ["c000", "c001", "p002", "p003"]) == ["c001", "p002"]
    loaded = TimmClassifier("test_resnet", 1, in_channels=1, weights=str(path)).eval()
    image = data.batch(["c000", "c001"])["image"]
    with torch.no_grad():
        torch.testing.assert_close(loaded.features(image), task.eval()(image))


def test_averaged_weights_are_what_is_written(make_trainer, tmp_path):
    task = make_task(optimizer=lambda params: SGD(params, lr=0.5))
    keep = ModelCheckpoint(tmp_path / "run" / "checkpoints", filename="best", save_on_train_epoch_end=True)
    average = EMAWeightAveraging(decay=0.9)
    make_trainer(enable_checkpointing=True, callbacks=[keep, average]).fit(task, datamodule=ViewData())
    kept = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    name = "conv1.0.weight" if "network.body.conv1.0.weight" in kept["state_dict"] else "conv1.weight"
    found = read_weights(tmp_path / "run" / "encoder.safetensors")[name]
    torch.testing.assert_close(found, kept["state_dict"][f"network.body.{name}"])
    assert not torch.equal(found, kept["current_model_state"][f"network.body.{name}"])


def test_without_checkpoints_the_end_writes_it(make_trainer, tmp_path):
    make_trainer().fit(make_task(), datamodule=ViewData())
    assert encoder_facts(tmp_path / "run" / "encoder.safetensors")["step"] == 2


def rows_of(folder):
    with (folder / "per_case.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_a_linear_probe_scores_the_encoder(verb, make_trainer, tmp_path):
    task, data = make_task(), ViewData()
    sides = data.split
    task.network.body.eval()  # a mode of its own, to be found again
    modes = {name: module.training for name, module in task.named_modules()}
    getattr(make_trainer(), verb)(task, datamodule=data, verbose=False)
    assert {name: module.training for name, module in task.named_modules()} == modes
    rows = rows_of(tmp_path / "run" / verb)
    assert [row["case_id"] for row in rows] == list(sides.val)
    assert {row["target_across"] for row in rows} <= {"0", "1", "0.0", "1.0"}
    with torch.no_grad():
        known, unseen = (task.eval()(data.batch(names)["image"]) for names in (sides.train, sides.val))
    labels = torch.tensor([[float(int(name[1:]) % 2)] for name in sides.train])
    wanted = fit_linear(known, labels, "binary").probs(unseen)
    np.testing.assert_allclose([[float(row["prob_across"])] for row in rows], wanted, atol=1e-5)
    summary = json.loads((tmp_path / "run" / verb / "summary.json").read_text())
    assert summary["title"].startswith(f"{verb}, linear probe: ")
    facts = json.loads((tmp_path / "run" / verb / "predictions.json").read_text())
    assert facts["classes"] == ["across"]
    assert facts["part"] == "validation"


def test_the_probe_knows_training_cases_alone(make_trainer, monkeypatch):
    task, data, asked = make_task(), ViewData(), []
    whole = data.scored_cases
    monkeypatch.setattr(data, "scored_cases", lambda cases: asked.append(cases) or whole(cases))
    make_trainer().validate(task, datamodule=data, verbose=False)
    assert asked == [data.split.train]
    task.probe = ProbeOptions(most_cases=4, resamples=20)
    make_trainer().validate(task, datamodule=data, verbose=False)
    assert asked[1] == data.split.train[::4]


def test_predict_writes_the_features(make_trainer, tmp_path):
    task, data = make_task(), ViewData()
    held = data.split.val
    make_trainer().predict(task, datamodule=data, return_predictions=False)
    with np.load(tmp_path / "run" / "predict" / "features.npz") as kept:
        assert kept["case_id"].tolist() == list(held)
        assert kept["patient_id"][1] == "p003"
        with torch.no_grad():
            wanted = task.eval()(data.batch(["c003"])["image"])
        np.testing.assert_allclose(kept["features"][1], wanted[0], atol=1e-5)


def test_data_without_labels_cannot_be_probed(make_trainer):
    class Bare(ViewData):
        index = property(lambda self: (_ for _ in ()).throw(AttributeError("index")))

    with pytest.raises(ConfigError, match="a probe needs labelled cases"):
        make_trainer().validate(make_task(), datamodule=Bare(), verbose=False)


def test_the_default_optimizer_is_that_of_its_docstring():
    built = default_optimizer([nn.Parameter(torch.ones(1))])
    assert (type(built).__name__, built.defaults["lr"]) == ("AdamW", 1e-3)


RUNS = {
    "simclr": (
        ["phantom", "ultrasound", "data", "--images", "40", "--size", "[64,64]"],
        ["--data.image.size", "[32,32]", "--model.encoder.architecture", "test_resnet"],
    ),
    "moco3d": (
        ["phantom", "nodules", "data", "--nodules", "40", "--size", "16"],
        ["--data.volume.size", "[12,12,12]", "--model.encoder.widen", "0.125", "--model.queue_size", "16"],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_the_configs_fit_test_and_predict_on_phantoms(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, smaller = RUNS[name]
    assert main(make) == 0
    configs = Path(__file__).parents[2] / "configs"
    words = [
        "--config",
        str(configs / f"{name}.yaml"),
        "--config",
        str(configs / "overlays" / f"{name}-small.yaml"),
    ]
    words += [*smaller, "--data.batch.batch_size", "8", "--trainer.max_epochs", "2"]
    assert main(["fit", *words, "--trainer.check_val_every_n_epoch", "1", "--data.root", "data"]) == 0
    run = tmp_path / "lightning_logs" / name / "version_0"
    for verb in ("test", "predict"):
        assert main([verb, "--config", str(run / "config.yaml")]) == 0
    with (run / "metrics.csv").open(newline="") as file:
        logged = list(csv.DictReader(file))
    probed = [row for row in logged if row.get("val/probe_auroc") and row.get("val/knn_auroc")]
    assert len(probed) == 2
    held = json.loads((run / "split.json").read_text())["validation"]
    assert sorted(row["case_id"] for row in rows_of(run / "test")) == sorted(held)
    facts = encoder_facts(run / "encoder.safetensors")
    assert facts["epoch"] == 1
    assert facts["config"] == hashlib.sha256((run / "config.yaml").read_bytes()).hexdigest()
    assert seen_names(facts, facts["data"], held) == []
    assert len(facts["cases"]) > len(held)
    with np.load(run / "predict" / "features.npz") as kept:
        assert set(held) <= set(kept["case_id"].tolist())
