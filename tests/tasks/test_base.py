import copy
import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import ReduceLROnPlateau
from torch import nn
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader

from medimg.errors import ConfigError
from medimg.tasks.base import BaseTask
from medimg.tasks.schedules import CosineSchedule, PolynomialSchedule


class Task(BaseTask):
    """Fits one number; its validation loss never falls."""

    def __init__(self, network=None, optimizer=None, scheduler=None, **options):
        settings = {"channels_last": False, "compile": False, **options}
        optimizer = optimizer or (lambda params: SGD(params, lr=0.1))
        super().__init__(network or nn.Linear(1, 1), optimizer=optimizer, scheduler=scheduler, **settings)
        self.rates = []

    def training_step(self, batch, batch_idx):
        self.rates.append(self.optimizers().param_groups[0]["lr"])
        return self.network(batch).square().mean()

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", 1.0, on_epoch=True)


def run(task, epochs=4, **options):
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(
        accelerator="cpu", max_epochs=epochs, num_sanity_val_steps=0, enable_model_summary=False,
        **settings, **options,
    )  # fmt: skip
    loader = DataLoader(torch.ones(6, 1), batch_size=2)
    trainer.fit(task, loader, loader)
    return task.rates


def test_a_schedule_spans_the_run_by_steps():
    assert run(Task(scheduler=PolynomialSchedule(0.9))) == pytest.approx(
        [0.1 * (1 - step / 12) ** 0.9 for step in range(12)]
    )


def test_a_schedule_counts_the_steps_of_the_optimizer_and_not_the_batches():
    # 3 batches, 2 of them to a step, make 2 steps an epoch: 8 in all.
    rates = run(Task(scheduler=PolynomialSchedule(1.0)), accumulate_grad_batches=2)
    steps = [0.1 * (1 - step / 8) for step in range(8)]
    assert rates[0::3] == pytest.approx(steps[0::2])
    assert rates[2::3] == pytest.approx(steps[1::2])


def test_a_scheduler_of_torch_is_stepped_by_epochs():
    rates = run(Task(scheduler=lambda optimizer: StepLR(optimizer, 1, gamma=0.5)))
    assert rates == pytest.approx([0.1] * 3 + [0.05] * 3 + [0.025] * 3 + [0.0125] * 3)


def test_reduce_on_plateau_watches_its_metric():
    rates = run(
        Task(scheduler=lambda optimizer: ReduceLROnPlateau(optimizer, "val/loss", factor=0.1, patience=1))
    )
    assert rates[0] == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.01)


def test_reduce_on_plateau_waits_for_the_epochs_that_are_validated():
    rates = run(
        Task(scheduler=lambda optimizer: ReduceLROnPlateau(optimizer, "val/loss", factor=0.1, patience=0)),
        epochs=6,
        check_val_every_n_epoch=2,
    )
    # Validated after epochs 2, 4 and 6; the second time without a gain.
    assert rates[:12] == pytest.approx([0.1] * 12)
    assert rates[12:] == pytest.approx([0.01] * 6)


def test_without_a_scheduler_the_rate_follows_a_cosine_to_zero():
    assert run(Task(scheduler=None)) == run(Task(scheduler=CosineSchedule()))


def test_a_run_that_only_time_ends_has_no_length_for_a_schedule(tmp_path):
    options = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
    }
    trainer = Trainer(max_epochs=-1, max_time="00:00:01:00", default_root_dir=tmp_path, **options)
    with pytest.raises(ConfigError, match=r"give trainer\.max_epochs or trainer\.max_steps"):
        trainer.fit(Task(), DataLoader(torch.ones(6, 1), batch_size=2))


def test_frozen_parameters_are_left_to_themselves():
    network = nn.Sequential(nn.Linear(1, 3), nn.Linear(3, 1))
    network[0].requires_grad_(False)
    seen = []

    def optimizer(params):
        seen.extend(params)
        return AdamW(params, lr=0.1)

    before = network[0].weight.clone(), network[1].weight.clone()
    run(Task(network, optimizer, CosineSchedule()), epochs=1)
    assert [parameter.shape for parameter in seen] == [(1, 3), (1,)]
    assert torch.equal(network[0].weight, before[0])
    assert not torch.equal(network[1].weight, before[1])


