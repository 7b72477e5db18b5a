"""3D ResNets for volumes: MONAI's blocks, a head apart from the features, and weights of MedicalNet."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from monai.networks.nets.resnet import ResNet, ResNetBlock, ResNetBottleneck
from torch import Tensor, nn
from torch.nn import functional

from medimg.errors import ConfigError
from medimg.models.encoder_file import encoder_facts
from medimg.models.weights import UnavailableWeightsError, fit_weights, read_weights

_LAYERS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
_PLANES = (64, 128, 256, 512)
_STEM_SIZE = 7


class ResNet3D(nn.Module):
    """A ResNet of 10 to 50 layers with 3D convolutions, for volumes of any size.

    Weights that are not on this machine are an error when the network is first used, and not when it is built: a
    checkpoint that is loaded in between stands in for them.

    Args:
        depth: Layers: 10, 18, 34 or 50.
        in_channels: Channels of the volumes; weights for another number are averaged over theirs and shared out.
        num_classes: Outputs; one for a binary task.
        weights: ``.pth`` or ``.safetensors`` file, such as MedicalNet's ``resnet_10.pth`` or the encoder of a
            self-supervised run; ``random`` or ``None``.
        sha256: Digest that a file of weights must have.
        shortcut: How a block's input meets more channels: ``conv`` by a convolution, ``pad`` by zeros, as
            MedicalNet's 18 and 34 layers do.
        stem_stride: Stride of the first convolution; 1 for cubes of 32 voxels and less. MedicalNet has 2.
        widen: Factor of all widths, below 1 for a smaller network.
        drop_rate: Share of features dropped before the head while training, in [0, 1).

    Attributes:
        pretraining: What the self-supervised run that wrote the weights says of them; empty for other weights.

    Raises:
        ConfigError: If there is no such depth, or the weights do not fit.

    Reference:
        He et al. 2016, arXiv:1512.03385; Hara et al. 2018, "Can spatiotemporal 3D CNNs retrace the history of 2D CNNs
        and ImageNet?", arXiv:1711.09577; Chen et al. 2019, "Med3D" (MedicalNet), arXiv:1904.00625.
    """

    def __init__(
        self,
        depth: int = 18,
        in_channels: int = 1,
        num_classes: int = 1,
        *,
        weights: str | None = None,
        sha256: str | None = None,
        shortcut: Literal["conv", "pad"] = "conv",
        stem_stride: int = 2,
        widen: float = 1.0,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        if depth not in _LAYERS:
            raise ConfigError(f"depth: ResNet3D has {', '.join(map(str, _LAYERS))} layers, found {depth}")
        if sha256 is not None and weights in (None, "random"):
            raise ConfigError("sha256 belongs to a file of weights: give weights: FILE, or remove sha256")
        self.depth, self.in_channels, self.num_classes = depth, in_channels, num_classes
        block = ResNetBottleneck if depth == 50 else ResNetBlock
        self.body: nn.Module = ResNet(
            block,
            list(_LAYERS[depth]),
            list(_PLANES),
            n_input_channels=in_channels,
            conv1_t_size=_STEM_SIZE,
            conv1_t_stride=stem_stride,
            shortcut_type="B" if shortcut == "conv" else "A",
            widen_factor=widen,
            feed_forward=False,
            bias_downsample=False,
        )
        _let_gradients_pass(self.body)
        self.num_features = int(_PLANES[-1] * widen) * block.expansion
        self.drop = nn.Dropout(drop_rate)
        self.head_module = nn.Linear(self.num_features, num_classes)
        self.unavailable: UnavailableWeightsError | None = None
        self.pretraining: dict[str, Any] = {}
        # jsonargparse makes "None" of a null on the command line.
        if weights not in (None, "random", "None"):
            try:
                self._load(str(weights), sha256, shortcut)
            except UnavailableWeightsError as error:
                self.unavailable = error
        self.register_load_state_dict_post_hook(_now_available)  # type: ignore[no-untyped-call]

    def _load(self, weights: str, sha256: str | None, shortcut: str) -> None:
        tensors = _without_head(read_weights(Path(weights), sha256))
        self.pretraining = encoder_facts(Path(weights))
        has_convolutions = any(".downsample." in name for name in tensors)
        if has_convolutions != (shortcut == "conv") and self.depth != 50:
            raise ConfigError(
                f"weights: {weights} has shortcuts {'by convolution' if has_convolutions else 'without parameters'}: "
                f"set shortcut: {'conv' if has_convolutions else 'pad'}"
            )
        # What timm's networks say of themselves: the layers that depend on channels and classes.
        self.body.pretrained_cfg = {"first_conv": None, "classifier": None}  # type: ignore[assignment]
        fit_weights(self.body, _with_channels(tensors, self.in_channels), weights)

    def features(self, image: Tensor) -> Tensor:
        """Feature vectors (B, F) of volumes (B, C, D, H, W), before the head.

        Raises:
            ConfigError: If the weights that the config names are not there, the images are no volumes, or they have
                other channels.
        """
        self.check_available()
        if image.ndim != 5:
            raise ConfigError(f"ResNet3D takes volumes (B, C, D, H, W), found {tuple(image.shape)}")
        if image.shape[1] != self.in_channels:
            raise ConfigError(
                f"the network takes {self.in_channels} channels and the volumes have {image.shape[1]}: set in_channels "
                "of the network to the number of channels of the data"
            )
        features: Tensor = self.body(image)
        return features

    def head(self, features: Tensor) -> Tensor:
        """Logits (B, K) of feature vectors (B, F)."""
        logits: Tensor = self.head_module(self.drop(features))
        return logits

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K) of volumes (B, C, D, H, W)."""
        return self.head(self.features(image))

    def check_available(self) -> None:
        """Refuse to go on without the weights that the config names.

        Raises:
            UnavailableWeightsError: If the file is not there and no checkpoint took its place.
        """
        if self.unavailable is not None:
            raise self.unavailable


