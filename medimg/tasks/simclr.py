"""SimCLR: two views of a case attract each other, those of all other cases in the batch repel them."""

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from medimg.tasks.schedules import Schedule
from medimg.tasks.self_supervised import (
    ProbeOptions,
    SelfSupervisedTask,
    default_optimizer,
    part_of_lightly,
)


class SimCLRTask(SelfSupervisedTask):
    """Self-supervision by SimCLR, in 2D and 3D.

    The negatives of a case are the views of all other cases of all processes, so the batch wants to be large; with
    several processes set ``trainer.sync_batchnorm``, or views of one process are told from others by their statistics.

    Args:
        encoder: As in `SelfSupervisedTask`.
        temperature: Divides similarities; 0.1 for batches of thousands, 0.2 to 0.5 for those of dozens.
        projection_hidden: Width of the projection's hidden layers; ``None`` is that of the features.
        projection_dim: Length of the vectors that are compared.
        projection_layers: Linear layers of the projection: 2 in SimCLR, 3 in its second version.
        optimizer: Takes the parameters.
        scheduler: As in `BaseTask`.
        probe: How ``validate`` and ``test`` score the encoder.
        channels_last: Lay out weights and images with channels last.
        compile: Compile the encoder with torch.compile.

    Raises:
        ConfigError: If lightly is not installed, or the encoder gives no features.

    Reference:
        Chen et al. 2020, "A simple framework for contrastive learning of visual representations", arXiv:2002.05709.
    """

    method = "SimCLR"

    def __init__(
        self,
        encoder: nn.Module,
        *,
        temperature: float = 0.2,
        projection_hidden: int | None = None,
        projection_dim: int = 128,
        projection_layers: int = 2,
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
        head: Callable[..., Any] = part_of_lightly("models.modules.heads", "SimCLRProjectionHead")
        loss: Callable[..., Any] = part_of_lightly("loss", "NTXentLoss")
        width = self.num_features
        self.projection: nn.Module = head(
            width, projection_hidden or width, projection_dim, num_layers=projection_layers
        )
        self.loss: nn.Module = loss(temperature=temperature, gather_distributed=True)

    def contrast(self, image: Tensor) -> Tensor:
        """Normalised temperature-scaled cross-entropy of views (2B, C, ...)."""
        projected = self.projection(self(image))  # (2B, P), both views under the same statistics
        with torch.autocast(image.device.type, enabled=False):
            loss: Tensor = self.loss(projected[0::2].float(), projected[1::2].float())
        return loss
