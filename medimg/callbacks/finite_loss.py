"""Stop when the training loss is no longer a number, and say which cases did it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from medimg.errors import DataError
from medimg.keys import CASE_ID


@dataclass(frozen=True)
class _Pending:
    """A loss that is on its way from the device.

    Attributes:
        values: (2,) number of ranks whose loss is not finite, and this rank's loss, on the CPU.
        copied: Signals that ``values`` has arrived; ``None`` on a CPU.
        cases: Cases of the batch.
        where: Position in the training, for the message.
    """

    values: torch.Tensor
    copied: torch.cuda.Event | None
    cases: tuple[str, ...]
    where: str


class FiniteLoss(Callback):
    """Stop the fit with an error that names the batch's cases when the loss turns NaN or infinite.

    The loss of a step is looked at one step later, so a GPU never waits for it; before a checkpoint
    is written and before a validation it is looked at at once. A checkpoint with a NaN or infinite
    parameter is never written, so the last good one is kept. With several processes the number of bad
    losses is summed over all of them in every step (one number), so that all stop at the same step.
    """

    def __init__(self) -> None:
        self._pending: _Pending | None = None
        self._cases: tuple[str, ...] = ()
        self._failure: str | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier fit."""
        self._pending, self._cases, self._failure = None, (), None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check the loss of the step before, and send this one's on its way.

        Raises:
            DataError: If the loss of the step before was not finite.
        """
        self._check(trainer)
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, torch.Tensor):
            self._cases = _case_ids(batch)
            where = f"batch {batch_idx} of epoch {trainer.current_epoch}"
            self._pending = _send(loss.detach(), trainer, self._cases, where)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the last step of the epoch before others act on it.

        Raises:
            DataError: If its loss was not finite.
        """
        self._check(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Spare the time of a validation that could not mean anything.

        Raises:
            DataError: If the last step's loss was not finite.
        """
        self._check(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep bad weights off the disk; called before anything is written.

        Raises:
            DataError: If the last step's loss was not finite, or it left a parameter that is not.
        """
        self._check(trainer)
        bad = [name for name, value in pl_module.named_parameters() if not torch.isfinite(value).all()]
        if bad:
            self._fail(
                trainer,
                f"the last step left NaN or infinity in {len(bad)} parameters ({bad[0]})",
                self._cases,
            )

    def _check(self, trainer: Trainer) -> None:
        if self._failure is not None:  # a later save, such as one on an exception, must fail as well
            raise DataError(self._failure)
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        if pending.copied is not None:
            pending.copied.synchronize()
        bad_ranks, loss = pending.values.tolist()
        if bad_ranks:
            cases = _gather_bad(trainer, pending.cases, loss)
            self._fail(trainer, f"in {pending.where} the training loss became NaN or infinite", cases)

    def _fail(self, trainer: Trainer, what: str, cases: Sequence[str]) -> None:
        named = ", ".join(cases) if cases else "not named by the batch"
        self._failure = (
            f"{what}. Cases in the batch: {named}. {_kept(trainer)} Look at these cases with `medimg audit`; "
            "if they are sound, lower the learning rate, clip the gradients, or train in full precision."
        )
        raise DataError(self._failure)


def _gather_bad(trainer: Trainer, cases: tuple[str, ...], loss: float) -> list[str]:
    """Cases of all bad batches; every process gets here in the same step, since all know the sum."""
    mine = () if math.isfinite(loss) else cases
    if trainer.world_size == 1:
        return list(mine)
    everyone: list[Any] = [None] * trainer.world_size
    dist.all_gather_object(everyone, mine)
    return [case for part in everyone for case in part]


def _kept(trainer: Trainer) -> str:
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint):
            path = callback.last_model_path or callback.best_model_path
            if path:
                return f"The last good checkpoint is kept: {path}."
    return "No checkpoint had been written yet."


def _case_ids(batch: Any) -> tuple[str, ...]:
    ids = batch.get(CASE_ID, ()) if isinstance(batch, Mapping) else ()
    return (ids,) if isinstance(ids, str) else tuple(str(case) for case in ids)


def _send(loss: torch.Tensor, trainer: Trainer, cases: tuple[str, ...], where: str) -> _Pending:
    """Start the copy of a loss to the CPU, after counting the bad ones of all processes."""
    loss = loss.float().mean()
    bad = (~torch.isfinite(loss)).float()
    if trainer.world_size > 1:
        reduced = trainer.strategy.reduce(bad, reduce_op="sum")
        bad = reduced if isinstance(reduced, torch.Tensor) else bad
    values = torch.stack([bad, loss])  # (2,)
    if not values.is_cuda:
        return _Pending(values.cpu(), None, cases, where)
    # A copy to pinned memory does not stop the stream; the event tells when it has arrived.
    arrived = torch.empty(2, pin_memory=True)
    arrived.copy_(values, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record()
    return _Pending(arrived, copied, cases, where)
