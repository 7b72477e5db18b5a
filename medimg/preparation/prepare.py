"""Raw cases to prepared ones: crop, reorient, resample, normalise."""

import hashlib
import json
import logging
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from medimg.errors import ConfigError, DataError, ResourceError
from medimg.io.nifti import Form
from medimg.io.store import PatchStore, source_hash, stamp
from medimg.keys import IGNORE_INDEX
from medimg.parallel import map_cases, raise_failures
from medimg.preparation.geometry import Geometry, nonzero_box, orientation_change, reorient
from medimg.preparation.normalize import Normalization, normalize
from medimg.preparation.resample import axis_orders, resample_labels, resample_volume
from medimg.preparation.source import case_files, read_case
from medimg.records import DatasetIndex, Record

logger = logging.getLogger(__name__)

# Voxels kept of each class for drawing foreground patches.
_FOREGROUND_VOXELS = 10_000
# Raise when the layout or the meaning of stored arrays changes.
_STORE_VERSION = 2
_SHOWN_WARNINGS = 5


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
        form: Which affine to trust in files whose sform and qform differ; ``agree`` refuses them.

    Raises:
        ConfigError: If a value makes no sense.
    """

    spacing_mm: tuple[float, float, float] | None = None
    orientation: str | None = "RAS"
    crop_nonzero: bool = True
    normalization: tuple[Normalization, ...] = ("zscore",)
    window_hu: tuple[float, float] | None = None
    mean_std: tuple[float, float] | None = None
    form: Form = "agree"

    def __post_init__(self) -> None:
        for name in ("spacing_mm", "window_hu", "mean_std"):
            # 1 and 1.0 are one setting, wherever they were read, and must have one key.
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, tuple(float(number) for number in value))
        spacing, window = self.spacing_mm, self.window_hu
        _expect(
            spacing is None or (len(spacing) == 3 and min(spacing) > 0),
            f"spacing_mm: expected three lengths above 0 in the order D, H, W, found {spacing}",
        )
        known = get_args(Normalization)
        _expect(
            bool(self.normalization) and set(self.normalization) <= set(known),
            f"normalization: expected a list of {', '.join(known)}, found {self.normalization}",
        )
        _expect(
            window is None or (len(window) == 2 and window[0] < window[1]),
            f"window_hu: expected a lower and a higher limit, found {window}",
        )
        _expect(
            self.mean_std is None or (len(self.mean_std) == 2 and self.mean_std[1] > 0),
            f"mean_std: expected a mean and a deviation above 0, found {self.mean_std}",
        )
        _expect(
            "ct" not in self.normalization or (window is not None and self.mean_std is not None),
            "normalization ct needs window_hu and mean_std: `medimg plan DATA --out FILE` measures both",
        )
        _expect(
            self.orientation is None or _is_orientation(self.orientation),
            f"orientation: expected three letters such as RAS, found {self.orientation!r}",
        )
        _expect(self.form in get_args(Form), f"form: expected {get_args(Form)}, found {self.form!r}")

    def key(self, index: DatasetIndex) -> str:
        """Hash of all that decides what a prepared case looks like, its files apart."""
        facts = [_STORE_VERSION, asdict(self), dict(index.labels), index.ignore_label, index.channel_order]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _expect(right: bool, fault: str) -> None:
    if not right:
        raise ConfigError(f"preparation.{fault}")


def _is_orientation(codes: str) -> bool:
    return len(codes) == 3 and all(len(set(codes) & set(pair)) == 1 for pair in ("LR", "PA", "IS"))


@dataclass(frozen=True, slots=True)
class PreparedCase:
    """One case on the prepared grid.

    Attributes:
        image: Normalised image (C, D, H, W).
        mask: Class indices (D, H, W), or ``None``.
        geometry: The way back to the file's grid.
        warnings: What was found in the files and can be lived with.
    """

    image: NDArray[np.float32]
    mask: NDArray[np.uint8] | None
    geometry: Geometry
    warnings: tuple[str, ...] = ()


def prepare_case(record: Record, index: DatasetIndex, preparation: Preparation) -> PreparedCase:
    """Read one case and bring it to the prepared grid.

    Args:
        record: The case.
        index: Its data set, for channels and labels.
        preparation: What to do.

    Raises:
        DataError: As :func:`read_case`.
    """
    source = read_case(record, index, form=preparation.form)
    grid = source.grid
    axes, flips = orientation_change(grid.affine, preparation.orientation)
    image = reorient(source.image, axes, flips)
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
    if source.mask is not None:
        mask = np.ascontiguousarray(reorient(source.mask, axes, flips)[inside])
        mask = resample_labels(mask, shape, axis_orders((d, h, w), 1))
    geometry = Geometry(grid.shape, grid.spacing_mm, axes, flips, box, shape, spacing)
    return PreparedCase(image, mask, geometry, source.warnings)


def _shape_at(
    shape: Sequence[int], spacing: Sequence[float], wanted: Sequence[float]
) -> tuple[int, int, int]:
    d, h, w = (max(1, round(n * old / new)) for n, old, new in zip(shape, spacing, wanted, strict=True))
    return d, h, w


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


class _Job:
    """Prepares one case into the store; a class, so that worker processes can unpickle it."""

    def __init__(self, index: DatasetIndex, preparation: Preparation, store: PatchStore, key: str) -> None:
        self.index, self.preparation, self.store, self.key = index, preparation, store, key

    def __call__(self, record: Record) -> tuple[str, ...]:
        case = prepare_case(record, self.index, self.preparation)
        files = case_files(record)
        meta = {
            "case_id": record.case_id,
            "patient_id": record.patient_id,
            "key": self.key,
            "stamp": stamp(files),
            "source_hash": source_hash(files),
            "geometry": case.geometry.as_dict(),
            "form": self.preparation.form,
        }
        foreground = sample_foreground(case.mask, record.case_id)
        self.store.write(record.case_id, case.image, case.mask, foreground, meta)
        return case.warnings


def store_folder(root: Path, index: DatasetIndex, preparation: Preparation) -> Path:
    """Folder of a data set prepared in one way, so that two ways never overwrite each other."""
    return root / f"{index.name}-{preparation.key(index)[:8]}"


def stale_cases(index: DatasetIndex, preparation: Preparation, store: PatchStore) -> list[Record]:
    """Labelled cases, test cases among them, that the store lacks, or holds from other files or other options."""
    key = preparation.key(index)
    labelled = (*index.records, *index.test)
    return [record for record in labelled if not store.fresh(record.case_id, key, case_files(record))]


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
        ResourceError: If the store cannot be written.
    """
    if not stale_cases(index, preparation, store):
        return 0
    # Five folds started at once share a store: the first prepares it, and the others wait and find it done.
    lock = FileLock(store.folder.with_name(f".{store.folder.name}.lock"))
    try:
        store.folder.parent.mkdir(parents=True, exist_ok=True)
        held = lock.acquire()
    except OSError as error:
        raise ResourceError(
            f"{store.folder.parent}: prepared cases cannot be written there ({error.strerror}). Give a folder you "
            "may write to."
        ) from error
    with held:
        return _prepare(index, preparation, store, workers, scheduler)


