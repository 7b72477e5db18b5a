import math

import numpy as np
import pytest

from medimg.scoring.surface import (
    SurfaceDistances,
    hd95,
    nsd,
    robust_hausdorff,
    surface_dice,
    surface_distances,
)
from medimg.scoring.surface_elements import element_areas, element_lengths


def waves(phase):
    d, h, w = np.meshgrid(*(np.arange(n) for n in (9, 14, 12)), indexing="ij")
    return np.sin(0.9 * d + phase) + np.sin(0.7 * h - phase) + np.cos(0.8 * w + 0.5 * phase) > 0.6


def box(shape, low, high):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def brute_force(pred, target, spacing):
    """Distances and areas by comparing every surface element with every other, voxel by voxel."""

    def elements(mask):
        padded = np.pad(mask, 1)
        points, areas = [], []
        for d, h, w in np.ndindex(*(n - 1 for n in padded.shape)):
            corner = padded[d : d + 2, h : h + 2, w : w + 2].ravel()[::-1]  # the last voxel is bit 0
            code = sum(1 << bit for bit, inside in enumerate(corner) if inside)
            if 0 < code < 255:
                points.append((d, h, w))
                areas.append(element_areas(spacing)[code])
        return np.array(points), np.array(areas)

    (points_p, areas_p), (points_t, areas_t) = elements(pred), elements(target)
    between = np.linalg.norm((points_p[:, None] - points_t[None]) * np.array(spacing), axis=2)
    return between.min(1), areas_p, between.min(0), areas_t


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (10.0, 1.0, 1.0), (0.7, 2.5, 1.3)])
def test_distances_and_areas_equal_brute_force(spacing):
    pred, target = waves(0.0), waves(0.8)
    found = surface_distances(pred, target, spacing)
    to_target, areas_p, to_pred, areas_t = brute_force(pred, target, spacing)
    order_p, order_t = np.lexsort((areas_p, to_target)), np.lexsort((areas_t, to_pred))
    assert found.pred_to_target_mm == pytest.approx(to_target[order_p])
    assert found.target_to_pred_mm == pytest.approx(to_pred[order_t])
    assert found.pred_areas_mm2.sum() == pytest.approx(areas_p.sum())
    assert found.target_areas_mm2.sum() == pytest.approx(areas_t.sum())


@pytest.mark.parametrize(
    ("spacing", "hausdorff_95", "dice_at_1_mm", "dice_at_2_mm", "target_area", "pred_area"),
    [
        ((1.0, 1.0, 1.0), 1.0, 0.974410975451461, 1.0, 805.2958460089538, 816.4884240717072),
        (
            (10.0, 1.0, 1.0),
            1.4142135623730951,
            0.9506701139346124,
            0.9966387260905273,
            5447.43441,
            5624.498155,
        ),
        ((0.7, 2.5, 1.3), 1.3, 0.9256561176345696, 0.9947798568315425, 1848.381817, 1873.594613),
    ],
)
def test_equal_to_the_published_package(
    spacing, hausdorff_95, dice_at_1_mm, dice_at_2_mm, target_area, pred_area
):
    # Values of the package surface-distance 0.1 (DeepMind) on these masks.
    pred, target = waves(0.0), waves(0.8)
    distances = surface_distances(pred, target, spacing)
    assert distances.target_areas_mm2.sum() == pytest.approx(target_area)
    assert distances.pred_areas_mm2.sum() == pytest.approx(pred_area)
    assert hd95(pred, target, spacing, empty="brats") == pytest.approx(hausdorff_95, abs=1e-12)
    assert nsd(pred, target, spacing, 1.0, empty="brats") == pytest.approx(dice_at_1_mm, abs=1e-12)
    assert nsd(pred, target, spacing, 2.0, empty="brats") == pytest.approx(dice_at_2_mm, abs=1e-12)


@pytest.mark.parametrize(("axis", "expected"), [(0, 30.0), (1, 3.0), (2, 1.5)])
def test_a_shift_is_measured_in_millimetres_at_anisotropy_1_to_10_and_beyond(axis, expected):
    # Single voxels apart by 3 voxels along one axis: every element is 3 steps or 2 from the other surface.
    spacing = (10.0, 1.0, 0.5)
    shape = [6, 6, 6]
    pred, target = np.zeros(shape, bool), np.zeros(shape, bool)
    place = [2, 2, 1]
    pred[tuple(place)] = True
    place[axis] += 3
    target[tuple(place)] = True
    assert hd95(pred, target, spacing, empty="brats") == expected
    assert hd95(target, pred, spacing, empty="brats") == expected


