"""Networks of a config in the words of a paper's methods section."""

from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from medimg.reports.config_parts import Part, as_group, as_part
from medimg.reports.wording import counted, joined, number

FAMILIES: Mapping[str, str] = {
    "efficientnet": "EfficientNet",
    "densenet": "DenseNet",
    "convnextv2": "ConvNeXt V2",
    "convnext": "ConvNeXt",
    "resnext": "ResNeXt",
    "resnetv2": "ResNet V2",
    "seresnet": "SE-ResNet",
    "resnet": "ResNet",
    "swinv2": "Swin Transformer V2",
    "swin": "Swin Transformer",
    "deit": "DeiT",
    "vit": "Vision Transformer",
    "mobilenet": "MobileNet",
    "regnet": "RegNet",
}
"""What timm's architectures are called in papers; the first key that the name holds decides."""

_JOINS = {
    "ConcatFusion": "concatenation",
    "GatedFusion": "gated multimodal units",
    "CrossAttentionFusion": "cross-attention",
}
_TRANSUNETS = {
    "TransUNet": "a TransUNet",
    "TransUNetClassifier": "the encoder of TransUNet with a classification head",
}
_POOLINGS = {
    "MeanPooling": "their mean",
    "MaxPooling": "their maximum",
    "NoisyOrPooling": "noisy-or",
    "GatedAttentionPooling": "gated attention",
}


def network_words(network: Part) -> str:
    """A network as a noun phrase, its initial weights at the end where the config tells them.

    Args:
        network: The part; classes that are not known here go by their name.

    Example:
        >>> network_words(Part("medimg.models.TimmClassifier", {"architecture": "resnet50", "weights": "imagenet"}))
        'resnet50 (ResNet, from timm), initialised with ImageNet weights'
        >>> network_words(Part("mylab.nets.TinyNet"))
        'TinyNet'
    """
    words = _WORDS.get(network.name)
    return words(network) if words is not None else network.name + _start(network)


def pooling_words(pooling: Part) -> str:
    """How the images of a case are joined.

    Example:
        >>> pooling_words(Part("medimg.models.GatedAttentionPooling"))
        'gated attention'
    """
    return _POOLINGS.get(pooling.name, pooling.name)


def family_of(architecture: str) -> str:
    """What papers call an architecture of timm; empty if it is not known here.

    Example:
        >>> family_of("tf_efficientnet_lite0"), family_of("made_up")
        ('EfficientNet', '')
    """
    return next((title for key, title in FAMILIES.items() if key in architecture), "")


def _start(network: Part) -> str:
    """Initial weights, as a trailing phrase."""
    if "weights" not in network.args:
        return ""
    match network.args["weights"]:
        case None | "random":
            return ", initialised at random"
        case "imagenet" | "package":
            return ", initialised with ImageNet weights"
        case other:
            # The folder says where it was trained, and perhaps by whom.
            return f", initialised from the file {PurePath(str(other)).name}"


def _of_timm(architecture: str) -> str:
    family = family_of(architecture)
    return f"{architecture} ({family}, from timm)" if family else f"{architecture} (from timm)"


def _timm(network: Part) -> str:
    architecture = network.text("architecture")
    name = _of_timm(architecture) if architecture else network.name
    frozen = ", its backbone frozen" if network.args.get("frozen_backbone") is True else ""
    return f"{name}{_start(network)}{frozen}"


def _resnet_3d(network: Part) -> str:
    depth = network.number("depth")
    name = f"a 3D ResNet-{number(depth)}" if depth is not None else "a 3D ResNet"
    return f"{name} (ResNet3D){_start(network)}"


def _hybrid(network: Part) -> str:
    architecture = network.text("architecture")
    cnn = f" on top of {_of_timm(architecture)}" if architecture else ""
    return f"a hybrid of a CNN and a transformer (EfficientNetTransUNet){cnn}{_start(network)}"


def _smp(network: Part) -> str:
    decoder, encoder = network.text("architecture"), network.text("encoder")
    on = f" with the encoder {_of_timm(encoder.removeprefix('tu-'))}" if encoder else ""
    name = f"a {decoder} decoder of Segmentation Models PyTorch" if decoder else "SMPSegmenter"
    return f"{name}{on}{_start(network)}"


def _transunet(network: Part) -> str:
    depth, width = network.number("depth"), network.number("width")
    sizes = [f"{counted(int(depth), 'transformer layer')}"] if depth is not None else []
    sizes += [f"tokens of length {number(width)}"] if width is not None else []
    name = _TRANSUNETS[network.name]
    return f"{name}{f' ({joined(sizes)})' if sizes else ''}{_start(network)}"


