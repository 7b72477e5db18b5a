"""Weights of Google's hybrid vision transformers, in the layout of ``R50+ViT-B_16.npz``.

Convolutions are stored as (h, w, in, out) and are not standardised: the layers do that when they are applied.
Attention stores queries, keys and values apart, one matrix a head.
"""

import hashlib
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models._manipulate import adapt_input_conv
from torch import Tensor, nn

from medimg.errors import ConfigError
from medimg.models.weights import THREE_WAYS, UnavailableWeightsError

_POSITIONS = "transformer.positions"
_ATTENTION = "MultiHeadDotProductAttention_1"
# Module of the encoder -> folder of the file; {0} and {1} are numbers, +1 counts from one.
_MODULES = (
    (r"backbone\.stem\.conv", "conv_root"),
    (r"backbone\.stem\.norm", "gn_root"),
    (r"backbone\.stages\.(\d+)\.blocks\.(\d+)\.conv(\d)", "block{0}/unit{1}/conv{2}"),
    (r"backbone\.stages\.(\d+)\.blocks\.(\d+)\.norm(\d)", "block{0}/unit{1}/gn{2}"),
    (r"backbone\.stages\.(\d+)\.blocks\.(\d+)\.downsample\.conv", "block{0}/unit{1}/conv_proj"),
    (r"backbone\.stages\.(\d+)\.blocks\.(\d+)\.downsample\.norm", "block{0}/unit{1}/gn_proj"),
    (r"transformer\.projection", "embedding"),
    (r"transformer\.blocks\.(\d+)\.norm1", "Transformer/encoderblock_{0}/LayerNorm_0"),
    (r"transformer\.blocks\.(\d+)\.norm2", "Transformer/encoderblock_{0}/LayerNorm_2"),
    (r"transformer\.blocks\.(\d+)\.attn\.qkv", f"Transformer/encoderblock_{{0}}/{_ATTENTION}"),
    (r"transformer\.blocks\.(\d+)\.attn\.proj", f"Transformer/encoderblock_{{0}}/{_ATTENTION}/out"),
    (r"transformer\.blocks\.(\d+)\.mlp\.fc1", "Transformer/encoderblock_{0}/MlpBlock_3/Dense_0"),
    (r"transformer\.blocks\.(\d+)\.mlp\.fc2", "Transformer/encoderblock_{0}/MlpBlock_3/Dense_1"),
    (r"transformer\.norm", "Transformer/encoder_norm"),
)
_SHOWN = 4
_Arrays = Mapping[str, NDArray[Any]]


def load_google_weights(network: nn.Module, npz: Path, sha256: str | None = None) -> None:
    """Start TransUNet's encoder from Google's weights.

    The class token and its position are dropped, positions are interpolated to the network's grid, and the
    first convolution is adapted to the number of channels. Decoder and head are left as they are.

    Args:
        network: A :class:`~medimg.models.transunet.TransUNetEncoder`, or a network that holds one as ``encoder``
            or ``body``.
        npz: File in the layout of ``R50+ViT-B_16.npz``.
        sha256: Digest that the file must have, in hexadecimal.

    Raises:
        UnavailableWeightsError: If there is no such file.
        ConfigError: If the digest differs, the file is no such archive, or its arrays do not fit the network.
    """
    encoder: Any = getattr(network, "encoder", None) or getattr(network, "body", None) or network
    arrays = _read(Path(npz), sha256)
    own: dict[str, Tensor] = encoder.state_dict()
    given: dict[str, Tensor] = {}
    missing: list[str] = []
    for key in own:
        try:
            given[key] = _tensor(key, arrays)
        except KeyError as error:
            missing.append(str(error.args[0]))
    if _POSITIONS in given:
        given[_POSITIONS] = _without_class_token(given[_POSITIONS], encoder.transformer.grid)
    first = "backbone.stem.conv.weight"
    if first in given and given[first].shape[1] == 3:
        given[first] = adapt_input_conv(own[first].shape[1], given[first])
    _check(own, given, missing, npz)
    encoder.load_state_dict(given)


