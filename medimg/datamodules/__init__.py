"""Data modules: which cases train, validate and are scored, and how they reach the device."""

from medimg.datamodules.base import PatchOptions, SplitOptions, VolumeDataModule
from medimg.datamodules.brats import BraTSDataModule, BraTSPhantom
from medimg.datamodules.chest_sets import (
    ChestXray14DataModule,
    CheXpertDataModule,
    MIMICCXRDataModule,
    RANZCRDataModule,
    RSNAPneumoniaDataModule,
    SIIMPneumothoraxDataModule,
    VinBigDataModule,
)
from medimg.datamodules.decathlon import DecathlonDataModule
from medimg.datamodules.image_cache import CacheOptions
from medimg.datamodules.image_sets import (
    FolderDataModule,
    MedMNISTDataModule,
    TableDataModule,
    TableOptions,
)
from medimg.datamodules.images import BatchOptions, ImageDataModule
from medimg.datamodules.nnunet import NNUNetDataModule
from medimg.datamodules.screening_sets import ISICDataModule, RSNAMammographyDataModule
from medimg.preparation.image_pixels import ImageOptions

__all__ = [
    "BatchOptions",
    "BraTSDataModule",
    "BraTSPhantom",
    "CacheOptions",
    "CheXpertDataModule",
    "ChestXray14DataModule",
    "DecathlonDataModule",
    "FolderDataModule",
    "ISICDataModule",
    "ImageDataModule",
    "ImageOptions",
    "MIMICCXRDataModule",
    "MedMNISTDataModule",
    "NNUNetDataModule",
    "PatchOptions",
    "RANZCRDataModule",
    "RSNAMammographyDataModule",
    "RSNAPneumoniaDataModule",
    "SIIMPneumothoraxDataModule",
    "SplitOptions",
    "TableDataModule",
    "TableOptions",
    "VinBigDataModule",
    "VolumeDataModule",
]
