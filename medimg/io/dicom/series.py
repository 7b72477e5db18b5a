"""A DICOM series as a volume whose geometry can be trusted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg.errors import DataError
from medimg.io.dicom.geometry import Stack, stack_slices
from medimg.io.dicom.grouping import (
    FolderScan,
    SeriesFiles,
    SetAside,
    choose_series,
    find_series,
    scan_folder,
    series_names,
)
from medimg.io.dicom.parse import header_warnings, open_dataset, refuse_header
from medimg.io.dicom.slices import read_slices
from medimg.io.dicom.stored import decode
from medimg.io.dicom.values import map_values, modality_mapping
from medimg.io.grid import Grid

__all__ = [
    "FolderScan",
    "SeriesFiles",
    "SetAside",
    "Stack",
    "Volume",
    "choose_series",
    "find_series",
    "read_series",
    "read_stack",
    "scan_folder",
    "series_names",
]

# A volume of more than this, as float32, is refused before memory is taken for it.
MAX_BYTES = 1 << 32
_AIR_HU = -1024.0

Source = SeriesFiles | Path | Sequence[Path]


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """The voxels of a series, where they lie and where they come from.

    Attributes:
        voxels: Modality units, Hounsfield units for CT, shape (D, H, W); int16 where every value is a whole
            number that fits, else float32.
        grid: Where the voxels lie, RAS+; D grows along the normal of the slices.
        series: The files, and what was set aside.
        stack: How the slices lie on the grid, for the way back.
        flags: What was done to them or read over, one line each.
    """

    voxels: NDArray[np.int16] | NDArray[np.float32]
    grid: Grid
    series: SeriesFiles
    stack: Stack
    flags: tuple[str, ...]


def read_series(source: Source, *, which: str | None = None, resample: bool = False) -> Volume:
    """Read one series as a volume in modality units, the slope and intercept of each slice applied to it.

    Slices are sorted by their positions along the normal, never by names or numbers. A gantry tilt is undone: each
    slice is shifted to its true position, and the grid grows to hold all. Values are those of the files, padding
    included; MONOCHROME1 changes how they are shown and not what they mean. Where no slice reaches, CT holds
    -1024 and others their lowest value.

    Args:
        source: Folder of one series, files of one, or an entry of `find_series`.
        which: UID or number of the series, where a folder holds several.
        resample: Interpolate unevenly spaced slices by their true positions instead of refusing them.

    Raises:
        ConfigError: If a folder holds several series and none is named.
        DataError: If a file is damaged, or the slices make no volume: duplicates, gaps, mixed sizes or directions,
            uneven distances.
    """
    series = _series_of(source, which)
    stack = read_stack(series, resample=resample)
    flags: dict[str, None] = {}
    if len(stack.slices) == 1 and stack.slices[0].thickness_mm is None:
        flags["one slice of unknown thickness, taken as 1 mm"] = None
    if stack.resampled:
        planes = [plane for plane, _ in _planes(stack, flags)]
        fill = _AIR_HU if series.modality == "CT" else min(float(plane.min()) for plane in planes)
        resampled = stack.assemble(planes, fill)
        return Volume(resampled, stack.grid, series, stack, (*stack.resampled, *flags))
    voxels = np.empty(stack.grid.shape, np.float32)
    small = True
    for number, (plane, whole) in enumerate(_planes(stack, flags)):
        voxels[number] = plane
        small = small and whole
    return Volume(voxels.astype(np.int16) if small else voxels, stack.grid, series, stack, tuple(flags))


def read_stack(source: Source, *, which: str | None = None, resample: bool = False) -> Stack:
    """Read where the voxels of a series lie, from the headers only.

    Raises:
        ConfigError: As for `read_series`.
        DataError: As for `read_series`, or if the volume would take more than 4 GiB.
    """
    series = _series_of(source, which)
    stack = stack_slices(series.slices, series.title, resample=resample)
    needed = 4 * int(np.prod(stack.grid.shape, dtype=np.int64))
    if needed > MAX_BYTES:
        raise DataError(
            f"{series.title}: the headers declare {stack.grid.shape} voxels, {needed:,} bytes in memory, over the "
            f"limit of {MAX_BYTES:,}. If the headers are right, convert the series in parts."
        )
    return stack


def _series_of(source: Source, which: str | None) -> SeriesFiles:
    if isinstance(source, SeriesFiles):
        return source
    if isinstance(source, Path):
        return choose_series(find_series(source), which, source)
    headers = [read_slices(path) for path in source]
    first = headers[0]
    wrong = next((one for one in headers if one.reason or one.series_uid != first.series_uid), None)
    if wrong is not None:
        raise DataError(
            f"{wrong.path}: expected a slice of the series {first.series_uid}, found "
            f"{wrong.reason or f'one of {wrong.series_uid}'}. Read the folder again."
        )
    slices = tuple(one for header in headers for one in header.slices)
    return SeriesFiles(
        first.series_uid,
        first.study_uid,
        first.patient_id,
        first.modality,
        first.description,
        first.number,
        slices,
        (),
    )


def _planes(stack: Stack, flags: dict[str, None]) -> Iterator[tuple[NDArray[np.float32], bool]]:
    """Pixels (H, W) of each slice in modality units, and whether they are whole numbers that fit 16 bits."""
    held: tuple[Path, dict[int, tuple[NDArray[np.float32], bool]]] | None = None
    for one in stack.slices:
        if held is None or held[0] != one.path:
            held = (one.path, _decode(one.path, flags))
        yield held[1][one.frame]


def _decode(path: Path, flags: dict[str, None]) -> dict[int, tuple[NDArray[np.float32], bool]]:
    """Every frame of a file in modality units."""
    with header_warnings() as odd:
        opened = open_dataset(path)
        stored = decode(opened)
        try:
            planes = {
                frame: map_values(values[..., 0], modality_mapping(path, opened.dataset, frame))
                for frame, values in enumerate(stored.values)
            }
        except DataError:
            raise
        except Exception as error:
            # Elements are converted when they are first looked at; pydicom then raises what its code meets.
            refuse_header(path, error)
    flags |= dict.fromkeys([*opened.flags, *odd])
    return {frame: (_checked(path, plane), _is_small(plane)) for frame, plane in planes.items()}


def _checked(path: Path, plane: NDArray[np.float32]) -> NDArray[np.float32]:
    finite = np.isfinite(plane)
    if not finite.all():
        raise DataError(
            f"{path}: {plane.size - int(finite.sum())} of {plane.size} pixels are not numbers. Leave the series out."
        )
    return plane


def _is_small(plane: NDArray[np.float32]) -> bool:
    return bool(plane.min() >= -(2**15) and plane.max() < 2**15 and (plane == np.rint(plane)).all())
