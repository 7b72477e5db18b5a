"""Losses that torch and MONAI lack: overlap with ignored voxels, and labels of which some are unknown."""

from medimg.losses.classification import AsymmetricLoss, FocalLoss, MaskedBCELoss, WeightedCrossEntropyLoss
from medimg.losses.segmentation import DiceBCELoss, DiceCELoss, DiceFocalLoss

__all__ = [
    "AsymmetricLoss",
    "DiceBCELoss",
    "DiceCELoss",
    "DiceFocalLoss",
    "FocalLoss",
    "MaskedBCELoss",
    "WeightedCrossEntropyLoss",
]
