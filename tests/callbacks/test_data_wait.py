import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel, RandomDataset
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from medimg.callbacks import data_wait
from medimg.callbacks.data_wait import DataWait


class _Clock:
    """Stands still but for the work that says how long it takes."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class _Data(RandomDataset):
    def __init__(self, clock: _Clock, seconds: float) -> None:
        super().__init__(32, 12)
        self.clock, self.seconds = clock, seconds

    def __getitem__(self, index: int) -> torch.Tensor:
        self.clock.seconds += self.seconds
        return super().__getitem__(index)


class _Model(BoringModel):
    def __init__(self, clock: _Clock, seconds: float) -> None:
        super().__init__()
        self.clock, self.seconds = clock, seconds

    def training_step(self, batch: torch.Tensor, batch_idx: int):
        self.clock.seconds += self.seconds
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: torch.Tensor, batch_idx: int):
        self.clock.seconds += 1000
        return super().validation_step(batch, batch_idx)


@pytest.mark.parametrize(("data", "step", "share"), [(3.0, 1.0, 0.75), (1.0, 3.0, 0.25), (0.0, 1.0, 0.0)])
def test_share_of_the_step_spent_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: float, step: float, share: float
) -> None:
    clock = _Clock()
    monkeypatch.setattr(data_wait, "time", SimpleNamespace(perf_counter=clock))
    trainer = Trainer(
        max_epochs=1,
        limit_val_batches=1,
        val_check_interval=3,
        log_every_n_steps=4,
        accelerator="cpu",
        logger=CSVLogger(tmp_path, name="", version=""),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[DataWait()],
    )
    trainer.fit(_Model(clock, step), DataLoader(_Data(clock, data)), DataLoader(_Data(clock, 0.0)))

    with (tmp_path / "metrics.csv").open() as file:
        logged = [float(row["train/data_wait"]) for row in csv.DictReader(file) if row["train/data_wait"]]
    assert len(logged) == 3
    # Lightning reads one batch ahead, so the last interval waits for one batch less, the first for one more.
    assert logged[1] == pytest.approx(share)
    assert logged[0] >= logged[1] >= logged[2]
