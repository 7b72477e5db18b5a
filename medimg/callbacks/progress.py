"""How far a run is: a bar on a terminal, plain lines in a log file."""

import sys
import time
from datetime import timedelta
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import ProcessingSpeedColumn
from rich.table import Column

# A log file is read now and then; a line in ten seconds is enough.
_SECONDS_BETWEEN = 10.0

_Metrics = dict[str, int | str | float | dict[str, float]]


class NarrowBar(RichProgressBar):
    """Lightning's bar with short names, so that it fits into 80 columns."""

    def configure_columns(self, trainer: Trainer) -> list[Any]:
        """Lightning's columns without the steps a second, whose room the metrics need."""
        columns = super().configure_columns(trainer)
        return [column for column in columns if not isinstance(column, ProcessingSpeedColumn)]

    def _init_progress(self, trainer: Trainer) -> None:
        """Let the bar shrink on a narrow terminal, and never break the metrics."""
        super()._init_progress(trainer)
        if self._metric_component is not None:
            self._metric_component._table_column = Column(no_wrap=True)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> _Metrics:
        """Metrics of the bar: of a loss only the newest, and no number of the run."""
        return _short(super().get_metrics(trainer, pl_module))


class ProgressLines(ProgressBar):
    """One line an epoch, or a line every ten seconds where epochs are shorter; for output that is no terminal.

    Lightning's bars show nothing there before the run ends, and the log of a cluster job stays empty for hours.
    """

    def __init__(self) -> None:
        super().__init__()
        self._begin = self._told = 0.0
        self._done = self._first_step = 0
        self._enabled = True

    def disable(self) -> None:
        """Lightning asks the other processes to be silent."""
        self._enabled = False

    def enable(self) -> None:
        """Speak again."""
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The clock starts; a resumed run counts its own steps."""
        self._begin, self._told, self._first_step = time.monotonic(), 0.0, trainer.global_step

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say the epoch, its metrics, and the time that is left."""
        last = trainer.current_epoch + 1 == trainer.max_epochs
        if not self._due(always=last):
            return
        epochs = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
        metrics = _short(self.get_metrics(trainer, pl_module))
        words = [f"epoch {trainer.current_epoch + 1}{epochs}", f"step {trainer.global_step}"]
        words += [f"{name} {value:.4g}" for name, value in metrics.items() if isinstance(value, float)]
        self._say(words, trainer.global_step - self._first_step, _all_steps(trainer) - self._first_step)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The clock of a verb of its own starts; within a fit the epochs are enough."""
        if trainer.state.fn == "validate":
            self._start()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The clock starts."""
        self._start()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The clock starts."""
        self._start()

    def on_validation_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Count the batches of ``medimg validate``."""
        if trainer.state.fn == "validate":
            self._count("validate", sum(trainer.num_val_batches))

    def on_test_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Count the batches."""
        self._count("test", sum(trainer.num_test_batches))

    def on_predict_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Count the batches."""
        self._count("predict", sum(trainer.num_predict_batches))

    def _start(self) -> None:
        self._begin = self._told = time.monotonic()
        self._done = 0

    def _count(self, verb: str, whole: float) -> None:
        self._done += 1
        if self._due(always=self._done == whole):
            self._say([f"{verb}: {self._done}/{whole:.0f}"], self._done, whole)

    def _due(self, *, always: bool) -> bool:
        return self._enabled and (always or time.monotonic() - self._told >= _SECONDS_BETWEEN)

    def _say(self, words: list[str], done: int, whole: float) -> None:
        self._told = time.monotonic()
        gone = self._told - self._begin
        words = [*words, f"{timedelta(seconds=round(gone))} gone"]
        if 0 < done < whole < float("inf"):
            words.append(f"{timedelta(seconds=round(gone * (whole - done) / done))} left")
        sys.stdout.write(", ".join(words) + "\n")
        sys.stdout.flush()


def _all_steps(trainer: Trainer) -> float:
    """Steps of the whole run, infinite where nothing but time ends it."""
    if trainer.max_epochs == -1 and trainer.max_steps == -1:
        return float("inf")
    return float(trainer.estimated_stepping_batches)


def _short(metrics: _Metrics) -> _Metrics:
    """Metrics of a bar under short names.

    Example:
        >>> _short({"v_num": 0, "train/loss_step": 0.2, "train/loss_epoch": 0.3, "val/dice": 0.9})
        {'loss': 0.2, 'dice': 0.9}
    """
    kept = {name: value for name, value in metrics.items() if name != "v_num"}
    newest = {
        name.removesuffix("_step"): value
        for name, value in kept.items()
        if not (name.endswith("_epoch") and f"{name.removesuffix('_epoch')}_step" in kept)
    }
    last = [name.rsplit("/", 1)[-1] for name in newest]
    # train/loss and val/loss stay apart.
    return {
        short if last.count(short) == 1 else name: value
        for (name, value), short in zip(newest.items(), last, strict=True)
    }
