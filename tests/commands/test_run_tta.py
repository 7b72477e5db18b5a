import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel
from monai.inferers.inferer import SimpleInferer
from torch import nn

from medimg.commands.run_tta import choose_tta
from medimg.datamodules import DecathlonDataModule
from medimg.errors import ConfigError
from medimg.inference import FlipTTA, MirrorTTA, RotationTTA, SlidingWindowInferer
from medimg.inference.views import describe_tta
from medimg.preparation.prepare import Preparation
from medimg.tasks import ClassificationTask, LabelScoring, SegmentationTask
from medimg.transforms import NNUNetAugmentation

WINDOW = SlidingWindowInferer((8, 8, 8))


def classification(**options):
    scoring = LabelScoring(**options)
    return ClassificationTask(nn.Conv2d(1, 1, 1), task="binary", classes=["sick"], scoring=scoring)


def segmentation(**options):
    return SegmentationTask(nn.Conv3d(1, 2, 1), classes=["a"], inferer=WINDOW, **options)


def volumes(mirror_axes=None, spacing_mm=None):
    augmentation = None
    if mirror_axes is not None:
        augmentation = lambda size: NNUNetAugmentation(size, mirror_axes=mirror_axes)  # noqa: E731
    return DecathlonDataModule(augmentation=augmentation, preparation=Preparation(spacing_mm=spacing_mm))


def test_what_is_typed_takes_the_place_of_the_config_s():
    task = classification(inferer=FlipTTA())
    choose_tta(task, BoringDataModule(), None)
    assert describe_tta(task.final_inferer) == ["FlipTTA(axes=('horizontal',))"]
    choose_tta(task, BoringDataModule(), "flips")
    assert describe_tta(task.final_inferer) == ["FlipTTA(axes=('horizontal', 'vertical'))"]
    choose_tta(task, BoringDataModule(), "none")
    assert type(task.final_inferer) is SimpleInferer


def test_the_window_of_the_config_stays_inside_and_fit_keeps_its_own():
    task = segmentation(final_inferer=RotationTTA(MirrorTTA(WINDOW)))
    choose_tta(task, volumes(mirror_axes=(2,)), "mirror")
    assert describe_tta(task.final_inferer) == ["MirrorTTA(axes=(2,))"]
    assert task.final_inferer.inferer is WINDOW is task.inferer
    choose_tta(task, volumes(), "none")
    assert task.final_inferer is WINDOW


def test_axes_that_training_did_not_mirror_are_named(caplog):
    task = segmentation()
    choose_tta(task, volumes(mirror_axes=(0, 1)), "mirror")
    choose_tta(task, volumes(mirror_axes=(0, 1, 2)), "flips")
    assert not caplog.text
    choose_tta(task, volumes(mirror_axes=(0, 1)), "flips")
    assert "--tta flips mirrors the axes [2] (0 for D, 1 for H, 2 for W), which training left" in caplog.text


def test_quarter_turns_ask_for_the_prepared_spacing():
    task = segmentation()
    with pytest.raises(ConfigError, match=r"preparation\.spacing_mm"):
        choose_tta(task, volumes(mirror_axes=(0,)), "mirror-rot90")
    with pytest.raises(ConfigError, match="same along H and W"):
        choose_tta(task, volumes((0,), (1.0, 1.0, 2.0)), "mirror-rot90")
    choose_tta(task, volumes((0,), (2.0, 1.0, 1.0)), "mirror-rot90")
    assert describe_tta(task.final_inferer)[1] == "MirrorTTA(axes=(0,))"
    volume = torch.rand(1, 1, 8, 8, 8)
    torch.testing.assert_close(task.final_inferer(volume, lambda tile: tile), volume)


def test_other_tasks_and_presets_of_images_are_refused():
    with pytest.raises(
        ConfigError, match=r"--tta mirror: expected a ClassificationTask or .* found BoringModel"
    ):
        choose_tta(BoringModel(), BoringDataModule(), "mirror")
    with pytest.raises(ConfigError, match="--tta xray is for images"):
        choose_tta(segmentation(), volumes(), "xray")