def test_nsd_by_hand():
    # Two slabs of 32 x 32 voxels, one of them thicker by one 10 mm slice.
    shape, spacing = (8, 40, 40), (10.0, 1.0, 1.0)
    pred, target = box(shape, (1, 4, 4), (3, 36, 36)), box(shape, (1, 4, 4), (4, 36, 36))
    edge, corner, post = math.hypot(0.5, 5.0), math.hypot(1, 10, 10) / 8, math.hypot(5, 5)
    cap = 31 * 31 + 4 * 31 * edge + 4 * corner  # top or bottom with its rim
    storey = 4 * 31 * 10 + 4 * post  # the walls between two slices
    # Apart are the prediction's top inside the rim, which lies on the reference's wall, and the other's top.
    expected = 1 - (31 * 31 + cap) / (4 * cap + 3 * storey)
    assert nsd(pred, target, spacing, 0.5, empty="brats") == pytest.approx(expected)
    assert nsd(pred, target, spacing, 10.0, empty="brats") == 1.0  # "<=": exactly at the tolerance counts


def test_symmetric_and_zero_for_equal_masks():
    a, b = waves(0.1), waves(1.7)
    assert hd95(a, b, (3.0, 1.0, 1.0), empty="brats") == hd95(b, a, (3.0, 1.0, 1.0), empty="brats")
    assert hd95(a, a, (3.0, 1.0, 1.0), empty="brats") == 0.0
    assert nsd(a, a, (3.0, 1.0, 1.0), 0.0, empty="brats") == 1.0


def test_a_translated_pair_scores_the_same_and_the_volumes_rim_is_closed():
    a, b = waves(0.0), waves(0.8)
    wide_a, wide_b = (np.pad(mask, ((3, 5), (0, 2), (7, 1))) for mask in (a, b))
    assert hd95(a, b, (2, 1, 1), empty="brats") == hd95(wide_a, wide_b, (2, 1, 1), empty="brats")
    assert nsd(a, b, (2, 1, 1), 1, empty="brats") == nsd(wide_a, wide_b, (2, 1, 1), 1, empty="brats")


@pytest.mark.slow
def test_the_maximum_form_equals_monai():
    import torch
    from monai.metrics import compute_hausdorff_distance

    for spacing in [(1.0, 1.0, 1.0), (10.0, 1.0, 0.5)]:
        for phase in (0.8, 2.0):
            pred, target = waves(0.0), waves(phase)
            reference = compute_hausdorff_distance(
                torch.from_numpy(pred)[None, None],
                torch.from_numpy(target)[None, None],
                include_background=True,
                percentile=95,
                spacing=spacing,
            )
            found = hd95(pred, target, spacing, empty="brats", definition="max")
            assert found == pytest.approx(float(reference), rel=1e-5)


def test_the_percentile_weighs_elements_by_area():
    near = SurfaceDistances(np.zeros(1), np.array([0.0, 1.0, 2.0]), np.ones(1), np.array([90.0, 6.0, 4.0]))
    assert (
        robust_hausdorff(near) == 1.0
    )  # 96 % of the area lie within 1 mm, though two thirds of the elements do
    assert robust_hausdorff(near, percent=90.0) == 0.0
    assert surface_dice(near, tolerance_mm=0.5) == pytest.approx(91 / 101)


@pytest.mark.parametrize(
    ("rule", "both", "only_pred", "only_target"),
    [
        ("brats", 0.0, 373.12866, 373.12866),
        ("one", 0.0, math.hypot(20, 3, 4), math.hypot(20, 3, 4)),
        ("skip", math.nan, math.nan, math.hypot(20, 3, 4)),
    ],
)
def test_empty_masks(rule, both, only_pred, only_target):
    none, some = np.zeros((2, 3, 4), bool), np.ones((2, 3, 4), bool)
    spacing = (10.0, 1.0, 1.0)
    assert hd95(none, none, spacing, empty=rule) == pytest.approx(both, nan_ok=True)
    assert hd95(some, none, spacing, empty=rule) == pytest.approx(only_pred, nan_ok=True)
    assert hd95(none, some, spacing, empty=rule) == pytest.approx(only_target)
    assert nsd(none, some, spacing, 1.0, empty=rule) == 0.0


def test_the_2023_code_gives_374():
    none, some = np.zeros((2, 3, 4), bool), np.ones((2, 3, 4), bool)
    assert hd95(some, none, (1, 1, 1), empty="brats", brats_worst_mm=374.0) == 374.0


