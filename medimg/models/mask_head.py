"""A classifier that is also taught where to look: a light decoder on its encoder's maps."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medimg.errors import ConfigError
from medimg.models.timm_classifier import TimmClassifier

_STRIDES = (4, 8, 16, 32)


class MaskedClassifier(nn.Module):
    """Adds masks to what a classifier is taught; what it answers stays the classifier's own.

    The maps at strides 4 to 32 are brought to one width, enlarged to stride 4, added up and turned into mask logits.
    Only a task with ``training.mask_weight`` runs this decoder; at test and in an exported network nothing does.

    Args:
        classifier: The network whose encoder is taught; a CNN or a hierarchical transformer of timm.
        mask_classes: Classes of the masks, the background left out.
        width: Channels of the decoder, a multiple of 8.

    Raises:
        ConfigError: If the network hands out no maps of falling size, or the width does not fit.

    Reference:
        The decoder is the semantic branch of Kirillov et al. 2019, "Panoptic Feature Pyramid Networks",
        arXiv:1901.02446, with one convolution for all levels.
    """

    def __init__(self, classifier: TimmClassifier, mask_classes: int = 1, width: int = 64) -> None:
        super().__init__()
        if width < 8 or width % 8:
            raise ConfigError(f"width: expected a multiple of 8, found {width}")
        if mask_classes < 1:
            raise ConfigError(f"mask_classes: expected 1 or more, found {mask_classes}")
        self.classifier, self.mask_classes = classifier, mask_classes
        self._levels, channels = _pyramid(classifier.body, classifier.architecture)
        self.lateral = nn.ModuleList(nn.Conv2d(number, width, 1) for number in channels)
        self.decoder = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(8, width), nn.ReLU(inplace=True)
        )
        self.mask_head = nn.Conv2d(width, mask_classes + 1, 1)

    # ---- what a classifier offers -------------------------------------------------------------

    @property
    def body(self) -> nn.Module:
        """The pretrained part, which a task may teach more slowly than the rest."""
        return self.classifier.body

    @property
    def head_module(self) -> nn.Module:
        """The classifier's last linear layer."""
        return self.classifier.head_module

    @property
    def num_features(self) -> int:
        """Length F of an image's feature vector."""
        return self.classifier.num_features

    @property
    def in_channels(self) -> int:
        """Channels of the images."""
        return self.classifier.in_channels

    def features(self, image: Tensor) -> Tensor:
        """Feature vectors (B, F) of images (B, C, H, W), before the head."""
        return self.classifier.features(image)

    def head(self, features: Tensor) -> Tensor:
        """Logits (B, K) of feature vectors (B, F)."""
        return self.classifier.head(features)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W), as the classifier gives them."""
        logits: Tensor = self.classifier(image)
        return logits

    def check_available(self) -> None:
        """Refuse to go on without the weights that the config names; see :class:`TimmClassifier`."""
        self.classifier.check_available()

    # ---- masks, while it is taught --------------------------------------------------------------

    def features_and_masks(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Feature vectors (B, F) and mask logits (B, 1 + mask_classes, H, W), background first, in one pass.

        Raises:
            ConfigError: If the weights that the config names are not there, or the images have other channels.
        """
        self.check_available()
        if image.shape[1] != self.in_channels:
            raise ConfigError(
                f"the network takes {self.in_channels} channels and the images have {image.shape[1]}: set in_channels "
                "of the network or data.init_args.image.channels"
            )
        body: Any = self.body
        # (B, C, h, w) whatever the layout inside: swin keeps channels last.
        last, maps = body.forward_intermediates(image, indices=self._levels, output_fmt="NCHW")
        features: Tensor = body.forward_head(last, pre_logits=True)
        return features, self._masks(maps, image.shape[2:])

    def _masks(self, maps: list[Tensor], size: torch.Size) -> Tensor:
        finest = maps[0].shape[2:]
        joined = self.lateral[0](maps[0])
        for convolve, level in zip(self.lateral[1:], maps[1:], strict=True):
            joined = joined + functional.interpolate(convolve(level), finest, mode="bilinear")
        logits = self.mask_head(self.decoder(joined))
        return functional.interpolate(logits, size, mode="bilinear")


def _pyramid(body: Any, architecture: str) -> tuple[list[int], list[int]]:
    """Numbers and channels of the last map at each stride from 4 to 32 that the network has."""
    maps = list(getattr(body, "feature_info", ()))
    last = {facts["reduction"]: number for number, facts in enumerate(maps)}
    levels = [last[stride] for stride in _STRIDES if stride in last]
    if len(levels) < 2 or not hasattr(body, "forward_intermediates"):
        raise ConfigError(
            f"architecture: {architecture} hands out no maps of falling size, which a mask decoder needs; name a CNN "
            "or a hierarchical transformer, such as tf_efficientnet_lite0, resnet50, convnext_tiny or "
            "swin_tiny_patch4_window7_224"
        )
    return levels, [int(maps[number]["num_chs"]) for number in levels]
