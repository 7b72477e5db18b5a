"""One labelled volume as the network sees it: cropped, normalised, of one size, 8 or 16 bits a voxel."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medimg.errors import ConfigError, DataError
from medimg.io.nifti import Form
from medimg.preparation.geometry import nonzero_box, orientation_change, reorient
from medimg.preparation.image_source import read_member
from medimg.preparation.normalize import zscore
from medimg.preparation.resample import axis_matrix
from medimg.preparation.source import read_case
from medimg.records import DatasetIndex, Record

Floats = NDArray[np.float32]
Normalization = Literal["zscore", "zscore_nonzero", "range", "bytes"]


@dataclass(frozen=True)
class VolumeOptions:
    """What the network sees of a volume.

    Attributes:
        size: Depth, height and width in voxels.
        channels: Name of each channel of a case, in the order of its files.
        spacing_mm: Bring a volume to this spacing (D, H, W), then crop or fill up about its centre; ``None`` scales
            every volume to the size.
        orientation: Directions of the file's axes after reorienting; ``None`` keeps each case's own.
        crop: ``foreground`` first crops to the box outside which every channel is zero: skull-stripped MRI.
        normalization: ``zscore`` over the volume, ``zscore_nonzero`` over the voxels that are not zero, ``range`` from
            the lowest value of a channel to the highest, ``bytes`` from 0 to 255. The last two end at -1 and 1.
        windows_hu: Lower and upper limit of one or several windows in Hounsfield units, which become -1 and 1: a
            channel each, of volumes of one channel. They take the place of ``normalization``.
        bits: Bits a voxel that are kept between epochs: 8 where values have two ends, 16 (half precision) anywhere.
        form: Which affine to trust in NIfTI files whose sform and qform differ; ``agree`` refuses them.

    Raises:
        ConfigError: If a value makes no sense.
    """

    size: tuple[int, int, int] = (64, 64, 64)
    channels: tuple[str, ...] = ("image",)
    spacing_mm: tuple[float, float, float] | None = None
    orientation: str | None = "RAS"
    crop: Literal["none", "foreground"] = "none"
    normalization: Normalization = "zscore"
    windows_hu: tuple[tuple[float, float], ...] = ()
    bits: Literal[8, 16] = 16
    form: Form = "agree"

    def __post_init__(self) -> None:
        _expect(len(self.size) == 3 and min(self.size) > 0, f"size: expected three numbers above 0 in the order D, H, "
                f"W, found {list(self.size)}")  # fmt: skip
        _expect(
            0 < len(self.channels) == len(set(self.channels)),
            f"channels: expected one name a channel, each once, found {list(self.channels)}",
        )
        _expect(
            self.spacing_mm is None or (len(self.spacing_mm) == 3 and min(self.spacing_mm) > 0),
            f"spacing_mm: expected three lengths above 0 in the order D, H, W, found {self.spacing_mm}",
        )
        _expect(
            all(len(window) == 2 and window[0] < window[1] for window in self.windows_hu),
            f"windows_hu: expected pairs of a lower and an upper limit, found {[list(w) for w in self.windows_hu]}",
        )
        _expect(
            not self.windows_hu or len(self.channels) == 1,
            f"windows_hu: windows are shown of volumes of one channel, and channels names {list(self.channels)}",
        )
        _expect(
            self.bits == 16 or self.bounded,
            f"bits: 8 bits need values with two ends, and normalization {self.normalization} has none: set bits to 16",
        )

    @property
    def bounded(self) -> bool:
        """Whether values end at -1 and 1."""
        return bool(self.windows_hu) or self.normalization in ("range", "bytes")

    @property
    def in_channels(self) -> int:
        """Channels that the network sees."""
        return len(self.windows_hu) or len(self.channels)

    @property
    def dtype(self) -> type[np.uint8] | type[np.float16]:
        """Type of the kept values."""
        return np.uint8 if self.bits == 8 else np.float16


def _expect(right: bool, fault: str) -> None:
    if not right:
        raise ConfigError(f"data.init_args.volume.{fault}")


def read_voxels(record: Record, options: VolumeOptions) -> NDArray[Any]:
    """Read a case, crop and normalise it, bring it to its size and round it to 8 or 16 bits.

    Args:
        record: The case: NIfTI files, one a channel or 4D, the files of a DICOM series, or a member of an ``.npz``.
        options: What the network sees.

    Returns:
        Voxels (C, D, H, W): float16, or uint8 with 0 for -1 and 255 for 1.

    Raises:
        DataError: If a file cannot be read, is no volume, or has other channels.
        ConfigError: If a spacing is asked for and the file states none.
    """
    volume, spacing_mm = _read_volume(record, options)
    if options.crop == "foreground":
        low, high = nonzero_box(volume)
        volume = volume[:, low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    shape = options.size
    if options.spacing_mm is not None:
        steps = zip(volume.shape[1:], spacing_mm, options.spacing_mm, strict=True)
        depth, height, width = (max(1, round(n * step / wanted)) for n, step, wanted in steps)
        shape = (depth, height, width)
    kept = np.empty((options.in_channels, *options.size), options.dtype)
    # One channel at a time: a CT of several windows would else stand in memory as often.
    for number in range(options.in_channels):
        channel, fill = _normalised(volume, number, options)
        channel = centre_fit(rescale(channel, shape), options.size, fill)
        kept[number] = np.rint((channel + 1) * 127.5) if options.bits == 8 else channel
    return kept


def _read_volume(record: Record, options: VolumeOptions) -> tuple[Floats, Sequence[float]]:
    """Values (C, D, H, W) in the units of the file, and the spacing in millimetres."""
    if record.member is None:
        if suffix := _flat(record.images[0]):
            raise DataError(f"{record.images[0]}: expected a volume (NIfTI or DICOM), found {suffix}. Images in 2D "
                            "need medimg.datamodules.ImageDataModule.")  # fmt: skip
        like = DatasetIndex("", record.images[0].parent, options.channels, {}, ())
        case = read_case(replace(record, mask=None), like, form=options.form)
        axes, flips = orientation_change(case.grid.affine, options.orientation)
        spacing = [case.grid.spacing_mm[axis] for axis in axes]
        return np.ascontiguousarray(reorient(case.image, axes, flips)), spacing
    where = f"{record.images[0]}, {record.case_id}"
    member = read_member(record)
    if member.ndim != 4:
        raise DataError(f"{where}: expected a volume (D, H, W), found an image of {member.shape[1:]}. Images in 2D "
                        "need medimg.datamodules.ImageDataModule.")  # fmt: skip
    if len(member) != len(options.channels):
        raise DataError(
            f"{where}: expected {len(options.channels)} channels ({', '.join(options.channels)}), found {len(member)}"
        )
    if options.spacing_mm is not None:
        raise ConfigError(
            f"data.init_args.volume.spacing_mm: {record.images[0]} states no spacing. Leave it out."
        )
    return member.astype(np.float32), (1.0, 1.0, 1.0)


def _flat(path: Path) -> str:
    """What a file of one 2D image is called by its name; empty for others."""
    return (
        path.suffix
        if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".pgm")
        else ""
    )


def _normalised(volume: Floats, number: int, options: VolumeOptions) -> tuple[Floats, float]:
    """One channel (D, H, W) that the network sees, and what stands outside of it."""
    if options.windows_hu:
        low, high = options.windows_hu[number]
        return _between(volume[0], low, high), -1.0
    channel = volume[number]
    match options.normalization:
        case "bytes":
            return _between(channel, 0, 255), -1.0
        case "range":
            return _between(channel, float(channel.min()), float(channel.max())), -1.0
        case "zscore_nonzero":
            return zscore(channel, nonzero=True), 0.0
    scores = zscore(channel)
    return scores, float(scores.min())


def _between(values: Floats, low: float, high: float) -> Floats:
    """Bring low to -1 and high to 1, and cut off what lies beyond."""
    scaled = (values.clip(low, high) - np.float32(low)) * np.float32(2 / max(high - low, 1e-12))
    shifted: Floats = scaled - np.float32(1)
    return shifted


def rescale(volume: Floats, shape: Sequence[int]) -> Floats:
    """Bring a volume to a shape over the same extent: means where it shrinks, blends where it grows.

    Args:
        volume: (D, H, W).
        shape: Wanted (D, H, W).

    Example:
        >>> rescale(np.float32([[[0, 2, 4, 8]]]), (1, 1, 2)).tolist()
        [[[1.0, 6.0]]]
    """
    for axis, n_out in enumerate(shape):
        n_in = volume.shape[axis]
        if n_in != n_out:
            # Points alone would step over what is thinner than the new voxels.
            matrix = _means(n_in, n_out) if n_out < n_in else axis_matrix(n_in, n_out, 1)
            volume = np.moveaxis(np.moveaxis(volume, axis, -1) @ matrix.T, -1, axis)
    return volume


@lru_cache(maxsize=512)
def _means(n_in: int, n_out: int) -> Floats:
    """How much each of ``n_in`` samples adds to each of fewer that cover the same extent, (n_out, n_in)."""
    edges = np.linspace(0, n_in, n_out + 1)
    starts = np.arange(n_in)
    shared = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    weights = shared.clip(min=0)
    matrix: Floats = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return matrix


def centre_fit(volume: Floats, size: Sequence[int], fill: float) -> Floats:
    """Crop or fill up a volume (D, H, W) about its centre.

    Example:
        >>> centre_fit(np.float32([[[1, 2, 3]]]), (1, 2, 2), 0).tolist()
        [[[1.0, 2.0], [0.0, 0.0]]]
    """
    if volume.shape == tuple(size):
        return volume
    fitted = np.full(tuple(size), fill, np.float32)
    source, target = [], []
    for n_in, n_out in zip(volume.shape, size, strict=True):
        cut, pad = max(0, n_in - n_out) // 2, max(0, n_out - n_in) // 2
        source.append(slice(cut, cut + min(n_in, n_out)))
        target.append(slice(pad, pad + min(n_in, n_out)))
    fitted[tuple(target)] = volume[tuple(source)]
    return fitted
