"""MoCo: views are compared with those that a slowly following copy of the encoder gives."""

import copy
import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, distributed, nn
from torch.nn import functional

from medimg.errors import CheckpointError, ConfigError
from medimg.tasks.schedules import Schedule
from medimg.tasks.self_supervised import (
    ProbeOptions,
    SelfSupervisedTask,
    default_optimizer,
    part_of_lightly,
)

logger = logging.getLogger(__name__)

_MOMENTUM = {"v2": (0.999, 0.999), "v3": (0.99, 1.0)}
_QUEUE = "moco_queue"


class MoCoTask(SelfSupervisedTask):
    """Self-supervision by MoCo, in 2D and 3D.

    Version 2 keeps the keys of former batches in a queue, so that a small batch has many negatives; under several
    processes the views of the copy are dealt to other processes for their batch norm. Version 3 has no queue: a
    predictor follows the projection, both views are compared both ways, and the negatives are the batch's, of all
    processes.

    Args:
        encoder: As in `SelfSupervisedTask`.
        version: ``v2`` or ``v3``.
        temperature: Divides similarities.
        momentum: Share of itself that the copy keeps in a step, at the beginning and at the end of the run, along
            half a cosine; ``None`` is the papers': 0.999 in version 2, 0.99 to 1 in version 3. A run of fewer than
            some ten thousand steps wants 0.99.
        queue_size: Keys in the queue of version 2. More than there are training cases are of little use: a case's own
            older keys would be among its negatives.
        projection_hidden: Width of the hidden layers of projection and predictor; ``None`` is that of the features.
        projection_dim: Length of the vectors that are compared; version 3's paper has 256.
        optimizer: Takes the parameters.
        scheduler: As in `BaseTask`.
        probe: How ``validate`` and ``test`` score the encoder.
        channels_last: Lay out weights and images with channels last.
        compile: Compile the encoder with torch.compile.

    Raises:
        ConfigError: If lightly is not installed, the encoder gives no features, or a number is out of its range.

    Reference:
        Chen et al. 2020, "Improved baselines with momentum contrastive learning", arXiv:2003.04297; Chen et al. 2021,
        "An empirical study of training self-supervised vision transformers", arXiv:2104.02057.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        version: Literal["v2", "v3"] = "v2",
        temperature: float = 0.2,
        momentum: tuple[float, float] | None = None,
        queue_size: int = 4096,
        projection_hidden: int | None = None,
        projection_dim: int = 128,
        optimizer: OptimizerCallable = default_optimizer,
        scheduler: Schedule | LRSchedulerCallable | None = None,
        probe: ProbeOptions = ProbeOptions(),  # noqa: B008  (frozen)
        channels_last: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__(
            encoder,
            optimizer=optimizer,
            scheduler=scheduler,
            probe=probe,
            channels_last=channels_last,
            compile=compile,
        )
        self.method = f"MoCo {version}"
        self.version, self.temperature, self.queue_size = version, temperature, queue_size
        self.momentum = momentum or _MOMENTUM[version]
        if not all(0 <= one <= 1 for one in self.momentum):
            raise ConfigError(f"momentum: expected two shares in [0, 1], found {list(self.momentum)}")
        if version == "v2" and queue_size < 1:
            raise ConfigError(
                f"queue_size: expected 1 or more keys, found {queue_size}; v3 works without a queue"
            )
        head: Callable[..., Any] = part_of_lightly("models.modules.heads", "MoCoProjectionHead")
        hidden = projection_hidden or self.num_features
        # Version 3 has a layer more, and batch norm behind every layer.
        deep = (
            {"num_layers": 3, "batch_norm": True}
            if version == "v3"
            else {"num_layers": 2, "batch_norm": False}
        )
        self.projection: nn.Module = head(self.num_features, hidden, projection_dim, **deep)
        self.predictor: nn.Module = nn.Identity()
        if version == "v3":
            self.predictor = head(projection_dim, hidden, projection_dim, num_layers=2, batch_norm=True)
        else:
            loss: Callable[..., Any] = part_of_lightly("loss", "NTXentLoss")
            size = (queue_size, projection_dim)
            self.loss: nn.Module = loss(temperature, memory_bank_size=size, gather_distributed=True)
        self.momentum_network = copy.deepcopy(self.network).requires_grad_(False)
        self.momentum_projection = copy.deepcopy(self.projection).requires_grad_(False)
        self._followed, self._steps = 0, math.inf

    def setup(self, stage: str) -> None:
        """Also question a queue that is longer than the data.

        Raises:
            ConfigError: If the data give another number of views than two, or the initial weights are not there.
        """
        super().setup(stage)
        if stage != "fit" or self.version != "v2":
            return
        split = getattr(self.trainer.datamodule, "split", None)  # type: ignore[attr-defined]
        cases = self.queue_size if split is None else len(split.train)
        if self.queue_size > cases:
            logger.warning(
                "the queue holds %d keys and there are %d training cases, so a case's own older keys are among its "
                "negatives: set model.init_args.queue_size to less than the cases",
                self.queue_size,
                cases,
            )

    def contrast(self, image: Tensor) -> Tensor:
        """Cross-entropy of views (2B, C, ...) against the keys of the following copy."""
        if self.version == "v2":
            query, key = self.projection(self(image[0::2])), self._keys(image[1::2])
            with torch.autocast(image.device.type, enabled=False):
                loss: Tensor = self.loss(query.float(), key.float())
            return loss
        query, key = self.predictor(self.projection(self(image))), self._keys(image)
        with torch.autocast(image.device.type, enabled=False):
            query, key = query.float(), key.float()
            return momentum_loss(query[0::2], key[1::2], self.temperature) + momentum_loss(
                query[1::2], key[0::2], self.temperature
            )

    @torch.no_grad()
    def _keys(self, image: Tensor) -> Tensor:
        """Keys (B, P) of the copy, whose batch norm must not tell which key belongs to which query."""
        spread = self.version == "v2" and distributed.is_available() and distributed.is_initialized()
        order = image
        if spread:
            image, order = part_of_lightly("models.utils", "batch_shuffle")(
                image.contiguous(), distributed=True
            )
        features = self.apply_network(image, partial(self._embed, self.momentum_network))
        keys: Tensor = self.momentum_projection(features)
        if spread:
            keys = part_of_lightly("models.utils", "batch_unshuffle")(keys, order, distributed=True)
        return keys

    # ---- the following copy and the queue ----------------------------------------------------

    def on_train_start(self) -> None:
        """Go on where a stopped run was."""
        self._followed, self._steps = self.trainer.global_step, self.trainer.estimated_stepping_batches

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Let the copy follow, once a step of the optimizer."""
        if self.trainer.global_step == self._followed:
            return
        self._followed = self.trainer.global_step
        share = momentum_at(self.momentum, self._followed / self._steps)  # of endless runs always the first
        follow = part_of_lightly("models.utils", "update_momentum")
        follow(self.network, self.momentum_network, share)
        follow(self.projection, self.momentum_projection, share)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the queue too, which lightly leaves out."""
        super().on_save_checkpoint(checkpoint)
        if self.version == "v2":
            bank: Any = self.loss.memory_bank
            checkpoint[_QUEUE] = {"keys": bank.bank.detach().clone(), "next": int(bank.bank_ptr)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Fill the queue as it was.

        Raises:
            CheckpointError: If the checkpoint is of the other version, or its queue has another size.
        """
        kept = checkpoint.get(_QUEUE)
        if (kept is None) != (self.version == "v3"):
            other = "v3" if kept is None else "v2"
            raise CheckpointError(f"the checkpoint is of MoCo {other}, the config says {self.version}")
        if kept is None:
            return
        bank: Any = self.loss.memory_bank
        if kept["keys"].shape != bank.bank.shape:
            raise CheckpointError(
                f"the checkpoint's queue is {tuple(kept['keys'].shape)}, the config's {tuple(bank.bank.shape)}: use "
                "the run's own config.yaml"
            )
        bank.bank.copy_(kept["keys"])
        bank.bank_ptr.fill_(kept["next"])


