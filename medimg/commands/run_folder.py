"""One run folder for all processes of a run: its settings, its metrics, its moved checkpoints."""

import csv
import json
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.trainer.states import TrainerFn

from medimg.io.files import atomic_write
from medimg.preparation.splits import SPLIT_FILE
from medimg.runs import RunFolder


class MetricsLogger(CSVLogger):
    """``metrics.csv`` that goes on where it ended; Lightning's own deletes it when a run is resumed."""

    _writer: "_AppendingWriter | None" = None

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer, made on first use."""
        if self._writer is None:
            self._writer = self._experiment = _AppendingWriter(self.log_dir)
        return self._writer


class _AppendingWriter(ExperimentWriter):
    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        path = Path(self.metrics_file_path)
        if path.is_file():
            with path.open(newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])

    def _check_log_dir_exists(self) -> None:
        """Keep what is there."""


class RunFolderCallback(Callback):
    """Save the run's settings, and let all processes agree on its folder.

    Args:
        run: The run's folder as this process knows it.
        settings: The complete config as YAML.
        target: File for the settings.
    """

    def __init__(self, run: RunFolder, settings: str, target: Path) -> None:
        self.run = run
        self.settings = settings
        self.target = target

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Runs on every process before the model is set up."""
        # Under torchrun and SLURM the processes start on their own; only the first one chose the folder.
        self.run = RunFolder(Path(trainer.strategy.broadcast(str(self.run.path))))
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger | CSVLogger):
                logger._version = self.run.path.name
        if trainer.is_global_zero:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self.target.write_text(self.settings, encoding="utf-8")
            self._write_split(trainer)

    def _write_split(self, trainer: Trainer) -> None:
        """Beside the config that began the run, say which split it belongs to and which cases it holds out."""
        facts_of = getattr(trainer.datamodule, "split_facts", None)  # type: ignore[attr-defined]
        path = self.run.path / SPLIT_FILE
        if facts_of is not None and trainer.state.fn == TrainerFn.FITTING and not path.exists():
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(facts_of(), indent=1) + "\n", encoding="utf-8")

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let the best score so far survive when a run's folder was moved.

        ModelCheckpoint forgets its best score if its folder has another path than before, and would
        then overwrite the best checkpoint with the first one after the resume.
        """
        here = str(self.run.checkpoints)
        beside = (
            trainer.ckpt_path is not None
            and Path(trainer.ckpt_path).absolute().parent == self.run.checkpoints
        )
        for state in checkpoint.get("callbacks", {}).values():
            old = state.get("dirpath") if isinstance(state, dict) else None
            if old and old != here and (beside or self._is_own(Path(old))):
                moved = _replace(state, old, here)
                state.clear()
                state.update(moved)

    def _is_own(self, folder: Path) -> bool:
        """Whether a checkpoint folder is this run's own, wherever it lay: same experiment, same number.

        A run that was renamed is known by the checkpoint that it goes on from, which lies in its folder.
        """
        return folder.parts[-3:] == self.run.checkpoints.parts[-3:]


def _replace(value: Any, old: str, new: str) -> Any:
    """Put a new folder in place of the old one in every path of a callback's state."""
    if isinstance(value, str):
        return new + value[len(old) :] if value.startswith(old) else value
    if isinstance(value, dict):
        return {_replace(key, old, new): _replace(inner, old, new) for key, inner in value.items()}
    return value
