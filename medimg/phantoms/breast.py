"""Make-believe breasts in two projections: fat, glandular tissue, muscle, and masses round or spiculated."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Plane = NDArray[np.float64]
View = Literal["CC", "MLO"]

HEIGHT_MM = 240.0  # of the detector
BITS = 12
# Signals of a 12-bit detector, after the logarithm: denser is brighter.
_AIR, _FAT, _GLAND, _LIGAMENT, _MUSCLE = 30.0, 900.0, 800.0, 130.0, 900.0
_NOISE = 22.0
_BACKGROUND = 250.0  # scatter in the breast's shadow
# Share of the breast that is glandular, by density A to D.
_GLAND_SHARE = (0.12, 0.28, 0.45, 0.62)
_MUSCLE_MM = (62.0, 150.0)  # along the upper edge and along the chest wall, in MLO


@dataclass(frozen=True, slots=True)
class Mass:
    """A mass, placed so that both views show it.

    Attributes:
        depth: Distance from the chest wall, as a part of the breast's reach.
        across: Place across the breast in CC and in MLO, in parts of its half height.
        radius_mm: Radius of the core.
        contrast: Signal above what surrounds it.
        spicules: Number of rays; 0 for a round mass with a sharp edge.
        seed: Fixes the outline.
    """

    depth: float
    across: tuple[float, float]
    radius_mm: float
    contrast: float
    spicules: int
    seed: int


@dataclass(frozen=True, slots=True)
class Breast:
    """Shape and content of one breast.

    Attributes:
        side: ``L``, whose chest wall is at the image's left edge, or ``R``, the mirror image.
        reach_mm: From the chest wall to the nipple.
        half_mm: Half the height along the chest wall.
        density: 0 to 3 for BI-RADS A to D.
        masses: What is to be found.
        seed: Fixes the tissue.
    """

    side: Literal["L", "R"]
    reach_mm: float
    half_mm: float
    density: int
    masses: tuple[Mass, ...]
    seed: int


def make_breast(
    rng: np.random.Generator, side: Literal["L", "R"], *, density: int, cancer: bool, benign: bool
) -> Breast:
    """Draw the shape of a breast and what is in it.

    Args:
        rng: Source of every choice.
        side: Left or right.
        density: 0 to 3 for BI-RADS A to D.
        cancer: Whether it holds a spiculated mass.
        benign: Whether it holds a round mass.

    Example:
        >>> breast = make_breast(np.random.default_rng(0), "L", density=1, cancer=True, benign=False)
        >>> len(breast.masses), breast.masses[0].spicules > 0
        (1, True)
    """
    reach, half = rng.uniform(95, 135), rng.uniform(70, 92)
    masses = [_place(rng, malignant) for malignant, there in ((True, cancer), (False, benign)) if there]
    return Breast(side, reach, half, density, tuple(masses), int(rng.integers(1 << 31)))


def project(breast: Breast, view: View, size: tuple[int, int]) -> NDArray[np.uint16]:
    """Project a breast onto the detector.

    Args:
        breast: What to show.
        view: From above (CC) or obliquely from the side (MLO), where the pectoral muscle shows.
        size: Image (H, W); H spans 240 mm and pixels are square.

    Returns:
        12-bit signals, bright is dense, shape (H, W).

    Example:
        >>> breast = make_breast(np.random.default_rng(0), "R", density=0, cancer=False, benign=False)
        >>> image = project(breast, "CC", (64, 52))
        >>> image.shape, bool(image.max() < 4096), bool(image[32, -1] > image[0, 0])
        ((64, 52), True, True)
    """
    rng = np.random.default_rng([breast.seed, view == "MLO"])
    pixel_mm = HEIGHT_MM / size[0]
    down = np.linspace(0.5 * pixel_mm - HEIGHT_MM / 2, HEIGHT_MM / 2 - 0.5 * pixel_mm, size[0])[
        :, None
    ]  # (H, 1), 0 in the middle
    out = np.linspace(0.5 * pixel_mm, (size[1] - 0.5) * pixel_mm, size[1])[
        None, :
    ]  # (1, W) from the chest wall
    half, lean = (breast.half_mm, 0.0) if view == "CC" else (1.12 * breast.half_mm, 0.18)
    middle = 0.0 if view == "CC" else 8.0
    across = (down - middle - lean * out) / half
    inside = 1 - (out / breast.reach_mm) ** 2.2 - np.abs(across) ** 2.2
    thickness: Plane = np.sqrt(np.clip(4 * inside, 0, 1))  # compressed: even, and falling off at the skin
    signal: Plane = _tissue(rng, breast, inside, thickness, pixel_mm)
    for mass in breast.masses:
        signal += thickness * mass.contrast * _mass(mass, breast, view, down, out, (half, middle, lean))
    if view == "MLO":
        edge_mm = (1 - out / _MUSCLE_MM[0] - (down + HEIGHT_MM / 2) / _MUSCLE_MM[1]) * 50
        muscle = 1 / (1 + np.exp(-np.clip(edge_mm / 1.5, -50, 50)))
        signal, inside = np.maximum(signal, (_FAT + _MUSCLE) * muscle), np.maximum(inside, muscle - 0.5)
    shadow = gaussian_filter((inside > 0).astype(np.float64), 3 / pixel_mm)
    noisy = _AIR + _BACKGROUND * shadow + signal + rng.normal(0, _NOISE, size) * (0.3 + shadow)
    image = np.clip(np.rint(noisy), 0, (1 << BITS) - 1).astype(np.uint16)
    return image if breast.side == "L" else np.ascontiguousarray(image[:, ::-1])


def _place(rng: np.random.Generator, malignant: bool) -> Mass:
    across = (rng.uniform(-0.45, 0.45), rng.uniform(-0.3, 0.45))  # in MLO below the muscle
    return Mass(
        depth=rng.uniform(0.4, 0.66),
        across=across,
        radius_mm=rng.uniform(6.5, 10.5) if malignant else rng.uniform(5.0, 9.0),
        contrast=rng.uniform(950, 1300) if malignant else rng.uniform(450, 750),
        spicules=int(rng.integers(12, 19)) if malignant else 0,
        seed=int(rng.integers(1 << 31)),
    )


def _tissue(
    rng: np.random.Generator, breast: Breast, inside: Plane, thickness: Plane, pixel_mm: float
) -> Plane:
    """Fat, clouds of gland toward the nipple, and ligaments as fine ridges; shape (H, W)."""
    shape = inside.shape
    clouds = 0.75 * _noise(rng, shape, 9 / pixel_mm) + 0.45 * _noise(rng, shape, 3.5 / pixel_mm)
    inner = np.clip(1.6 * inside, 0, 1)  # a layer of fat lies under the skin
    ranked = clouds[inside > 0.15]
    level = float(np.quantile(ranked, 1 - _GLAND_SHARE[breast.density])) if ranked.size else 0.0
    gland = inner / (1 + np.exp(-4 * (clouds - level)))
    ridges = np.exp(-((_noise(rng, shape, 2.5 / pixel_mm) / 0.25) ** 2))
    tissue: Plane = thickness * (_FAT + _GLAND * gland + _LIGAMENT * ridges)
    return tissue


def _noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> Plane:
    """Smooth noise of unit variance."""
    smooth = gaussian_filter(rng.normal(size=shape), max(sigma, 0.3), mode="wrap")
    noise: Plane = smooth / max(float(smooth.std()), 1e-9)
    return noise


def _mass(
    mass: Mass, breast: Breast, view: View, down: Plane, out: Plane, form: tuple[float, float, float]
) -> Plane:
    """Return the share of a mass at each pixel, 0 to 1; shape (H, W)."""
    half, middle, lean = form
    x = mass.depth * breast.reach_mm
    y = mass.across[view == "MLO"] * half + middle + lean * x
    dx, dy = out - x, down - y
    distance, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    rng = np.random.default_rng([mass.seed, view == "MLO"])
    waves = rng.normal(size=4) * (0.09 if mass.spicules else 0.025)
    turns = rng.uniform(0, 2 * np.pi, 4)
    outline = 1 + sum(
        wave * np.cos((n + 2) * angle + turn) for n, (wave, turn) in enumerate(zip(waves, turns, strict=True))
    )
    soft_mm = 1.6 if mass.spicules else 0.7
    share = 1 / (1 + np.exp(np.clip((distance - mass.radius_mm * outline) / soft_mm, -50, 50)))
    starts = np.arange(mass.spicules) * 2 * np.pi / max(mass.spicules, 1)
    for start in starts:
        ray = start + rng.normal(0, 0.15)
        length = mass.radius_mm * rng.uniform(1.9, 2.9)
        along, beside = distance * np.cos(angle - ray), distance * np.sin(angle - ray)
        fading = np.clip(1 - along / length, 0, 1) * (along > 0)
        share = np.maximum(share, 0.75 * fading * np.exp(-((beside / 1.1) ** 2)))
    result: Plane = share
    return result
