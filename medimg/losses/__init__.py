"""Losses that torch and MONAI lack: overlap with ignored voxels, and labels of which some are unknown."""

from medimg.losses.classification import AsymmetricLoss, FocalLoss, MaskedBCELoss, WeightedCrossEntropyLoss
from medimg.losses.embolism import RSNAPulmonaryEmbolismLoss
from medimg.losses.ordinal import OrdinalLoss
from medimg.losses.segmentation import DiceBCELoss, DiceCELoss, DiceFocalLoss
from medimg.losses.study import StudyLoss
from medimg.losses.targets import TargetLoss, ValueLoss

__all__ = [
    "AsymmetricLoss",
    "DiceBCELoss",
    "DiceCELoss",
    "DiceFocalLoss",
    "FocalLoss",
    "MaskedBCELoss",
    "OrdinalLoss",
    "RSNAPulmonaryEmbolismLoss",
    "StudyLoss",
    "TargetLoss",
    "ValueLoss",
    "WeightedCrossEntropyLoss",
]
