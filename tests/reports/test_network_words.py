import pytest

from medimg.reports.config_parts import Part
from medimg.reports.network_words import family_of, network_words, pooling_words


def model(name, **args):
    return Part(f"medimg.models.{name}", args)


def of(name, **args):
    return {"class_path": f"medimg.models.{name}", "init_args": args}


LITE = {"architecture": "tf_efficientnet_lite0", "weights": "random"}


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (model("TimmClassifier", **LITE), "tf_efficientnet_lite0 (EfficientNet, from timm), initialised at random"),
        (
            model("TimmClassifier", architecture="coat_tiny", weights="/home/anna/run/encoder.safetensors",
                  frozen_backbone=True),
            "coat_tiny (from timm), initialised from the file encoder.safetensors, its backbone frozen",
        ),
        (model("ResNet3D", depth=50, weights=None), "a 3D ResNet-50 (ResNet3D), initialised at random"),
        (model("TransUNet"), "a TransUNet"),
        (
            model("TransUNetClassifier", depth=12, width=768, weights="R50+ViT-B_16.npz"),
            "the encoder of TransUNet with a classification head (12 transformer layers and tokens of length 768), "
            "initialised from the file R50+ViT-B_16.npz",
        ),
        (
            model("SliceWise", neighbours=1, network=of("TransUNet")),
            "a TransUNet, applied slice by slice, each slice shown with one neighbour on either side",
        ),
        (
            model("SliceSequence", neighbours=2, encoder=of("TimmClassifier", architecture="resnet50"),
                  sequence=of("AttentionSequence", layers=2, heads=4)),
            "resnet50 (ResNet, from timm), which saw each slice together with two neighbours on either side, followed "
            "by self-attention of two layers and four heads along the slices of a study",
        ),
        (
            model("FeatureSequence", in_features=1280, sequence=of("GRUSequence", layers=1)),
            "FeatureSequence, which takes kept features of slices (1,280 numbers each) through a bidirectional GRU of "
            "one layer",
        ),
        (
            model("FusionClassifier", branches={"image": of("ResNet3D", depth=10), "text": of("TextEncoder",
                  weights="package", trainable_layers=2)}, fusion=of("CrossAttentionFusion"), modality_dropout=0),
            "a fusion network (FusionClassifier) over a 3D ResNet-10 (ResNet3D) for the image and the sentence encoder "
            "all-MiniLM-L6-v2 (last 2 layers trained) for the text, joined by cross-attention",
        ),
        (
            model("EfficientNetTransUNet", architecture="tf_efficientnet_b7", weights="imagenet"),
            "a hybrid of a CNN and a transformer (EfficientNetTransUNet) on top of tf_efficientnet_b7 (EfficientNet, "
            "from timm), initialised with ImageNet weights",
        ),
        (model("MaskedClassifier", classifier=of("TimmClassifier", architecture="resnet18")),
         "resnet18 (ResNet, from timm), with a second decoder for masks in training (MaskedClassifier)"),
        (Part("monai.networks.nets.DynUNet", {"spatial_dims": 2}), "a 2D U-Net (MONAI's DynUNet)"),
        (Part("mylab.Net", {"weights": "a/b.pth"}), "Net, initialised from the file b.pth"),
    ],
    ids=lambda value: value.name if isinstance(value, Part) else "",
)  # fmt: skip
def test_networks(network, words):
    assert network_words(network) == words


@pytest.mark.parametrize(
    "name", ["SliceWise", "SliceSequence", "MaskedClassifier", "FusionClassifier", "SMPSegmenter"]
)
def test_networks_of_which_nothing_is_told(name):
    assert name in network_words(model(name))


def test_families_and_poolings():
    assert [family_of(name) for name in ("seresnet50", "resnext50", "convnextv2_tiny", "swin_tiny", "vit_small")] == [
        "SE-ResNet", "ResNeXt", "ConvNeXt V2", "Swin Transformer", "Vision Transformer",
    ]  # fmt: skip
    assert (pooling_words(model("NoisyOrPooling")), pooling_words(Part("mylab.Own"))) == ("noisy-or", "Own")
