"""What a plan needs to know of a data set: sizes, spacings and intensities, measured case by case."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from medimg.errors import DataError
from medimg.io.nifti import Form
from medimg.keys import IGNORE_INDEX
from medimg.parallel import map_cases, raise_failures
from medimg.preparation.geometry import Spacing, Triple, nonzero_box, orientation_change
from medimg.preparation.source import read_case
from medimg.records import DatasetIndex, Record

# Foreground voxels kept in all, so that memory stays flat: 99.5 % percentiles of so many are exact to 0.01 %.
_SAMPLES = 1_000_000
_MOST_PER_CASE = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class CaseFacts:
    """One case.

    Attributes:
        shape: (D, H, W) after reorienting and cropping to what is not zero.
        spacing_mm: Along (D, H, W) after reorienting.
        kept: Share of the voxels that the crop keeps, in (0, 1].
        intensities: Sampled foreground voxels as stored in the files, (C, n).
    """

    shape: Triple
    spacing_mm: Spacing
    kept: float
    intensities: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ChannelStats:
    """Foreground intensities of one channel over all cases, in the files' units.

    Attributes:
        low: 0.5 % percentile.
        high: 99.5 % percentile.
        mean: Mean.
        std: Standard deviation.
    """

    low: float
    high: float
    mean: float
    std: float


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """All labelled cases of a data set; one entry a case.

    Attributes:
        shapes: (D, H, W) after reorienting and cropping.
        spacings_mm: Along (D, H, W).
        kept: Share of the voxels that the crop keeps.
        channels: Statistics of each channel.
    """

    shapes: tuple[Triple, ...]
    spacings_mm: tuple[Spacing, ...]
    kept: tuple[float, ...]
    channels: tuple[ChannelStats, ...]


def measure_case(
    record: Record,
    index: DatasetIndex,
    *,
    orientation: str | None = "RAS",
    form: Form = "agree",
    samples: int = _MOST_PER_CASE,
) -> CaseFacts:
    """Measure one case.

    Args:
        record: The case, with a mask.
        index: Its data set.
        orientation: Directions of the file's axes after reorienting, as in the preparation.
        form: Which affine to trust in files whose sform and qform differ.
        samples: Foreground voxels to draw at most.

    Raises:
        DataError: If a file of the case cannot be used.
    """
    case = read_case(record, index, form=form)
    axes, _ = orientation_change(case.grid.affine, orientation)
    low, high = nonzero_box(case.image)
    size = [high[axis] - low[axis] for axis in axes]
    spacing = [case.grid.spacing_mm[axis] for axis in axes]
    kept = float(np.prod(size) / np.prod(case.grid.shape))
    places = np.zeros(0, np.int64)
    if case.mask is not None:
        places = np.flatnonzero((case.mask > 0) & (case.mask != IGNORE_INDEX))
    if len(places) > samples:
        rng = np.random.default_rng(zlib.crc32(record.case_id.encode()))
        places = places[rng.integers(len(places), size=samples)]
    values = case.image.reshape(len(case.image), -1)[:, places]  # (C, n)
    return CaseFacts(
        (size[0], size[1], size[2]), (spacing[0], spacing[1], spacing[2]), kept, np.ascontiguousarray(values)
    )


def take_fingerprint(
    index: DatasetIndex,
    *,
    orientation: str | None = "RAS",
    form: Form = "agree",
    workers: int = 1,
    scheduler: str | None = None,
) -> Fingerprint:
    """Measure every labelled case.

    Args:
        index: The data set.
        orientation: Directions of the file's axes after reorienting, as in the preparation.
        form: Which affine to trust in files whose sform and qform differ.
        workers: Local processes.
        scheduler: Address of a Dask scheduler that replaces them.

    Raises:
        DataError: If the data set has no labelled case, or naming every case that cannot be used.
    """
    if not index.records:
        raise DataError(f"{index.root}: no case has a mask, and a plan is made from labelled cases")
    samples = max(100, min(_MOST_PER_CASE, _SAMPLES // len(index.records)))
    meaning = index.without_cases()
    measure = partial(measure_case, index=meaning, orientation=orientation, form=form, samples=samples)
    facts = raise_failures(
        map_cases(measure, index.records, workers=workers, scheduler=scheduler, label="measure")
    )
    return Fingerprint(
        shapes=tuple(case.shape for case in facts),
        spacings_mm=tuple(case.spacing_mm for case in facts),
        kept=tuple(case.kept for case in facts),
        channels=channel_stats([case.intensities for case in facts]),
    )


def channel_stats(samples: Sequence[NDArray[np.float32]]) -> tuple[ChannelStats, ...]:
    """Statistics of each channel over the samples of all cases.

    Args:
        samples: Foreground voxels (C, n) of each case.

    Returns:
        One entry a channel; zeros and a deviation of one where no case has foreground.

    Example:
        >>> channel_stats([np.array([[0.0, 10.0]], np.float32), np.array([[20.0]], np.float32)])[0].mean
        10.0
    """
    stats = []
    for channel in range(len(samples[0])):
        values = np.concatenate([case[channel] for case in samples])
        if not values.size:
            stats.append(ChannelStats(0.0, 0.0, 0.0, 1.0))
            continue
        low, high = np.percentile(values, [0.5, 99.5])
        mean, std = values.mean(dtype=np.float64), values.std(dtype=np.float64)
        stats.append(ChannelStats(float(low), float(high), float(mean), float(std)))
    return tuple(stats)
