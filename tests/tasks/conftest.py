"""A tiny segmentation task over fake cases, run by a real Trainer without logger and progress bar."""

import pytest
from lightning.pytorch import Trainer
from monai.networks.nets import DynUNet
from torch.optim import AdamW

from medimg.datamodules import BraTSDataModule, DecathlonDataModule, PatchOptions, SplitOptions
from medimg.inference.sliding_window import SlidingWindowInferer
from medimg.preparation.prepare import Preparation
from medimg.tasks import SegmentationTask


def tiny_network(in_channels=1, out_channels=3, **options):
    return DynUNet(
        spatial_dims=3, in_channels=in_channels, out_channels=out_channels, kernel_size=[3, 3, 3],
        strides=[1, 2, 2], upsample_kernel_size=[2, 2], filters=[4, 8, 8], **options,
    )  # fmt: skip


@pytest.fixture
def make_task():
    """``make_task(network=..., **options)``: exclusive classes by default."""

    def make(network=None, **options):
        settings = {
            "classes": ["anterior", "posterior"],
            "optimizer": lambda params: AdamW(params, lr=0.01),
            "inferer": SlidingWindowInferer(roi_size=(16, 16, 16)),
        }
        return SegmentationTask(network or tiny_network(), **{**settings, **options})

    return make


@pytest.fixture
def make_region_task(make_task):
    """``make_region_task(**options)``: WT, TC and ET."""
    return lambda **options: make_task(
        tiny_network(4, 3), **{"classes": ["WT", "TC", "ET"], "head": "sigmoid", **options}
    )


@pytest.fixture
def make_data(tmp_path, write_decathlon):
    """``make_data(cases, **options)``: a Decathlon task of 16-cubes."""

    def make(cases=4, **options):
        root = tmp_path / f"Task{cases}"
        if not root.exists():
            write_decathlon(root, cases=cases)
        settings = {
            "split": SplitOptions(num_folds=2),
            "preparation": Preparation(spacing_mm=(2.0, 1.0, 1.0)),
            "store": tmp_path / "store",
            "patches": PatchOptions(size=(16, 16, 16), batch_size=2, batches_per_epoch=2),
        }
        return DecathlonDataModule(root, **{**settings, **options})

    return make


@pytest.fixture
def make_brats(tmp_path, write_brats):
    """``make_brats(year, **options)``: four cases of that year."""

    def make(year=2023, **options):
        root = tmp_path / f"brats{year}"
        if not root.exists():
            write_brats(root, 4, year=year)
        settings = {
            "split": SplitOptions(num_folds=2),
            "store": tmp_path / "store",
            "patches": PatchOptions(size=(16, 16, 16), batch_size=2, batches_per_epoch=2),
        }
        return BraTSDataModule(root, **{**settings, **options})

    return make


@pytest.fixture
def make_trainer(tmp_path):
    """``make_trainer(**options)``: one epoch on the CPU."""

    def make(**options):
        settings = {
            "accelerator": "cpu", "max_epochs": 1, "num_sanity_val_steps": 0, "logger": False,
            "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False,
            "use_distributed_sampler": False, "default_root_dir": tmp_path / "run",
        }  # fmt: skip
        return Trainer(**{**settings, **options})

    return make
