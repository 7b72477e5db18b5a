"""Probes log what scikit-learn would say of the same features, in the epochs that were asked for."""

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from writers.views import ViewData

from medimg.callbacks import KNNProbe, LinearProbe
from medimg.errors import ConfigError
from medimg.models import TimmClassifier
from medimg.models.probes import neighbour_probs
from medimg.tasks import SimCLRTask


def make_trainer(folder, **options):
    settings = {
        "accelerator": "cpu", "max_epochs": 1, "logger": False, "enable_checkpointing": False,
        "enable_progress_bar": False, "enable_model_summary": False, "default_root_dir": folder,
        "use_distributed_sampler": False, "num_sanity_val_steps": 0,
    }  # fmt: skip
    return Trainer(**{**settings, **options})


@pytest.fixture
def task():
    torch.manual_seed(0)
    return SimCLRTask(TimmClassifier("test_resnet", 0, in_channels=1), projection_dim=8)


def test_the_scores_are_those_of_the_features(task, tmp_path):
    data = ViewData(30, size=8)
    probes = [LinearProbe(strength=0.1), KNNProbe(neighbours=4)]
    trainer = make_trainer(tmp_path, callbacks=probes, num_sanity_val_steps=1)
    passes = []
    whole = data.scored_cases
    data.scored_cases = lambda cases: passes.append(cases) or whole(cases)
    trainer.fit(task, datamodule=data)
    assert passes == [data.split.train]  # one for both
    assert task.training
    with torch.no_grad():
        features = {
            side: task.eval()(data.batch(names)["image"])
            for side, names in (("train", data.split.train), ("val", data.split.val))
        }
    labels = {side: [int(n[1:]) % 2 for n in getattr(data.split, side)] for side in ("train", "val")}
    scaler = StandardScaler().fit(features["train"])
    model = LogisticRegression(C=0.1, tol=1e-9, max_iter=2000)
    model.fit(scaler.transform(features["train"]), labels["train"])
    linear = model.predict_proba(scaler.transform(features["val"]))[:, 1]
    near = neighbour_probs(
        features["val"], features["train"], torch.tensor(labels["train"])[:, None].float(), neighbours=4
    )
    found = trainer.callback_metrics
    assert float(found["val/probe_auroc"]) == pytest.approx(roc_auc_score(labels["val"], linear), abs=1e-6)
    assert float(found["val/knn_auroc"]) == pytest.approx(roc_auc_score(labels["val"], near[:, 0]), abs=1e-6)
    assert float(found["val/probe_accuracy"]) == pytest.approx(((linear > 0.5) == labels["val"]).mean())
    assert "val/knn_accuracy" in found


def test_it_probes_every_so_many_validations(task, tmp_path):
    probe, logged = LinearProbe(every_n_epochs=2), []
    log = task.log
    task.log = lambda name, *rest, **options: (
        logged.append((task.current_epoch, name)),
        log(name, *rest, **options),
    )
    trainer = make_trainer(tmp_path, callbacks=[probe], max_epochs=4, limit_train_batches=1)
    trainer.fit(task, datamodule=ViewData(12, size=8))
    assert [epoch for epoch, name in logged if name == "val/probe_auroc"] == [0, 2]
    assert probe._parts == []
    assert task._kept is None


def test_a_wrong_interval_or_task_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="every_n_epochs: expected 1 or more, found 0"):
        KNNProbe(every_n_epochs=0)
    with pytest.raises(ConfigError, match="LinearProbe probes SimCLRTask and MoCoTask, found BoringModel"):
        make_trainer(tmp_path, callbacks=[LinearProbe()]).fit(BoringModel())