def google_names(key: str) -> list[str]:
    """Arrays that a tensor of the encoder is made of.

    Args:
        key: Name in the encoder's state dict.

    Raises:
        KeyError: If the layout has no place for it.

    Example:
        >>> google_names("backbone.stages.0.blocks.2.norm1.weight")
        ['block1/unit3/gn1/scale']
        >>> google_names("transformer.blocks.7.mlp.fc1.bias")
        ['Transformer/encoderblock_7/MlpBlock_3/Dense_0/bias']
    """
    if key == _POSITIONS:
        return ["Transformer/posembed_input/pos_embedding"]
    module, _, kind = key.rpartition(".")
    for pattern, folder in _MODULES:
        if match := re.fullmatch(pattern, module):
            numbers = [int(number) for number in match.groups()]
            if "stages" in pattern:  # units and stages count from one
                numbers[:2] = numbers[0] + 1, numbers[1] + 1
            place = folder.format(*numbers)
            if kind == "weight":
                kind = "scale" if "norm" in module else "kernel"
            parts = ("query/", "key/", "value/") if module.endswith("qkv") else ("",)
            return [f"{place}/{part}{kind}" for part in parts]
    raise KeyError(key)


def _tensor(key: str, arrays: _Arrays) -> Tensor:
    """One tensor of the encoder out of the arrays it is made of."""
    parts = [np.asarray(arrays[name], dtype=np.float32) for name in google_names(key)]
    if key == _POSITIONS:
        return torch.from_numpy(parts[0])
    return torch.cat([torch.from_numpy(np.ascontiguousarray(_turned(key, part))) for part in parts])


def _turned(key: str, array: NDArray[Any]) -> NDArray[Any]:
    """An array in torch's order of axes: outputs first."""
    if "attn.qkv" in key:  # (width, heads, 64), or (heads, 64) for a bias
        return array.reshape(len(array), -1).T if key.endswith("weight") else array.reshape(-1)
    if "attn.proj" in key and key.endswith("weight"):  # (heads, 64, width)
        return array.reshape(-1, array.shape[-1]).T
    if key.endswith("bias") or "norm" in key:  # norms of the ResNet: (1, 1, 1, channels)
        return array.reshape(-1)
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def _without_class_token(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Positions (1, h*w, width) of a grid, from those of a square one behind a class token's."""
    # Bilinear, as Google's own code and timm resize these.
    resized: Tensor = resample_abs_pos_embed(
        positions, list(grid), num_prefix_tokens=1, interpolation="bilinear", antialias=False
    )
    return resized[:, 1:]


def _check(own: Mapping[str, Tensor], given: Mapping[str, Tensor], missing: list[str], npz: Path) -> None:
    other = [
        f"{' + '.join(google_names(key))} {tuple(value.shape)} for {tuple(own[key].shape)}"
        for key, value in given.items()
        if value.shape != own[key].shape
    ]
    parts = [
        f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
        for what, names in (("missing", missing), ("of another shape", other))
        if names
    ]
    if parts:
        raise ConfigError(
            f"weights: {npz} does not fit this network of {len(own)} tensors: {'; '.join(parts)}. R50+ViT-B_16.npz "
            "fits the default width, depth and backbone."
        )


def _read(npz: Path, sha256: str | None) -> dict[str, NDArray[Any]]:
    if not npz.is_file():
        raise UnavailableWeightsError(f"weights: there is no file {npz}. {THREE_WAYS}")
    if sha256 is not None:
        with npz.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256.lower():
            raise ConfigError(
                f"weights: {npz} has the sha256 {found}, expected {sha256}: it is another file or a damaged one. "
                "Get it again, or correct sha256."
            )
    try:
        # Pickled objects could run code, and a file of weights needs none.
        with np.load(npz, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile, AttributeError, EOFError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"weights: {npz} is no .npz archive of arrays alone; expected the layout of R50+ViT-B_16.npz. ({reason})"
        ) from error
