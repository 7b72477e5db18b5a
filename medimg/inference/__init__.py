"""How a network is applied to a whole case: sliding window, mirroring and turning, export to the source's grid."""

from medimg.inference.export import export_labels, export_probs
from medimg.inference.sliding_window import SlidingWindowInferer
from medimg.inference.tta import MirrorTTA, RotationTTA

__all__ = ["MirrorTTA", "RotationTTA", "SlidingWindowInferer", "export_labels", "export_probs"]
