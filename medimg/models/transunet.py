"""TransUNet: a hybrid of ResNet and vision transformer as encoder, a U-shaped decoder, and a head.

Reference:
    Chen et al. 2021, "TransUNet: Transformers Make Strong Encoders for Medical Image Segmentation",
    arXiv:2102.04306.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timm.layers.std_conv import StdConv2dSame
from timm.models.resnetv2 import ResNetV2
from torch import Tensor, nn
from torch.nn import functional

from medimg.errors import ConfigError
from medimg.models.google_weights import load_google_weights
from medimg.models.map_transformer import MapTransformer
from medimg.models.weights import UnavailableWeightsError

STRIDE = 16
_GROUPS = 32  # of the backbone's group norms


class TransUNetEncoder(nn.Module):
    """Three stages of a ResNet whose last map goes through a vision transformer.

    Args:
        in_channels: Channels of the images.
        image_size: Height and width that the positions are made for.
        width: Length of a token, a multiple of 64.
        depth: Blocks of the transformer.
        backbone_layers: Blocks in each stage of the ResNet, at strides 4, 8 and 16.
        backbone_width: Channels of its stem, a multiple of 32; the stages have 4, 8 and 16 times as many.
        drop_rate: Dropout of the transformer while training.
        weights: File in the layout of Google's ``R50+ViT-B_16.npz``; ``random`` or ``None``.
        sha256: Digest that the file must have.

    Raises:
        ConfigError: If a size or a width does not fit, or the weights do not.
    """

    def __init__(
        self,
        in_channels: int = 3,
        image_size: int | tuple[int, int] = 224,
        *,
        width: int = 768,
        depth: int = 12,
        backbone_layers: tuple[int, int, int] = (3, 4, 9),
        backbone_width: int = 64,
        drop_rate: float = 0.1,
        weights: str | None = None,
        sha256: str | None = None,
    ) -> None:
        super().__init__()
        size = check_size(image_size, "image_size")
        if backbone_width < _GROUPS or backbone_width % _GROUPS:
            raise ConfigError(f"backbone_width: expected a multiple of {_GROUPS}, found {backbone_width}")
        self.in_channels, self.num_features = in_channels, width
        channels = [backbone_width * factor for factor in (4, 8, 16)]
        self.skip_channels = (channels[1], channels[0], backbone_width)
        self.backbone = ResNetV2(
            layers=list(backbone_layers),
            channels=tuple(channels),
            num_classes=0,
            in_chans=in_channels,
            global_pool="",
            stem_chs=backbone_width,
            stem_type="same",
            preact=False,
            conv_layer=partial(StdConv2dSame, eps=1e-8),
        )
        grid = (size[0] // STRIDE, size[1] // STRIDE)
        self.transformer = MapTransformer(channels[2], grid, width=width, depth=depth, drop_rate=drop_rate)
        self.unavailable: UnavailableWeightsError | None = None
        if weights not in (None, "random", "None"):
            try:
                load_google_weights(self, Path(weights), sha256)
            except UnavailableWeightsError as error:
                self.unavailable = error
        elif sha256 is not None:
            raise ConfigError("sha256 belongs to a file of weights: give weights: FILE, or remove sha256")
        self.register_load_state_dict_post_hook(_now_available)  # type: ignore[no-untyped-call]

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Encode images.

        Args:
            image: Images (B, C, H, W), sizes that are multiples of 16.

        Returns:
            Map (B, width, H/16, W/16), and the maps on the way to it at strides 8, 4 and 2.

        Raises:
            ConfigError: If the size or the channels are others than expected, or the weights are not there.
        """
        self.check_available()
        if image.shape[1] != self.in_channels:
            raise ConfigError(
                f"the network takes {self.in_channels} channels and the images have {image.shape[1]}: set in_channels "
                "of the network"
            )
        check_size((image.shape[2], image.shape[3]), "image")
        stem: Any = self.backbone.stem
        features = stem.norm(stem.conv(image))
        skips = [features]
        features = stem.pool(features)
        for stage in self.backbone.stages:
            features = stage(features)
            skips.append(features)
        return self.transformer(features), skips[-2::-1]

    def check_available(self) -> None:
        """Refuse to go on without the weights that the config names.

        Raises:
            UnavailableWeightsError: If this machine could not get hold of them and no checkpoint took their place.
        """
        if self.unavailable is not None:
            raise self.unavailable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """The layers from the image up, for rates that fall from layer to layer (timm's form)."""
        return {
            "stem": r"^backbone\.stem",
            "stages": r"^backbone\.stages\.(\d+)" if coarse else r"^backbone\.stages\.(\d+)\.blocks\.(\d+)",
            "tokens": r"^transformer\.(?:projection|positions)",
            "blocks": r"^transformer\.blocks\.(\d+)",
            "norm": r"^transformer\.norm",
        }

    def no_weight_decay(self) -> set[str]:
        """Names that no weight decay pulls to zero (timm's form)."""
        return {"transformer.positions"}


