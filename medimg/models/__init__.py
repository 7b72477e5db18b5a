"""Networks, and what joins their answers for several images of a case."""

from medimg.models.fusion import ConcatFusion, CrossAttentionFusion, FusionClassifier, GatedFusion
from medimg.models.hybrid import EfficientNetTransUNet
from medimg.models.mask_head import MaskedClassifier
from medimg.models.pooling import GatedAttentionPooling, MaxPooling, MeanPooling, NoisyOrPooling, Pooling
from medimg.models.resnet3d import ResNet3D
from medimg.models.sequence_heads import AttentionSequence, GRUSequence, SequenceNetwork, SlicesAlone
from medimg.models.slice_sequence import FeatureSequence, SliceSequence
from medimg.models.slice_wise import SliceWise
from medimg.models.smp_network import SMPSegmenter
from medimg.models.table_encoder import TableEncoder
from medimg.models.text_encoder import TextEncoder
from medimg.models.timm_classifier import TimmClassifier
from medimg.models.transunet import TransUNet, TransUNetClassifier, TransUNetEncoder

__all__ = [
    "AttentionSequence",
    "ConcatFusion",
    "CrossAttentionFusion",
    "EfficientNetTransUNet",
    "FeatureSequence",
    "FusionClassifier",
    "GRUSequence",
    "GatedAttentionPooling",
    "GatedFusion",
    "MaskedClassifier",
    "MaxPooling",
    "MeanPooling",
    "NoisyOrPooling",
    "Pooling",
    "ResNet3D",
    "SMPSegmenter",
    "SequenceNetwork",
    "SliceSequence",
    "SliceWise",
    "SlicesAlone",
    "TableEncoder",
    "TextEncoder",
    "TimmClassifier",
    "TransUNet",
    "TransUNetClassifier",
    "TransUNetEncoder",
]
