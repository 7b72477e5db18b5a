"""Make-believe gliomas: necrosis inside an enhancing rim inside oedema, of irregular shape."""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from medimg.phantoms.anatomy import Bulge, cerebrum
from medimg.phantoms.fields import Field, Points, lattice_points, smooth_noise, sum_of_squares

_RIM_MM = 4.0  # thinnest enhancing rim
_OEDEMA_MM = 3.0  # thinnest oedema around the core
_TRIES = 400


class Kind(Enum):
    """What a case shows; every eight cases in a row hold each kind, so a small set is not one-sided."""

    RIM = "one lesion: necrosis, enhancing rim, oedema"
    TWO = "two lesions, the second without necrosis"
    SOLID = "one lesion that enhances throughout"
    DARK = "one lesion without enhancement"


_CYCLE = (Kind.RIM, Kind.TWO, Kind.RIM, Kind.SOLID, Kind.RIM, Kind.DARK, Kind.TWO, Kind.RIM)


def kind_of(index: int) -> Kind:
    """Kind of the case with this number.

    Example:
        >>> kind_of(3).name, kind_of(11).name, kind_of(5).name
        ('SOLID', 'SOLID', 'DARK')
    """
    return _CYCLE[index % len(_CYCLE)]


@dataclass(frozen=True)
class Lesion:
    """One tumour before it gets its shape.

    Attributes:
        centre: Its middle (z, y, x) in millimetres of the standard head.
        radius_mm: Mean radius with oedema.
        core: Radius of the core (enhancing and necrotic) as a part of ``radius_mm``.
        necrosis: Radius of the necrosis as a part of the core's; 0 for none, 1 for a core that does not
            enhance at all.
    """

    centre: tuple[float, float, float]
    radius_mm: float
    core: float
    necrosis: float

    @property
    def bulge(self) -> Bulge:
        """How the lesion pushes the brain aside."""
        return Bulge(self.centre, 1.1 * self.radius_mm, 0.35)


@dataclass(frozen=True)
class Tumour:
    """Signed distances in millimetres on the lattice, negative inside, each within the one before.

    Attributes:
        whole: Surface of all tumour tissue, oedema included.
        core: Surface of the enhancing and necrotic part.
        necrosis: Surface of the part that does not enhance; positive everywhere if there is none.
    """

    whole: Field
    core: Field
    necrosis: Field


def place_lesions(rng: np.random.Generator, kind: Kind) -> tuple[Lesion, ...]:
    """Choose size and place of a case's lesions, well inside the cerebrum and apart from one another.

    Args:
        rng: Source of the choice.
        kind: What the case shows.

    Returns:
        One lesion, or two of which the first is the larger.
    """
    radius = rng.uniform(23, 26) if kind is Kind.TWO else rng.uniform(25, 31)
    necrosis = {Kind.SOLID: 0.0, Kind.DARK: 1.0}.get(kind, rng.uniform(0.56, 0.64))
    core = rng.uniform(0.6, 0.64) if kind in (Kind.SOLID, Kind.DARK) else rng.uniform(0.66, 0.71)
    first = Lesion(place(rng, radius, ()), radius, core, necrosis)
    if kind is not Kind.TWO:
        return (first,)
    radius = rng.uniform(15, 17)
    return first, Lesion(place(rng, radius, (first,)), radius, 0.64, 0.0)


def place(rng: np.random.Generator, radius: float, others: tuple[Lesion, ...]) -> tuple[float, float, float]:
    """Choose where a lesion lies: the first of many places that suits, or else the one that suits best.

    Args:
        rng: Source of the choice.
        radius: Radius of the lesion with its oedema, in millimetres.
        others: Lesions to stay apart from.

    Returns:
        Its middle (z, y, x) in millimetres of the standard head.
    """
    z, y = rng.uniform(-5, 40, _TRIES), rng.uniform(-55, 50, _TRIES)
    x = rng.uniform(16, 45, _TRIES) * rng.choice([-1.0, 1.0], _TRIES)
    at: Points = (z.astype(np.float32), y.astype(np.float32), x.astype(np.float32))
    room = -cerebrum(at) - 0.75 * radius  # some oedema may reach the surface, the core may not
    for other in others:
        gaps = [axis - np.float32(c) for axis, c in zip(at, other.centre, strict=True)]
        room = np.minimum(room, np.sqrt(sum_of_squares(gaps)) - (radius + other.radius_mm + 4))
    best = int(np.argmax(room >= 0)) if (room >= 0).any() else int(np.argmax(room))
    return float(z[best]), float(y[best]), float(x[best])


def grow(rng: np.random.Generator, lesions: tuple[Lesion, ...]) -> Tumour:
    """Give every lesion its irregular shape.

    Args:
        rng: Source of the shapes.
        lesions: At least one.

    Returns:
        The union of the lesions, on the lattice.
    """
    shapes = [_shape(rng, lesion) for lesion in lesions]
    whole, core, necrosis = (np.minimum.reduce(list(layer)) for layer in zip(*shapes, strict=True))
    return Tumour(whole, core, necrosis)


def _shape(rng: np.random.Generator, lesion: Lesion) -> tuple[Field, Field, Field]:
    points = lattice_points()
    offset = [axis - np.float32(c) for axis, c in zip(points, lesion.centre, strict=True)]
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    stretch = rng.uniform(0.85, 1.18, 3)
    stretch /= np.prod(stretch) ** (1 / 3)
    turn = (rotation / stretch).T.astype(np.float32)
    turned = [row[0] * offset[0] + row[1] * offset[1] + row[2] * offset[2] for row in turn]
    distance = np.sqrt(sum_of_squares(turned))
    # Lobes a third of the lesion wide, and finer fingers where oedema creeps between the fibres.
    lobes = [smooth_noise(rng, 0.35 * lesion.radius_mm) for _ in range(3)]
    fingers, knobs = smooth_noise(rng, 5.0), smooth_noise(rng, 5.0)
    outer, inner = lesion.radius_mm, lesion.radius_mm * lesion.core
    whole = distance - outer * (1 + 0.1 * lobes[0]) - 2.5 * fingers
    core = np.maximum(distance - inner * (1 + 0.1 * lobes[1]) - 1.2 * knobs, whole + _OEDEMA_MM)
    if lesion.necrosis == 0:
        necrosis = np.full_like(core, np.float32(1e3))
    elif lesion.necrosis == 1:
        necrosis = core
    else:
        dead = inner * lesion.necrosis
        necrosis = np.maximum(distance - dead * (1 + 0.15 * lobes[2]) + knobs, core + _RIM_MM)
    return whole.astype(np.float32), core.astype(np.float32), necrosis.astype(np.float32)
