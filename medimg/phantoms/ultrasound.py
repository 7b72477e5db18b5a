"""Breast ultrasound phantoms in the layout of BUSI: a folder a class, the outline of each lesion beside its image."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from medimg.errors import ConfigError
from medimg.io.raster import write_png
from medimg.phantoms.set_folder import claim, write_missing

Kind = Literal["benign", "malignant", "normal"]
Plane = NDArray[np.float64]

SIZE = (256, 256)
# Of ten images in a row; BUSI has 437 benign, 210 malignant and 133 normal ones.
_BLOCK: tuple[Kind, ...] = ("benign",) * 5 + ("malignant",) * 3 + ("normal",) * 2
_MOST, _SMALLEST = 10_000, 64
_RECIPE = 1
_ABOUT = """\
Breast ultrasound with known lesions in the layout of BUSI, to try programs on.
No figure reached on them says anything about patients."""
# How strongly tissues scatter, on a scale of its own.
_SKIN, _FAT, _GLAND, _MUSCLE, _FASCIA, _LESION = 0.9, 0.35, 0.6, 0.45, 0.85, 0.12


@dataclass(frozen=True, slots=True)
class Lesion:
    """A lesion's outline and what lies behind it, in parts of the image's height.

    Attributes:
        centre: Depth, and distance from the left edge.
        radii: Half the height and half the width.
        waves: Height, number around the outline and phase of each wave that the outline makes.
        behind: Factor on the echoes behind it: above 1 enhancement, below 1 shadow.
    """

    centre: tuple[float, float]
    radii: tuple[float, float]
    waves: tuple[tuple[float, int, float], ...]
    behind: float


def write_ultrasound(
    out: Path, *, images: int = 100, seed: int = 0, size: tuple[int, int] = SIZE, workers: int = 1
) -> list[Path]:
    """Write breast ultrasound images with known lesions, laid out as BUSI.

    ``benign/benign (1).png`` and so on, each with ``benign (1)_mask.png``, whose lesion is 255. Half of the images are
    benign (smooth, wider than tall), three tenths malignant (jagged, as tall as wide), the others normal, with an
    empty mask. Most benign lesions brighten what lies behind them and most malignant ones darken it, but not all.
    Images differ in width.

    An image depends on the seed and its number only, and the same seed gives the same bytes. Images that the folder
    already holds are kept.

    Args:
        out: Folder to write to: missing, empty, or written by this function with the same settings.
        images: Number of images, 1 to 10000.
        seed: Any number from 0 on.
        size: Height and least width (H, W), at least 64 each.
        workers: Processes to use.

    Returns:
        The images, in order.

    Raises:
        ConfigError: If an argument is out of range, or the folder holds other things.
        DataError: If an image could not be made.
        ResourceError: If a file cannot be written.
    """
    out = Path(out)
    _check(images, seed, size)
    claim(out, _ABOUT, (f"seed {seed}", f"size {size[0]} x {size[1]} (H, W)", f"recipe {_RECIPE}"))
    files = image_files(out, images, seed)
    write = partial(_write_image, files=files, seed=seed, size=size)
    write_missing(
        write, files, lambda index: all(path.is_file() for path in _pair(files[index])), workers=workers
    )
    return files


def image_files(out: Path, images: int, seed: int) -> list[Path]:
    """Where each image lies, numbered within its class from 1 on.

    Example:
        >>> files = image_files(Path("set"), 10, seed=0)
        >>> sorted({path.parent.name for path in files}), (Path("set") / "normal" / "normal (2).png") in files
        (['benign', 'malignant', 'normal'], True)
    """
    counts: dict[str, int] = {}
    files = []
    for index in range(images):
        kind = _kind(index, seed)
        counts[kind] = counts.get(kind, 0) + 1
        files.append(out / kind / f"{kind} ({counts[kind]}).png")
    return files


def draw_image(
    index: int, *, seed: int, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one image and its mask.

    Args:
        index: Number of the image from 0 on.
        seed: Seed of the set.
        size: Height and least width.

    Returns:
        Grey values and mask (0 and 255), both (H, W).
    """
    rng = np.random.default_rng([seed, index, 0])
    kind, height = _kind(index, seed), size[0]
    width = round(size[1] * rng.choice((1.0, 1.15, 1.3)))
    down, across = np.meshgrid(
        (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / height, indexing="ij"
    )
    echo = _tissue(rng, down, across)
    mask = np.zeros((height, width), bool)
    if kind != "normal":
        lesion = make_lesion(rng, kind, width / height)
        mask = outline(lesion, down, across)
        echo = _with_lesion(rng, echo, mask, lesion)
    return _as_seen(rng, echo, down), np.where(mask, 255, 0).astype(np.uint8)


def make_lesion(rng: np.random.Generator, kind: Kind, width: float) -> Lesion:
    """Choose a lesion of a kind for an image of this width, in parts of its height."""
    centre = (rng.uniform(0.35, 0.6), rng.uniform(0.3, 0.7) * width)
    size = rng.uniform(0.08, 0.18)
    if kind == "benign":
        ratio = rng.uniform(1.3, 1.7)
        waves: tuple[tuple[float, int, float], ...] = ((rng.uniform(0, 0.05), 2, rng.uniform(0, 2 * np.pi)),)
        behind = 1.5 if rng.random() < 0.7 else 1.0
    else:
        ratio = rng.uniform(0.85, 1.1)
        numbers = rng.choice(np.arange(5, 14), 3, replace=False)
        waves = tuple((rng.uniform(0.07, 0.14), int(n), rng.uniform(0, 2 * np.pi)) for n in numbers)
        behind = 0.5 if rng.random() < 0.7 else 1.0
    return Lesion(centre, (size / ratio**0.5, size * ratio**0.5), waves, behind)


def outline(lesion: Lesion, down: Plane, across: Plane) -> NDArray[np.bool_]:
    """Pixels inside a lesion.

    Args:
        lesion: The lesion.
        down: Depth of each pixel (H, W).
        across: Distance of each pixel from the left edge (H, W).
    """
    y, x = (down - lesion.centre[0]) / lesion.radii[0], (across - lesion.centre[1]) / lesion.radii[1]
    angle = np.arctan2(y, x)
    reach = 1 + sum(height * np.cos(number * angle + phase) for height, number, phase in lesion.waves)
    inside: NDArray[np.bool_] = np.hypot(y, x) < reach
    return inside


def _tissue(rng: np.random.Generator, down: Plane, across: Plane) -> Plane:
    """Skin, fat, gland, fascia and muscle, with wavy borders (H, W)."""
    width = down.shape[1]
    borders = []
    for depth in (0.05, rng.uniform(0.18, 0.28), rng.uniform(0.72, 0.82)):
        wave = gaussian_filter1d(rng.standard_normal(width), width / 8, mode="reflect")
        borders.append(depth + 0.02 * wave / max(float(wave.std()), 1e-9))
    skin, fat, gland = borders
    echo = np.where(down < skin, _SKIN, np.where(down < fat, _FAT, np.where(down < gland, _GLAND, _MUSCLE)))
    echo = np.where(np.abs(down - gland) < 0.012, _FASCIA, echo)
    # Lobules: patches of fat and gland that no border explains, so darkness alone is no lesion.
    patches = gaussian_filter(rng.standard_normal(down.shape), 0.04 * len(down))
    result: Plane = echo * (1 + 0.25 * patches / patches.std()).clip(0.4, 1.6)
    return result


def _with_lesion(rng: np.random.Generator, echo: Plane, mask: NDArray[np.bool_], lesion: Lesion) -> Plane:
    behind = np.maximum.accumulate(mask, axis=0) & ~mask
    soft = gaussian_filter(behind.astype(np.float64), 0.01 * len(mask))
    echo = echo * (1 + (lesion.behind - 1) * soft)
    level = _LESION * rng.uniform(0.7, 1.6)
    inside = gaussian_filter(mask.astype(np.float64), 0.004 * len(mask))
    return echo * (1 - inside) + level * inside


def _as_seen(rng: np.random.Generator, echo: Plane, down: Plane) -> NDArray[np.uint8]:
    """Speckle, attenuation, a gain as the examiner set it, and log compression: grey values (H, W)."""
    # The envelope of many scatterers is Rayleigh-distributed; its grains are wider than tall.
    real, imaginary = (gaussian_filter(rng.standard_normal(echo.shape), (0.6, 1.1)) for _ in range(2))
    speckle = np.hypot(real, imaginary)
    signal = echo * speckle / speckle.mean() * np.exp(-0.9 * down)
    decibels = 20 * np.log10(np.maximum(signal, 1e-4))
    gain = 38 + rng.uniform(-8, 4)
    grey: NDArray[np.uint8] = np.rint(255 * ((decibels + gain) / 40).clip(0, 1)).astype(np.uint8)
    return grey


def _kind(index: int, seed: int) -> Kind:
    block, place = divmod(index, len(_BLOCK))
    return _BLOCK[int(np.random.default_rng([seed, block, 1]).permutation(len(_BLOCK))[place])]


def _pair(file: Path) -> tuple[Path, Path]:
    return file, file.with_name(f"{file.stem}_mask.png")


def _write_image(index: int, *, files: list[Path], seed: int, size: tuple[int, int]) -> None:
    for path, pixels in zip(_pair(files[index]), draw_image(index, seed=seed, size=size), strict=True):
        write_png(path, pixels)


def _check(images: int, seed: int, size: tuple[int, int]) -> None:
    if not 1 <= images <= _MOST:
        raise ConfigError(f"images: expected 1 to {_MOST}, found {images}.")
    if seed < 0:
        raise ConfigError(f"seed: expected a number from 0 on, found {seed}.")
    if min(size) < _SMALLEST:
        raise ConfigError(f"size: expected at least {_SMALLEST} pixels along H and W, found {tuple(size)}.")
