"""``--tta NAME``: another test-time augmentation than the config's."""

import logging

from lightning.pytorch import LightningDataModule, LightningModule

from medimg.datamodules.base import VolumeDataModule
from medimg.errors import ConfigError
from medimg.inference import MirrorTTA
from medimg.inference.presets import Preset, image_preset, volume_preset
from medimg.inference.views import unwrapped, wrappers
from medimg.tasks import ClassificationTask, ImageSegmentationTask, SegmentationTask

logger = logging.getLogger(__name__)


def choose_tta(model: LightningModule, data: LightningDataModule, name: Preset | None) -> None:
    """Put a named augmentation in the place of the config's.

    Args:
        model: The task; the inferer that its config names stays inside.
        data: Says which axes training mirrored, and the spacing of the prepared grid.
        name: What was typed; ``None`` keeps the config's.

    Raises:
        ConfigError: If the task is none of ours, or the preset does not fit its data.
    """
    if name is None:
        return
    if isinstance(model, ClassificationTask | ImageSegmentationTask):
        model.final_inferer = image_preset(name, unwrapped(model.final_inferer))
    elif isinstance(model, SegmentationTask):
        _choose_volume_tta(model, data, name)
    else:
        raise ConfigError(
            f"--tta {name}: expected a ClassificationTask or a SegmentationTask, found {type(model).__name__}. Leave "
            "--tta away, or name an inferer in the config of your task."
        )


def _choose_volume_tta(model: SegmentationTask, data: LightningDataModule, name: Preset) -> None:
    augmentation = data.augmentation if isinstance(data, VolumeDataModule) else None
    trained = () if augmentation is None else augmentation.spatial.mirror_axes
    model.final_inferer = volume_preset(
        name,
        unwrapped(model.final_inferer),
        mirror_axes=(0, 1, 2) if augmentation is None else trained,
        spacing_mm=data.preparation.spacing_mm if isinstance(data, VolumeDataModule) else None,
    )
    now = {axis for one in wrappers(model.final_inferer) if isinstance(one, MirrorTTA) for axis in one.axes}
    if unseen := sorted(now - set(trained)):
        logger.warning(
            "--tta %s mirrors the axes %s (0 for D, 1 for H, 2 for W), which training left as they are: where left and "
            "right, or front and back, are to be told apart, take --tta mirror",
            name,
            unseen,
        )
