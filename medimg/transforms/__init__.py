"""Augmentation: images and masks in, changed images and masks out."""

from medimg.transforms.augment3d import Augment3D, NNUNetAugmentation
from medimg.transforms.image2d import AlbumentationsTransform

__all__ = ["AlbumentationsTransform", "Augment3D", "NNUNetAugmentation"]
