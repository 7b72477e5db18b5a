"""From a fingerprint to the numbers of a run: spacing, patch, batch, network, normalisation.

Reference:
    Isensee et al. 2021, "nnU-Net: a self-configuring method for deep learning-based biomedical image
    segmentation", Nature Methods 18, doi:10.1038/s41592-020-01008-z. The rules are that paper's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

import numpy as np

from medimg.errors import ConfigError
from medimg.preparation.fingerprint import Fingerprint
from medimg.preparation.geometry import Spacing, Triple
from medimg.preparation.normalize import Normalization
from medimg.preparation.topology import Topology, memory_bytes, topology

# Slices more than this times as far apart as the pixels make a case anisotropic.
_ANISOTROPY = 3.0
# A patch of this many voxels is where the search begins; 8 GB hold a seventh of it.
_LARGEST_PATCH = 256**3
_SMALLEST_BATCH = 2
# A patch shorter than this along an axis shows too little of what it is to label.
_SHORTEST_AXIS = 16
# A batch sees at most this share of the data set, so that batches differ from one another.
_BATCH_SHARE = 0.05
# A crop that leaves less than this of the volume tells of a removed background.
_BACKGROUND_KEPT = 0.75
# A patch that shows less of a case than this sees many cases' classes only in part.
_SMALL_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Plan:
    """The numbers of a run that follow from the data and the memory.

    Attributes:
        spacing_mm: Spacing (D, H, W) of the prepared grid.
        thick_axis: Axis whose spacing is not the median but finer, because slices are far apart.
        median_shape: Median (D, H, W) of the cases at that spacing.
        network: The U-Net, and the patch it is made for.
        batch_size: Patches in a batch.
        batch_limit: ``"memory"`` or ``"data"``, whichever keeps the batch from being larger.
        memory_gb: Estimate of what training takes.
        normalization: Way of each channel.
        window_hu: Window of CT channels.
        mean_std: Foreground of CT channels.
        batch_dice: Whether Dice is computed over the batch as a whole.
    """

    spacing_mm: Spacing
    thick_axis: int | None
    median_shape: Triple
    network: Topology
    batch_size: int
    batch_limit: str
    memory_gb: float
    normalization: tuple[Normalization, ...]
    window_hu: tuple[float, float] | None
    mean_std: tuple[float, float] | None
    batch_dice: bool


def make_plan(
    fingerprint: Fingerprint, channels: Sequence[str], out_channels: int, *, memory_gb: float = 8.0
) -> Plan:
    """Derive a plan.

    Args:
        fingerprint: What was measured.
        channels: Name of each channel; ``"CT"`` marks Hounsfield units, ``"nonorm"`` one to leave alone.
        out_channels: Channels of the network's output.
        memory_gb: Memory of the GPU, in 10^9 bytes.

    Raises:
        ConfigError: If not even the smallest patch fits.
    """
    spacing, thick = target_spacing(fingerprint.spacings_mm, fingerprint.shapes)
    median = median_shape(fingerprint.shapes, fingerprint.spacings_mm, spacing)
    budget = memory_gb * 1e9
    network = fit_patch(spacing, median, len(channels), out_channels, budget)
    batch, limit = fit_batch(
        network, len(channels), out_channels, budget, data_voxels=prod(median) * len(fingerprint.shapes)
    )
    ways = normalizations(channels, fingerprint.kept)
    window, mean_std = ct_numbers(fingerprint, ways)
    return Plan(
        spacing_mm=spacing,
        thick_axis=thick,
        median_shape=median,
        network=network,
        batch_size=batch,
        batch_limit=limit,
        memory_gb=memory_bytes(network, batch, len(channels), out_channels) / 1e9,
        normalization=ways,
        window_hu=window,
        mean_std=mean_std,
        batch_dice=prod(network.patch) < _SMALL_SHARE * prod(median),
    )


def target_spacing(spacings_mm: Sequence[Spacing], shapes: Sequence[Triple]) -> tuple[Spacing, int | None]:
    """Median spacing, except across thick slices: there the finest tenth counts.

    Where slices are over three times as far apart as the pixels, and over three times fewer, the median
    would throw away most of the cases that have finer slices.

    Args:
        spacings_mm: Spacing of each case.
        shapes: Shape of each case.

    Returns:
        The spacing, rounded to six decimals, and the axis of thick slices or ``None``.

    Example:
        >>> target_spacing([(1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (2.0, 1.0, 1.0)], [(9, 9, 9)] * 3)
        ((2.0, 1.0, 1.0), None)
        >>> target_spacing([(2.0, 0.5, 0.5), (5.0, 0.5, 0.5), (5.0, 0.5, 0.5)], [(20, 90, 90)] * 3)
        ((2.6, 0.5, 0.5), 0)
    """
    steps, sizes = np.asarray(spacings_mm, dtype=float), np.asarray(shapes, dtype=float)
    target, size = np.median(steps, axis=0), np.median(sizes, axis=0)
    worst = int(np.argmax(target))
    others = [axis for axis in range(3) if axis != worst]
    thick = bool(
        target[worst] > _ANISOTROPY * target[others].max() and _ANISOTROPY * size[worst] < size[others].min()
    )
    if thick:
        # Never finer than the pixels.
        target[worst] = max(np.percentile(steps[:, worst], 10), target[others].max())
    d, h, w = (round(float(step), 6) for step in target)
    return (d, h, w), worst if thick else None


def median_shape(shapes: Sequence[Triple], spacings_mm: Sequence[Spacing], spacing_mm: Spacing) -> Triple:
    """Median (D, H, W) of the cases once resampled to one spacing.

    Example:
        >>> median_shape([(10, 20, 20)], [(2.0, 1.0, 1.0)], (1.0, 1.0, 1.0))
        (20, 20, 20)
    """
    sizes = np.asarray(shapes) * np.asarray(spacings_mm) / np.asarray(spacing_mm)
    d, h, w = (max(1, round(float(n))) for n in np.median(np.maximum(1, np.rint(sizes)), axis=0))
    return d, h, w


def fit_patch(
    spacing_mm: Spacing, median: Triple, in_channels: int, out_channels: int, budget: float
) -> Topology:
    """Largest patch, of the shape of the median case, with which two samples fit the memory.

    It begins as a cube in millimetres, cut to the median case, and loses voxels along the axis where it
    shows most of the case.

    Args:
        spacing_mm: Spacing of the prepared grid.
        median: Median shape on it.
        in_channels: Channels of the image.
        out_channels: Channels of the output.
        budget: Memory in bytes.

    Raises:
        ConfigError: If nothing fits.

    Example:
        >>> fit_patch((1.0, 1.0, 1.0), (138, 170, 138), 4, 4, 8e9).patch
        (128, 128, 128)
    """
    edge_mm = (_LARGEST_PATCH * max(1.0, budget / 8e9) * prod(spacing_mm)) ** (1 / 3)
    wanted = [max(1, min(round(edge_mm / step), most)) for step, most in zip(spacing_mm, median, strict=True)]
    network = topology(spacing_mm, wanted)
    while memory_bytes(network, _SMALLEST_BATCH, in_channels, out_channels) > budget:
        patch = list(network.patch)
        for axis in sorted(range(3), key=lambda axis: patch[axis] / median[axis], reverse=True):
            shorter = [n - network.divisor[axis] * (i == axis) for i, n in enumerate(patch)]
            # A shorter patch may have fewer levels, and so be cut to finer multiples.
            long_enough = shorter[axis] >= min(_SHORTEST_AXIS, median[axis])
            if long_enough and prod(topology(spacing_mm, shorter).patch) < prod(patch):
                network = topology(spacing_mm, shorter)
                break
        else:
            # Rounded up to what can be typed and then fits.
            least = ceil(memory_bytes(network, _SMALLEST_BATCH, in_channels, out_channels) / 1e8) / 10
            raise ConfigError(
                f"--memory-gb {budget / 1e9:g}: the smallest patch {network.patch} takes {least:.1f} GB "
                f"in batches of {_SMALLEST_BATCH}; give at least {least:.1f}"
            )
    return network


def fit_batch(
    network: Topology, in_channels: int, out_channels: int, budget: float, *, data_voxels: int
) -> tuple[int, str]:
    """Largest batch that fits the memory and holds at most a twentieth of the data set.

    Returns:
        The batch size, at least 2, and what limits it: ``"memory"`` or ``"data"``.
    """
    fixed = memory_bytes(network, 0, in_channels, out_channels)
    each = memory_bytes(network, 1, in_channels, out_channels) - fixed
    by_memory = int((budget - fixed) // each)
    by_data = round(_BATCH_SHARE * data_voxels / prod(network.patch))
    limit = "memory" if by_memory <= by_data else "data"
    return max(_SMALLEST_BATCH, min(by_memory, by_data)), limit


def normalizations(channels: Sequence[str], kept: Sequence[float]) -> tuple[Normalization, ...]:
    """Way of each channel: CT by the data set's window, all else by z-scores of each image.

    Args:
        channels: Names of the channels.
        kept: Share of the voxels that the crop to nonzero keeps, one a case. Under three quarters at the
            median, the background was removed, and only what is left of the image is counted.

    Example:
        >>> normalizations(["CT", "T1"], [1.0])
        ('ct', 'zscore')
        >>> normalizations(["T1"], [0.5, 0.6])
        ('zscore_nonzero',)
    """
    mri: Normalization = "zscore_nonzero" if float(np.median(kept)) < _BACKGROUND_KEPT else "zscore"
    ways: dict[str, Normalization] = {"CT": "ct", "NONORM": "none"}
    return tuple(ways.get(name.upper(), mri) for name in channels)


def ct_numbers(
    fingerprint: Fingerprint, ways: Sequence[Normalization]
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """Window and mean with deviation of the CT foreground, ``None`` where no channel is CT.

    Raises:
        ConfigError: If the foreground has one value only, or several CT channels ask for several windows.
    """
    found = [stats for stats, way in zip(fingerprint.channels, ways, strict=True) if way == "ct"]
    if not found:
        return None, None
    if len(found) > 1:
        raise ConfigError(
            f"{len(found)} channels are CT, and a preparation has one window: write the config by hand, with "
            "a normalization each"
        )
    stats = found[0]
    if stats.low >= stats.high:
        raise ConfigError("the CT foreground holds one value only; check the masks with `medimg audit`")
    return (round(stats.low, 2), round(stats.high, 2)), (round(stats.mean, 3), round(stats.std, 3))
