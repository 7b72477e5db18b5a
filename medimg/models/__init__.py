"""Networks, and what joins their answers for several images of a case."""

from medimg.models.hybrid import EfficientNetTransUNet
from medimg.models.pooling import GatedAttentionPooling, MaxPooling, MeanPooling, NoisyOrPooling, Pooling
from medimg.models.slice_wise import SliceWise
from medimg.models.timm_classifier import TimmClassifier
from medimg.models.transunet import TransUNet, TransUNetClassifier, TransUNetEncoder

__all__ = [
    "EfficientNetTransUNet",
    "GatedAttentionPooling",
    "MaxPooling",
    "MeanPooling",
    "NoisyOrPooling",
    "Pooling",
    "SliceWise",
    "TimmClassifier",
    "TransUNet",
    "TransUNetClassifier",
    "TransUNetEncoder",
]
