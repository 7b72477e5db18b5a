"""Nodule phantoms: cubes of chest CT around one nodule each, with size, place and malignancy as a table."""

import csv
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg.errors import ConfigError
from medimg.io.files import atomic_write
from medimg.io.grid import Grid
from medimg.io.nifti import write_image
from medimg.phantoms.chest import Chest, build_chest, draw_slices
from medimg.phantoms.lidc_readers import READERS, score
from medimg.phantoms.set_folder import claim, write_missing

SIZE = 48
MOST_NODULES = 9999
PER_PATIENT = 3  # nodules of one patient, which a split keeps together
_FIRST_PATIENT = 9001
_SMALLEST = 16
_OFF_CENTRE = 0.15  # of the cube's side, the farthest that a nodule lies from the middle along each axis
_FIELD_MM = 48.0
_RECIPE = 1
_ABOUT = """\
Cubes of chest CT around known lung nodules, to try classifiers on. No figure reached on them says
anything about patients.

nodules.csv has the columns of the table that the conversion of LIDC-IDRI writes, and three more:
true_malignancy, and offset_{z,y,x}_mm, how far above, in front and to the right of the cube's
middle the nodule lies."""
_SCORES = ("malignancy", "spiculation", "lobulation", "texture", "calcification")
COLUMNS = (
    "nodule_id",
    "patient_id",
    "case_id",
    "image",
    "readers",
    "malignant",
    "diameter_mm",
    "x_mm",
    "y_mm",
    "z_mm",
    *_SCORES,
    "true_malignancy",
    "offset_z_mm",
    "offset_y_mm",
    "offset_x_mm",
)


def write_nodules(
    out: Path, *, nodules: int = 200, seed: int = 0, size: int = SIZE, workers: int = 1
) -> list[Path]:
    """Write cubes around lung nodules and a table of what they show.

    ``crops/<nodule>.nii.gz``, cubes of 48 mm in Hounsfield units, and ``nodules.csv``: mean scores of four
    readers around the truth, ``malignant`` for a mean malignancy above 3, 0 below and blank at 3, diameter, and
    place in the chest and in the cube. Malignant nodules tend to be large, lobulated and spiculated, benign ones
    to be smooth and calcified, with much overlap. Three nodules in a row belong to one patient. Same seed,
    same bytes.

    Args:
        out: Folder to write to: missing, empty, or written by this function with the same settings.
        nodules: How many, 1 to 9999.
        seed: Any number from 0 on.
        size: Voxels along each side of a cube, at least 16.
        workers: Processes to use.

    Returns:
        The file of each nodule, in order.

    Raises:
        ConfigError: If an argument is out of range, or the folder holds other things.
        DataError: If a nodule could not be made.
        ResourceError: If a file cannot be written.
    """
    out = Path(out)
    if not 1 <= nodules <= MOST_NODULES:
        raise ConfigError(f"nodules: expected 1 to {MOST_NODULES}, found {nodules}.")
    if seed < 0:
        raise ConfigError(f"seed: expected a number from 0 on, found {seed}.")
    if not _SMALLEST <= size <= 256:
        raise ConfigError(f"size: expected {_SMALLEST} to 256 voxels, found {size}. 32 is a good small size.")
    claim(out, _ABOUT, (f"seed {seed}", f"size {size}", f"recipe {_RECIPE}"))
    rows = [nodule_row(index, seed=seed, size=size) for index in range(nodules)]
    files = [out / row["image"] for row in rows]
    write = partial(_write_nodule, out=out, seed=seed, size=size)
    write_missing(write, files, lambda index: files[index].exists(), workers=workers)
    with atomic_write(out / "nodules.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return files


def nodule_row(index: int, *, seed: int, size: int = SIZE) -> dict[str, str]:
    """Return the row of ``nodules.csv`` of one nodule.

    Args:
        index: Number of the nodule from 0 on.
        seed: Seed of the set.
        size: Voxels along each side of the cube.

    Example:
        >>> row = nodule_row(4, seed=0)
        >>> row["nodule_id"], row["patient_id"], row["image"]
        ('NODULE-00004', 'PHANTOM-9002', 'crops/NODULE-00004.nii.gz')
    """
    patient = f"PHANTOM-{_FIRST_PATIENT + index // PER_PATIENT}"
    nodule = _chest(index // PER_PATIENT, seed, vessels=False).nodules[index % PER_PATIENT]
    scores = [score(nodule, np.random.default_rng([seed, index, 2, reader])) for reader in range(READERS)]
    means = {name: float(np.mean([one[name] for one in scores])) for name in _SCORES}
    offset = _offset(index, seed)
    z, y, x = nodule.centre
    numbers = {
        "diameter_mm": 2 * nodule.radius_mm,
        "x_mm": x,
        "y_mm": y,
        "z_mm": z,
        **means,
        "true_malignancy": nodule.malignancy,
        **dict(zip(("offset_z_mm", "offset_y_mm", "offset_x_mm"), offset.tolist(), strict=True)),
    }
    name = f"NODULE-{index:05d}"
    malignant = "" if means["malignancy"] == 3 else str(int(means["malignancy"] > 3))
    row = {
        "nodule_id": name,
        "patient_id": patient,
        "case_id": patient,
        "image": f"crops/{name}.nii.gz",
        "readers": str(READERS),
        "malignant": malignant,
    }
    return row | {key: f"{value:.4g}" for key, value in numbers.items()}


def draw_nodule(index: int, *, seed: int, size: int = SIZE) -> tuple[NDArray[np.int16], Grid]:
    """Draw the cube around one nodule.

    Args:
        index: Number of the nodule from 0 on.
        seed: Seed of the set.
        size: Voxels along each side.

    Returns:
        Hounsfield units, shape (size, size, size), and the cube's grid.
    """
    chest = _chest(index // PER_PATIENT, seed, vessels=True)
    z, y, x = np.array(chest.nodules[index % PER_PATIENT].centre) - _offset(index, seed)
    step = _FIELD_MM / size
    affine = np.diag([-step, -step, step, 1.0])
    half = (size - 1) / 2 * step
    affine[:3, 3] = x + half, y + half, z - half
    grid = Grid((size, size, size), affine)
    planes = draw_slices(chest, grid, (seed, index, 1))
    return np.stack([plane for plane, _ in planes]), grid


def _write_nodule(index: int, *, out: Path, seed: int, size: int) -> None:
    voxels, grid = draw_nodule(index, seed=seed, size=size)
    write_image(out / "crops" / f"NODULE-{index:05d}.nii.gz", voxels, grid.affine)


@lru_cache(maxsize=2)  # the nodules of one patient come one after the other
def _chest(patient: int, seed: int, *, vessels: bool) -> Chest:
    return build_chest(np.random.default_rng([seed, patient, 0]), PER_PATIENT, vessels=vessels)


def _offset(index: int, seed: int) -> NDArray[np.float64]:
    """How far the nodule lies above, in front and to the right of the cube's middle."""
    reach = _OFF_CENTRE * _FIELD_MM
    return np.random.default_rng([seed, index, 3]).uniform(-reach, reach, 3)