def _prepare(
    index: DatasetIndex, preparation: Preparation, store: PatchStore, workers: int, scheduler: str | None
) -> int:
    todo = stale_cases(index, preparation, store)
    if not todo:
        return 0
    # The job travels with every case: without the list of all the others.
    job = _Job(index.without_cases(), preparation, store, preparation.key(index))
    names = [record.case_id for record in todo]
    outcomes = map_cases(job, todo, names=names, workers=workers, scheduler=scheduler, label="prepare")
    warnings: list[tuple[str, ...]] = raise_failures(outcomes)
    _report_warnings(names, warnings)
    return len(todo)


def _report_warnings(names: Sequence[str], warnings: Sequence[Sequence[str]]) -> None:
    told = [f"{name}: {'; '.join(texts)}" for name, texts in zip(names, warnings, strict=True) if texts]
    for line in told[:_SHOWN_WARNINGS]:
        logger.warning(line)
    if len(told) > _SHOWN_WARNINGS:
        logger.warning("... %d cases with warnings in all: `medimg audit` lists them", len(told))


def check_patch_size(store: PatchStore, case_ids: Iterable[str], patch_size: Sequence[int]) -> None:
    """Refuse 3D patches of cases that are one slice thick.

    Such a case fills one slice of a patch and leaves padding in all others, so a network would
    learn from a volume that is not there. A patch of size 1 along that axis is fine.

    Args:
        store: The patch store.
        case_ids: Training cases.
        patch_size: Patch (D, H, W).

    Raises:
        DataError: With the first case that is too thin.
    """
    for case_id in case_ids:
        shape = store.meta(case_id)["geometry"]["shape"]
        for axis, (voxels, wanted) in enumerate(zip(shape, patch_size, strict=True)):
            if voxels == 1 < wanted:
                raise DataError(
                    f"{case_id} is one slice ({shape} voxels along D, H, W), and patches of {list(patch_size)} "
                    f"are volumes: set data.init_args.patches.size to 1 along {'DHW'[axis]} for slice by slice "
                    "training, or leave the case out of the split"
                )
