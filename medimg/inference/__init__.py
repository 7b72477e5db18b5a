"""How a network is applied to a case: sliding window, test-time augmentation, export to the source's grid."""

from medimg.inference.export import export_labels, export_probs
from medimg.inference.image_tta import CropTTA, FlipTTA, ScaleTTA
from medimg.inference.rot90 import Rot90TTA
from medimg.inference.sliding_window import SlidingWindowInferer
from medimg.inference.tta import MirrorTTA, RotationTTA

__all__ = [
    "CropTTA",
    "FlipTTA",
    "MirrorTTA",
    "Rot90TTA",
    "RotationTTA",
    "ScaleTTA",
    "SlidingWindowInferer",
    "export_labels",
    "export_probs",
]
