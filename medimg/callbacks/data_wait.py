"""How much of a training step is spent waiting for data."""

import time
from collections import deque
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class DataWait(Callback):
    """Log ``train/data_wait``: the share of a step, in [0, 1], that the loop waited for its batch.

    The wait runs from the end of one batch to the start of the next; validations and checkpoints
    are left out. The share is taken over the batches of the last logging interval
    (``trainer.log_every_n_steps``). A share near 0 means that the device is kept busy; a high one asks
    for more ``num_workers``, a faster disk, or less augmentation on the CPU.
    """

    def __init__(self) -> None:
        self._waits: deque[tuple[float, float]] = deque()  # (waited, computed) seconds of each batch
        self._free_at = 0.0
        self._started_at = 0.0
        self._waited = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; the wait for the first batch of an epoch counts."""
        self._free_at = time.perf_counter()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note how long the batch was waited for."""
        self._started_at = time.perf_counter()
        self._waited = self._started_at - self._free_at

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the share of the last batches."""
        # A Trainer without a logger has no interval.
        interval = max(1, getattr(trainer, "log_every_n_steps", 0) * trainer.accumulate_grad_batches)
        self._waits.append((self._waited, time.perf_counter() - self._started_at))
        while len(self._waits) > interval:
            self._waits.popleft()
        waited = sum(pair[0] for pair in self._waits)
        total = waited + sum(pair[1] for pair in self._waits)
        pl_module.log(
            "train/data_wait", waited / total if total else 0.0, on_step=True, on_epoch=False, batch_size=1
        )
        self._free_at = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the validation out."""
        self._free_at = time.perf_counter()

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Leave the collecting of a checkpoint out; its writing follows and still counts."""
        self._free_at = time.perf_counter()