def _dynunet(network: Part) -> str:
    dims = network.number("spatial_dims")
    name = f"a {number(dims)}D U-Net" if dims is not None else "a U-Net"
    filters = network.items("filters")
    levels = (
        [f"{counted(len(filters), 'level')} of {joined(map(number, filters))} channels"] if filters else []
    )
    deep = ["deep supervision"] if network.args.get("deep_supervision") is True else []
    return f"{name} (MONAI's DynUNet{'; ' if levels or deep else ''}{', '.join([*levels, *deep])})"


def _slice_wise(network: Part) -> str:
    inner, near = network.part("network"), network.number("neighbours")
    name = network_words(inner) if inner is not None else network.name
    beside = f", each slice shown with {counted(int(near), 'neighbour')} on either side" if near else ""
    return f"{name}, applied slice by slice{beside}"


def _sequence(part: Part | None) -> str:
    if part is None:
        return ""
    layers, heads = part.number("layers"), part.number("heads")
    many = counted(int(layers), "layer") if layers is not None else ""
    match part.name:
        case "GRUSequence":
            return f"a bidirectional GRU{f' of {many}' if many else ''}"
        case "AttentionSequence":
            sizes = [*([many] if many else []), *([counted(int(heads), "head")] if heads is not None else [])]
            return f"self-attention{f' of {joined(sizes)}' if sizes else ''}"
        case "SlicesAlone":
            return "no exchange between slices"
        case name:
            return name


def _slices(network: Part) -> str:
    encoder, near = network.part("encoder"), network.number("neighbours")
    name = network_words(encoder) if encoder is not None else network.name
    beside = f" together with {counted(int(near), 'neighbour')} on either side" if near else ""
    over = _sequence(network.part("sequence"))
    chain = f", followed by {over} along the slices of a study" if over else ""
    return f"{name}, which saw each slice{beside}{chain}"


def _features(network: Part) -> str:
    over, length = _sequence(network.part("sequence")), network.number("in_features")
    what = f"kept features of slices{f' ({number(length)} numbers each)' if length is not None else ''}"
    return f"FeatureSequence, which takes {what}{f' through {over}' if over else ''}"


def _masked(network: Part) -> str:
    inner = network.part("classifier")
    name = network_words(inner) if inner is not None else network.name
    return f"{name}, with a second decoder for masks in training (MaskedClassifier)"


def _fusion(network: Part) -> str:
    branches = [
        f"{_branch(value)} for the {key}" for key, value in as_group(network.args.get("branches")).items()
    ]
    how, dropped = network.part("fusion"), network.number("modality_dropout")
    several = len(branches) > 1
    join = f", joined by {_JOINS.get(how.name, how.name)}" if how is not None and several else ""
    drop = (
        f"; inputs were dropped in training with probability {number(dropped)}" if dropped and several else ""
    )
    kind = "a fusion network" if several else "a classification head"
    return f"{kind} (FusionClassifier) over {joined(branches) or 'its inputs'}{join}{drop}"


def _branch(value: Any) -> str:
    part = as_part(value)
    if part is None:
        return "an encoder"
    if part.name == "TableEncoder":
        kinds = (
            *([counted(len(part.items("numeric")), "numerical column")] if part.items("numeric") else []),
            *(
                [counted(len(part.group("categorical")), "categorical column")]
                if part.group("categorical")
                else []
            ),
        )
        return f"a TableEncoder{f' of {joined(kinds)}' if kinds else ''}"
    if part.name == "TextEncoder":
        layers = part.number("trainable_layers")
        frozen = " (frozen)" if layers == 0 else f" (last {number(layers)} layers trained)" if layers else ""
        weights = part.text("weights")
        named = "all-MiniLM-L6-v2" if weights == "package" else PurePath(weights).name
        return f"the sentence encoder {named or part.name}{frozen}"
    return network_words(part)


_WORDS: Mapping[str, Callable[[Part], str]] = {
    "DynUNet": _dynunet,
    "EfficientNetTransUNet": _hybrid,
    "FeatureSequence": _features,
    "FusionClassifier": _fusion,
    "MaskedClassifier": _masked,
    "ResNet3D": _resnet_3d,
    "SMPSegmenter": _smp,
    "SliceSequence": _slices,
    "SliceWise": _slice_wise,
    "TimmClassifier": _timm,
    "TransUNet": _transunet,
    "TransUNetClassifier": _transunet,
}