class Spy(nn.Module):
    """Keeps what it was given."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, image):
        self.seen = image
        return self.layer(image)


def block(dimensions):
    convolution, norm = (nn.Conv3d, nn.InstanceNorm3d) if dimensions == 3 else (nn.Conv2d, nn.InstanceNorm2d)
    return nn.Sequential(convolution(2, 4, 3), norm(4, affine=True), nn.LeakyReLU(), convolution(4, 1, 1))


@pytest.mark.parametrize(("dimensions", "layout"), [(3, torch.channels_last_3d), (2, torch.channels_last)])
def test_channels_last_changes_the_layout_and_no_number(dimensions, layout):
    torch.manual_seed(0)
    plain, image = block(dimensions), torch.randn(2, 2, *[7] * dimensions)
    expected = plain(image)
    gradients = torch.autograd.grad(expected.square().sum(), list(plain.parameters()))
    task = Task(Spy(plain), channels_last=True)
    found = task.apply_network(image)
    assert task.network.seen.is_contiguous(memory_format=layout)
    assert plain[0].weight.is_contiguous(memory_format=layout)
    torch.testing.assert_close(found, expected)
    own = torch.autograd.grad(found.square().sum(), list(plain.parameters()))
    for a, b in zip(own, gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_the_usual_layout_is_left_alone():
    spy, image = Spy(nn.Conv3d(2, 4, 3)), torch.randn(1, 2, 5, 5, 5)
    Task(spy).apply_network(image)
    assert spy.seen is image


def test_a_copy_has_its_own_weights_and_shares_the_recipes():
    lock = threading.Lock()  # as the parser's recipes reach one

    def optimizer(params):
        with lock:
            return SGD(params, lr=0.1)

    task = Task(optimizer=partial(optimizer), scheduler=partial(StepLR, step_size=lock))
    copied = copy.deepcopy(task)
    assert copied.optimizer is task.optimizer
    assert copied.scheduler is task.scheduler
    assert torch.equal(copied.network.weight, task.network.weight)
    with torch.no_grad():
        copied.network.weight += 1
    assert not torch.equal(copied.network.weight, task.network.weight)
    assert type(copied) is Task
    assert set(vars(copied)) == set(vars(task))


def test_compiling_keeps_the_names_of_the_weights():
    task = Task(compile=True)
    assert set(task.state_dict()) == {"network.weight", "network.bias"}
    assert isinstance(task, LightningModule)


UNEQUAL_RANKS = """
import sys
import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import DataLoader
from medimg import keys
from medimg.inference.sliding_window import SlidingWindowInferer
from medimg.losses import DiceCELoss
from medimg.tasks import SegmentationTask

class Data(LightningDataModule):
    def loader(self, count):
        torch.manual_seed(0)
        case = {keys.IMAGE: torch.randn(1, 8, 8, 8), keys.MASK: torch.randint(0, 3, (1, 8, 8, 8))}
        return DataLoader([case] * count)

    def train_dataloader(self):
        return self.loader(2)

    def val_dataloader(self):
        # Of three cases the first process has one more.
        return self.loader(2 - self.trainer.global_rank)


class Task(SegmentationTask):
    validated = 0

    def validation_step(self, batch, batch_idx):
        self.validated += 1
        assert not self.trainer.strategy.model.will_sync_module_buffers()
        return super().validation_step(batch, batch_idx)

    def on_train_batch_start(self, batch, batch_idx):
        # Not in training_step: the forward pass is where the buffers are shared.
        assert self.trainer.strategy.model.will_sync_module_buffers()


if __name__ == "__main__":
    task = Task(
        torch.nn.Sequential(torch.nn.Conv3d(1, 4, 1), torch.nn.BatchNorm3d(4), torch.nn.Conv3d(4, 3, 1)),
        classes=["a", "b"],
        loss=DiceCELoss(class_weights=[0.5, 1.0, 1.0]),
        inferer=SlidingWindowInferer(roi_size=(8, 8, 8)),
    )
    assert "loss.class_weights" in dict(task.named_buffers())
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_epochs=2, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=1,
        use_distributed_sampler=False, default_root_dir=sys.argv[1],
    )
    trainer.fit(task, datamodule=Data())
    # In one piece, so that lines of two processes do not mix.
    print(f"validated {task.validated} rank {trainer.global_rank}\\n", end="", flush=True)
"""


@pytest.mark.slow
def test_ranks_with_unequal_numbers_of_cases_validate_to_the_end(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(UNEQUAL_RANKS)
    package = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": package, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        shown, _ = process.communicate(timeout=100)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        raise AssertionError(f"the processes wait for each other:\n{process.communicate()[0]}") from None
    assert process.returncode == 0, shown
    # A batch before the first epoch, then two epochs.
    for rank, passes in enumerate((5, 3)):
        assert f"validated {passes} rank {rank}" in shown
