"""CT phantoms as DICOM series: chests with nodules whose place, size and malignancy are known."""

import csv
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg.errors import ConfigError
from medimg.io.dicom.write_series import write_series
from medimg.io.files import atomic_write
from medimg.io.grid import Grid
from medimg.io.nifti import write_image
from medimg.phantoms.chest import SHAPE, SMALLEST_MM, Chest, build_chest, chest_grid, draw_slices
from medimg.phantoms.set_folder import claim, write_missing

FIRST_PATIENT = 9001
MOST_CASES = 999
COLUMNS = (
    "case_id",
    "nodule",
    "x_mm",
    "y_mm",
    "z_mm",
    "diameter_mm",
    "malignancy",
    "spicules_mm",
    "calcified",
    "texture",
)
"""Of ``truth.csv``: place RAS+ as in the volumes, mean diameter, and the true malignancy from 1 to 5."""

_SMALLEST = (24, 64, 64)
_RECIPE = 1
_ABOUT = """\
Chest CT with known lung nodules, as DICOM series in Hounsfield units, to try programs on.
No figure reached on them says anything about patients.

truth.csv: place, size and malignancy of every nodule.
truth/<case>.nii.gz: the number of the nodule at each voxel."""


def write_ct(
    out: Path,
    *,
    cases: int = 8,
    seed: int = 0,
    size: tuple[int, int, int] = SHAPE,
    smallest_mm: float = SMALLEST_MM,
    workers: int = 1,
) -> list[Path]:
    """Write chest CT scans with one to four nodules each as DICOM series.

    ``CT-<number>/0001.dcm`` and so on, ``truth.csv`` and ``truth/CT-<number>.nii.gz``. A case depends on the
    arguments and its number only, and the same seed gives the same bytes. Cases that the folder already
    holds are kept.

    Args:
        out: Folder to write to: missing, empty, or written by this function with the same settings.
        cases: Number of cases, 1 to 999.
        seed: Any number from 0 on.
        size: Volume (D, H, W), at least 24, 64, 64; it always shows 300 x 340 x 340 mm. Where voxels are large,
            so are the nodules.
        smallest_mm: Smallest diameter of a nodule, 3 to 20.
        workers: Processes to use.

    Returns:
        The folder of each case, in order.

    Raises:
        ConfigError: If an argument is out of range, or the folder holds other things.
        DataError: If a case could not be made.
        ResourceError: If a file cannot be written.
    """
    out = Path(out)
    check_scans(cases, seed, size, smallest_mm)
    claim(out, _ABOUT, scan_settings(seed, size, smallest_mm))
    names = [f"CT-{FIRST_PATIENT + index}" for index in range(cases)]
    write = partial(_write_case, out=out, names=names, seed=seed, size=size, smallest_mm=smallest_mm)
    # The truth is written last, so a case that has it is whole.
    folders = [out / name for name in names]
    write_missing(write, folders, lambda index: truth_file(out, names[index]).exists(), workers=workers)
    write_truth(out, names, seed, size, smallest_mm)
    return folders


def _write_case(
    index: int, *, out: Path, names: list[str], seed: int, size: tuple[int, int, int], smallest_mm: float
) -> None:
    voxels, labels, grid = draw_scan(index, seed=seed, size=size, smallest_mm=smallest_mm)
    write_series(out / names[index], voxels, grid, patient_id=names[index], description="medimg phantom")
    write_image(truth_file(out, names[index]), labels, grid.affine)


def draw_chest(
    index: int,
    *,
    seed: int,
    size: tuple[int, int, int],
    smallest_mm: float = SMALLEST_MM,
    vessels: bool = True,
) -> Chest:
    """Draw the patient of a number, with one to four nodules.

    Args:
        index: Number of the case from 0 on.
        seed: Seed of the set.
        size: Volume (D, H, W).
        smallest_mm: Smallest diameter of a nodule.
        vessels: Leave them out where only the nodules are of interest.
    """
    rng = np.random.default_rng([seed, index, 0])
    count, voxel_mm = int(rng.integers(1, 5)), max(chest_grid(size).spacing_mm)
    return build_chest(rng, count, voxel_mm, smallest_mm=smallest_mm, vessels=vessels)


