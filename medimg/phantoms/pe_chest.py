"""A make-believe CT angiography of the chest: filled arteries, clots in them, and a heart that shows the strain."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medimg.errors import ConfigError
from medimg.io.grid import Grid
from medimg.phantoms.chest import FIELD_MM as CHEST_MM
from medimg.phantoms.chest import Chest, build_chest, chest_grid, draw_slices, grid_axes
from medimg.phantoms.chest_vessels import Tube, paint_tubes
from medimg.phantoms.fields import Field
from medimg.scoring.embolism import EXAM_LABELS

FIELD_MM = (210.0, 256.0, 256.0)
"""Depth, height and width of what every study shows: heart and hila, the sides of the chest cut off."""

Side = Literal["central", "left", "right"]
Kind = Literal["negative", "positive", "indeterminate"]
Age = Literal["acute", "chronic", "both"]

# Of eight studies in a row four have an embolism, and one cannot be judged.
_BLOCK: tuple[Kind, ...] = (*("positive",) * 4, *("negative",) * 3, "indeterminate")
_SIDES: tuple[tuple[Side, float], ...] = (("central", 0.35), ("left", 0.5), ("right", 0.6))
_LEAST_PIXELS = 3.2  # radius of the large arteries, so that a clot is some pixels wide
_CLOT_HU, _OLD_CLOT_HU, _NODE_HU = 50.0, 85.0, 45.0
_VENTRICLE_MM = 17.0
_MOTION_MM = 14.0
_DRAWS = 100
# Middle lines (z, y, x) and radii in millimetres of the large arteries: z up, y to the front, x to the right.
_FORK = (18.0, 10.0, -8.0)
_TRUNK = ((-12.0, 40.0, -16.0), _FORK, (13.0, 12.0))
_HILA: Mapping[Side, tuple[float, float, float]] = {"left": (22.0, -4.0, -44.0), "right": (14.0, -2.0, 44.0)}
_SIGNS: tuple[tuple[Side, float], ...] = (("left", -1.0), ("right", 1.0))
_LOBES = (
    ((-40.0, -14.0, 68.0), (8.0, 5.5)),
    ((56.0, 2.0, 62.0), (6.5, 4.5)),
    ((2.0, 34.0, 70.0), (5.5, 4.0)),
)


@dataclass(frozen=True)
class Findings:
    """What a study shows.

    Attributes:
        kind: Whether there is an embolism, none, or the study cannot be judged.
        sides: Where clots lie; empty without an embolism.
        age: Of the clots.
        ratio: Diameter of the right ventricle over that of the left one.
        contrast_hu: Of the arteries.
        motion: Whether the patient breathed during the scan.
    """

    kind: Kind
    sides: tuple[Side, ...]
    age: Age
    ratio: float
    contrast_hu: float
    motion: bool

    @property
    def labels(self) -> dict[str, int]:
        """The nine labels of the exam by RSNA's rules, and why it cannot be judged."""
        true = {
            "negative_exam_for_pe": self.kind == "negative",
            "indeterminate": self.kind == "indeterminate",
            "qa_motion": self.motion,
            "qa_contrast": self.kind == "indeterminate" and not self.motion,
        }
        if self.kind == "positive":
            true |= {
                "chronic_pe": self.age == "chronic",
                "acute_and_chronic_pe": self.age == "both",
                "central_pe": "central" in self.sides,
                "leftsided_pe": "left" in self.sides,
                "rightsided_pe": "right" in self.sides,
                "rv_lv_ratio_gte_1": self.ratio >= 1,
                "rv_lv_ratio_lt_1": self.ratio < 1,
            }
        return {name: int(true.get(name, False)) for name in (*EXAM_LABELS, "qa_motion", "qa_contrast")}


