"""Networks of timm for medical images: any size, any number of channels, a head for our classes."""

import logging
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
from torch import Tensor, nn

from medimg.errors import ConfigError
from medimg.models.encoder_file import encoder_facts
from medimg.models.weights import (
    THREE_WAYS,
    UnavailableWeightsError,
    check_imagenet,
    fit_weights,
    package_weights,
    read_weights,
)

logger = logging.getLogger(__name__)

# Families that are made for one size and take others only when they are told to.
_ANY_SIZE: dict[str, dict[str, Any]] = {
    "timm.models.vision_transformer": {"dynamic_img_size": True, "dynamic_img_pad": True},
    "timm.models.deit": {"dynamic_img_size": True, "dynamic_img_pad": True},
    "timm.models.swin_transformer": {"strict_img_size": False},
    "timm.models.swin_transformer_v2": {"strict_img_size": False},
}


class TimmClassifier(nn.Module):
    """A network of timm with a new head, started from ImageNet or from a file.

    Weights that this machine cannot get hold of are an error when the network is first used, and not when it
    is built: a checkpoint that is loaded in between stands in for them.

    Args:
        architecture: Name in timm, such as ``resnet50``, ``densenet121``, ``tf_efficientnet_b3``,
            ``convnext_tiny`` or ``vit_small_patch16_224``.
        num_classes: Outputs; one for a binary task, 0 for an encoder without a head.
        in_channels: Channels of the images; weights for three are adapted.
        weights: ``imagenet`` for timm's own, fetched once; ``package`` for those in the extra ``imagenet``
            (``tf_efficientnet_lite0`` to ``2``); a ``.pth`` or ``.safetensors`` file, such as the
            ``encoder.safetensors`` of a self-supervised run; ``random`` or ``None``.
        sha256: Digest that a file of weights must have.
        drop_rate: Share of features dropped before the head while training, in [0, 1).
        drop_path_rate: Share of residual branches dropped while training (stochastic depth), in [0, 1).
        frozen_backbone: Train the head alone; the backbone's batch norm keeps its statistics.

    Attributes:
        pretraining: What the self-supervised run that wrote the weights says of them; empty for other weights.

    Raises:
        ConfigError: If timm does not know the architecture, or the weights do not fit it.
    """

    def __init__(
        self,
        architecture: str,
        num_classes: int,
        *,
        in_channels: int = 3,
        weights: str | None = None,
        sha256: str | None = None,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        frozen_backbone: bool = False,
    ) -> None:
        super().__init__()
        if sha256 is not None and weights in (None, "random", "imagenet", "package"):
            raise ConfigError("sha256 belongs to a file of weights: give weights: FILE, or remove sha256")
        self.architecture, self.in_channels, self.num_classes = architecture, in_channels, num_classes
        self.unavailable: UnavailableWeightsError | None = None
        self.pretraining: dict[str, Any] = {}
        self.body: nn.Module = self._built(drop_rate, drop_path_rate, pretrained=False)
        self.frozen_backbone = frozen_backbone
        try:
            self._initialise(weights, sha256, drop_rate, drop_path_rate)
        except UnavailableWeightsError as error:
            self.unavailable = error
        if frozen_backbone:
            self._freeze()
            self.train()  # Lightning starts a fit in the modes that it finds
        self.register_load_state_dict_post_hook(_now_available)  # type: ignore[no-untyped-call]

    def _built(self, drop_rate: float, drop_path_rate: float, *, pretrained: bool) -> nn.Module:
        if not timm.is_model(self.architecture.split(".")[0]):
            near = get_close_matches(self.architecture, timm.list_models(), n=3)
            raise ConfigError(
                f"architecture: timm has no {self.architecture!r}; the nearest are {', '.join(near) or 'none'}"
            )
        family = timm.model_entrypoint(self.architecture.split(".")[0]).__module__
        options = dict(_ANY_SIZE.get(family, {}))
        if drop_path_rate:
            options["drop_path_rate"] = drop_path_rate
        try:
            network: nn.Module = timm.create_model(
                self.architecture,
                pretrained=pretrained,
                num_classes=self.num_classes,
                in_chans=self.in_channels,
                drop_rate=drop_rate,
                **options,
            )
        except TypeError as error:
            raise ConfigError(f"architecture {self.architecture}: {error}") from error
        return network

    def _initialise(
        self, weights: str | None, sha256: str | None, drop_rate: float, drop_path_rate: float
    ) -> None:
        match weights:
            case None | "random" | "None":  # jsonargparse makes the last of a null on the command line
                return
            case "imagenet":
                check_imagenet(self.architecture)
                try:
                    self.body = self._built(drop_rate, drop_path_rate, pretrained=True)
                except (OSError, RuntimeError) as error:
                    raise UnavailableWeightsError(
                        f"weights: {self.architecture} cannot be fetched: {str(error)[:160]}. {THREE_WAYS}"
                    ) from error
            case "package":
                tensors, path = package_weights(self.architecture, self.body)
                fit_weights(self.body, tensors, str(path))
            case _:
                tensors = read_weights(Path(weights), sha256)
                self.pretraining = encoder_facts(Path(weights))
                fit_weights(self.body, tensors, weights)
        logger.debug("%s starts from %s", self.architecture, weights)

    def _freeze(self) -> None:
        for parameter in self.body.parameters():
            parameter.requires_grad = False
        for parameter in self.head_module.parameters():
            parameter.requires_grad = True

    @property
    def head_module(self) -> nn.Module:
        """The last linear layer."""
        head: nn.Module = self.body.get_classifier()  # type: ignore[operator]
        return head

    @property
    def num_features(self) -> int:
        """Length F of an image's feature vector."""
        return int(getattr(self.body, "head_hidden_size", None) or self.body.num_features)  # type: ignore[arg-type]

    def features(self, image: Tensor) -> Tensor:
        """Feature vectors (B, F) of images (B, C, H, W), before the head.

        Raises:
            ConfigError: If the weights that the config names are not there, or the images have other channels.
        """
        self.check_available()
        if image.shape[1] != self.in_channels:
            raise ConfigError(
                f"the network takes {self.in_channels} channels and the images have {image.shape[1]}: set in_channels "
                "of the network or data.init_args.image.channels"
            )
        maps = self.body.forward_features(image)  # type: ignore[operator]
        features: Tensor = self.body.forward_head(maps, pre_logits=True)  # type: ignore[operator]
        return features

    def head(self, features: Tensor) -> Tensor:
        """Logits (B, K) of feature vectors (B, F)."""
        logits: Tensor = self.head_module(features)
        return logits

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W)."""
        return self.head(self.features(image))

    def check_available(self) -> None:
        """Refuse to go on without the weights that the config names.

        Raises:
            UnavailableWeightsError: If this machine could not get hold of them and no checkpoint took their place.
        """
        if self.unavailable is not None:
            raise self.unavailable

    def train(self, mode: bool = True) -> "TimmClassifier":
        """Training mode; a frozen backbone stays in evaluation mode, so that its statistics do not drift."""
        super().train(mode)
        if mode and self.frozen_backbone:
            self.body.eval()
            self.head_module.train()
        return self


def _now_available(module: nn.Module, _: Any) -> None:
    """A checkpoint was loaded in place of weights that were not there."""
    module.unavailable = None  # type: ignore[assignment]