class TransUNet(nn.Module):
    """Segmentation of images, at any size that is a multiple of 16.

    The defaults are the paper's R50-ViT-B/16. A small one for processors: ``width=192, depth=4,
    backbone_layers=[1, 1, 1], backbone_width=32, decoder_channels=[128, 64, 48, 32, 16]``.

    Args:
        in_channels: Channels of the images.
        num_classes: Output channels K; under a softmax head the background is one of them.
        image_size: Height and width that the transformer's positions are made for.
        width: Length of a token, a multiple of 64.
        depth: Blocks of the transformer.
        backbone_layers: Blocks in each stage of the ResNet.
        backbone_width: Channels of its stem, a multiple of 32.
        decoder_channels: Channels after the first convolution and after each of the four doublings.
        drop_rate: Dropout of the transformer while training, in [0, 1).
        weights: File in the layout of Google's ``R50+ViT-B_16.npz`` for the encoder; ``random`` or ``None``.
        sha256: Digest that the file must have.

    Raises:
        ConfigError: If a size or a width does not fit, or the weights do not.

    Reference:
        Chen et al. 2021, arXiv:2102.04306.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 9,
        image_size: int | tuple[int, int] = 224,
        *,
        width: int = 768,
        depth: int = 12,
        backbone_layers: tuple[int, int, int] = (3, 4, 9),
        backbone_width: int = 64,
        decoder_channels: tuple[int, int, int, int, int] = (512, 256, 128, 64, 16),
        drop_rate: float = 0.1,
        weights: str | None = None,
        sha256: str | None = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.num_classes = in_channels, num_classes
        self.encoder = TransUNetEncoder(
            in_channels,
            image_size,
            width=width,
            depth=depth,
            backbone_layers=backbone_layers,
            backbone_width=backbone_width,
            drop_rate=drop_rate,
            weights=weights,
            sha256=sha256,
        )
        self.decoder = TransUNetDecoder(width, self.encoder.skip_channels, decoder_channels)
        self.head = nn.Conv2d(decoder_channels[-1], num_classes, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K, H, W) of images (B, C, H, W)."""
        logits: Tensor = self.head(self.decoder(*self.encoder(image)))
        return logits

    def check_available(self) -> None:
        """Refuse to go on without the weights that the config names; see :class:`TransUNetEncoder`."""
        self.encoder.check_available()


