"""SimCLR's loss by hand, on one process and on two; it learns without labels."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW
from writers.views import ViewData

from medimg.models import ResNet3D, TimmClassifier
from medimg.tasks import ProbeOptions, SimCLRTask


def by_hand(first, second, temperature):
    """NT-Xent as the paper writes it: for each of 2B views, its partner against the other 2B - 1."""
    every = np.concatenate([first, second]).astype(np.float64)
    every /= np.linalg.norm(every, axis=1, keepdims=True)
    similar, count = every @ every.T / temperature, len(first)
    losses = []
    for one in range(2 * count):
        others = [other for other in range(2 * count) if other != one]
        losses.append(np.log(np.exp(similar[one, others]).sum()) - similar[one, (one + count) % (2 * count)])
    return np.mean(losses)


class Flat(nn.Module):
    """The pixels are the features."""

    def __init__(self, pixels=16):
        super().__init__()
        self.num_features, self.layer = pixels, nn.Linear(pixels, pixels)

    def features(self, image):
        return self.layer(image.flatten(1))


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_the_loss_is_the_papers(temperature):
    torch.manual_seed(0)
    task = SimCLRTask(Flat(), temperature=temperature, projection_dim=5)
    image = torch.randn(12, 1, 4, 4)
    loss = task.contrast(image)
    with torch.no_grad():
        projected = task.projection(task(image)).numpy()  # batch norm in training, as in the loss
    # Views of a case lie one after the other.
    assert float(loss.detach()) == pytest.approx(
        by_hand(projected[0::2], projected[1::2], temperature), abs=1e-5
    )


def test_the_projection_is_as_asked():
    task = SimCLRTask(Flat(), projection_hidden=7, projection_dim=5, projection_layers=3)
    shapes = [
        tuple(module.weight.shape) for module in task.projection.modules() if isinstance(module, nn.Linear)
    ]
    assert shapes == [(7, 16), (7, 7), (5, 7)]


@pytest.mark.parametrize("volumes", [False, True], ids=["images", "volumes"])
def test_it_trains_in_bf16(volumes, make_trainer):
    encoder = (
        ResNet3D(10, 1, 1, widen=0.125, stem_stride=1)
        if volumes
        else TimmClassifier("test_resnet", 0, in_channels=1)
    )
    task = SimCLRTask(encoder, projection_dim=8, channels_last=True, probe=ProbeOptions(resamples=10))
    before = [
        parameter.detach().clone() for parameter in task.network.parameters() if parameter.requires_grad
    ]
    data = ViewData(12, batch_size=4, size=8, volumes=volumes)
    trainer = make_trainer(precision="bf16-mixed", limit_train_batches=1)
    trainer.fit(task, datamodule=data)
    assert trainer.callback_metrics["train/loss"].isfinite()
    after = [parameter for parameter in task.network.parameters() if parameter.requires_grad]
    assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_it_learns_to_pair_the_views(make_trainer):
    torch.manual_seed(0)
    task = SimCLRTask(
        TimmClassifier("test_resnet", 0, in_channels=1),
        projection_dim=16,
        optimizer=lambda p: AdamW(p, lr=3e-3),
    )
    losses = []
    log = task.log
    task.log = lambda name, value, **options: (losses.append(float(value)), log(name, value, **options))
    make_trainer(max_epochs=12, limit_val_batches=0).fit(task, datamodule=ViewData(24, batch_size=16))
    assert len(losses) == 12
    assert np.mean(losses[-2:]) < 0.8 * np.mean(losses[:2])


def test_a_checkpoint_gives_the_same_features(make_trainer, tmp_path):
    data, task = ViewData(), SimCLRTask(TimmClassifier("test_resnet", 0, in_channels=1), projection_dim=8)
    trainer = make_trainer(limit_val_batches=0)
    trainer.fit(task, datamodule=data)
    trainer.save_checkpoint(tmp_path / "kept.ckpt")
    other = SimCLRTask(TimmClassifier("test_resnet", 0, in_channels=1), projection_dim=8)
    other.load_state_dict(torch.load(tmp_path / "kept.ckpt", weights_only=True)["state_dict"])
    image = data.batch(["c000", "c001"])["image"]
    with torch.no_grad():
        torch.testing.assert_close(other.eval()(image), task.eval()(image))


# ---- two processes -------------------------------------------------------------------------------

_CONTRAST = """
import sys
from pathlib import Path

import torch
from torch import distributed, nn

from medimg.tasks import MoCoTask, SimCLRTask

FOLDER, RANK, WORLD = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])


