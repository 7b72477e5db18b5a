"""Data modules: which cases train, validate and are scored, and how they reach the device."""

from medimg.datamodules.base import PatchOptions, VolumeDataModule
from medimg.datamodules.brats import BraTSDataModule, BraTSPhantom
from medimg.datamodules.cases import SplitOptions
from medimg.datamodules.decathlon import DecathlonDataModule
from medimg.datamodules.image_cache import CacheOptions
from medimg.datamodules.images import BatchOptions, ImageDataModule
from medimg.datamodules.nnunet import NNUNetDataModule
from medimg.datamodules.pseudo import PseudoOptions
from medimg.preparation.image_pixels import ImageOptions

__all__ = [
    "BatchOptions",
    "BraTSDataModule",
    "BraTSPhantom",
    "CacheOptions",
    "DecathlonDataModule",
    "ImageDataModule",
    "ImageOptions",
    "NNUNetDataModule",
    "PatchOptions",
    "PseudoOptions",
    "SplitOptions",
    "VolumeDataModule",
]
