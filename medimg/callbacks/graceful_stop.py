"""Stop in good order when the machine asks for it, so that a run can go on later."""

import logging
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from medimg.runs import from_here

_LOGGER = logging.getLogger(__name__)
_SIGNAL_EXIT = 128  # a shell reports a process ended by signal n as 128 + n


class GracefulStop(Callback):
    """Finish the step, save ``last.ckpt`` and end the fit when SIGTERM or SIGUSR1 arrives.

    The checkpoint goes to the folder of the run's ``ModelCheckpoint``. The process then ends with
    status 128 + signal and a line that says how to go on. A signal that comes in an epoch's last step or in
    its validation is obeyed when the validation is over.

    With several processes one signal to any of them is enough. All agree on the step by a sum of one
    number per step over a CPU (gloo) group of their own: it is sent at the end of a step and read at
    the end of the next, so nobody waits for it and a GPU is never synchronised. Lightning's own way
    looks at the flag of each process alone within an epoch, which leaves the others hanging.

    Where Lightning requeues a SLURM job by itself, that signal is left to it.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._old_handlers: dict[int, Any] = {}
        self._group: Any = None
        self._vote: torch.Tensor | None = None
        self._voting: Any = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier fit, and make the group for the votes."""
        self._received, self._vote, self._voting = None, None, None
        self._group = dist.new_group(backend="gloo") if trainer.world_size > 1 else None

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals: Lightning sets its own handlers between the start of the fit and this."""
        self._take_over(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals, if there was no sanity check."""
        self._take_over(trainer)

    def _take_over(self, trainer: Trainer) -> None:
        if self._old_handlers:
            return
        if threading.current_thread() is not threading.main_thread():
            _LOGGER.warning("signals are not watched, because the fit runs outside the main thread")
            return
        for number in _signals(trainer):
            self._old_handlers[number] = signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        # Only note it: a collective call or a save inside a handler would cut into whatever runs now.
        self._received = number
        # A signal to the whole process group ends the data workers too. torch's handler would raise for them
        # in the middle of the step; without it the step can end, and it needs no further batch.
        if signal.SIGCHLD not in self._old_handlers:
            self._old_handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop here if a signal came.

        Raises:
            SystemExit: If it did, after the checkpoint is saved.
        """
        agreed = self._agreed(trainer)
        # Between two accumulated batches a stop would lose gradients: wait for the step.
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if agreed and stepped and not trainer.is_last_batch:
            self._stop(trainer, agreed)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop here if a signal came in the last step or in the validation after it.

        Not sooner: the resumed run would begin the next epoch, and this one would never have been validated.

        Raises:
            SystemExit: If it did, after the checkpoint is saved.
        """
        if agreed := self._agreed(trainer):
            self._stop(trainer, agreed)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the signals back, and explain an error that the signal caused elsewhere."""
        self._restore()
        if self._received and not isinstance(exception, SystemExit):
            # A signal to the whole process group ends the data workers, and the loader then fails.
            _LOGGER.error(
                "%s arrived, and before the step was done came: %s. Go on from the last checkpoint, and send "
                "the signal to the main process only (with timeout: --foreground).",
                signal.Signals(self._received).name,
                exception,
            )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signals back."""
        self._restore()

    def _restore(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._old_handlers.items():
                signal.signal(number, handler)
        self._old_handlers = {}

    def _agreed(self, trainer: Trainer) -> int:
        """The signal that all processes obey now, or 0."""
        mine = self._received or 0
        if trainer.world_size == 1:
            return mine
        agreed = 0
        if self._voting is not None and self._vote is not None:
            self._voting.wait()
            agreed = int(self._vote.item())
        self._vote = torch.tensor([mine], dtype=torch.int32)
        self._voting = dist.all_reduce(self._vote, op=dist.ReduceOp.MAX, group=self._group, async_op=True)
        return agreed

    def _stop(self, trainer: Trainer, number: int) -> None:
        name = signal.Signals(number).name
        path = _save_last(trainer)
        resume = _resume_command(trainer, path)
        if trainer.is_global_zero:
            sys.stderr.write(
                f"\nStopped by {name} after step {trainer.global_step}; saved {path}\nGo on with: {resume}\n"
            )
            sys.stderr.flush()
            raise SystemExit(_SIGNAL_EXIT + number)
        # Lightning's launcher kills the main process as soon as a child ends with another status.
        raise SystemExit(0)


def _signals(trainer: Trainer) -> list[int]:
    numbers: list[int] = [signal.SIGTERM]
    if hasattr(signal, "SIGUSR1"):  # not on Windows
        numbers.append(signal.SIGUSR1)
    environment = getattr(getattr(trainer, "_accelerator_connector", None), "cluster_environment", None)
    if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
        requeue = environment.requeue_signal or getattr(signal, "SIGUSR1", None)
        numbers = [number for number in numbers if number != requeue]
    return numbers


def _save_last(trainer: Trainer) -> Path:
    """Save ``last.ckpt`` where the run keeps its checkpoints; called by all processes."""
    writers = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    writers.sort(key=lambda writer: not writer.save_last)
    if not writers or not writers[0].dirpath:
        path = Path(trainer.default_root_dir) / "last.ckpt"
    else:
        path = Path(writers[0].dirpath) / f"{writers[0].CHECKPOINT_NAME_LAST}{writers[0].FILE_EXTENSION}"
        # Part of the saved state: without it the resumed run would not overwrite the file, but add last-v1.
        writers[0].last_model_path = str(path)
    trainer.save_checkpoint(path)
    return path


def _resume_command(trainer: Trainer, path: Path) -> str:
    # Called by all processes, because ``log_dir`` is agreed among them.
    config = Path(trainer.log_dir or trainer.default_root_dir) / "config.yaml"
    if config.is_file():
        return f"medimg fit --config {from_here(config)} --ckpt_path last"
    return f"medimg fit --config <the same config> --ckpt_path {path}"
