"""Area of the piece of surface inside each cube of eight neighbouring voxel centres.

A mask's surface is drawn as in marching cubes: inside a cube whose corners are eight voxel centres it
cuts each edge between a corner in the mask and one outside it half way. A cube therefore has one of 256
codes, and the area that belongs to a code depends on the spacing alone.

The areas are worked out instead of looked up. Corners in the mask that are joined by edges of the cube
form a piece, and pieces that touch only across a face's diagonal are cut off one by one; where more than
four corners are inside, the surface is that of the corners outside. Pieces of up to four corners come in
seven kinds, and each one's cuts span a few flat facets, written below as vectors (facet area projected
along each axis of a unit cube).

A mask in a plane has a contour in place of a surface: a square of four pixel centres has one of 16 codes, and the
length of the line that cuts its edges half way takes the place of the area.

Reference:
    Lorensen and Cline, "Marching cubes", SIGGRAPH 1987; Nikolov et al., "Deep learning to achieve
    clinically applicable segmentation of head and neck anatomy", arXiv:1809.04430, for the use of these
    areas as the weights of surface distances.
"""

import math
from functools import lru_cache
from itertools import combinations

import numpy as np
import numpy.typing as npt

Corner = tuple[int, int, int]
Facet = tuple[float, float, float]

N_CODES = 256

# Corner b of the cube adds 2**b to the code. The last corner is the voxel itself (bit 0), the others are
# its neighbours at one lower position along D (bit 2), H (bit 1) and W (bit 0 of the corner's number).
CORNERS: tuple[Corner, ...] = tuple((1 - (b >> 2 & 1), 1 - (b >> 1 & 1), 1 - (b & 1)) for b in range(8))
# The same of a square: the pixel itself is bit 0, its neighbour at one lower position along W bit 1.
SQUARE: tuple[tuple[int, int], ...] = ((1, 1), (1, 0), (0, 1), (0, 0))


@lru_cache(maxsize=64)
def element_areas(spacing_mm: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    """Surface area in a cube of eight voxel centres, for each of the 256 codes.

    Args:
        spacing_mm: Voxel size along D, H, W in mm.

    Returns:
        Areas in square millimetres, shape (256,), read-only; zero for the codes 0 and 255.

    Example:
        >>> areas = element_areas((1.0, 1.0, 1.0))
        >>> round(float(areas[1]), 4), float(areas[0b00001111])  # one corner; a flat wall
        (0.2165, 1.0)
    """
    depth, height, width = spacing_mm
    # A facet with normal along one axis is stretched by the spacing along the other two.
    stretch = np.array([height * width, depth * width, depth * height], dtype=np.float64)
    areas = np.zeros(N_CODES, dtype=np.float64)
    for code in range(N_CODES):
        inside = [corner for bit, corner in enumerate(CORNERS) if code >> bit & 1]
        if len(inside) > 4:
            inside = [corner for corner in CORNERS if corner not in inside]
        facets = [facet for piece in _pieces(inside) for facet in _facets(piece)]
        areas[code] = sum(float(np.linalg.norm(np.array(facet) * stretch)) for facet in facets)
    areas.flags.writeable = False
    return areas


@lru_cache(maxsize=64)
def element_lengths(spacing_mm: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Length of the contour in a square of four pixel centres, for each of the 16 codes.

    Args:
        spacing_mm: Pixel size along H, W, in mm or any unit of length.

    Returns:
        Lengths in that unit, shape (16,), read-only; zero for the codes 0 and 15.

    Example:
        >>> lengths = element_lengths((3.0, 4.0))
        >>> float(lengths[0b0001]), float(lengths[0b0011]), float(lengths[0b0101]), float(lengths[0b0110])
        (2.5, 4.0, 3.0, 5.0)
    """
    height, width = spacing_mm
    diagonal = math.hypot(height, width)
    lengths = np.zeros(1 << len(SQUARE), dtype=np.float64)
    for code in range(1, len(lengths) - 1):
        inside = [corner for bit, corner in enumerate(SQUARE) if code >> bit & 1]
        if len(inside) != 2:  # one corner is cut off, inside or outside
            lengths[code] = diagonal / 2
        elif inside[0][0] == inside[1][0]:  # neighbours along W: the line runs along W
            lengths[code] = width
        else:  # neighbours along H, or two corners that touch only across
            lengths[code] = height if inside[0][1] == inside[1][1] else diagonal
    lengths.flags.writeable = False
    return lengths


def _pieces(corners: list[Corner]) -> list[list[Corner]]:
    """Split corners into groups joined by edges of the cube."""
    pieces: list[list[Corner]] = []
    for corner in corners:
        touching = [piece for piece in pieces if any(_is_edge(corner, other) for other in piece)]
        pieces = [piece for piece in pieces if piece not in touching]
        pieces.append([corner, *(other for piece in touching for other in piece)])
    return pieces


def _is_edge(a: Corner, b: Corner) -> bool:
    return sum(x != y for x, y in zip(a, b, strict=True)) == 1


def _facets(piece: list[Corner]) -> list[Facet]:
    """Flat facets that cut one to four joined corners off the cube."""
    # Axis of each edge inside the piece: tells the kinds of pieces apart.
    axes = [_axis(a, b) for a, b in combinations(piece, 2) if _is_edge(a, b)]
    match len(piece), len(axes), len(set(axes)):
        case 1, _, _:  # a corner: one triangle
            return [(0.125, 0.125, 0.125)]
        case 2, _, _:  # an edge: a rectangle parallel to it
            return [_facet(others=0.5, axis=axes[0], along=0.0)]
        case 3, _, _:  # an L: a triangle above the face it lies in, then a slanted trapezoid
            (normal,) = {0, 1, 2} - set(axes)
            return [_facet(others=0.0, axis=normal, along=0.5), (0.375, 0.375, 0.375)]
        case 4, 4, _:  # a face: a wall
            (normal,) = {0, 1, 2} - set(axes)
            return [_facet(others=0.0, axis=normal, along=1.0)]
        case _ if _is_claw(piece):  # a corner and its three neighbours: a regular hexagon
            return [(0.75, 0.75, 0.75)]
        case _:
            # A path along all three axes. Its six cuts do not lie in a plane: every second one spans
            # a large triangle, and of the three beside it one is parallel to it (in absolute values).
            # The two others are parallel to the path's first and last edge.
            ends = [corner for corner in piece if sum(_is_edge(corner, other) for other in piece) == 1]
            end_axes = [_axis(end, other) for end in ends for other in piece if _is_edge(end, other)]
            return [(0.5, 0.5, 0.5), *(_facet(others=0.25, axis=axis, along=0.0) for axis in end_axes)]


def _axis(a: Corner, b: Corner) -> int:
    return next(axis for axis in range(3) if a[axis] != b[axis])


def _is_claw(piece: list[Corner]) -> bool:
    return any(sum(_is_edge(corner, other) for other in piece) == 3 for corner in piece)


def _facet(*, others: float, axis: int, along: float) -> Facet:
    values = [others, others, others]
    values[axis] = along
    return values[0], values[1], values[2]
