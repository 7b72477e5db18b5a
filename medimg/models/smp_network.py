"""2D segmentation networks of segmentation_models.pytorch over any encoder of timm."""

import inspect
import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, Literal

import timm
from torch import Tensor, nn

from medimg.errors import ConfigError
from medimg.models.timm_classifier import TimmClassifier
from medimg.models.weights import UnavailableWeightsError

Architecture = Literal[
    "Unet", "UnetPlusPlus", "FPN", "DeepLabV3", "DeepLabV3Plus", "Linknet", "MAnet", "PAN", "PSPNet", "UPerNet",
    "Segformer",
]  # fmt: skip
_FLAT_STAGE = re.compile(
    r"^([a-z]+)_(\d+)\."
)  # `stages_0.` in a network of maps, `stages.0.` in the whole one


class SMPSegmenter(nn.Module):
    """A decoder of segmentation_models.pytorch on the maps of a network of timm.

    Nothing is fetched but what ``weights: imagenet`` asks timm for. Weights that this machine cannot get hold of are
    an error when the network is first used; a checkpoint that is loaded in between stands in for them.

    Args:
        architecture: The decoder: ``Unet``, ``UnetPlusPlus``, ``FPN``, ``DeepLabV3Plus`` or another of the library.
        encoder: Name in timm, with or without the library's ``tu-``: ``resnet34``, ``tf_efficientnet_lite0``,
            ``convnext_tiny``.
        num_classes: Channels of the logits: one more than the classes under ``softmax``.
        in_channels: Channels of the images; weights for three are adapted.
        weights: Of the encoder, as in :class:`TimmClassifier`: ``imagenet``, ``package``, a file, ``random`` or
            ``None``.
        sha256: Digest that a file of weights must have.
        depth: Maps that the decoder takes, each half as large as the one before; ``None`` is the library's choice, 5
            but for PSPNet.
        decoder_channels: Channels in the decoder, one number a level for ``Unet``, ``UnetPlusPlus`` and ``MAnet``, and
            one for the others that have any; ``None`` is the library's choice.

    Raises:
        ConfigError: If the library is not installed, timm does not know the encoder, or they do not go together.
    """

    def __init__(
        self,
        architecture: Architecture = "Unet",
        encoder: str = "resnet34",
        num_classes: int = 2,
        *,
        in_channels: int = 3,
        weights: str | None = None,
        sha256: str | None = None,
        depth: int | None = None,
        decoder_channels: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.architecture, self.encoder_name = architecture, encoder.removeprefix("tu-")
        self.in_channels, self.num_classes = in_channels, num_classes
        self.unavailable: UnavailableWeightsError | None = None
        self.pretraining: dict[str, Any] = {}
        built: Any = self._built(depth, decoder_channels)
        self.body: nn.Module = built
        # What has to divide height and width; a U-Net's decoder crops what it enlarged.
        divides = built.requires_divisible_input_shape
        self.stride = int(built.encoder.output_stride) if divides else 1
        self._initialise(weights, sha256)
        self.register_load_state_dict_post_hook(_now_available)  # type: ignore[no-untyped-call]

    def _built(self, depth: int | None, decoder_channels: int | Sequence[int] | None) -> nn.Module:
        if not timm.is_model(self.encoder_name.split(".")[0]):
            near = get_close_matches(self.encoder_name, timm.list_models(), n=3)
            raise ConfigError(
                f"encoder: timm has no {self.encoder_name!r}; the nearest are {', '.join(near) or 'none'}"
            )
        make = _architecture(self.architecture)
        options: dict[str, Any] = {} if depth is None else {"encoder_depth": depth}
        if decoder_channels is not None:
            if "decoder_channels" not in inspect.signature(make.__init__).parameters:
                raise ConfigError(f"decoder_channels: {self.architecture} has none; leave it out")
            options["decoder_channels"] = decoder_channels
        if self.encoder_name.startswith("swin"):
            options["strict_img_size"] = False  # made for one size unless it is told
        try:
            network: nn.Module = make(
                encoder_name=f"tu-{self.encoder_name}",
                encoder_weights=None,
                in_channels=self.in_channels,
                classes=self.num_classes,
                **options,
            )
        except Exception as error:  # each encoder raises what it likes
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ConfigError(
                f"architecture: {self.architecture} cannot be built on {self.encoder_name} with these settings: "
                f"{reason}"
            ) from error
        return network

    def _initialise(self, weights: str | None, sha256: str | None) -> None:
        """Take the encoder's tensors out of a classifier that knows every way to weights."""
        if weights in (None, "random", "None"):
            if sha256 is not None:
                raise ConfigError("sha256 belongs to a file of weights: give weights: FILE, or remove sha256")
            return
        source = TimmClassifier(
            self.encoder_name, 1, in_channels=self.in_channels, weights=weights, sha256=sha256
        )
        self.unavailable, self.pretraining = source.unavailable, source.pretraining
        body: Any = self.body
        given, target = source.body.state_dict(), body.encoder.model
        names = {
            name: name if name in given else _FLAT_STAGE.sub(r"\1.\2.", name) for name in target.state_dict()
        }
        target.load_state_dict({name: given[other] for name, other in names.items()})

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K, H, W) of images (B, C, H, W).

        Raises:
            ConfigError: If the weights that the config names are not there, or the images have other channels or a
                size that does not divide.
        """
        self.check_available()
        if image.shape[1] != self.in_channels:
            raise ConfigError(
                f"the network takes {self.in_channels} channels and the images have {image.shape[1]}: set in_channels "
                "of the network or data.init_args.image.channels"
            )
        self._check_size(list(image.shape[2:]))
        logits: Tensor = self.body(image)
        return logits

    def _check_size(self, size: list[int]) -> None:
        if any(length % self.stride for length in size):
            near = [max(1, (length + self.stride // 2) // self.stride) * self.stride for length in size]
            raise ConfigError(
                f"image: {self.architecture} on {self.encoder_name} takes heights and widths that are multiples of "
                f"{self.stride}, found {size}: the nearest is {near}, to be set as data.init_args.image.size"
            )

    def check_available(self) -> None:
        """Refuse to go on without the weights that the config names.

        Raises:
            UnavailableWeightsError: If this machine could not get hold of them and no checkpoint took their place.
        """
        if self.unavailable is not None:
            raise self.unavailable


def _architecture(name: str) -> Any:
    try:
        import segmentation_models_pytorch as library
    except ImportError as error:
        raise ConfigError(
            "SMPSegmenter needs segmentation_models_pytorch: pip install 'medimg[smp]'"
        ) from error
    return getattr(library, name)


def _now_available(module: nn.Module, _: Any) -> None:
    """A checkpoint was loaded in place of weights that were not there."""
    module.unavailable = None  # type: ignore[assignment]