def test_wrong_input_is_refused():
    mask = np.ones((2, 2, 2), bool)
    with pytest.raises(ValueError, match="one grid"):
        hd95(mask, np.ones((2, 2, 3), bool), (1, 1, 1), empty="brats")
    with pytest.raises(ValueError, match="positive spacings"):
        hd95(mask, mask, (1, 0, 1), empty="brats")
    with pytest.raises(ValueError, match="type bool"):
        surface_distances(mask.astype(np.uint8), mask, (1, 1, 1))


# ---- masks of images -------------------------------------------------------------------------------


def disc(centre, radius, shape=(40, 50)):
    rows, columns = np.indices(shape)
    return np.hypot(rows - centre[0], columns - centre[1]) <= radius


def contour_points(mask, spacing):
    """Places and lengths of the contour's elements, square by square."""
    padded, points, lengths = np.pad(mask, 1), [], []
    for row, column in np.ndindex(*(n - 1 for n in padded.shape)):
        code = sum(
            1 << bit
            for bit, inside in enumerate(padded[row : row + 2, column : column + 2].ravel()[::-1])
            if inside
        )
        if 0 < code < 15:
            points.append((row * spacing[0], column * spacing[1]))
            lengths.append(element_lengths(spacing)[code])
    return np.array(points), np.array(lengths)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0)])
def test_contours_equal_brute_force(spacing):
    pred, target = disc((18, 20), 9), disc((21, 26), 7)
    (points_p, lengths_p), (points_t, lengths_t) = (contour_points(mask, spacing) for mask in (pred, target))
    between = np.linalg.norm(points_p[:, None] - points_t[None], axis=2)
    to_target, to_pred = between.min(1), between.min(0)
    found = surface_distances(pred, target, spacing)
    assert found.pred_to_target_mm == pytest.approx(np.sort(to_target))
    assert found.target_to_pred_mm == pytest.approx(np.sort(to_pred))
    assert found.pred_areas_mm2.sum() == pytest.approx(lengths_p.sum())
    within = lengths_p[to_target <= 3].sum() + lengths_t[to_pred <= 3].sum()
    assert surface_dice(found, tolerance_mm=3) == pytest.approx(within / (lengths_p.sum() + lengths_t.sum()))


def test_a_shifted_image_mask_is_as_far_as_it_was_moved_in_either_unit():
    first, moved = disc((20, 20), 8), disc((20, 25), 8)
    assert hd95(first, moved, (1, 1), empty="one") == pytest.approx(5, abs=0.5)
    assert hd95(first, moved, (1, 0.2), empty="one") == pytest.approx(1, abs=0.1)
    assert hd95(first, first, (1, 1), empty="one") == 0
    assert nsd(first, moved, (1, 1), 5.0, empty="one") == 1.0
    # A volume of one slice has a top and a bottom, so the same masks would be closer.
    assert hd95(first[None], moved[None], (1, 1, 1), empty="one") < hd95(first, moved, (1, 1), empty="one")


def test_an_empty_image_mask_scores_the_images_diagonal():
    mask = disc((20, 20), 8)
    assert hd95(mask, np.zeros_like(mask), (3, 4), empty="one") == pytest.approx(np.hypot(40 * 3, 50 * 4))


@pytest.mark.parametrize("shape", [(4,), (2, 2, 2, 2)])
def test_neither_image_nor_volume_is_refused(shape):
    mask = np.ones(shape, bool)
    with pytest.raises(ValueError, match=r"two masks \(D, H, W\) or \(H, W\) of one grid expected"):
        surface_distances(mask, mask, (1.0,) * len(shape))


def test_an_image_takes_two_spacings():
    with pytest.raises(ValueError, match="2 positive spacings in mm expected, found"):
        hd95(disc((20, 20), 8), disc((20, 20), 8), (1, 1, 1), empty="one")


@pytest.mark.slow
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0)])
def test_the_maximum_form_of_images_equals_monai(spacing):
    import torch
    from monai.metrics import compute_hausdorff_distance

    pred, target = disc((18, 20), 9), disc((21, 26), 7)
    hot = [torch.from_numpy(mask)[None, None].float() for mask in (pred, target)]
    expected = compute_hausdorff_distance(*hot, include_background=True, percentile=95, spacing=spacing)
    assert hd95(pred, target, spacing, empty="one", definition="max") == pytest.approx(
        float(expected), rel=1e-5
    )
