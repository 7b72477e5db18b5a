"""A trained network as one file that runs without medimg: traced, written, and compared with itself."""

import importlib
import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medimg.errors import ConfigError, ResourceError
from medimg.models.pooling import (
    GatedAttentionPooling,
    MaxPooling,
    MeanPooling,
    NoisyOrPooling,
    Pooling,
)

Inputs = dict[str, Tensor]

Format = Literal["onnx", "torch-export"]
"""What a network is written as."""

OUTPUT = "logits"
_EXTRA = ("onnx", "onnxscript", "onnxruntime")


class Finest(nn.Module):
    """The network's logits alone: the finest of those that deep supervision gives.

    Args:
        network: Maps an image to logits, or to a list of them, finest first.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K, ...) of images (B, C, ...)."""
        outputs = self.network(image)
        logits: Tensor = outputs if isinstance(outputs, Tensor) else outputs[0]
        return logits


class OneCase(nn.Module):
    """A network and a pooling over the images of one case.

    Args:
        network: Maps images to logits; has ``features`` and ``head`` for a pooling of features.
        pooling: Joins the images; one of :mod:`medimg.models.pooling`.

    Raises:
        ConfigError: If the pooling is another one.
    """

    def __init__(self, network: nn.Module, pooling: Pooling) -> None:
        super().__init__()
        known = (MeanPooling, MaxPooling, NoisyOrPooling, GatedAttentionPooling)
        if type(pooling) not in known:
            raise ConfigError(
                f"export: expected a pooling out of {', '.join(one.__name__ for one in known)}, found "
                f"{type(pooling).__name__}, whose rule for one case is not known"
            )
        self.network, self.pooling = network, pooling

    def forward(self, image: Tensor) -> Tensor:
        """Logits (1, K) of the images (N, C, H, W) of one case.

        The poolings' own rules loop over cases by index, which a trace would fix to one number of images.
        """
        network: Any = self.network
        match self.pooling:
            case MeanPooling():
                return _tensor(network(image).mean(0, keepdim=True))
            case MaxPooling():
                return _tensor(network(image).amax(0, keepdim=True))
            case NoisyOrPooling():
                none = -nn.functional.softplus(network(image).float()).sum(0, keepdim=True)
                none = none.clamp(max=-1e-7)
                return torch.log(-torch.expm1(none)) - none
            case _:
                pooling: Any = self.pooling
                features = network.features(image)
                score = pooling.score(pooling.content(features).tanh() * pooling.gate(features).sigmoid())
                return _tensor(network.head((features * score.softmax(0)).sum(0, keepdim=True)))


def _tensor(value: Tensor) -> Tensor:
    return value


def need_onnx() -> None:
    """Make sure that the packages behind ONNX are there.

    Raises:
        ConfigError: With the extra to install.
    """
    for name in _EXTRA:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigError(
                f"--format onnx needs the package {name}: pip install 'medimg[export]', or take --format torch-export"
            ) from error


def trace(module: nn.Module, inputs: Inputs) -> torch.export.ExportedProgram:
    """Record what a network computes, for batches of any size.

    Args:
        module: The network, in evaluation mode.
        inputs: Tensors by the names of its arguments, two cases or more each.

    Raises:
        ConfigError: If torch cannot trace it.
    """
    shapes = {name: {0: torch.export.Dim.DYNAMIC} for name in inputs}
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # Networks of MONAI keep their last maps as plain attributes, and read them only while they train.
            warnings.filterwarnings("ignore", message="The tensor attributes .* were assigned during export")
            return torch.export.export(module, (), dict(inputs), dynamic_shapes=shapes)
    except Exception as error:  # torch.export has no error of its own
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ConfigError(
            f"torch.export cannot trace {type(module).__name__} for batches of any size: {type(error).__name__}: "
            f"{reason[:200]}"
        ) from error


def write(program: torch.export.ExportedProgram, path: Path, format: Format) -> None:
    """Write a traced network.

    Args:
        program: What :func:`trace` gave.
        path: File to write, ``.onnx`` or ``.pt2``.
        format: ``onnx`` or ``torch-export``.

    Raises:
        ResourceError: If it is too large for one ONNX file.
    """
    if format == "torch-export":
        with warnings.catch_warnings():
            # Where a weight is a view of another, any of them holds all of it here.
            warnings.filterwarnings("ignore", message="No complete tensor found in the group")
            torch.export.save(program, path)
        return
    size = sum(tensor.numel() * tensor.element_size() for tensor in program.state_dict.values())
    if size > 2**31 - 2**20:
        raise ResourceError(
            f"the network has {size / 2**30:.1f} GiB of weights, and a file of ONNX holds 2: take --format torch-export"
        )
    onnx = torch.onnx.export(program, dynamo=True, output_names=[OUTPUT], verbose=False)
    if onnx is None:
        raise RuntimeError("torch.onnx.export returned no program.")
    onnx.save(str(path), external_data=False)


def run(path: Path, format: Format, inputs: Mapping[str, Tensor]) -> Tensor:
    """What a written network answers.

    Args:
        path: The file.
        format: Its format.
        inputs: Tensors by name.

    Returns:
        Logits.
    """
    if format == "torch-export":
        module = torch.export.load(path).module()
        with torch.no_grad():
            return _tensor(module(**inputs))
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    answer = session.run([OUTPUT], {name: value.numpy() for name, value in inputs.items()})[0]
    return torch.from_numpy(answer)


def difference_of(path: Path, format: Format, answer: Callable[[Inputs], Tensor], inputs: Inputs) -> float:
    """How far a written network is from the trained one, on batches of other sizes than it was traced with.

    Args:
        path: The file.
        format: Its format.
        answer: What the trained network gives for inputs.
        inputs: Inputs of two cases or more, whose like is drawn anew.

    Returns:
        Largest difference over a batch of one and a batch of three.
    """
    generator = torch.Generator().manual_seed(1)
    worst = 0.0
    for size in (1, 3):
        drawn = {name: _like(value, size, generator) for name, value in inputs.items()}
        with torch.no_grad():
            expected = answer(drawn)
        worst = max(worst, largest_difference(run(path, format, drawn), expected))
    return worst


def _like(value: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Random numbers of the same kind for another number of cases; what are no floats is repeated."""
    if value.is_floating_point():
        return torch.randn(size, *value.shape[1:], generator=generator, dtype=value.dtype)
    return value[torch.arange(size) % len(value)]


def largest_difference(found: Tensor, expected: Tensor) -> float:
    """Largest difference between two answers, relative where they exceed 1.

    Example:
        >>> round(largest_difference(torch.tensor([0.5, 200.0]), torch.tensor([0.25, 100.0])), 3)
        1.0
    """
    if found.shape != expected.shape:
        return math.inf
    difference = (found - expected).abs() / expected.abs().clamp(min=1)
    # A value that is not a number on one side only must not pass.
    if not torch.equal(found.isfinite(), expected.isfinite()):
        return math.inf
    return float(difference[expected.isfinite()].max()) if expected.isfinite().any() else math.inf
