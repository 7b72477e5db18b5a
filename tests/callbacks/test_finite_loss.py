from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch.utils.data import DataLoader

from medimg.callbacks.finite_loss import FiniteLoss
from medimg.errors import DataError
from medimg.keys import CASE_ID, IMAGE


class _Module(LightningModule):
    """Ten cases, two a batch; the loss or the weights break at the cases named."""

    def __init__(self, nan_loss: str = "", inf_loss: str = "", nan_weight: str = "") -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.nan_loss, self.inf_loss, self.nan_weight = nan_loss, inf_loss, nan_weight
        self.steps: list[int] = []
        self.validations = 0

    def training_step(self, batch: dict, batch_idx: int) -> torch.Tensor:
        self.steps.append(batch_idx)
        loss = self.layer(batch[IMAGE]).square().mean()
        if self.nan_loss in batch[CASE_ID]:
            loss = loss * float("nan")
        if self.inf_loss in batch[CASE_ID]:
            loss = loss + float("inf")
        if self.nan_weight in batch[CASE_ID]:
            # The gradient of a square root at zero is infinite, and times zero no number; the value is fine.
            loss = loss + (self.layer.weight * 0).sqrt().sum()
        return loss

    def validation_step(self, batch: dict, batch_idx: int) -> None:
        self.validations += 1

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self) -> DataLoader:
        cases = [{IMAGE: torch.ones(1), CASE_ID: f"case_{number}"} for number in range(10)]
        return DataLoader(cases, batch_size=2)

    def val_dataloader(self) -> DataLoader:
        return self.train_dataloader()


def _fit(
    module: _Module, folder: Path, *, every_step: bool = False, more: tuple[Callback, ...] = ()
) -> Trainer:
    saver = ModelCheckpoint(
        folder, save_last=True, every_n_train_steps=1 if every_step else None, save_on_exception=True
    )
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[FiniteLoss(), saver, *more],
    )
    trainer.fit(module)
    return trainer


def test_a_sound_fit_is_left_alone(tmp_path: Path) -> None:
    assert _fit(_Module(nan_loss="no such case"), tmp_path, every_step=True).global_step == 10


@pytest.mark.parametrize("kind", ["nan_loss", "inf_loss"])
def test_the_cases_of_the_bad_batch_are_named_one_step_later(tmp_path: Path, kind: str) -> None:
    module = _Module(**{kind: "case_3"})

    with pytest.raises(
        DataError, match=r"batch 1 of epoch 0 .* became NaN or infinite.*: case_2, case_3\. .*medimg audit"
    ):
        _fit(module, tmp_path)

    assert module.steps == [0, 1, 2]
    assert list(tmp_path.iterdir()) == []


def test_no_checkpoint_is_written_after_the_bad_step(tmp_path: Path) -> None:
    module = _Module(nan_loss="case_5")

    with pytest.raises(DataError, match=r"case_4, case_5\. The last good checkpoint is kept: .*last\.ckpt"):
        _fit(module, tmp_path, every_step=True)

    assert module.steps == [0, 1, 2]  # the save asks at once
    for path in tmp_path.iterdir():
        checkpoint = torch.load(path, weights_only=True)
        assert checkpoint["global_step"] == 2
        assert all(torch.isfinite(value).all() for value in checkpoint["state_dict"].values())
    assert {path.name for path in tmp_path.iterdir()} == {"epoch=0-step=2.ckpt", "last.ckpt"}


def test_the_last_batch_of_an_epoch_is_checked_before_the_validation(tmp_path: Path) -> None:
    module = _Module(nan_loss="case_9")

    with pytest.raises(DataError, match="case_8, case_9"):
        _fit(module, tmp_path)

    assert module.validations == 0
    assert list(tmp_path.iterdir()) == []


def test_a_finite_loss_that_breaks_the_weights_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"NaN or infinity in 1 parameters \(layer\.weight\).*case_8, case_9"):
        _fit(_Module(nan_weight="case_9"), tmp_path)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.gpu
def test_on_a_gpu_the_loss_arrives_one_step_later(tmp_path: Path) -> None:
    module = _Module(nan_loss="case_3")
    trainer = Trainer(
        max_epochs=1, accelerator="gpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, callbacks=[FiniteLoss()],
    )  # fmt: skip
    with pytest.raises(DataError, match=r"became NaN.*case_2, case_3"):
        trainer.fit(module)
    assert module.steps == [0, 1, 2]


@pytest.mark.slow
def test_two_processes_both_name_the_cases_of_the_bad_one(two_ranks) -> None:
    two_ranks.start(bad_case="case_11")
    two_ranks.wait_for("training0", "training1")

    assert two_ranks.seconds_to_end() < 30
    said = two_ranks.log.read_text()
    assert two_ranks.process.returncode != 0
    assert said.count("DataError: in batch") == 2
    cases = {
        line.split("Cases in the batch: ")[1].split(". ")[0]
        for line in said.splitlines()
        if "DataError: in" in line
    }
    assert len(cases) == 1
    assert "case_11" in cases.pop().split(", ")
    assert not (two_ranks.folder / "checkpoints").exists()