class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        self.num_features, self.layer = 16, nn.Linear(16, 16)

    def features(self, image):
        return self.layer(image.flatten(1))


def plain(wide):
    # Without batch norm, whose statistics are each process's own.
    return nn.Sequential(nn.Linear(16, wide), nn.ReLU(), nn.Linear(wide, wide))


if WORLD > 1:
    distributed.init_process_group("gloo", init_method=f"file://{FOLDER}/store", rank=RANK, world_size=WORLD)
found = {}
for name in ("simclr", "v2", "v3"):
    torch.manual_seed(0)
    task = SimCLRTask(Flat()) if name == "simclr" else MoCoTask(Flat(), version=name, queue_size=6, projection_dim=8)
    task.projection = plain(8)
    if name != "simclr":
        task.momentum_projection = plain(8).requires_grad_(False)
    if name == "v3":
        task.predictor = nn.Linear(8, 8)
    image = torch.randn(8, 1, 4, 4)
    own = image.chunk(WORLD)[RANK]
    losses = []
    for step in range(2):  # the second one finds the first one's keys in the queue
        task.zero_grad()
        loss = task.contrast(own)
        loss.backward()
        losses.append(loss.detach())
    values = [*losses, *(p.grad for n, p in task.named_parameters() if p.requires_grad)]
    for value in values:
        if WORLD > 1:
            distributed.all_reduce(value)
            value /= WORLD
    found[name] = values
if RANK == 0:
    torch.save(found, FOLDER / f"world{WORLD}.pt")
if WORLD > 1:
    distributed.destroy_process_group()
"""


def run(script, folder, *argument_lists):
    path = folder / "script.py"
    path.write_text(script)
    tests = Path(__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": f"{tests.parent}:{tests}", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(path), str(folder), *arguments], env=env, stderr=subprocess.PIPE
        )
        for arguments in argument_lists
    ]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode()[-3000:]


@pytest.mark.slow
def test_two_processes_have_the_negatives_of_one(tmp_path):
    run(_CONTRAST, tmp_path, ("0", "2"), ("1", "2"))
    run(_CONTRAST, tmp_path, ("0", "1"))
    one, two = (torch.load(tmp_path / f"world{world}.pt") for world in (1, 2))
    for name in ("simclr", "v2", "v3"):
        assert len(one[name]) > 4
        for wanted, found in zip(one[name], two[name], strict=True):
            torch.testing.assert_close(
                found, wanted, atol=1e-6, rtol=1e-5, msg=lambda text, n=name: f"{n}: {text}"
            )


_FIT = """
import sys
from pathlib import Path

import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from writers.views import ViewData

from medimg.callbacks import KNNProbe, LinearProbe
from medimg.models import TimmClassifier
from medimg.tasks import MoCoTask

FOLDER = Path(sys.argv[1])

if __name__ == "__main__":
    seed_everything(0)
    keep = ModelCheckpoint(FOLDER / "checkpoints", filename="best", save_on_train_epoch_end=True)
    trainer = Trainer(
        max_epochs=2, accelerator="cpu", devices=2, strategy="ddp", logger=False, num_sanity_val_steps=0,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        default_root_dir=FOLDER, callbacks=[LinearProbe(), KNNProbe(neighbours=3), keep],
    )
    task = MoCoTask(TimmClassifier("test_resnet", 2, in_channels=1), queue_size=8, projection_dim=8)
    data = ViewData(22, batch_size=4)  # 8 cases validate, 14 train
    trainer.fit(task, datamodule=data)
    trainer.validate(task, datamodule=data, verbose=False)
    torch.save({k: float(v) for k, v in trainer.callback_metrics.items()}, FOLDER / f"rank{trainer.global_rank}.pt")
"""


@pytest.mark.slow
def test_a_run_of_two_processes_probes_and_writes_once(tmp_path):
    run(_FIT, tmp_path, ())
    assert (tmp_path / "encoder.safetensors").is_file()
    rows = (tmp_path / "validate" / "per_case.csv").read_text().splitlines()
    assert len(rows) == 1 + 8
    scores = [torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1)]
    assert scores[0] == scores[1]


def test_sgd_moves_projection_and_encoder(make_trainer):
    task = SimCLRTask(Flat(64), optimizer=lambda params: SGD(params, lr=0.1), projection_dim=4)
    before = {name: value.clone() for name, value in task.named_parameters()}
    make_trainer(limit_train_batches=1, limit_val_batches=0).fit(task, datamodule=ViewData(12, size=8))
    moved = {name for name, value in task.named_parameters() if not torch.equal(value, before[name])}
    assert {"network.layer.weight", "projection.layers.0.weight"} <= moved
