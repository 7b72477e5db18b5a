"""LIDC-IDRI as files that every other step reads: volumes, consensus masks, nodule crops and a table of nodules.

Converted once rather than read from DICOM and XML at each step: the masks a network is trained on can then be
looked at, and audit, plan, prepare, fit and predict need to know nothing of XML.
"""

import csv
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medimg.datasets.lidc import NODULES
from medimg.datasets.lidc_nodules import COLUMNS, Nodule, find_nodules, nodule_row
from medimg.datasets.lidc_scans import Scan, find_scans
from medimg.datasets.lidc_xml import read_xml
from medimg.errors import ConfigError, DataError
from medimg.io.dicom.parse import open_dataset
from medimg.io.dicom.series import SeriesFiles, Stack, find_series, read_series
from medimg.io.dicom.slices import Slice
from medimg.io.files import atomic_write
from medimg.io.nifti import write_image
from medimg.parallel import map_cases, raise_failures

logger = logging.getLogger(__name__)

_AIR_HU = -1024
_NODULE, _UNSURE = 1, 2
_SETTINGS = "conversion.json"


@dataclass(frozen=True, slots=True)
class CropOptions:
    """Crops around nodules.

    Attributes:
        size: Voxels along each axis; 0 writes none.
        spacing_mm: Side of their cubic voxels.
        off_centre: Farthest that a nodule lies from the middle along each axis, as a share of the side: by chance, but
            always the same for one nodule. 0 has it in the middle, which leaves no place to be learned.
    """

    size: int = 48
    spacing_mm: float = 1.0
    off_centre: float = 0.0


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written.

    Attributes:
        scans: Number of scans.
        nodules: Number of nodules in the table.
        malignant: Nodules of enough readers with a mean malignancy above 3.
        benign: The same, below 3.
        failed: Scans that were left out, and why.
    """

    scans: int
    nodules: int
    malignant: int
    benign: int
    failed: tuple[str, ...]


def convert_lidc(
    root: Path,
    out: Path,
    *,
    xml: Path | None = None,
    min_readers: int = 3,
    crop: CropOptions = CropOptions(),
    workers: int = 1,
    scheduler: str | None = None,
    on_bad: Literal["refuse", "skip"] = "refuse",
) -> Converted:
    """Write LIDC-IDRI in nnU-Net's raw layout with a table of nodules.

    ``imagesTr/<case>_0000.nii.gz`` in Hounsfield units, ``labelsTr/<case>.nii.gz`` with 1 where at least half of
    a nodule's readers agree and 2, to be ignored, on nodules that fewer than ``min_readers`` outlined,
    ``dataset.json``, ``patients.json``, ``nodules.csv`` and ``crops/<nodule>.nii.gz``. Scans that were converted
    before with the same settings are kept.

    Args:
        root: Folder of the images.
        out: Folder to write to: missing, empty, or written by this function with the same settings.
        xml: Folder of the XML files where they lie apart.
        min_readers: Readers that make a nodule certain, 1 to 4.
        crop: Size of the crops.
        workers: Processes to use; a scan of 120 slices takes about 0.4 GB in each.
        scheduler: Address of a Dask scheduler instead.
        on_bad: Refuse the set when a scan cannot be used, once all others are done, or leave the scan out.

    Raises:
        ConfigError: If a setting is out of range, or the folder holds other things.
        DataError: If no scan is found, or some cannot be used.
        ResourceError: If a file cannot be written.
    """
    if not 1 <= min_readers <= 4:
        raise ConfigError(f"min_readers: expected 1 to 4, found {min_readers}.")
    if crop.size < 0 or crop.spacing_mm <= 0 or not 0 <= crop.off_centre < 0.5:
        raise ConfigError(
            f"crop: expected a size from 0 on, a spacing above 0 mm and off_centre in [0, 0.5), found {crop}."
        )
    scans = find_scans(root, xml=xml)
    out = Path(out)
    settings = {"min_readers": min_readers, "crop": crop.size, "crop_spacing_mm": crop.spacing_mm}
    # Named only where it is set: conversions from before it could be go on.
    _claim(out, settings | ({"crop_off_centre": crop.off_centre} if crop.off_centre else {}))
    missing = [scan for scan in scans if not _rows_file(out, scan).is_file()]
    convert = partial(_convert, out=out, min_readers=min_readers, crop=crop)
    names = [scan.case_id for scan in missing]
    outcomes = list(
        map_cases(convert, missing, names=names, workers=workers, scheduler=scheduler, label="scans")
    )
    if on_bad == "refuse":
        raise_failures(outcomes)
    failed = {outcome.name: outcome.error for outcome in outcomes if outcome.error is not None}
    return _finish(out, [scan for scan in scans if scan.case_id not in failed], failed, min_readers)


def _finish(out: Path, done: Sequence[Scan], failed: dict[str, str], min_readers: int) -> Converted:
    if not done:
        raise DataError(f"{out}: none of {len(failed)} scans could be used: {next(iter(failed.values()))}")
    rows = [row for scan in done for row in json.loads(_rows_file(out, scan).read_text())]
    with atomic_write(out / NODULES) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    _write_json(out / "patients.json", {scan.case_id: scan.patient_id for scan in done})
    _write_json(
        out / "dataset.json",
        {
            "channel_names": {"0": "CT"},
            "labels": {"background": 0, "nodule": _NODULE, "ignore": _UNSURE},
            "numTraining": len(done),
            "file_ending": ".nii.gz",
        },
    )
    labels = Counter(row["malignant"] for row in rows if int(row["readers"]) >= min_readers)
    lines = tuple(f"{name}: {error}" for name, error in failed.items())
    return Converted(len(done), len(rows), labels["1"], labels["0"], lines)


def _convert(scan: Scan, *, out: Path, min_readers: int, crop: CropOptions) -> None:
    """Write one scan; its rows come last, so a scan that has them is whole."""
    series = next(one for one in find_series(scan.folder) if one.uid == scan.series_uid)
    volume = read_series(replace(series, slices=without_copies(series)), resample=True)
    annotations = read_xml(scan.xml).annotations
    slices_mm = np.array([one.position[2] for one in volume.stack.slices])
    spacing = volume.stack.slices[0].spacing_mm
    nodules = find_nodules(annotations, (spacing[0], spacing[1]), slices_mm)
    voxels, affine = np.rint(volume.voxels).astype(np.int16, copy=False), volume.grid.affine
    mask = _on_grid(volume.stack, nodules, min_readers)
    write_image(out / "imagesTr" / f"{scan.case_id}_0000.nii.gz", voxels, affine)
    write_image(out / "labelsTr" / f"{scan.case_id}.nii.gz", mask, affine)
    rows = []
    for number, nodule in enumerate(nodules, start=1):
        name = f"{scan.case_id}-n{number:02d}"
        image = f"crops/{name}.nii.gz" if crop.size else ""
        place = _place_mm(volume.stack, nodule.centre())
        offset = offset_mm(name, crop)
        row = nodule_row(
            nodule,
            nodule_id=name,
            patient_id=scan.patient_id,
            case_id=scan.case_id,
            image=image,
            place_mm=place,
            voxel_mm3=float(np.prod(volume.grid.spacing_mm)),
            offset_mm=offset.tolist(),
        )
        if crop.size:
            write_image(out / image, *cut_crop(voxels, affine, place - offset, crop))
        rows.append(row)
    _write_json(_rows_file(out, scan), rows)


def without_copies(series: SeriesFiles) -> tuple[Slice, ...]:
    """The slices of a series, one a position: of several the one with the lowest InstanceNumber.

    Args:
        series: A series whose slices may share positions, as in some scans of LIDC-IDRI.
    """
    places: dict[float, list[Slice]] = {}
    for one in series.slices:
        places.setdefault(round(one.position[2], 3), []).append(one)
    return tuple(min(same, key=_instance) if len(same) > 1 else same[0] for same in places.values())


def _instance(one: Slice) -> int:
    return int(open_dataset(one.path, pixels=False).dataset.get("InstanceNumber") or 0)


def _on_grid(stack: Stack, nodules: Sequence[Nodule], min_readers: int) -> NDArray[np.uint8]:
    """The label map (D, H, W); where slices were resampled, each voxel takes the nearest slice's label."""
    labels = np.zeros((len(stack.slices), *stack.slices[0].size), np.uint8)
    # The certain ones come last, so that they win where two nodules touch.
    for nodule in sorted(nodules, key=lambda one: one.readers >= min_readers):
        value = _NODULE if nodule.readers >= min_readers else _UNSURE
        labels[nodule.consensus.box][nodule.consensus.mask] = value
    if not stack.resampled:
        return labels
    mask = np.zeros(stack.grid.shape, np.uint8)
    rows, columns = stack.slices[0].size
    for depth in range(len(mask)):
        nearest = int(np.abs(stack.depths - depth).argmin())
        y, x = np.rint(stack.shifts[nearest]).astype(int)
        mask[depth, y : y + rows, x : x + columns] = labels[nearest]
    return mask


