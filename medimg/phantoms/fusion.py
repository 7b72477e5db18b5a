"""Phantoms whose label is half in an image and half in a table: to see what a fusion of both is worth."""

import csv
import math
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from medimg.errors import ConfigError
from medimg.io.files import atomic_write
from medimg.io.raster import write_png
from medimg.phantoms.set_folder import claim, write_missing

SIZE = 64
TABLE = "cases.csv"
COLUMNS = ("case_id", "patient_id", "split", "image", "age", "marker", "smoking", "sex", "malignant")
SMOKING = ("never", "former", "current")
SEXES = ("F", "M")
_MOST, _SMALLEST, _LARGEST = 100_000, 32, 512
_RECIPE = 1
_NOISE = 0.5  # spread of what neither half tells
_MISSING = 0.1  # of the fields of marker and of smoking
_SPLITS = ("train",) * 6 + ("val",) + ("test",) * 3
_ABOUT = f"""\
Images with a known lesion and a table of the same cases, to try networks that see both. No figure
reached on them says anything about patients.

{TABLE}: {", ".join(COLUMNS)}. malignant is 1 where the sum of two
independent halves and some chance is above 0: how large the lesion is, which only the image shows,
and a risk made of age, marker and smoking, which only the table has. sex means nothing. One field
in ten of marker and of smoking is blank. By the best rule either half alone reaches an AUC of about
.81, and both together .96, less what noise and blank fields take."""


def write_fusion(
    out: Path, *, cases: int = 400, seed: int = 0, size: int = SIZE, workers: int = 1
) -> list[Path]:
    """Write one image a case, and a table.

    ``images/<case>.png`` and ``cases.csv``; of ten cases in a row six train, one validates and three test. A case
    depends on the seed and its number only, and the same seed gives the same bytes. Images that the folder already
    holds are kept.

    Args:
        out: Folder to write to: missing, empty, or written by this function with the same settings.
        cases: Number of cases, one of each patient, 20 to 100000.
        seed: Any number from 0 on.
        size: Height and width of the images in pixels, 32 to 512.
        workers: Processes to use.

    Returns:
        The images, in order.

    Raises:
        ConfigError: If an argument is out of range, or the folder holds other things.
        DataError: If an image could not be made.
        ResourceError: If a file cannot be written.
    """
    out = Path(out)
    if not 20 <= cases <= _MOST:
        raise ConfigError(f"cases: expected 20 to {_MOST}, found {cases}.")
    if seed < 0:
        raise ConfigError(f"seed: expected a number from 0 on, found {seed}.")
    if not _SMALLEST <= size <= _LARGEST:
        raise ConfigError(f"size: expected {_SMALLEST} to {_LARGEST} pixels, found {size}.")
    claim(out, _ABOUT, (f"seed {seed}", f"size {size}", f"recipe {_RECIPE}"))
    rows = [fusion_row(index, seed=seed) for index in range(cases)]
    files = [out / row["image"] for row in rows]
    write = partial(_write_image, files=files, seed=seed, size=size)
    write_missing(write, files, lambda index: files[index].exists(), workers=workers)
    with atomic_write(out / TABLE) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return files


def halves(index: int, *, seed: int) -> tuple[float, float, int]:
    """What the image shows, what the table tells, and the label of a case.

    Returns:
        Two numbers of mean 0 and spread 1, independent of each other, and 0 or 1.

    Example:
        >>> shown, told, label = halves(0, seed=0)
        >>> label in (0, 1)
        True
    """
    shown, chance = np.random.default_rng([seed, index, 0]).normal(size=2)
    told = sum(_risks(index, seed)) / math.sqrt(3)
    return float(shown), told, int(shown + told + _NOISE * chance > 0)


def _risks(index: int, seed: int) -> tuple[float, float, float]:
    """Age, marker and smoking on scales of mean 0 and spread 1."""
    rng = np.random.default_rng([seed, index, 1])
    age, marker = rng.normal(size=2)
    return float(age), float(marker), (int(rng.integers(3)) - 1) * math.sqrt(1.5)


def fusion_row(index: int, *, seed: int) -> dict[str, str]:
    """The row of a case in ``cases.csv``.

    Args:
        index: Number of the case from 0 on.
        seed: Seed of the set.

    Example:
        >>> fusion_row(7, seed=0)["split"]
        'test'
    """
    age, marker, smoking = _risks(index, seed)
    rng = np.random.default_rng([seed, index, 2])
    told_marker, told_smoking = rng.random(2) >= _MISSING
    case = f"F{index + 1:05d}"
    return {
        "case_id": case,
        "patient_id": f"P{index + 1:05d}",
        "split": _SPLITS[index % len(_SPLITS)],
        "image": f"images/{case}.png",
        "age": f"{60 + 10 * age:.0f}",
        "marker": f"{30 + 12 * marker:.1f}" if told_marker else "",
        "smoking": SMOKING[round(smoking / math.sqrt(1.5)) + 1] if told_smoking else "",
        "sex": SEXES[int(rng.integers(2))],
        "malignant": str(halves(index, seed=seed)[2]),
    }


def draw_fusion(index: int, *, seed: int, size: int = SIZE) -> NDArray[np.uint8]:
    """Draw the image of a case without writing it.

    Args:
        index: Number of the case from 0 on.
        seed: Seed of the set.
        size: Height and width.

    Returns:
        Grey values (size, size): tissue of its own brightness, and a bright round lesion anywhere in it.
    """
    shown, _, _ = halves(index, seed=seed)
    rng = np.random.default_rng([seed, index, 3])
    # The radius follows the half that is shown: 4 % of the edge up to 20 %, 12 % in the middle.
    radius = size * (0.12 + 0.08 * math.tanh(0.8 * shown))
    row, column = rng.uniform(0.25 * size, 0.75 * size, 2)
    grid = np.indices((size, size), np.float64)
    distance = np.hypot(grid[0] - row, grid[1] - column)
    lesion = 1 / (1 + np.exp((distance - radius) / (0.012 * size)))
    texture = gaussian_filter(rng.normal(size=(size, size)), size / 32)
    grain = rng.normal(size=(size, size))
    values = rng.uniform(60, 110) + 12 * texture / texture.std() + 8 * grain + rng.uniform(45, 75) * lesion
    pixels: NDArray[np.uint8] = np.rint(values.clip(0, 255)).astype(np.uint8)
    return pixels


def _write_image(index: int, *, files: list[Path], seed: int, size: int) -> None:
    write_png(files[index], draw_fusion(index, seed=seed, size=size))