def draw_findings(index: int, seed: int) -> Findings:
    """Deal what a study shows; the filling with contrast says nothing of embolism.

    Args:
        index: Number of the study from 0 on.
        seed: Seed of the set.

    Example:
        >>> [draw_findings(index, seed=0).kind for index in range(8)].count("positive")
        4
    """
    block, place = divmod(index, len(_BLOCK))
    kind = _BLOCK[int(np.random.default_rng([seed, block, 3]).permutation(len(_BLOCK))[place])]
    rng = np.random.default_rng([seed, index, 4])
    sides = tuple(side for side, share in _SIDES if rng.random() < share) or ("right",)
    ages: tuple[Age, ...] = ("acute", "chronic", "both")
    age = ages[int(rng.choice(3, p=(0.6, 0.2, 0.2)))]
    strained = rng.random() < (0.5 if kind == "positive" else 0.15)
    ratio = float(rng.uniform(1.15, 1.5) if strained else rng.uniform(0.65, 0.9))
    contrast = float(rng.uniform(240, 420))
    motion = bool(kind == "indeterminate" and rng.random() < 0.5)
    if kind == "indeterminate" and not motion:
        contrast = float(rng.uniform(80, 120))
    return Findings(kind, sides if kind == "positive" else (), age, ratio, contrast, motion)


@dataclass(frozen=True)
class Angiography:
    """One study before it is drawn.

    Attributes:
        chest: The patient, clots included.
        clots: The clots alone.
        findings: What they add up to.
        grid: Where the voxels lie.
    """

    chest: Chest
    clots: tuple[Tube, ...]
    findings: Findings
    grid: Grid

    def clot_masks(self) -> Iterator[NDArray[np.bool_]]:
        """Pixels of each slice of which a clot fills at least half, (H, W)."""
        z_axis, y, x = grid_axes(self.grid)
        for z in z_axis:
            yield clot_mask(self.clots, float(z), (y, x))


def angiography_grid(size: tuple[int, int, int]) -> Grid:
    """Grid of a volume over the middle of the chest.

    Args:
        size: Volume (D, H, W).

    Example:
        >>> angiography_grid((24, 64, 64)).spacing_mm
        (8.75, 4.0, 4.0)
    """
    parts = [part / whole for part, whole in zip(FIELD_MM, CHEST_MM, strict=True)]
    return Grid(size, chest_grid(size).affine * np.array([*parts[::-1], 1.0])[:, None])


def build_angiography(index: int, *, seed: int, size: tuple[int, int, int]) -> Angiography:
    """Draw a patient with what the study shows.

    Args:
        index: Number of the study from 0 on.
        seed: Seed of the set.
        size: Volume (D, H, W). Where pixels are large, so are the large arteries and their clots.
    """
    findings, grid = draw_findings(index, seed), angiography_grid(size)
    rng = np.random.default_rng([seed, index, 0])
    bare = build_chest(rng, 0)
    arteries = _arteries(rng, findings.contrast_hu, _LEAST_PIXELS * grid.spacing_mm[1])
    clots = _clots(np.random.default_rng([seed, index, 5]), findings, arteries, grid)
    # Airways hold air; what else runs through the lungs is filled.
    lungs = [replace(tube, hu=findings.contrast_hu) if tube.hu > 0 else tube for tube in bare.tubes]
    large = [tube for tubes in arteries.values() for tube in tubes]
    tubes = (*_nodes(rng), *lungs, *_heart(bare, findings), *large, *clots)
    return Angiography(replace(bare, tubes=tubes), clots, findings, grid)


