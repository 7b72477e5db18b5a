"""The U-Net that fits a patch: levels, strides, kernels, and the memory that training it takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

from medimg.preparation.geometry import Triple

# A level is halved only while this many voxels are left along the axis.
_SMALLEST_MAP = 4
_FIRST_FILTERS, _MOST_FILTERS = 32, 320
# MONAI's DynUNet wants two halvings at least.
_FEWEST_LEVELS = 3

# Training under 16 bit keeps, for each value of a feature map, the convolution's output (2 bytes), its
# normalised form (2), and during the backward pass their gradients, which live shortly (2 on average).
_BYTES_A_VALUE = 6
# Weight, gradient and momentum in single precision.
_BYTES_A_WEIGHT = 12
# Libraries, kernels' workspaces and what the allocator cannot use.
_FIXED_BYTES = 900_000_000


@dataclass(frozen=True, slots=True)
class Topology:
    """A U-Net with two convolutions a level on each side.

    Attributes:
        patch: Patch (D, H, W), a multiple of the product of the strides.
        strides: Stride into each level, the first all ones.
        kernels: Kernel of each level.
        filters: Channels of each level.
    """

    patch: Triple
    strides: tuple[Triple, ...]
    kernels: tuple[Triple, ...]
    filters: tuple[int, ...]

    @property
    def divisor(self) -> Triple:
        """What each axis of the patch is a multiple of."""
        return _triple([prod(stride[axis] for stride in self.strides) for axis in range(3)])

    @property
    def level_sizes(self) -> tuple[Triple, ...]:
        """Feature map (D, H, W) of each level."""
        sizes, size = [], self.patch
        for stride in self.strides:
            size = _triple([n // step for n, step in zip(size, stride, strict=True)])
            sizes.append(size)
        return tuple(sizes)


def topology(spacing_mm: Sequence[float], patch: Sequence[int]) -> Topology:
    """Levels for a patch: halve what is fine and long until all is coarse and short.

    An axis is halved while its spacing is under twice the finest one's and at least 8 voxels are left
    (12 where it would be halved alone). Kernels are 1 along axes that are still twice as coarse as the
    finest, since their neighbours are too far away to matter, and 3 elsewhere.

    Args:
        spacing_mm: Spacing (D, H, W) that the patch has.
        patch: Wanted patch (D, H, W); rounded up to what the strides can divide.

    Example:
        >>> topology((1, 1, 1), (36, 50, 35)).patch
        (40, 56, 40)
        >>> topology((5, 1, 1), (14, 100, 100)).strides
        ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (1, 2, 2))

    Reference:
        Isensee et al. 2021, "nnU-Net", doi:10.1038/s41592-020-01008-z, supplementary note 2.
    """
    spacing, size = [float(step) for step in spacing_mm], [int(n) for n in patch]
    volume = [axis for axis in range(3) if size[axis] > 1]
    kernel = [1, 1, 1]
    strides, kernels = [(1, 1, 1)], []
    while volume and (halved := _halved(spacing, size)):
        _widen(kernel, spacing, volume)
        kernels.append(_triple(kernel))
        strides.append(_triple([2 if axis in halved else 1 for axis in range(3)]))
        for axis in halved:
            size[axis], spacing[axis] = ceil(size[axis] / 2), spacing[axis] * 2
    kernels.append(_triple([3 if axis in volume else 1 for axis in range(3)]))
    if len(strides) < _FEWEST_LEVELS:
        return topology(spacing_mm, _enlarged(spacing_mm, patch))
    divisor = [prod(stride[axis] for stride in strides) for axis in range(3)]
    filters = tuple(min(_FIRST_FILTERS * 2**level, _MOST_FILTERS) for level in range(len(strides)))
    padded = _triple([ceil(n / unit) * unit for n, unit in zip(patch, divisor, strict=True)])
    return Topology(padded, tuple(strides), tuple(kernels), filters)


def _halved(spacing: Sequence[float], size: Sequence[int]) -> list[int]:
    """Axes to halve at this level."""
    long = [axis for axis in range(3) if size[axis] >= 2 * _SMALLEST_MAP]
    finest = min((spacing[axis] for axis in long), default=0.0)
    fine = [axis for axis in long if spacing[axis] < 2 * finest]
    if len(fine) == 1 and size[fine[0]] < 3 * _SMALLEST_MAP:
        return []
    return fine


def _widen(kernel: list[int], spacing: Sequence[float], volume: Sequence[int]) -> None:
    finest = min(spacing[axis] for axis in volume)
    for axis in volume:
        if spacing[axis] < 2 * finest:
            kernel[axis] = 3


def _enlarged(spacing_mm: Sequence[float], patch: Sequence[int]) -> list[int]:
    """A longer patch along the finest axes, 16 voxels at least, until it can be halved twice."""
    volume = [axis for axis in range(3) if patch[axis] > 1] or [1, 2]
    finest = min(spacing_mm[axis] for axis in volume)
    return [
        (4 * _SMALLEST_MAP if n < 4 * _SMALLEST_MAP else 2 * n)
        if axis in volume and spacing_mm[axis] < 2 * finest
        else n
        for axis, n in enumerate(patch)
    ]


def feature_values(network: Topology, out_channels: int) -> int:
    """Values in all feature maps that one patch leaves in memory for the backward pass.

    Two convolutions a level on the way down; on the way up the transposed convolution, two
    convolutions and the head of deep supervision.

    Example:
        >>> feature_values(topology((1, 1, 1), (40, 56, 40)), 3)
        19212200
    """
    last = len(network.filters) - 1
    total = 0
    for level, (size, filters) in enumerate(zip(network.level_sizes, network.filters, strict=True)):
        up = 0 if level == last else 3 * filters + out_channels
        total += prod(size) * (2 * filters + up)
    return total


def weights(network: Topology, in_channels: int, out_channels: int) -> int:
    """Number of weights of the convolutions; biases and norms are too few to matter."""
    total, before = 0, in_channels
    for level, (kernel, filters) in enumerate(zip(network.kernels, network.filters, strict=True)):
        total += prod(kernel) * (before * filters + filters * filters)
        if level:
            # Up: transposed convolution, then two convolutions, the first over the skip as well.
            shallow = network.filters[level - 1]
            total += prod(network.strides[level]) * filters * shallow
            total += prod(kernel) * 3 * shallow * shallow + shallow * out_channels
        before = filters
    return total


def memory_bytes(network: Topology, batch_size: int, in_channels: int, out_channels: int) -> int:
    """Estimate what training takes on a GPU under 16 bit.

    Six bytes a value of the feature maps, twelve a weight, 0.9 GB fixed. The constants are set so that
    8 GB end at the patches and batches that nnU-Net publishes for 8 GB; they were not measured on a GPU.

    Example:
        >>> round(memory_bytes(topology((1, 1, 1), (128, 128, 128)), 2, 4, 3) / 1e9, 1)
        6.7
    """
    values = batch_size * feature_values(network, out_channels)
    kept = _BYTES_A_WEIGHT * weights(network, in_channels, out_channels)
    return _FIXED_BYTES + _BYTES_A_VALUE * values + kept


def _triple(values: Sequence[int]) -> Triple:
    return int(values[0]), int(values[1]), int(values[2])