class TransUNetDecoder(nn.Module):
    """Double the map four times, each time joined with the encoder's map of that size where there is one.

    Args:
        in_channels: Channels of the coarsest map.
        skip_channels: Channels of the encoder's maps, coarsest first.
        channels: Channels after the first convolution and after each doubling.
    """

    def __init__(self, in_channels: int, skip_channels: Sequence[int], channels: Sequence[int]) -> None:
        super().__init__()
        self.first = _conv_norm_act(in_channels, channels[0])
        joined = [*skip_channels, *[0] * (len(channels) - 1 - len(skip_channels))]
        self.steps = nn.ModuleList(
            nn.Sequential(_conv_norm_act(below + skip, above), _conv_norm_act(above, above))
            for below, skip, above in zip(channels[:-1], joined, channels[1:], strict=True)
        )

    def forward(self, features: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """Map (B, C, H, W) of the coarsest map (B, width, H/16, W/16) and the maps to be joined."""
        features = self.first(features)
        for number, step in enumerate(self.steps):
            features = functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=True)
            if number < len(skips):
                features = torch.cat([features, skips[number]], 1)
            features = step(features)
        return features


class TransUNetClassifier(nn.Module):
    """Classification of images by TransUNet's encoder, whose tokens are averaged.

    Args:
        num_classes: Outputs; one for a binary task.
        in_channels: Channels of the images.
        image_size: Height and width that the positions are made for.
        width: Length F of a token, a multiple of 64.
        depth: Blocks of the transformer.
        backbone_layers: Blocks in each stage of the ResNet.
        backbone_width: Channels of its stem, a multiple of 32.
        drop_rate: Dropout of the transformer and before the head while training, in [0, 1).
        weights: File in the layout of Google's ``R50+ViT-B_16.npz``; ``random`` or ``None``.
        sha256: Digest that the file must have.

    Raises:
        ConfigError: If a size or a width does not fit, or the weights do not.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        in_channels: int = 3,
        image_size: int | tuple[int, int] = 224,
        width: int = 768,
        depth: int = 12,
        backbone_layers: tuple[int, int, int] = (3, 4, 9),
        backbone_width: int = 64,
        drop_rate: float = 0.1,
        weights: str | None = None,
        sha256: str | None = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.num_classes, self.num_features = in_channels, num_classes, width
        self.body = TransUNetEncoder(
            in_channels,
            image_size,
            width=width,
            depth=depth,
            backbone_layers=backbone_layers,
            backbone_width=backbone_width,
            drop_rate=drop_rate,
            weights=weights,
            sha256=sha256,
        )
        self.drop = nn.Dropout(drop_rate)
        self.head_module = nn.Linear(width, num_classes)

    def features(self, image: Tensor) -> Tensor:
        """Feature vectors (B, F) of images (B, C, H, W), before the head."""
        maps: Tensor = self.body(image)[0]
        return maps.mean((2, 3))

    def head(self, features: Tensor) -> Tensor:
        """Logits (B, K) of feature vectors (B, F)."""
        logits: Tensor = self.head_module(self.drop(features))
        return logits

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W)."""
        return self.head(self.features(image))

    def check_available(self) -> None:
        """Refuse to go on without the weights that the config names; see :class:`TransUNetEncoder`."""
        self.body.check_available()


def check_size(size: int | Sequence[int], what: str) -> tuple[int, int]:
    """Height and width, if both are multiples of 16.

    Args:
        size: One number for both, or two.
        what: How the message calls it.

    Raises:
        ConfigError: If they are not; it names the nearest size.

    Example:
        >>> check_size(224, "image_size"), check_size([64, 48], "image_size")
        ((224, 224), (64, 48))
    """
    sizes = (size, size) if isinstance(size, int) else tuple(size)
    if len(sizes) != 2 or any(length < STRIDE or length % STRIDE for length in sizes):
        near = [max(STRIDE, (length + STRIDE // 2) // STRIDE * STRIDE) for length in sizes]
        raise ConfigError(
            f"{what}: TransUNet takes heights and widths that are multiples of {STRIDE}, found {list(sizes)}: "
            f"the nearest is {near[:2]}"
        )
    return sizes[0], sizes[1]


def _conv_norm_act(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _now_available(module: nn.Module, _: Any) -> None:
    """A checkpoint was loaded in place of weights that were not there."""
    module.unavailable = None  # type: ignore[assignment]
