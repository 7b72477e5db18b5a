"""Encoders in files of their own: the weights before the head, and what they were fitted to."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from medimg.errors import ConfigError
from medimg.io.files import atomic_write

ENCODER = "encoder.safetensors"
_KEY = "medimg_encoder"
_COUNTER = "num_batches_tracked"


def head_of(network: nn.Module) -> nn.Module | None:
    """The layers behind a network's features, ``None`` where they are no module of their own."""
    for name in ("head_module", "head"):
        if isinstance(head := getattr(network, name, None), nn.Module):
            return head
    return None


def encoder_tensors(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a state dict holds of a network before its head, by the names of the backbone alone.

    Args:
        network: A network with ``features``; its backbone may lie in ``body``, as in those of medimg.
        state: The state dict of the network.

    Returns:
        Tensors on the CPU, each with its own memory.

    Example:
        >>> network = nn.ModuleDict({"stem": nn.Linear(1, 2), "head": nn.Linear(2, 1)})
        >>> sorted(encoder_tensors(network, network.state_dict()))
        ['stem.bias', 'stem.weight']
    """
    head = head_of(network)
    # A layer may be reached by several names.
    places = [
        name + "."
        for name, module in network.named_modules(remove_duplicate=False)
        if module is head and name
    ]
    prefix = "body." if isinstance(getattr(network, "body", None), nn.Module) else ""
    kept = {name: value for name, value in state.items() if not name.startswith(tuple(places))}
    return {
        name.removeprefix(prefix): value.detach().cpu().clone().contiguous()
        for name, value in kept.items()
        if name.startswith(prefix)
    }


def write_encoder(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write an encoder, whole or not at all.

    Args:
        path: ``.safetensors`` file.
        tensors: What :func:`encoder_tensors` gave.
        facts: Plain values that say how it came about.

    Raises:
        ResourceError: If the file cannot be written.
    """
    with atomic_write(path) as temporary:
        save_file(dict(tensors), temporary, metadata={"format": "pt", _KEY: json.dumps(dict(facts))})


def encoder_facts(path: Path) -> dict[str, Any]:
    """How an encoder came about; empty for files that no self-supervised run wrote.

    Args:
        path: File of weights; it is read only where its name ends in ``.safetensors``.

    Raises:
        ConfigError: If the file is damaged.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"weights: {path} cannot be read: {str(error)[:160]}") from error
    facts: dict[str, Any] = {} if text is None else json.loads(text)
    return facts


def hashed_names(data: str, names: Iterable[str]) -> list[str]:
    """Short digests by which cases or patients are known again without being named, sorted.

    Args:
        data: Name of the data set.
        names: Names within it.

    Example:
        >>> hashed_names("busi", ["a", "b"]) == hashed_names("busi", ["b", "a"]), hashed_names("busi", ["a"])
        (True, ['b2558734bc8e'])
    """
    return sorted({hashlib.sha256(f"{data}/{name}".encode()).hexdigest()[:12] for name in names})


def seen_names(facts: Mapping[str, Any], data: str, names: Iterable[str]) -> list[str]:
    """Which cases or patients an encoder was fitted to.

    Args:
        facts: What :func:`encoder_facts` gave.
        data: Name of the data set.
        names: Names within it.
    """
    trained = {*facts.get("cases", ()), *facts.get("patients", ())}
    return sorted(name for name in names if trained.intersection(hashed_names(data, [name])))


def put_encoder(network: nn.Module, tensors: Mapping[str, Tensor], source: str) -> str:
    """Load an encoder into the part of a larger network that has the same layers.

    That part is found by names and shapes: the encoder of a segmentation network over timm's ones, the 2D network
    inside one that goes slice by slice, a classifier's backbone. All its tensors must be in the file; the file may hold
    more, such as the last layers that a segmentation network leaves out.

    Args:
        network: The network.
        tensors: The encoder's tensors.
        source: Where they come from, for messages.

    Returns:
        Name of the part, empty for the network itself.

    Raises:
        ConfigError: If no part has the encoder's layers.
    """
    best, place, fitting = -1, "", 0
    nearest, nearest_place = 0, ""
    for name, module in network.named_modules():
        own = {key: value for key, value in module.state_dict().items() if not key.endswith(_COUNTER)}
        fits = sum(key in tensors and tensors[key].shape == value.shape for key, value in own.items())
        if fits > nearest:
            nearest, nearest_place = fits, name
        if own and fits == len(own) and fits > best:
            best, place, fitting = fits, name, fits
    whole = sum(not key.endswith(_COUNTER) for key in tensors)
    if 2 * fitting < whole:
        raise ConfigError(
            f"weights: {source} fits no part of {type(network).__name__}: at best {nearest} of its {whole} tensors "
            f"have the names and shapes of {nearest_place or 'the network'}. Name the architecture and the input "
            "channels that the encoder was trained with; a network with another kind of encoder cannot start from it."
        )
    part = network.get_submodule(place)
    part.load_state_dict({key: tensors[key] for key in part.state_dict() if key in tensors}, strict=False)
    return place