def _place_mm(stack: Stack, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Place (x, y, z) of a point given as number of the slice, row and column."""
    numbers = np.arange(len(stack.slices))
    d = np.interp(at[0], numbers, stack.depths)
    h, w = (at[1 + axis] + np.interp(at[0], numbers, stack.shifts[:, axis]) for axis in range(2))
    return np.asarray(stack.grid.affine[:3, :3] @ [w, h, d] + stack.grid.affine[:3, 3], np.float64)


def offset_mm(nodule_id: str, crop: CropOptions) -> NDArray[np.float64]:
    """From the middle of a nodule's crop to its own (x, y, z) in millimetres, drawn by its name.

    Args:
        nodule_id: Its name.
        crop: How far off it may lie.

    Example:
        >>> offset_mm("a", CropOptions(48, 1.0)).tolist()
        [0.0, 0.0, 0.0]
    """
    reach = crop.off_centre * crop.size * crop.spacing_mm
    return np.random.default_rng(list(nodule_id.encode())).uniform(-1, 1, 3) * reach + 0.0


def cut_crop(
    voxels: NDArray[np.number], affine: NDArray[np.float64], place: NDArray[np.float64], crop: CropOptions
) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """Cut a cube of cubic voxels around a place, linearly interpolated, with air beyond the edge.

    Args:
        voxels: Hounsfield units (D, H, W).
        affine: Of the volume, whose axes are perpendicular.
        place: Middle (x, y, z) in millimetres, RAS+.
        crop: Size and spacing.

    Returns:
        Hounsfield units, shape (size, size, size), axes as in the volume; and their affine.
    """
    sides = np.linalg.norm(affine[:3, :3], axis=0)  # (W, H, D)
    middle = np.linalg.solve(affine[:3, :3], place - affine[:3, 3])
    offsets = (np.arange(crop.size) - (crop.size - 1) / 2) * crop.spacing_mm
    w, h, d = (middle[axis] + offsets / sides[axis] for axis in range(3))
    at = np.stack(np.meshgrid(d, h, w, indexing="ij"))  # (3, size, size, size)
    cube = ndimage.map_coordinates(
        voxels, at, output=np.float32, order=1, mode="constant", cval=_AIR_HU, prefilter=False
    )
    own = np.eye(4)
    own[:3, :3] = affine[:3, :3] / sides * crop.spacing_mm
    own[:3, 3] = affine[:3, :3] @ [w[0], h[0], d[0]] + affine[:3, 3]
    return np.rint(cube).astype(np.int16), own


def _claim(out: Path, settings: dict[str, float]) -> None:
    note = out / _SETTINGS
    if note.is_file():
        found = json.loads(note.read_text())
        if found != settings:
            raise ConfigError(
                f"{out}: holds a conversion with other settings ({found}) than asked for ({settings}). Name another "
                "folder, or delete this one."
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(
            f"{out}: expected a new or empty folder, found other files in it. Name another one."
        )
    _write_json(note, settings)


def _rows_file(out: Path, scan: Scan) -> Path:
    return out / "readings" / f"{scan.case_id}.json"


def _write_json(path: Path, content: object) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