class PaddedShortcut(nn.Module):
    """Every second voxel of a block's input, with zeros for the channels that it lacks.

    Args:
        channels: Channels of the block's output.
        stride: Stride of the block.

    Example:
        >>> import torch
        >>> PaddedShortcut(3, 2)(torch.ones(1, 2, 4, 4, 4)).sum(dim=(2, 3, 4)).tolist()
        [[8.0, 8.0, 0.0]]
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, image: Tensor) -> Tensor:
        """(B, channels, D', H', W') of (B, C, D, H, W)."""
        step = self.stride
        thinned = image[:, :, ::step, ::step, ::step]
        return functional.pad(thinned, (0, 0, 0, 0, 0, 0, 0, self.channels - image.shape[1]))


def _let_gradients_pass(body: nn.Module) -> None:
    """MONAI's padded shortcut, like MedicalNet's, cuts the gradient; its values are the same without the cut."""
    for stage in (body.layer1, body.layer2, body.layer3, body.layer4):
        block: Any = stage[0]  # type: ignore[index]
        if block.downsample is not None and not isinstance(block.downsample, nn.Module):
            options = block.downsample.keywords
            block.downsample = PaddedShortcut(options["planes"], options["stride"])


def _without_head(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without layers for other classes, and with the names that the body has for itself."""
    kept = {
        name: value for name, value in tensors.items() if not {"fc", "head_module"} & set(name.split("."))
    }
    return {name.removeprefix("body."): value for name, value in kept.items()}


def _with_channels(tensors: Mapping[str, Tensor], channels: int) -> dict[str, Tensor]:
    """The first convolution for another number of channels: one that sees the same picture in all of them."""
    fitted = dict(tensors)
    for name, value in tensors.items():
        if value.shape[2:] == (_STEM_SIZE,) * 3 and value.shape[1] != channels:
            fitted[name] = value.sum(1, keepdim=True).expand(-1, channels, -1, -1, -1) / channels
    return fitted


def _now_available(module: nn.Module, _: Any) -> None:
    """A checkpoint was loaded in place of weights that were not there."""
    module.unavailable = None  # type: ignore[assignment]
