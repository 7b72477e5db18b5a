from itertools import permutations, product

import numpy as np
import pytest
from scipy.ndimage import label
from scipy.spatial import ConvexHull

from medimg.scoring.surface_elements import CORNERS, SQUARE, element_areas, element_lengths

SPACINGS = [(1.0, 1.0, 1.0), (10.0, 1.0, 1.0), (0.3, 4.0, 1.7)]


def cube_of(code):
    cube = np.zeros((2, 2, 2), bool)
    for bit, corner in enumerate(CORNERS):
        cube[corner] = code >> bit & 1
    return cube


def code_of(cube):
    return sum(1 << bit for bit, corner in enumerate(CORNERS) if cube[corner])


def cuts_of(cube, inside):
    for corner in inside:
        for axis in range(3):
            other = corner.copy()
            other[axis] ^= 1
            if not cube[tuple(other)]:
                yield (corner + other) / 2


def hull_area(code, spacing):
    """Area of the hull of each piece's corners and cuts, less what lies on the cube's faces; and whether
    the hull is that piece's surface, which it is unless four corners form a path along all axes."""
    cube = cube_of(code) if code.bit_count() <= 4 else ~cube_of(code)
    pieces, n = label(cube)
    area = 0.0
    for piece in range(1, n + 1):
        inside = np.argwhere(pieces == piece)
        points = np.vstack([inside, list(cuts_of(cube, inside))])
        for triangle in points[ConvexHull(points).simplices]:
            if not any((triangle[:, axis] == side).all() for axis in range(3) for side in (0, 1)):
                a, b, c = triangle * spacing
                area += np.linalg.norm(np.cross(b - a, c - a)) / 2
    return area


def is_path_along_all_axes(code):
    inside = np.argwhere(cube_of(code))
    neighbours = sorted(int((np.abs(inside - corner).sum(1) == 1).sum()) for corner in inside)
    return code.bit_count() == 4 and neighbours == [1, 1, 2, 2]


@pytest.mark.parametrize("spacing", SPACINGS)
def test_areas_are_those_of_the_convex_hulls_of_the_pieces(spacing):
    areas = element_areas(spacing)
    for code in range(1, 255):
        if not is_path_along_all_axes(code):
            assert areas[code] == pytest.approx(hull_area(code, spacing)), code


@pytest.mark.parametrize("spacing", SPACINGS)
def test_area_of_a_path_along_all_axes(spacing):
    # Corners 000, 001, 011, 111: the six cuts in order, and every second one spans the large triangle.
    path = np.zeros((2, 2, 2), bool)
    path[0, 0, 0] = path[0, 0, 1] = path[0, 1, 1] = path[1, 1, 1] = True
    cuts = np.array([(0.5, 0, 0), (0.5, 0, 1), (1, 0.5, 1), (1, 1, 0.5), (0, 1, 0.5), (0, 0.5, 0)])
    expected = 0.0
    for triangle in ([0, 2, 4], [0, 1, 2], [2, 3, 4], [4, 5, 0]):
        a, b, c = cuts[triangle] * spacing
        expected += np.linalg.norm(np.cross(b - a, c - a)) / 2
    assert element_areas(spacing)[code_of(path)] == pytest.approx(expected)


def test_inside_and_outside_have_the_same_surface():
    areas = element_areas((0.3, 4.0, 1.7))
    assert areas == pytest.approx(areas[::-1])


def test_turning_and_mirroring_the_cube_turns_the_areas():
    spacing = (0.3, 4.0, 1.7)
    for axes, flips in product(permutations(range(3)), product((1, -1), repeat=3)):
        turned = element_areas(tuple(spacing[axis] for axis in axes))
        for code in range(256):
            cube = cube_of(code).transpose(axes)[:: flips[0], :: flips[1], :: flips[2]]
            assert turned[code_of(cube)] == pytest.approx(element_areas(spacing)[code])


def test_simple_codes_by_hand():
    areas = element_areas((2.0, 3.0, 5.0))
    assert areas[0] == areas[255] == 0
    assert areas[0b00001111] == pytest.approx(15)  # a wall across D: 3 x 5 mm
    assert areas[1] == pytest.approx(np.linalg.norm([15, 10, 6]) / 8)  # one corner


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.3, 4.0)])
def test_lengths_are_those_of_the_lines_between_the_cuts_of_a_squares_edges(spacing):
    lengths = element_lengths(spacing)
    assert lengths[0] == lengths[15] == 0
    for code in range(1, 15):
        inside = {corner for bit, corner in enumerate(SQUARE) if code >> bit & 1}
        cuts = [
            np.array([(a + b) / 2 for a, b in zip(one, other, strict=True)]) * spacing
            for one in inside
            for other in set(SQUARE) - inside
            if sum(a != b for a, b in zip(one, other, strict=True)) == 1
        ]
        # Two corners that touch only across are cut off each by itself.
        expected = np.linalg.norm(cuts[0] - cuts[1]) if len(cuts) == 2 else np.hypot(*spacing)
        assert lengths[code] == pytest.approx(expected), code


def test_the_contour_of_a_rectangle_is_its_perimeter_with_the_corners_cut():
    mask = np.zeros((9, 12), bool)
    mask[2:6, 3:10] = True  # 4 x 7 pixels of 2 x 3 mm
    padded = np.pad(mask, 1)
    total = 0.0
    for row, column in np.ndindex(10, 13):
        square = padded[row : row + 2, column : column + 2]
        total += element_lengths((2.0, 3.0))[
            sum(1 << bit for bit, corner in enumerate(SQUARE) if square[corner])
        ]
    assert total == pytest.approx(2 * 3 * 2 + 2 * 6 * 3 + 4 * np.hypot(2, 3) / 2)