def momentum_at(momentum: tuple[float, float], progress: float) -> float:
    """Share of itself that the copy keeps, along half a cosine.

    Args:
        momentum: At the beginning and at the end.
        progress: Share of the run that is done, in [0, 1].

    Example:
        >>> [round(momentum_at((0.99, 1.0), progress), 4) for progress in (0, 0.5, 1)]
        [0.99, 0.995, 1.0]
    """
    start, end = momentum
    return end - (end - start) * (1 + math.cos(math.pi * min(1.0, progress))) / 2


def momentum_loss(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    """Find the key of the same case among those of all cases of all processes.

    Args:
        query: (B, P) with a gradient.
        key: (B, P) of the other view, in the same order.
        temperature: Divides similarities; the loss is scaled by twice of it, as in the paper.

    Reference:
        Chen et al. 2021, arXiv:2104.02057, algorithm 1.

    Example:
        >>> round(float(momentum_loss(torch.eye(2), torch.eye(2), 1.0)), 4)  # 2 log(1 + 1/e)
        0.6265
    """
    query, every = functional.normalize(query, dim=1), functional.normalize(key, dim=1)
    place = torch.arange(len(query), device=query.device)
    if distributed.is_available() and distributed.is_initialized():
        every = part_of_lightly("models.utils", "concat_all_gather")(every)
        place = place + distributed.get_rank() * len(query)
    return 2 * temperature * functional.cross_entropy(query @ every.T / temperature, place)
