"""Augmentation: images and masks in, changed images and masks out."""

from medimg.transforms.augment3d import Augment3D, NNUNetAugmentation
from medimg.transforms.image2d import AlbumentationsTransform
from medimg.transforms.intensity import (
    Brightness,
    Contrast,
    Gamma,
    GaussianBlur,
    GaussianNoise,
    LowResolution,
)
from medimg.transforms.spatial import RandomSpatial
from medimg.transforms.views import VolumeViews

__all__ = [
    "AlbumentationsTransform",
    "Augment3D",
    "Brightness",
    "Contrast",
    "Gamma",
    "GaussianBlur",
    "GaussianNoise",
    "LowResolution",
    "NNUNetAugmentation",
    "RandomSpatial",
    "VolumeViews",
]
