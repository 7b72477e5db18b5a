"""Raw cases to prepared ones: crop, reorient, resample, normalise."""

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg.errors import DataError
from medimg.io.nifti import read_grid, read_image, read_mask
from medimg.io.store import PatchStore, source_hash, stamp
from medimg.parallel import map_cases, raise_failures
from medimg.preparation.geometry import Geometry, nonzero_box, orientation_change, reorient
from medimg.preparation.normalize import Normalization, normalize
from medimg.preparation.resample import axis_orders, resample_labels, resample_volume
from medimg.records import DatasetIndex, Record

# Class index of voxels that take no part in training.
IGNORE_INDEX = 255
# Voxels kept of each class for drawing foreground patches.
_FOREGROUND_VOXELS = 10_000
# Raise when the layout or the meaning of stored arrays changes.
_STORE_VERSION = 1
# Half a voxel: masks further off than this lie on another grid.
_GRID_TOLERANCE_VOXELS = 0.5


@dataclass(frozen=True)
class Preparation:
    """What every case goes through before training sees it.

    Attributes:
        spacing_mm: Spacing (D, H, W) of the prepared grid; ``None`` keeps each case's own.
        orientation: Directions of the file's axes after reorienting; ``None`` keeps each case's own.
        crop_nonzero: Crop to the box outside which every channel is zero.
        normalization: One way for all channels or one for each: ``zscore`` over the whole image,
            ``zscore_nonzero`` over the voxels that are not zero (skull-stripped MRI), ``ct``
            (window, then the data set's mean and deviation) or ``none``.
        window_hu: Window in Hounsfield units, for ``ct``.
        mean_std: Mean and standard deviation of the foreground in Hounsfield units, for ``ct``.
    """

    spacing_mm: tuple[float, float, float] | None = None
    orientation: str | None = "RAS"
    crop_nonzero: bool = True
    normalization: tuple[Normalization, ...] = ("zscore",)
    window_hu: tuple[float, float] | None = None
    mean_std: tuple[float, float] | None = None

    def key(self, index: DatasetIndex) -> str:
        """Hash of all that decides what a prepared case looks like, its files apart."""
        facts = [_STORE_VERSION, asdict(self), dict(index.labels), index.ignore_label, index.channel_order]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class PreparedCase:
    """One case on the prepared grid.

    Attributes:
        image: Normalised image (C, D, H, W).
        mask: Class indices (D, H, W), or ``None``.
        geometry: The way back to the file's grid.
    """

    image: NDArray[np.float32]
    mask: NDArray[np.uint8] | None
    geometry: Geometry


def prepare_case(record: Record, index: DatasetIndex, preparation: Preparation) -> PreparedCase:
    """Read one case and bring it to the prepared grid.

    Args:
        record: The case.
        index: Its data set, for channels and labels.
        preparation: What to do.

    Raises:
        DataError: If a file cannot be read, the grids of image and mask differ, or the mask holds
            values that the data set does not declare.
    """
    grid = read_grid(record.images[0])
    image = _read_channels(record, index)
    axes, flips = orientation_change(grid.affine, preparation.orientation)
    image = reorient(image, axes, flips)
    whole = ((0, 0, 0), (image.shape[1], image.shape[2], image.shape[3]))
    box = nonzero_box(image) if preparation.crop_nonzero else whole
    inside = tuple(slice(low, high) for low, high in zip(*box, strict=True))
    image = normalize(
        np.ascontiguousarray(image[(slice(None), *inside)]),
        preparation.normalization,
        preparation.window_hu,
        preparation.mean_std,
    )
    d, h, w = (grid.spacing_mm[axis] for axis in axes)
    spacing = preparation.spacing_mm or (d, h, w)
    shape = _shape_at(image.shape[1:], (d, h, w), spacing)
    image = resample_volume(image, shape, axis_orders((d, h, w), 3))
    mask = None
    if record.mask is not None:
        mask = reorient(_read_classes(record, index), axes, flips)[inside]
        mask = resample_labels(np.ascontiguousarray(mask), shape, axis_orders((d, h, w), 1))
    geometry = Geometry(grid.shape, grid.spacing_mm, axes, flips, box, shape, spacing)
    return PreparedCase(image, mask, geometry)


def _shape_at(
    shape: Sequence[int], spacing: Sequence[float], wanted: Sequence[float]
) -> tuple[int, int, int]:
    d, h, w = (max(1, round(n * old / new)) for n, old, new in zip(shape, spacing, wanted, strict=True))
    return d, h, w


def _read_channels(record: Record, index: DatasetIndex) -> NDArray[np.float32]:
    parts = [read_image(path) for path in record.images]
    if len({part.shape[1:] for part in parts}) > 1:
        shapes = ", ".join(
            f"{path.name} {part.shape[1:]}" for path, part in zip(record.images, parts, strict=True)
        )
        raise DataError(
            f"{record.case_id}: the channels differ in shape: {shapes}. Register them to one grid first"
        )
    image = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if len(image) != len(index.channels):
        raise DataError(
            f"{record.case_id}: expected {len(index.channels)} channels ({', '.join(index.channels)}), "
            f"found {len(image)} in {record.images[0]}"
        )
    return image[list(index.channel_order)] if index.channel_order else image


