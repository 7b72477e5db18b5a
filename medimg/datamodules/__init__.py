"""Data modules: which cases train, validate and are scored, and how they reach the device."""

from medimg.datamodules.base import PatchOptions, VolumeDataModule
from medimg.datamodules.brats import BraTSDataModule, BraTSPhantom
from medimg.datamodules.cases import SplitOptions
from medimg.datamodules.decathlon import DecathlonDataModule
from medimg.datamodules.fusion import FusionDataModule
from medimg.datamodules.fusion_inputs import ImageInput, TextOptions, VolumeInput
from medimg.datamodules.image_cache import CacheOptions
from medimg.datamodules.images import BatchOptions, ImageDataModule
from medimg.datamodules.labelled_volumes import LabelledVolumeDataModule
from medimg.datamodules.nnunet import NNUNetDataModule
from medimg.datamodules.pseudo import PseudoOptions
from medimg.datamodules.slice_features import SliceFeatureDataModule
from medimg.preparation.image_pixels import ImageOptions
from medimg.preparation.volume_voxels import VolumeOptions

__all__ = [
    "BatchOptions",
    "BraTSDataModule",
    "BraTSPhantom",
    "CacheOptions",
    "DecathlonDataModule",
    "FusionDataModule",
    "ImageDataModule",
    "ImageInput",
    "ImageOptions",
    "LabelledVolumeDataModule",
    "NNUNetDataModule",
    "PatchOptions",
    "PseudoOptions",
    "SliceFeatureDataModule",
    "SplitOptions",
    "TextOptions",
    "VolumeDataModule",
    "VolumeInput",
    "VolumeOptions",
]
