"""What the parts of a config are cited by: entries of ``references.bib``, and which class stands for which."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import PurePath

from medimg import __version__
from medimg.reports.config_parts import Part, as_group, as_number
from medimg.reports.network_words import family_of

# As CITATION.cff has it; a test compares them.
TITLE = "medimg: from medical images to a trained model, an honest number and a valid submission"
AUTHOR = "The medimg developers"

ALWAYS = ("medimg", "paszke2019pytorch", "falcon2019lightning")
"""Keys of what every run uses."""

_FAMILIES = {
    "EfficientNet": "tan2019efficientnet",
    "DenseNet": "huang2017densenet",
    "ConvNeXt": "liu2022convnext",
    "ResNet": "he2016resnet",
    "Swin Transformer": "liu2021swin",
    "Vision Transformer": "dosovitskiy2021vit",
}
_DECODERS = {
    "Unet": "ronneberger2015unet",
    "UnetPlusPlus": "zhou2018unetpp",
    "FPN": "kirillov2019panoptic",
    "DeepLabV3Plus": "chen2018deeplabv3plus",
}
_PACKAGES = {
    "monai": "cardoso2022monai",
    "timm": "wightman2019timm",
    "albumentations": "buslaev2020albumentations",
    "segmentation_models_pytorch": "iakubovskii2019smp",
    "lightly": "susmelj2020lightly",
    "transformers": "wolf2020transformers",
    "dynamic_network_architectures": "isensee2021nnunet",
}
_TIMM = ("wightman2019timm",)
_CLASSES: Mapping[str, tuple[str, ...]] = {
    # networks
    "AttentionSequence": ("vaswani2017attention", "chu2021conditional"),
    "AttentionUnet": ("oktay2018attention",),
    "CrossAttentionFusion": ("vaswani2017attention",),
    "DynUNet": ("isensee2021nnunet",),
    "EfficientNetTransUNet": (*_TIMM, "chen2021transunet"),
    "FeatureSequence": ("ilse2018attention",),
    "GRUSequence": ("cho2014gru", "schuster1997bidirectional"),
    "GatedAttentionPooling": ("ilse2018attention",),
    "GatedFusion": ("arevalo2017gated",),
    "MaskedClassifier": ("kirillov2019panoptic",),
    "NoisyOrPooling": ("maron1997mil",),
    "ResNet3D": ("he2016resnet", "hara2018resnet3d"),
    "SMPSegmenter": ("iakubovskii2019smp", *_TIMM),
    "SegResNet": ("myronenko2018segresnet",),
    "SliceSequence": ("ilse2018attention",),
    "SwinUNETR": ("hatamizadeh2022swinunetr",),
    "TextEncoder": ("reimers2019sbert", "wolf2020transformers"),
    "TimmClassifier": _TIMM,
    "TransUNet": ("chen2021transunet",),
    "TransUNetClassifier": ("chen2021transunet",),
    "UNETR": ("hatamizadeh2022unetr",),
    # tasks, losses, optimisers, schedules
    "AdamW": ("loshchilov2019adamw",),
    "Adam": ("kingma2015adam",),
    "AsymmetricLoss": ("ridnik2021asymmetric",),
    "CosineSchedule": ("loshchilov2017sgdr",),
    "CosineAnnealingLR": ("loshchilov2017sgdr",),
    "DiceBCELoss": ("milletari2016vnet",),
    "DiceCELoss": ("milletari2016vnet",),
    "DiceFocalLoss": ("milletari2016vnet", "lin2017focal"),
    "FocalLoss": ("lin2017focal",),
    "ImageSegmentationTask": ("nikolov2018surface",),
    "KNNProbe": ("wu2018discrimination",),
    "MoCoTask": ("susmelj2020lightly",),
    "OrdinalLoss": ("hou2016emd",),
    "PolynomialSchedule": ("chen2018deeplab",),
    "RSNAPulmonaryEmbolismLoss": ("colak2021rspect",),
    "SegmentationTask": ("nikolov2018surface",),
    "SimCLRTask": ("chen2020simclr", "susmelj2020lightly"),
    # data, augmentation, inference
    "AlbumentationsTransform": ("buslaev2020albumentations",),
    "BraTSDataModule": ("menze2015brats",),
    "CheXpert": ("irvin2019chexpert",),
    "ChestXray14": ("wang2017chestxray",),
    "DecathlonDataModule": ("antonelli2022decathlon",),
    "ISIC2020": ("rotemberg2021isic",),
    "LIDC": ("armato2011lidc",),
    "MIMICCXR": ("johnson2019mimic", "irvin2019chexpert"),
    "MedMNIST": ("yang2023medmnist",),
    "NNUNetAugmentation": ("isensee2021nnunet",),
    "NNUNetDataModule": ("isensee2021nnunet",),
    "Nodules": ("armato2011lidc",),
    "OpenI": ("demner2016openi",),
    "RSNAHemorrhage": ("flanders2020hemorrhage",),
    "RSNAPulmonaryEmbolism": ("colak2021rspect",),
    "SlidingWindowInferer": ("isensee2021nnunet",),
    "VinBigData": ("nguyen2022vindr",),
}
# A class of the same name in somebody's own package is another one.
_KNOWN = ("medimg", "monai", "torch", "")


def keys_of(part: Part) -> tuple[str, ...]:
    """Keys of what a part of a config is cited by; none for a class that is not known here.

    Args:
        part: The part; its arguments count, the parts among them do not.

    Example:
        >>> keys_of(Part("medimg.models.TimmClassifier", {"architecture": "densenet121", "weights": "imagenet"}))
        ('wightman2019timm', 'huang2017densenet', 'russakovsky2015imagenet')
    """
    by_class = _CLASSES.get(part.name, ()) if part.package in _KNOWN else ()
    by_package = (_PACKAGES[part.package],) if part.package in _PACKAGES else ()
    return tuple(
        dict.fromkeys([*by_class, *by_package, *(_by_arguments(part) if part.package in _KNOWN else ())])
    )


def _by_arguments(part: Part) -> Iterator[str]:
    """What single arguments add."""
    weights = part.args.get("weights")
    encoder = part.text("encoder") if part.name == "SMPSegmenter" else part.text("architecture")
    if part.name == "SMPSegmenter" and (decoder := _DECODERS.get(part.text("architecture"))):
        yield decoder
    if _TIMM[0] in _CLASSES.get(part.name, ()):
        if key := _FAMILIES.get(family_of(encoder)):
            yield key
        if weights in ("imagenet", "package"):
            yield "russakovsky2015imagenet"
        if part.number("drop_path_rate"):
            yield "huang2016stochastic"
    if part.name == "TextEncoder" and weights == "package":
        yield "wang2020minilm"
    if part.name == "ResNet3D" and re.match(r"resnet_\d+", PurePath(str(weights)).name):
        yield "chen2019med3d"
    if part.number("label_smoothing"):
        yield "szegedy2016inception"
    if part.name == "FusionClassifier" and part.number("modality_dropout"):
        yield "neverova2016moddrop"
    if part.name == "MoCoTask":
        yield from ("chen2021mocov3",) if part.text("version") == "v3" else ("he2020moco", "chen2020mocov2")
    if part.text("balance") == "uncertainty":
        yield "kendall2018uncertainty"
    training = part.group("training")
    if as_number(training.get("mixup_alpha")):
        yield "zhang2018mixup"
    if as_number(training.get("cutmix_alpha")):
        yield "yun2019cutmix"
    rates = part.group("rates") or as_group(training.get("rates"))
    if as_number(rates.get("layer_decay")) not in (None, 1):
        yield "clark2020electra"


@cache
def entries() -> Mapping[str, str]:
    """BibTeX of every entry by its key, medimg's own among them.

    Example:
        >>> print(entries()["falcon2019lightning"].splitlines()[2].strip())
        title = {{PyTorch Lightning}},
    """
    own = f"@misc{{medimg,\n  author = {{{{{AUTHOR}}}}},\n  title = {{{TITLE}}},\n  version = {{{__version__}}}\n}}"
    text = (files("medimg.reports") / "references.bib").read_text(encoding="ascii")
    found = [one.strip() for one in text.split("\n\n") if one.strip()]
    return {"medimg": own} | {one[one.index("{") + 1 : one.index(",")]: one for one in found}
