import cv2
import numpy as np
import pytest

from medimg.datasets.lidc_consensus import consensus_mask, fill, group_annotations, slice_of
from medimg.datasets.lidc_xml import CHARACTERISTICS, Annotation, Contour
from medimg.errors import DataError

SLICES = np.array([-10.0, -7.5, -5.0, -2.5])


def square(x, y, size, z=-7.5, inclusion=True):
    corners = [(x, y), (x + size, y), (x + size, y + size), (x, y + size), (x, y)]
    return Contour(z, "", inclusion, np.array(corners, np.int32))


def annotation(reader, *contours, malignancy=3):
    scores = dict.fromkeys(CHARACTERISTICS, 3) | {"malignancy": malignancy}
    return Annotation(f"n{reader}", reader, scores, contours)


@pytest.mark.parametrize("seed", range(8))
def test_filling_agrees_with_opencv_pixel_by_pixel(seed):
    """Outlines of random blobs, also with gaps between their points and drawn in either direction."""
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 14))
    radii = rng.uniform(3, 13, 14)
    corners = np.stack([15 + radii * np.cos(angles), 14 + radii * np.sin(angles)], axis=1)
    points = np.rint(corners).astype(np.int32)[:: 1 if seed % 2 else -1]
    side = np.array(
        [[cv2.pointPolygonTest(points, (x, y), measureDist=False) for x in range(32)] for y in range(30)]
    )
    np.testing.assert_array_equal(fill(points, (30, 32)), side > 0)
    np.testing.assert_array_equal(fill(points, (30, 32), with_outline=True), side >= 0)


def test_an_outline_is_outside_and_what_is_cut_out_goes_with_its_outline():
    whole = annotation(0, square(5, 3, 10))
    found = consensus_mask([whole], SLICES)
    assert found.start == (1, 3, 5)
    assert found.mask.shape == (1, 11, 11)
    assert found.mask.sum() == 9 * 9
    assert not found.mask[0, 0].any()
    # The hole stands first in the file and still counts: 3 x 3 pixels with the outline.
    hollow = annotation(0, square(9, 7, 2, inclusion=False), square(5, 3, 10))
    assert consensus_mask([hollow], SLICES).mask.sum() == 9 * 9 - 3 * 3


def test_half_of_the_readers_make_a_voxel_nodule():
    large, small = square(0, 0, 9), square(0, 0, 5)
    assert consensus_mask([annotation(0, large), annotation(1, small)], SLICES).mask.sum() == 8 * 8
    one_of_three = [annotation(0, large), annotation(1, small), annotation(2, small)]
    assert consensus_mask(one_of_three, SLICES).mask.sum() == 4 * 4
    assert consensus_mask(one_of_three, SLICES, share=1 / 3).mask.sum() == 8 * 8
    # One reader who outlined twice has one vote.
    twice = [annotation(0, large), annotation(0, square(1, 1, 4)), *(annotation(r, small) for r in (1, 2, 3))]
    assert consensus_mask(twice, SLICES).mask.sum() == 4 * 4


def test_slices_are_found_by_their_position_in_either_order():
    assert consensus_mask([annotation(0, square(0, 0, 4, z=-2.5))], SLICES[::-1].copy()).start[0] == 0
    with pytest.raises(
        DataError, match="expected the outline at z = 40 mm on a slice, found slices from -10 to"
    ):
        slice_of(40.0, SLICES)


def test_readers_of_one_nodule_are_found_by_distance():
    near, far = square(10, 10, 6), square(60, 10, 6)
    readers = [
        annotation(0, near),
        annotation(0, far),
        annotation(1, square(11, 10, 6)),
        annotation(1, square(60, 10, 6, z=-5.0)),
    ]
    groups = group_annotations(readers, (0.7, 0.7))
    # The slice is farther than a pixel: the last one is a nodule of its own.
    assert [[one.nodule_id for one in group] for group in groups] == [["n0", "n1"], ["n0"], ["n1"]]
    assert group_annotations([], (0.7, 0.7)) == []


def test_the_tolerance_shrinks_until_no_group_exceeds_four():
    """Two nodules a pixel apart, three readers each: within one pixel all six are one group."""
    left = [annotation(reader, square(10, 10, 4)) for reader in range(3)]
    right = [annotation(reader, square(15, 10, 4)) for reader in range(3)]
    groups = group_annotations(left + right, (0.7, 0.7))
    assert sorted(len(group) for group in groups) == [3, 3]
    # Five that truly touch stay together.
    assert len(group_annotations([annotation(r, square(10, 10, 4)) for r in range(5)], (0.7, 0.7))) == 1
