"""What every task shares: optimizer, schedule, memory format and compilation."""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable, ReduceLROnPlateau
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from medimg.errors import ConfigError
from medimg.inference.channels_last import ChannelsLastNorm
from medimg.tasks.schedules import CosineSchedule, Schedule


class BaseTask(LightningModule):
    """A network with its optimizer and schedule; subclasses add the steps.

    Args:
        network: The network, built.
        optimizer: Takes the parameters.
        scheduler: A :class:`Schedule`, which spans the run, or a scheduler of torch, stepped once an epoch;
            ``None`` is a cosine down to zero.
        channels_last: Lay out weights and images with channels last, which convolutions on GPUs prefer.
        compile: Compile the network with torch.compile.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        optimizer: OptimizerCallable,
        scheduler: Schedule | LRSchedulerCallable | None,
        channels_last: bool,
        compile: bool,
    ) -> None:
        super().__init__()
        self.network = network
        self.optimizer, self.channels_last = optimizer, channels_last
        self.scheduler = CosineSchedule() if scheduler is None else scheduler
        if channels_last:
            for parameter in network.parameters():
                if parameter.ndim in (4, 5):
                    parameter.data = parameter.data.contiguous(memory_format=_channels_last(parameter))
        if compile:
            # In place, so that the names in a checkpoint stay those of the plain network.
            network.compile()

    def __deepcopy__(self, memo: dict[int, Any]) -> "BaseTask":
        """Copy weights and settings, as weight averaging does, and share the recipes.

        Made from a config, a recipe refers to the parser and by it to the whole run.
        """
        memo |= {id(recipe): recipe for recipe in (self.optimizer, self.scheduler)}
        copied = self.__class__.__new__(self.__class__)
        memo[id(self)] = copied
        copied.__dict__.update(copy.deepcopy(self.__getstate__(), memo))
        return copied

    def apply_network(self, image: Tensor, part: Callable[[Tensor], Any] | None = None) -> Any:
        """What the network, or a part of it, returns for an image (B, C, ...), laid out as the network wants it."""
        apply = self.network if part is None else part
        if not self.channels_last:
            return apply(image)
        image = image.contiguous(memory_format=_channels_last(image))
        if image.device.type != "cpu" or image.ndim != 5:
            return apply(image)
        with ChannelsLastNorm():
            return apply(image)

    def on_validation_start(self) -> None:
        """Let each process validate as many cases as it has, and wait for none.

        DistributedDataParallel may send the buffers of the first process to the others in a forward pass; a
        process that makes fewer of them would leave the others waiting.
        """
        self._share_buffers(False)

    def on_validation_epoch_start(self) -> None:
        """Validate with the buffers that a checkpoint keeps: those of the first process.

        Each process has moved its own running statistics in the last step; here after weight averaging has put
        the average in place.
        """
        if isinstance(self.trainer.strategy.model, DistributedDataParallel):
            for buffer in self.network.buffers():
                distributed.broadcast(buffer, src=0)

    def on_validation_end(self) -> None:
        """Share the buffers again in training."""
        self._share_buffers(True)

    def _share_buffers(self, share: bool) -> None:
        model = self.trainer.strategy.model
        if isinstance(model, DistributedDataParallel):
            model.require_forward_param_sync = share

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over all trainable parameters, and its schedule."""
        optimizer = self.optimizer([p for p in self.parameters() if p.requires_grad])
        if isinstance(self.scheduler, Schedule):
            steps = self.trainer.estimated_stepping_batches
            if steps == math.inf:
                raise ConfigError(
                    f"{type(self.scheduler).__name__} spans the run, and only time ends this one: give "
                    "trainer.max_epochs or trainer.max_steps, or name a scheduler of torch"
                )
            schedule = self.scheduler.build(optimizer, int(steps))
            config: dict[str, Any] = {"scheduler": schedule, "interval": "step"}
        else:
            scheduler = self.scheduler(optimizer)
            config = {"scheduler": scheduler, "interval": "epoch"}
            if isinstance(scheduler, ReduceLROnPlateau):
                # Asked only after an epoch that was validated: before the first one there is no metric.
                config |= {
                    "monitor": scheduler.monitor,
                    "frequency": self.trainer.check_val_every_n_epoch or 1,
                }
        return {"optimizer": optimizer, "lr_scheduler": config}  # type: ignore[return-value]


def _channels_last(tensor: Tensor) -> torch.memory_format:
    return torch.channels_last_3d if tensor.ndim == 5 else torch.channels_last
