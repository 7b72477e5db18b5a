"""Losses that torch and MONAI lack: overlap with voxels that may be ignored."""

from medimg.losses.segmentation import DiceBCELoss, DiceCELoss, DiceFocalLoss

__all__ = ["DiceBCELoss", "DiceCELoss", "DiceFocalLoss"]
