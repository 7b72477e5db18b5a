"""EfficientNet and a transformer over its map, joined for classification."""

from typing import Any

import torch
from torch import Tensor, nn

from medimg.errors import ConfigError
from medimg.models.map_transformer import MapTransformer
from medimg.models.timm_classifier import TimmClassifier

_STRIDE = 16


class EfficientNetTransUNet(nn.Module):
    """Joins what an EfficientNet pools from its last map with what a transformer makes of the map at stride 16.

    As in TransUNet's encoder, the transformer sees the places of a CNN's map and relates them over the whole image;
    the CNN's own features stay beside it, so the pretrained part counts from the first step.

    Args:
        architecture: Name in timm: ``tf_efficientnet_b0`` to ``b7``, ``tf_efficientnet_lite0``, or another CNN with a
            map at stride 16.
        num_classes: Outputs; one for a binary task.
        in_channels: Channels of the images; weights for three are adapted.
        image_size: Height and width that the positions are made for; for others they are interpolated.
        weights: Of the CNN, as in :class:`TimmClassifier`: ``imagenet``, ``package``, a file, ``random`` or ``None``.
        sha256: Digest that a file of weights must have.
        width: Length of a token, a multiple of 64.
        depth: Blocks of the transformer.
        drop_rate: Share of values dropped in the transformer and before the head while training, in [0, 1).
        drop_path_rate: Share of the CNN's residual branches dropped while training, in [0, 1).

    Raises:
        ConfigError: If timm does not know the architecture, it has no such map, or the weights do not fit it.

    Reference:
        Tan and Le 2019, "EfficientNet", arXiv:1905.11946; Chen et al. 2021, "TransUNet", arXiv:2102.04306.
    """

    def __init__(
        self,
        architecture: str,
        num_classes: int,
        *,
        in_channels: int = 3,
        image_size: int | tuple[int, int] = 224,
        weights: str | None = None,
        sha256: str | None = None,
        width: int = 384,
        depth: int = 4,
        drop_rate: float = 0.1,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_channels, self.num_classes = in_channels, num_classes
        self.cnn = TimmClassifier(
            architecture,
            1,
            in_channels=in_channels,
            weights=weights,
            sha256=sha256,
            drop_path_rate=drop_path_rate,
        )
        self._level, channels = _map_at_stride(self.cnn.body, architecture)
        self.num_features = self.cnn.num_features + width
        self.body.reset_classifier(0)  # type: ignore[operator]
        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        grid = (-(-size[0] // _STRIDE), -(-size[1] // _STRIDE))
        self.transformer = MapTransformer(channels, grid, width=width, depth=depth, drop_rate=drop_rate)
        self.drop = nn.Dropout(drop_rate)
        self.head_module = nn.Linear(self.num_features, num_classes)

    @property
    def body(self) -> nn.Module:
        """The pretrained part, which a task may teach more slowly than the rest."""
        return self.cnn.body

    def features(self, image: Tensor) -> Tensor:
        """Feature vectors (B, F) of images (B, C, H, W): the CNN's, and behind them the transformer's.

        Raises:
            ConfigError: If the weights that the config names are not there, or the images have other channels.
        """
        self.check_available()
        if image.shape[1] != self.in_channels:
            raise ConfigError(
                f"the network takes {self.in_channels} channels and the images have {image.shape[1]}: set in_channels "
                "of the network or data.init_args.image.channels"
            )
        last, (inner,) = self.body.forward_intermediates(image, indices=[self._level])  # type: ignore[operator]
        pooled = self.body.forward_head(last, pre_logits=True)  # type: ignore[operator]
        context = self.transformer(inner).mean((2, 3))
        return torch.cat([pooled, context], 1)

    def head(self, features: Tensor) -> Tensor:
        """Logits (B, K) of feature vectors (B, F)."""
        logits: Tensor = self.head_module(self.drop(features))
        return logits

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W)."""
        return self.head(self.features(image))

    def check_available(self) -> None:
        """Refuse to go on without the weights that the config names; see :class:`TimmClassifier`."""
        self.cnn.check_available()


def _map_at_stride(body: Any, architecture: str) -> tuple[int, int]:
    """Number and channels of the last map at stride 16."""
    maps = list(getattr(body, "feature_info", ()))
    levels = [number for number, facts in enumerate(maps) if facts["reduction"] == _STRIDE]
    if not levels or not hasattr(body, "forward_intermediates") or len(maps) < 2:
        raise ConfigError(
            f"architecture: {architecture} has no map at stride {_STRIDE} on its way; name an EfficientNet, such as "
            "tf_efficientnet_b0"
        )
    return levels[-1], int(maps[levels[-1]]["num_chs"])