def draw_scan(
    index: int, *, seed: int, size: tuple[int, int, int], smallest_mm: float = SMALLEST_MM
) -> tuple[NDArray[np.int16], NDArray[np.uint8], Grid]:
    """Draw one scan without writing it.

    Args:
        index: Number of the case from 0 on.
        seed: Seed of the set.
        size: Volume (D, H, W).
        smallest_mm: Smallest diameter of a nodule.

    Returns:
        Hounsfield units, (D, H, W); the number of the nodule at each voxel, 0 elsewhere; and their grid.

    Example:
        >>> voxels, labels, grid = draw_scan(0, seed=0, size=(24, 64, 64))
        >>> voxels.shape, grid.spacing_mm, labels.max() >= 1
        ((24, 64, 64), (12.5, 5.3125, 5.3125), np.True_)
    """
    grid = chest_grid(size)
    voxels, labels = np.empty(size, np.int16), np.empty(size, np.uint8)
    chest = draw_chest(index, seed=seed, size=size, smallest_mm=smallest_mm)
    for number, (plane, nodules) in enumerate(draw_slices(chest, grid, (seed, index, 1))):
        voxels[number], labels[number] = plane, nodules
    return voxels, labels, grid


def truth_file(out: Path, name: str) -> Path:
    """Where the true nodules of a case lie."""
    return out / "truth" / f"{name}.nii.gz"


def write_truth(
    out: Path, names: list[str], seed: int, size: tuple[int, int, int], smallest_mm: float
) -> None:
    """Write ``truth.csv``, a row a nodule.

    Args:
        out: Folder of the set.
        names: Name of each case.
        seed: Seed of the set.
        size: Volume (D, H, W).
        smallest_mm: Smallest diameter of a nodule.
    """
    with atomic_write(out / "truth.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for index, name in enumerate(names):
            chest = draw_chest(index, seed=seed, size=size, smallest_mm=smallest_mm, vessels=False)
            for number, one in enumerate(chest.nodules, start=1):
                z, y, x = one.centre
                numbers = (x, y, z, 2 * one.radius_mm, one.malignancy, one.spike_mm)
                texture = "solid" if one.hu > -300 else "ground glass"
                writer.writerow([name, number, *(f"{v:.3f}" for v in numbers), int(one.calcified), texture])


def scan_settings(seed: int, size: tuple[int, int, int], smallest_mm: float = SMALLEST_MM) -> tuple[str, ...]:
    """What the bytes of a set of scans depend on."""
    usual = (f"seed {seed}", f"size {' x '.join(map(str, size))} (D, H, W)", f"recipe {_RECIPE}")
    return usual if smallest_mm == SMALLEST_MM else (*usual, f"nodules from {smallest_mm:g} mm")


def check_scans(cases: int, seed: int, size: tuple[int, int, int], smallest_mm: float = SMALLEST_MM) -> None:
    """Refuse settings of which no scan can be made.

    Raises:
        ConfigError: If a number is out of range.
    """
    if not 1 <= cases <= MOST_CASES:
        raise ConfigError(f"cases: expected 1 to {MOST_CASES}, found {cases}.")
    if seed < 0:
        raise ConfigError(f"seed: expected a number from 0 on, found {seed}.")
    if not 3 <= smallest_mm <= 20:
        raise ConfigError(f"smallest_mm: expected 3 to 20, found {smallest_mm:g}.")
    if any(side < least for side, least in zip(size, _SMALLEST, strict=True)) or max(size) > 2048:
        raise ConfigError(
            f"size: expected at least {_SMALLEST} voxels (D, H, W) and at most 2048 along each axis, found "
            f"{tuple(size)}. Smaller chests cannot show a nodule; 60 128 128 is a good small size."
        )
