"""Networks, and what joins their answers for several images of a case."""

from medimg.models.pooling import GatedAttentionPooling, MaxPooling, MeanPooling, NoisyOrPooling, Pooling
from medimg.models.timm_classifier import TimmClassifier

__all__ = [
    "GatedAttentionPooling",
    "MaxPooling",
    "MeanPooling",
    "NoisyOrPooling",
    "Pooling",
    "TimmClassifier",
]
