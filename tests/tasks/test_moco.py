"""MoCo's copy follows as the formula says, its queue survives a stop, and version 3's loss is the paper's."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD
from writers.views import ViewData

from medimg.errors import CheckpointError, ConfigError
from medimg.models import ResNet3D, TimmClassifier
from medimg.tasks import MoCoTask
from medimg.tasks.moco import momentum_at, momentum_loss


class Flat(nn.Module):
    def __init__(self, pixels=64):
        super().__init__()
        self.num_features, self.layer = pixels, nn.Linear(pixels, pixels)

    def features(self, image):
        return self.layer(image.flatten(1))


def make_task(version="v2", encoder=None, **options):
    torch.manual_seed(0)
    settings = {"queue_size": 8, "projection_dim": 6, "optimizer": lambda params: SGD(params, lr=0.2)}
    return MoCoTask(encoder or Flat(), version=version, **{**settings, **options})


def unit(values):
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_version_2_compares_the_first_view_with_the_copys_second_and_the_queue():
    task = make_task(temperature=0.5)
    queue = task.loss.memory_bank.bank.numpy().copy()
    image = torch.randn(6, 1, 8, 8)
    with torch.no_grad():
        query = unit(task.projection(task(image[0::2])).numpy())
        key = unit(task.momentum_projection(task.momentum_network.features(image[1::2])).numpy())
    right, wrong = np.exp((query * key).sum(1) / 0.5), np.exp(query @ queue.T / 0.5).sum(1)
    assert float(task.contrast(image).detach()) == pytest.approx(
        -np.log(right / (right + wrong)).mean(), abs=1e-5
    )
    # The keys of this batch are the next one's negatives.
    np.testing.assert_allclose(task.loss.memory_bank.bank[:3], key, atol=1e-6)
    np.testing.assert_array_equal(task.loss.memory_bank.bank[3:], queue[3:])


def test_version_3_compares_both_views_both_ways():
    task = make_task("v3", temperature=0.5)
    image = torch.randn(8, 1, 8, 8)
    loss = float(task.contrast(image).detach())
    with torch.no_grad():
        query = unit(task.predictor(task.projection(task(image))).numpy())
        key = unit(task.momentum_projection(task.momentum_network.features(image)).numpy())
    wanted = 0.0
    for own, other in ((0, 1), (1, 0)):
        similar = query[own::2] @ key[other::2].T / 0.5
        wanted += 2 * 0.5 * np.mean(np.log(np.exp(similar).sum(1)) - np.diag(similar))
    assert loss == pytest.approx(wanted, abs=1e-5)


def test_the_loss_scales_with_the_temperature():
    same = torch.eye(3)
    expected = 2 * 0.2 * math.log(1 + 2 * math.exp(-1 / 0.2))
    assert float(momentum_loss(same, same, 0.2)) == pytest.approx(expected, abs=1e-6)


def test_version_3_has_the_papers_layers():
    task = make_task("v3", projection_hidden=10)
    shapes = [
        [tuple(layer.weight.shape) for layer in part.modules() if isinstance(layer, nn.Linear)]
        for part in (task.projection, task.predictor)
    ]
    assert shapes == [[(10, 64), (10, 10), (6, 10)], [(10, 6), (6, 10)]]
    norms = [
        sum(isinstance(layer, nn.BatchNorm1d) for layer in part.modules())
        for part in (task.projection, task.predictor)
    ]
    assert norms == [3, 2]
    assert not any(isinstance(layer, nn.BatchNorm1d) for layer in make_task().projection.modules())


def test_the_copy_follows_once_a_step(make_trainer):
    task = make_task(momentum=(0.6, 0.9), queue_size=64)
    own, copied, seen = [], [], []
    step = task.on_train_batch_end

    def watched(outputs, batch, batch_idx):
        copied.append(task.momentum_network.layer.weight.clone())
        step(outputs, batch, batch_idx)
        own.append(task.network.layer.weight.detach().clone())
        seen.append(task.momentum_network.layer.weight.clone())

    task.on_train_batch_end = watched
    data = ViewData(48, batch_size=4, size=8)
    make_trainer(accumulate_grad_batches=2, limit_val_batches=0).fit(task, datamodule=data)
    assert len(seen) == 8
    for number in range(8):
        if number % 2 == 0:  # half a step
            torch.testing.assert_close(seen[number], copied[number], rtol=0, atol=0)
        else:
            share = momentum_at((0.6, 0.9), (number // 2 + 1) / 4)
            torch.testing.assert_close(seen[number], share * copied[number] + (1 - share) * own[number])


@pytest.mark.parametrize("version", ["v2", "v3"])
@pytest.mark.parametrize("volumes", [False, True], ids=["images", "volumes"])
def test_it_trains_in_bf16_and_leaves_the_copy_to_follow(version, volumes, make_trainer):
    encoder = (
        ResNet3D(10, 1, 1, widen=0.125, stem_stride=1)
        if volumes
        else TimmClassifier("test_resnet", 0, in_channels=1)
    )
    task = make_task(version, encoder)
    assert not any(parameter.requires_grad for parameter in task.momentum_network.parameters())
    data = ViewData(12, batch_size=4, size=8, volumes=volumes)
    trainer = make_trainer(precision="bf16-mixed", limit_train_batches=1, limit_val_batches=0)
    trainer.fit(task, datamodule=data)
    assert trainer.callback_metrics["train/loss"].isfinite()
    assert all(parameter.grad is None for parameter in task.momentum_network.parameters())


def test_a_stopped_run_goes_on_with_its_queue(make_trainer, tmp_path):
    task, data = make_task(), ViewData(24, batch_size=3, size=8)
    trainer = make_trainer(limit_val_batches=0)
    trainer.fit(task, datamodule=data)
    trainer.save_checkpoint(tmp_path / "kept.ckpt")
    other = make_task()
    seen = []
    other.on_train_start = lambda: seen.append(
        (other.loss.memory_bank.bank.clone(), int(other.loss.memory_bank.bank_ptr))
    )
    make_trainer(max_epochs=2, limit_val_batches=0).fit(
        other, datamodule=data, ckpt_path=tmp_path / "kept.ckpt"
    )
    torch.testing.assert_close(seen[0][0], task.loss.memory_bank.bank)
    assert seen[0][1] == int(task.loss.memory_bank.bank_ptr)
    torch.testing.assert_close(  # the copy is part of the checkpoint
        torch.load(tmp_path / "kept.ckpt", weights_only=True)["state_dict"]["momentum_network.layer.weight"],
        task.momentum_network.layer.weight,
    )


def test_another_queue_or_version_cannot_go_on():
    kept = {"moco_queue": {"keys": torch.zeros(4, 6), "next": 0}}
    with pytest.raises(CheckpointError, match=r"queue is \(4, 6\), the config's \(8, 6\)"):
        make_task().on_load_checkpoint(kept)
    with pytest.raises(CheckpointError, match="of MoCo v2, the config says v3"):
        make_task("v3").on_load_checkpoint(kept)
    with pytest.raises(CheckpointError, match="of MoCo v3, the config says v2"):
        make_task().on_load_checkpoint({})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"momentum": (0.9, 1.1)}, r"momentum: expected two shares in \[0, 1\]"),
        ({"queue_size": 0}, "expected 1 or more keys"),
    ],
)
def test_numbers_out_of_range_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        make_task(**options)


def test_a_queue_longer_than_the_data_is_questioned(make_trainer, caplog):
    trainer = make_trainer(limit_train_batches=1, limit_val_batches=0)
    trainer.fit(make_task(queue_size=100), datamodule=ViewData(12, size=8))
    assert "the queue holds 100 keys and there are 8 training cases" in caplog.text


def test_compiling_reaches_encoder_and_copy(monkeypatch):
    ways = []

    def compiled(way):
        return lambda network, image: ways.append(network) or way(network, image)

    image = torch.randn(4, 1, 8, 8)
    plain = make_task()
    monkeypatch.setattr(torch, "compile", compiled)
    task = make_task(compile=True)
    torch.testing.assert_close(task.contrast(image), plain.contrast(image))
    assert ways == [task.network, task.momentum_network]
    assert set(task.state_dict()) == set(plain.state_dict())


def test_predict_needs_no_split(make_trainer, tmp_path):
    make_trainer().predict(make_task(), datamodule=ViewData(12, size=8), return_predictions=False)
    assert (tmp_path / "run" / "predict" / "features.npz").is_file()


def test_the_share_follows_half_a_cosine():
    assert momentum_at((0.999, 0.999), 0.3) == 0.999
    assert momentum_at((0.99, 1.0), 0.25) == pytest.approx(1 - 0.01 * (1 + math.cos(math.pi / 4)) / 2)
