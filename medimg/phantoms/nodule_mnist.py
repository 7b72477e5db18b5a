"""Nodule phantoms as one ``.npz`` in the form of MedMNIST: cubes of bytes with official splits."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.errors import ConfigError
from medimg.io.files import atomic_write
from medimg.parallel import map_cases, raise_failures
from medimg.phantoms.nodules import MOST_NODULES, PER_PATIENT, draw_nodule, nodule_row
from medimg.phantoms.set_folder import claim

SIZE = 28
NAME = "nodulemnist3d.npz"
WINDOW_HU = (-1000, 400)
_SMALLEST = 16
# The shares of the real set, 1158, 165 and 310 of 1633; patients stay on one side.
_SPLITS = {"train": 7, "val": 1, "test": 2}
_RECIPE = 1
_ABOUT = f"""\
Cubes of chest CT around known lung nodules in one file of the form of MedMNIST's NoduleMNIST3D, to
try programs on. No figure reached on them says anything about patients, and none can be compared
with one of the real NoduleMNIST3D.

{NAME}: {{train,val,test}}_images (N, D, H, W), bytes from {WINDOW_HU[0]} to {WINDOW_HU[1]} HU, and
{{train,val,test}}_labels (N, 1), 1 for malignant. Nodules at a mean score of 3 are left out."""


def write_nodule_mnist(
    out: Path, *, nodules: int = 400, seed: int = 0, size: int = SIZE, workers: int = 1
) -> Path:
    """Write the nodules of :func:`medimg.phantoms.nodules.write_nodules` as MedMNIST would.

    The file is written whole or not at all; one that is there with the same settings stays.

    Args:
        out: Folder to write to: missing, empty, or written by this function with the same settings.
        nodules: How many are drawn, three of each patient, 30 to 9999; those at a mean score of 3 are then left out.
        seed: Any number from 0 on.
        size: Voxels along each side of the cubes of 48 mm, 16 to 64.
        workers: Processes to use.

    Returns:
        The file.

    Raises:
        ConfigError: If an argument is out of range, or the folder holds other things.
        DataError: If a nodule could not be made.
        ResourceError: If the file cannot be written.
    """
    out = Path(out)
    if not 10 * PER_PATIENT <= nodules <= MOST_NODULES:
        raise ConfigError(f"nodules: expected {10 * PER_PATIENT} to {MOST_NODULES}, found {nodules}.")
    if seed < 0:
        raise ConfigError(f"seed: expected a number from 0 on, found {seed}.")
    if not _SMALLEST <= size <= 64:
        raise ConfigError(f"size: expected {_SMALLEST} to 64 voxels, found {size}. MedMNIST has 28 and 64.")
    claim(out, _ABOUT, (f"seed {seed}", f"nodules {nodules}", f"size {size}", f"recipe {_RECIPE}"))
    path = out / NAME
    if not path.exists():
        arrays = _arrays(nodules, seed, size, workers)
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # the stub takes all words for a flag
    return path


def _arrays(nodules: int, seed: int, size: int, workers: int) -> dict[str, NDArray[Any]]:
    rows = [nodule_row(index, seed=seed, size=size) for index in range(nodules)]
    kept = [index for index, row in enumerate(rows) if row["malignant"]]
    draw = partial(_draw, seed=seed, size=size)
    names = [rows[index]["nodule_id"] for index in kept]
    drawn = raise_failures(map_cases(draw, kept, names=names, workers=workers, label="phantoms"))
    cubes = dict(zip(kept, drawn, strict=True))
    arrays: dict[str, NDArray[Any]] = {}
    for split in _SPLITS:
        own = [index for index in kept if split_of(index) == split]
        arrays[f"{split}_images"] = np.stack([cubes[index] for index in own])
        arrays[f"{split}_labels"] = np.array([[int(rows[index]["malignant"])] for index in own], np.uint8)
    return arrays


def split_of(index: int) -> str:
    """Split of the nodule with this number: of ten patients seven train, one validates and two test.

    Example:
        >>> [split_of(3 * patient) for patient in (0, 6, 7, 8, 9, 10)]
        ['train', 'train', 'val', 'test', 'test', 'train']
    """
    place = index // PER_PATIENT % sum(_SPLITS.values())
    return [split for split, share in _SPLITS.items() for _ in range(share)][place]


def _draw(index: int, *, seed: int, size: int) -> NDArray[np.uint8]:
    """Bytes (size, size, size) of one nodule, in the window."""
    low, high = WINDOW_HU
    voxels, _ = draw_nodule(index, seed=seed, size=size)
    cube: NDArray[np.uint8] = np.rint((voxels.clip(low, high) - low) * (255 / (high - low))).astype(np.uint8)
    return cube