def _read_classes(record: Record, index: DatasetIndex) -> NDArray[np.uint8]:
    """Class indices (D, H, W): 0 background, then the labels in the data set's order, 255 ignored."""
    assert record.mask is not None
    grid, own = read_grid(record.images[0]), read_grid(record.mask)
    limit_mm = _GRID_TOLERANCE_VOXELS * min(grid.spacing_mm)
    if own.shape != grid.shape or own.corner_distance_mm(grid) > limit_mm:
        raise DataError(
            f"{record.case_id}: mask and image lie on different grids (shapes {own.shape} and {grid.shape}, corners "
            f"{own.corner_distance_mm(grid):.2f} mm apart, at most {limit_mm:.2f} allowed): "
            f"resample {record.mask} to its image"
        )
    values = read_mask(record.mask)
    table = {0: 0, **{value: number for number, value in enumerate(index.labels.values(), start=1)}}
    if index.ignore_label is not None:
        table[index.ignore_label] = IGNORE_INDEX
    found = np.unique(values).tolist()
    unknown = sorted(set(found) - table.keys())
    if unknown:
        raise DataError(
            f"{record.case_id}: the mask {record.mask} holds the values {unknown}, which are none of "
            f"{dict(index.labels)}: correct the mask or the data set's labels"
        )
    classes = np.zeros(values.shape, dtype=np.uint8)
    for value in found:
        if value:
            classes[values == value] = table[value]
    return classes


def sample_foreground(mask: NDArray[np.uint8] | None, case_id: str) -> NDArray[np.int16]:
    """Voxels of each class from which foreground patches are drawn, at most 10,000 of each.

    Args:
        mask: Class indices (D, H, W), or ``None``.
        case_id: Seeds the draw, so that preparing twice gives the same bytes.

    Returns:
        Rows of class index, d, h, w, sorted by class; shape (N, 4).
    """
    if mask is None:
        return np.zeros((0, 4), dtype=np.int16)
    rng = np.random.default_rng(zlib.crc32(case_id.encode()))
    rows = []
    for value in np.unique(mask):
        if value in (0, IGNORE_INDEX):
            continue
        places = np.flatnonzero(mask == value)
        if len(places) > _FOREGROUND_VOXELS:
            places = rng.choice(places, _FOREGROUND_VOXELS, replace=False)
        voxels = np.stack(np.unravel_index(places, mask.shape), axis=1)
        rows.append(np.column_stack([np.full(len(voxels), value), voxels]))
    return np.concatenate(rows).astype(np.int16) if rows else np.zeros((0, 4), dtype=np.int16)


def _files(record: Record) -> list[Path]:
    return [*record.images, *([record.mask] if record.mask else [])]


class _Job:
    """Prepares one case into the store; a class, so that worker processes can unpickle it."""

    def __init__(self, index: DatasetIndex, preparation: Preparation, store: PatchStore, key: str) -> None:
        self.index, self.preparation, self.store, self.key = index, preparation, store, key

    def __call__(self, record: Record) -> None:
        case = prepare_case(record, self.index, self.preparation)
        files = _files(record)
        meta = {
            "case_id": record.case_id,
            "patient_id": record.patient_id,
            "key": self.key,
            "stamp": stamp(files),
            "source_hash": source_hash(files),
            "geometry": case.geometry.as_dict(),
        }
        foreground = sample_foreground(case.mask, record.case_id)
        self.store.write(record.case_id, case.image, case.mask, foreground, meta)


def store_folder(root: Path, index: DatasetIndex, preparation: Preparation) -> Path:
    """Folder of a data set prepared in one way, so that two ways never overwrite each other."""
    return root / f"{index.name}-{preparation.key(index)[:8]}"


def stale_cases(index: DatasetIndex, preparation: Preparation, store: PatchStore) -> list[Record]:
    """Labelled cases that the store lacks, or holds from other files or other options."""
    key = preparation.key(index)
    return [record for record in index.records if not store.fresh(record.case_id, key, _files(record))]


def prepare_dataset(
    index: DatasetIndex,
    preparation: Preparation,
    store: PatchStore,
    *,
    workers: int = 1,
    scheduler: str | None = None,
) -> int:
    """Prepare every labelled case that is missing or stale; those already done stay.

    Args:
        index: The data set.
        preparation: What to do with each case.
        store: Where prepared cases go.
        workers: Local processes.
        scheduler: Address of a Dask scheduler, instead of local processes.

    Returns:
        Number of cases prepared now.

    Raises:
        DataError: After all other cases are done, naming every case that failed.
    """
    todo = stale_cases(index, preparation, store)
    if not todo:
        return 0
    # The job travels with every case: without the list of all the others.
    job = _Job(replace(index, records=(), unlabelled=()), preparation, store, preparation.key(index))
    names = [record.case_id for record in todo]
    outcomes = map_cases(job, todo, names=names, workers=workers, scheduler=scheduler, label="prepare")
    raise_failures(outcomes)
    return len(todo)
