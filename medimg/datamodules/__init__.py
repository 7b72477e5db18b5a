"""Data modules: which cases train, validate and are scored, and how they reach the device."""

from medimg.datamodules.base import PatchOptions, SplitOptions, VolumeDataModule
from medimg.datamodules.brats import BraTSDataModule, BraTSPhantom
from medimg.datamodules.decathlon import DecathlonDataModule
from medimg.datamodules.nnunet import NNUNetDataModule

__all__ = [
    "BraTSDataModule",
    "BraTSPhantom",
    "DecathlonDataModule",
    "NNUNetDataModule",
    "PatchOptions",
    "SplitOptions",
    "VolumeDataModule",
]
