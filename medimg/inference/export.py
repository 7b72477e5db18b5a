"""From logits on the prepared grid to labels or probabilities on the source's grid.

Logits are resampled and labels are taken from the resampled logits, as nnU-Net does. Interpolation is
linear with half-pixel centres (``align_corners=False``; scikit-image's ``resize`` of order 1) along all
three axes; nnU-Net takes the nearest slice along the coarse axis of very anisotropic images instead.

Everything is done slab by slab along D and class by class within a slab, so besides the result only a
few slabs are in memory, however many classes there are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medimg.errors import ConfigError, DataError

Shape = Sequence[int]
Activation = Literal["softmax", "sigmoid"]

# Voxels of a slab. Measured: slabs of 0.1 to 1 million stay in the cache and are up to 6 times as
# fast as whole volumes, whose memory the system has to hand out and clear anew for each class.
SLAB_VOXELS = 1 << 19


@dataclass(frozen=True, slots=True)
class _Slab:
    """Some output slices along D, and the two input slices that each lies between."""

    out: slice
    low: Tensor  # (s,) index of the slice below
    high: Tensor | None  # (s,) index of the slice above; None where D stays as it is
    share: Tensor  # (s, 1, 1) share of the slice above


@torch.no_grad()
def export_labels(
    logits: Tensor,
    shape: Shape,
    *,
    activation: Activation = "softmax",
    labels: Sequence[int] | None = None,
    region_order: Sequence[int] | None = None,
    slab_voxels: int = SLAB_VOXELS,
) -> NDArray[Any]:
    """Label map on the source's grid.

    A softmax head gives each voxel the label of its largest logit; of equal ones the first wins. A
    sigmoid head writes its regions one after the other wherever the probability exceeds 0.5, later
    ones over earlier ones, so nested regions are written from the outside in.

    Args:
        logits: Shape (K, d, h, w), before the activation, any float type.
        shape: Size (D, H, W) of the source's grid (inside the crop).
        activation: ``"softmax"`` for exclusive classes, channel 0 being the background;
            ``"sigmoid"`` for regions.
        labels: Value to write for each channel; ``None`` writes the channel's number (softmax only).
        region_order: Channels in the order in which regions are written; ``None`` takes them as they
            stand (sigmoid only).
        slab_voxels: Voxels worked on at a time.

    Returns:
        Label map, shape (D, H, W), uint8, or int16 if a label exceeds 255.

    Raises:
        ConfigError: If labels or region_order do not fit the channels or the activation.
        DataError: If the logits are not 4D, or the shape is not three positive sizes.

    Example:
        >>> logits = torch.tensor([[5.0, 5.0, 5.0], [-5.0, 5.0, 5.0], [-5.0, -5.0, 5.0]])
        >>> regions = logits.view(3, 1, 1, 3)  # WT, TC, ET
        >>> export_labels(regions, (1, 1, 3), activation="sigmoid", labels=[2, 1, 3])
        array([[[2, 1, 3]]], dtype=uint8)
    """
    size = _checked(logits, shape)
    values = _checked_labels(logits.shape[0], activation, labels)
    order = _checked_order(logits.shape[0], activation, region_order)
    dtype = torch.uint8 if max(values) <= 255 else torch.int16
    result = torch.zeros(size, dtype=dtype, device=logits.device)
    for slab in _slabs(logits, size, slab_voxels):
        into = result[slab.out]
        if activation == "sigmoid":
            for channel in order:
                # sigmoid(x) > 0.5 is x > 0.
                into.masked_fill_(_interpolate(logits[channel], slab, size[1:]) > 0, values[channel])
        else:
            _write_largest(logits, slab, values, into)
    return result.cpu().numpy()


@torch.no_grad()
def export_probs(
    logits: Tensor, shape: Shape, *, activation: Activation = "softmax", slab_voxels: int = SLAB_VOXELS
) -> NDArray[np.float16]:
    """Probabilities on the source's grid, computed from the resampled logits.

    Args:
        logits: Shape (K, d, h, w), before the activation, any float type.
        shape: Size (D, H, W) of the source's grid (inside the crop).
        activation: ``"softmax"`` or ``"sigmoid"``.
        slab_voxels: Voxels worked on at a time.

    Returns:
        Probabilities in [0, 1], shape (K, D, H, W), float16.

    Raises:
        ConfigError: If the activation is neither.
        DataError: If the logits are not 4D, or the shape is not three positive sizes.

    Example:
        >>> export_probs(torch.zeros(2, 1, 1, 1), (1, 1, 1)).ravel()
        array([0.5, 0.5], dtype=float16)
    """
    size = _checked(logits, shape)
    _check_activation(activation)
    number = logits.shape[0]
    result = torch.empty((number, *size), dtype=torch.float16, device=logits.device)
    # Softmax needs all classes of a voxel together: thinner slabs keep that within the same memory.
    for slab in _slabs(logits, size, max(1, slab_voxels // number)):
        values = torch.stack([_interpolate(logits[channel], slab, size[1:]) for channel in range(number)])
        result[:, slab.out] = values.sigmoid_() if activation == "sigmoid" else values.softmax(0)
    return result.cpu().numpy()


def _write_largest(logits: Tensor, slab: _Slab, values: Sequence[int], into: Tensor) -> None:
    """Write the label of the largest logit into a slab (s, H, W), keeping the best so far only."""
    plane = into.shape[1:]
    best = _interpolate(logits[0], slab, plane)
    into.fill_(values[0])
    for channel in range(1, len(values)):
        now = _interpolate(logits[channel], slab, plane)
        into.masked_fill_(now > best, values[channel])
        best = torch.maximum(best, now)


def _slabs(logits: Tensor, size: tuple[int, int, int], voxels: int) -> Iterator[_Slab]:
    """Cut the output along D so that neither the slab nor its input exceeds ``voxels``."""
    low, share = _taps(logits.shape[1], size[0])
    low, share = low.to(logits.device), share.to(logits.device)
    high = None if logits.shape[1] == size[0] else (low + 1).clamp(max=logits.shape[1] - 1)
    step = max(1, voxels // max(size[1] * size[2], logits.shape[2] * logits.shape[3]))
    for start in range(0, size[0], step):
        out = slice(start, min(start + step, size[0]))
        yield _Slab(out, low[out], None if high is None else high[out], share[out].view(-1, 1, 1))


def _taps(size: int, new_size: int) -> tuple[Tensor, Tensor]:
    """Lower neighbour (new_size,) of each new voxel centre and the share of the one above it."""
    place = (torch.arange(new_size, dtype=torch.float64) + 0.5) * size / new_size - 0.5
    place = place.clamp(0, size - 1)  # beyond the outermost centres the border value holds
    low = place.floor()
    return low.long(), (place - low).float()


def _interpolate(channel: Tensor, slab: _Slab, plane: Shape) -> Tensor:
    """One class (d, h, w) on a slab of the new grid, shape (s, *plane), float32, always a new tensor."""
    slices = channel.index_select(0, slab.low).float()
    if slab.high is not None:
        slices = torch.lerp(slices, channel.index_select(0, slab.high).float(), slab.share)
    if tuple(channel.shape[1:]) == tuple(plane):
        return slices
    return functional.interpolate(slices[None], tuple(plane), mode="bilinear", align_corners=False)[0]


def _checked(logits: Tensor, shape: Shape) -> tuple[int, int, int]:
    if logits.ndim != 4:
        raise DataError(f"logits: expected shape (K, d, h, w) of one case, found {tuple(logits.shape)}.")
    if len(shape) != 3 or min(shape) < 1:
        raise DataError(f"shape: expected three positive sizes (D, H, W), found {tuple(shape)}.")
    depth, height, width = (int(size) for size in shape)
    return depth, height, width


def _check_activation(activation: str) -> None:
    if activation not in ("softmax", "sigmoid"):
        raise ConfigError(f"activation: expected 'softmax' or 'sigmoid', found {activation!r}.")


def _checked_labels(number: int, activation: Activation, labels: Sequence[int] | None) -> list[int]:
    _check_activation(activation)
    if labels is None and activation == "sigmoid":
        raise ConfigError("labels: expected the value that each region writes, found None. E.g. [2, 1, 3].")
    values = list(range(number)) if labels is None else [int(value) for value in labels]
    if len(values) != number:
        raise ConfigError(f"labels: expected one for each of {number} channels, found {len(values)}.")
    if min(values) < 0 or max(values) > np.iinfo(np.int16).max:
        raise ConfigError(f"labels: expected values from 0 to 32767, found {values}.")
    return values


def _checked_order(number: int, activation: Activation, order: Sequence[int] | None) -> list[int]:
    if order is None:
        return list(range(number))
    if activation == "softmax" or sorted(order) != list(range(number)):
        raise ConfigError(
            f"region_order: expected each of the channels 0 to {number - 1} once, with "
            f"activation='sigmoid'; found {list(order)} with activation={activation!r}."
        )
    return [int(channel) for channel in order]