def draw_angiography(study: Angiography, seed: tuple[int, ...]) -> Iterator[NDArray[np.int16]]:
    """Draw slice after slice, in Hounsfield units (H, W).

    Args:
        study: What to draw.
        seed: Of the noise.
    """
    shift = max(2, round(_MOTION_MM / study.grid.spacing_mm[1]))
    for plane, _ in draw_slices(study.chest, study.grid, seed):
        # Two breathing positions in one slice: every edge is seen twice.
        yield (plane // 2 + np.roll(plane, shift, axis=0) // 2) if study.findings.motion else plane


def clot_mask(clots: tuple[Tube, ...], z_mm: float, axes: tuple[Field, Field]) -> NDArray[np.bool_]:
    """Pixels of a slice of which a clot fills at least half.

    Args:
        clots: The clots.
        z_mm: Position of the slice.
        axes: Coordinates of rows and columns.

    Returns:
        (H, W).
    """
    filled = np.zeros((axes[0].size, axes[1].size), np.float32)
    paint_tubes(filled, [replace(clot, hu=1.0) for clot in clots], z_mm, axes)
    mask: NDArray[np.bool_] = filled >= 0.5
    return mask


def _arteries(rng: np.random.Generator, hu: float, least_mm: float) -> dict[Side | None, list[Tube]]:
    """The large arteries by the side that a clot in them counts for; none counts for the trunk."""

    def tube(start: tuple[float, ...], end: tuple[float, ...], radii: tuple[float, float]) -> Tube:
        return Tube(start, end, (max(radii[0], least_mm), max(radii[1], least_mm)), hu)

    start, end, radii = _TRUNK
    found: dict[Side | None, list[Tube]] = {None: [tube(start, end, radii)], "central": []}
    for side, sign in _SIGNS:
        hilum = _near(rng, _HILA[side])
        found["central"].append(tube(_FORK, hilum, (10.5, 8.5)))
        found[side] = [tube(hilum, _near(rng, (z, y, sign * x)), radii) for (z, y, x), radii in _LOBES]
    return found


def _near(rng: np.random.Generator, place: tuple[float, float, float]) -> tuple[float, ...]:
    return tuple((np.array(place) + 2.0 * rng.standard_normal(3)).tolist())


def _nodes(rng: np.random.Generator) -> list[Tube]:
    """Lymph nodes beside the arteries of every patient: dark spots near bright vessels are no embolism yet."""
    nodes = []
    for hilum in _HILA.values():
        for _ in range(int(rng.integers(1, 4))):
            middle = tuple((np.array(hilum) + 14.0 * rng.standard_normal(3)).tolist())
            radius = float(rng.uniform(5, 8))
            nodes.append(Tube(middle, middle, (radius, radius), _NODE_HU))
    return nodes


def _heart(chest: Chest, findings: Findings) -> list[Tube]:
    """Both ventricles, the aorta and the upper vena cava; the pulmonary side is filled first."""
    dy, dx = chest.heart_mm
    right, left = (_VENTRICLE_MM * findings.ratio**power for power in (0.5, -0.5))

    def chamber(ends: tuple[tuple[float, ...], tuple[float, ...]], radius: float, share: float) -> Tube:
        start, end = (
            tuple(s * (a + b) for s, a, b in zip(chest.scale, place, (0, dy, dx), strict=True))
            for place in ends
        )
        return Tube(start, end, (radius, radius), share * findings.contrast_hu)

    return [
        chamber(((-58, 38, -30), (-24, 42, -10)), right, 1.0),
        chamber(((-58, 14, -50), (-34, 12, -42)), left, 0.7),
        chamber(((150, -62, -20), (-150, -62, -20)), 11.0, 0.55),
        chamber(((160, 16, 28), (28, 16, 28)), 8.0, 1.2),
    ]


def _clots(
    rng: np.random.Generator, findings: Findings, arteries: Mapping[Side | None, list[Tube]], grid: Grid
) -> tuple[Tube, ...]:
    """Two or three clots on each side, fresh ones in the middle of the artery and old ones at its wall."""
    wanted = [side for side in findings.sides for _ in range(int(rng.integers(2, 4)))]
    found = []
    for number, side in enumerate(wanted):
        old = findings.age == "chronic" or (findings.age == "both" and number % 2 == 1)
        for _ in range(_DRAWS):
            clot = _clot(rng, arteries[side][int(rng.integers(len(arteries[side])))], old=old)
            if _is_seen(clot, grid):
                found.append(clot)
                break
        else:
            raise ConfigError(
                f"size: clots fall between the slices of {grid.shape} voxels. Ask for more slices."
            )
    return tuple(found)


def _clot(rng: np.random.Generator, artery: Tube, *, old: bool) -> Tube:
    start, end = np.array(artery.start), np.array(artery.end)
    length = float(np.sqrt(((end - start) ** 2).sum()))
    part = min(float(rng.uniform(28, 42)) / length, 0.85)
    first = float(rng.uniform(0.05, 0.95 - part))
    ends = (first, first + part)
    width = [artery.radii_mm[0] + t * (artery.radii_mm[1] - artery.radii_mm[0]) for t in ends]
    aside = np.zeros(3)
    if old:
        along, aside = (end - start) / length, rng.standard_normal(3)
        aside -= (aside * along).sum() * along
        aside *= 0.35 * min(width) / np.sqrt((aside**2).sum())
    places = [tuple((start + t * (end - start) + aside).tolist()) for t in ends]
    share = 0.6 if old else 0.75
    return Tube(places[0], places[1], (share * width[0], share * width[1]), _OLD_CLOT_HU if old else _CLOT_HU)


def _is_seen(clot: Tube, grid: Grid) -> bool:
    z_axis, y, x = grid_axes(grid)
    return any(clot_mask((clot,), float(z), (y, x)).any() for z in z_axis)
