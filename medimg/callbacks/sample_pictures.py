"""Pictures of validation cases in TensorBoard."""

from typing import Any

import numpy as np
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray
from torch import Tensor

from medimg import keys
from medimg.figures.overlay import contour_panel
from medimg.tasks import SegmentationTask


class SamplePictures(Callback):
    """Every few epochs: image, reference and prediction contours of the first validation cases.

    Args:
        every_n_epochs: Epochs between pictures; the last of ``max_epochs`` always has one.
        cases: Validation cases drawn.
        channel: Image channel drawn.
    """

    def __init__(self, every_n_epochs: int = 10, cases: int = 2, channel: int = 0) -> None:
        self.every_n_epochs, self.cases, self.channel = every_n_epochs, cases, channel

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: SegmentationTask,  # type: ignore[override]
        outputs: Any,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the case if its turn has come."""
        if trainer.sanity_checking or not trainer.is_global_zero or batch_idx >= self.cases:
            return
        last = 0 < (trainer.max_epochs or 0) <= trainer.current_epoch + 1
        if (trainer.current_epoch + 1) % self.every_n_epochs and not last:
            return
        names = {name: number for number, name in enumerate(pl_module.classes, start=1)}
        panel = contour_panel(
            batch[keys.IMAGE][0, self.channel].float().cpu().numpy(),
            nested_labels(batch[keys.MASK][0], len(names)),
            nested_labels(outputs["preds"][0], len(names)),
            classes=names,
            spacing_mm=batch[keys.GEOMETRY][0].spacing_mm,
            title=f"{batch[keys.CASE_ID][0]}, epoch {trainer.current_epoch}",
        )
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(
                    f"val/{batch[keys.CASE_ID][0]}", panel, trainer.global_step, dataformats="HWC"
                )


def nested_labels(mask: Tensor, num_classes: int) -> NDArray[np.uint8]:
    """One label map to draw: indices as they are, regions from the widest to the narrowest.

    Args:
        mask: Indices (1, D, H, W) or regions (K, D, H, W); 255 is drawn as background.
        num_classes: Number of classes K.

    Returns:
        Label map (D, H, W) of values up to K.
    """
    values = mask.cpu().numpy()
    if len(values) == 1 and num_classes > 1:
        return np.where(values[0] == keys.IGNORE_INDEX, 0, values[0]).astype(np.uint8)
    labels = np.zeros(values.shape[1:], dtype=np.uint8)
    for number, region in enumerate(values, start=1):
        labels[region == 1] = number
    return labels
