import numpy as np
import pytest
from scipy.ndimage import binary_fill_holes

from medimg.postprocessing.components import (
    drop_outside,
    drop_small,
    fill_holes,
    keep_largest,
    part_volumes,
    replace_small,
    structure,
)


def cube(shape=(6, 7, 8)):
    return np.zeros(shape, np.uint8)


@pytest.mark.parametrize(
    ("second", "joined"),
    [((1, 1, 2), (6, 18, 26)), ((1, 2, 2), (18, 26)), ((2, 2, 2), (26,)), ((1, 1, 3), ())],
)
def test_connectivity_is_named_by_its_neighbours(second, joined):
    mask = cube()
    mask[1, 1, 1] = mask[second] = 1
    for connectivity in (6, 18, 26):
        expected = 1 if connectivity in joined else 2
        assert len(part_volumes(mask, [1], voxel_mm3=1, connectivity=connectivity)) == expected


def test_connectivity_of_pictures():
    picture = np.eye(3, dtype=np.uint8)
    assert len(part_volumes(picture, [1], voxel_mm3=1, connectivity=6)) == 3
    assert len(part_volumes(picture, [1], voxel_mm3=1, connectivity=18)) == 1
    assert structure(2, 26).all()


def test_the_largest_component_stays():
    mask = cube()
    mask[:2, :2, :2], mask[4:, 5:, 6:7], mask[4:, 0, 0] = 1, 1, 2
    kept = keep_largest(mask, [1])
    expected = mask.copy()
    expected[4:, 5:, 6:7] = 0
    np.testing.assert_array_equal(kept, expected)
    assert mask[4, 5, 6] == 1  # the input is not touched
    np.testing.assert_array_equal(keep_largest(cube(), [1]), cube())


def test_what_is_removed_takes_the_label_around_it():
    mask = cube((9, 9, 9))
    mask[1:8, 1:8, 1:8] = 2
    mask[2:4, 2:4, 2:4] = 1  # larger, stays
    mask[5, 5, 5] = 1  # inside label 2
    mask[8, 8, 8] = 1  # in a corner, background around
    kept = keep_largest(mask, [1])
    assert (kept[5, 5, 5], kept[8, 8, 8], kept[2, 2, 2]) == (2, 0, 1)


def test_a_region_is_removed_as_one():
    mask = cube()
    mask[0, 0, :3], mask[5, 5, 5], mask[5, 5, 6] = 1, 1, 3
    kept = keep_largest(mask, [1, 3])
    assert kept.sum() == 3
    assert kept[5].sum() == 0


def test_small_components_are_told_in_mm3():
    mask = cube()
    mask[0, 0, :2], mask[3, 3, :3], mask[5, 5, :5] = 1, 1, 1
    for limit, left in ((1.0, 10), (1.01, 8), (1.5, 8), (1.51, 5), (9.0, 0)):  # 2, 3 and 5 voxels of 0.5 mm3
        assert drop_small(mask, [1], min_volume_mm3=limit, voxel_mm3=0.5).sum() == left


def test_a_limit_met_but_for_rounding_is_met():
    mask = cube()
    mask[0, 0, :3] = 1
    assert drop_small(mask, [1], min_volume_mm3=0.3, voxel_mm3=0.1 * (1 - 1e-9)).any()
    assert replace_small(mask, [1], to=0, min_volume_mm3=0.3, voxel_mm3=0.1 * (1 - 1e-9)).any()


def test_a_small_region_changes_its_label_in_the_whole_case():
    mask = cube()
    mask[0, 0, :4], mask[5, 5, :4], mask[3] = 3, 3, 2
    np.testing.assert_array_equal(replace_small(mask, [3], to=1, min_volume_mm3=8, voxel_mm3=1), mask)
    changed = replace_small(mask, [3], to=1, min_volume_mm3=8.1, voxel_mm3=1)
    assert ((changed == 1).sum(), (changed == 3).sum(), (changed == 2).sum()) == (8, 0, 56)


def test_an_inner_part_that_stands_alone_goes():
    mask = cube()
    mask[0, 0, :2], mask[3:6, 3:6, 3:6], mask[4, 4, 4] = 1, 2, 1
    mended = drop_outside(mask, [1, 3], [1, 2, 3])
    assert (mended[0, 0, 0], mended[4, 4, 4]) == (0, 1)
    assert (mended == 2).sum() == (mask == 2).sum()


def test_holes_are_those_that_scipy_finds():
    region = np.random.default_rng(0).random((12, 13, 14)) < 0.8
    mask = region.astype(np.uint8)
    np.testing.assert_array_equal(fill_holes(mask, [1]) > 0, binary_fill_holes(region))
    slices = np.stack([binary_fill_holes(one) for one in region])
    np.testing.assert_array_equal(fill_holes(mask, [1], slicewise=True) > 0, slices)
    assert slices.sum() > binary_fill_holes(region).sum() > region.sum()


def test_other_labels_in_a_hole_stay():
    mask = cube((7, 7, 7))
    mask[1:6, 1:6, 1:6] = 2
    mask[2:5, 2:5, 2:5] = 0
    mask[3, 3, 3] = 1
    filled = fill_holes(mask, [2])
    assert (filled == 2).sum() == 124
    assert filled[3, 3, 3] == 1


def test_a_hole_takes_the_commonest_label_of_the_region_around_it():
    mask = cube((5, 5, 5))
    mask[:] = 3
    mask[0] = 2
    mask[2, 2, 2] = 0
    assert fill_holes(mask, [2, 3])[2, 2, 2] == 3


def test_a_hole_inside_another_label_is_not_the_regions():
    mask = cube((9, 9, 9))
    mask[1:8, 1:8, 1:8], mask[2:7, 2:7, 2:7], mask[4, 4, 4] = 1, 2, 0
    assert fill_holes(mask, [1])[4, 4, 4] == 0
    assert fill_holes(mask, [2])[4, 4, 4] == 2
