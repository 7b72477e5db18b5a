"""What goes into an exported network and what comes out, as the JSON beside it says."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medimg import __version__
from medimg.commands.export_network import OUTPUT, Finest, Format, Inputs, OneCase
from medimg.commands.export_source import Trained
from medimg.errors import ConfigError
from medimg.io.files import atomic_write
from medimg.models.slice_wise import SliceWise
from medimg.runs import from_here

_TRACED_CASES = 2  # one would be taken for a constant


def input_shape(trained: Trained) -> list[int]:
    """Shape (C, H, W) or (C, D, H, W) of one case as the network was trained on it.

    Raises:
        ConfigError: If the config does not tell.
    """
    data = _data(trained)
    if size := (data.get("image") or {}).get("size"):
        return [int(data["image"]["channels"]), *map(int, size)]
    if size := (data.get("volume") or data.get("patches") or {}).get("size"):
        return [_channels(trained.network), *map(int, size)]
    if hasattr(trained.network, "example_inputs"):
        return []
    raise ConfigError(
        "--shape: the run's config tells no size of its cases (data.init_args.image.size, volume.size, patches.size). "
        "Give --shape C H W, or C D H W."
    )


def example(trained: Trained, shape: Sequence[int]) -> tuple[nn.Module, Inputs]:
    """What is to be traced, and inputs for it.

    A network of several inputs names them itself, by a method ``example_inputs()`` that gives tensors of two cases by
    the names of its arguments.

    Args:
        trained: The task.
        shape: Shape of one case.

    Raises:
        ConfigError: If the network does not take this shape.
    """
    network = trained.network
    if hasattr(network, "example_inputs"):
        return network, network.example_inputs()  # type: ignore[operator]
    pooling = getattr(trained.task, "pooling", None)
    module = Finest(network) if pooling is None else OneCase(network, pooling)
    generator = torch.Generator().manual_seed(0)
    inputs = {"image": torch.randn(_TRACED_CASES, *shape, generator=generator)}
    try:
        with torch.no_grad():
            trained.answer(inputs)
    except RuntimeError as error:
        raise ConfigError(
            f"--shape {' '.join(map(str, shape))}: {type(network).__name__} does not take it: {str(error)[:200]}"
        ) from error
    return module.eval(), inputs


def describe(
    trained: Trained,
    target: Path,
    format: Format,
    inputs: Inputs,
    difference: float | None,
    tolerance: float,
) -> dict[str, Any]:
    """Everything that a user of the file needs to know.

    Args:
        trained: The task.
        target: The file.
        format: Its format.
        inputs: What it was traced with.
        difference: Largest difference found, if it was checked.
        tolerance: Largest that passes.
    """
    task, data = trained.task, _data(trained)
    with torch.no_grad():
        output = list(trained.answer(inputs).shape)
    pooled = output[0] != len(next(iter(inputs.values())))  # one answer for all images
    batch = "images of one case" if pooled else "batch"
    head = getattr(task, "head", None)
    head = head if isinstance(head, str) else _activation(getattr(task, "task", None))
    classes = list(getattr(task, "classes", []))
    background = ["background"] if len(classes) == output[1] - 1 and head == "softmax" else []
    return {
        "file": target.name,
        "format": format,
        "task": {"class": type(task).__name__, "kind": getattr(task, "task", None), "activation": head},
        "classes": background + classes,
        **getattr(task, "output_facts", {}),
        "inputs": {
            name: {"shape": [batch, *value.shape[1:]], "dtype": str(value.dtype).removeprefix("torch.")}
            for name, value in inputs.items()
        },
        "output": {"name": OUTPUT, "shape": [1 if pooled else "batch", *output[1:]]},
        # As the config has it: how a file of the data set becomes what the network sees.
        "normalisation": data.get("image") or data.get("volume") or data.get("preparation"),
        "checkpoint": {"file": str(from_here(trained.checkpoint)), "sha256": _digest(trained.checkpoint)},
        "check": None if difference is None else {"largest_difference": difference, "tolerance": tolerance},
        "medimg": __version__,
        "torch": torch.__version__,
    }


def write_facts(facts: dict[str, Any], path: Path) -> None:
    """Write the JSON, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(facts, indent=1, default=str) + "\n", encoding="utf-8")


def _data(trained: Trained) -> dict[str, Any]:
    data = trained.settings.get("data") or {}
    return dict(data.get("init_args") or {})


def _channels(network: nn.Module) -> int:
    """Channels of the image that a network takes."""
    if isinstance(network, SliceWise):
        return _channels(network.network) // (2 * network.neighbours + 1)
    named = getattr(network, "in_channels", None)
    if isinstance(named, int):
        return named
    # The first convolution; a weight is (out, in, ...).
    return next(parameter.shape[1] for parameter in network.parameters() if parameter.ndim in (4, 5))


def _activation(kind: str | None) -> str | None:
    return {"multiclass": "softmax", "binary": "sigmoid", "multilabel": "sigmoid"}.get(kind or "")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
