"""Augmentation: images and masks in, changed images and masks out."""

from medimg.transforms.augment3d import Augment3D, NNUNetAugmentation

__all__ = ["Augment3D", "NNUNetAugmentation"]
