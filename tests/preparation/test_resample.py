import numpy as np
import pytest
from scipy import ndimage

from medimg.preparation.resample import axis_matrix, axis_orders, resample_labels, resample_volume


@pytest.fixture
def volume():
    return ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(9, 14, 11)), 1).astype(np.float32)


@pytest.mark.parametrize("shape", [(9, 14, 11), (18, 28, 22), (5, 9, 6), (13, 7, 11), (1, 14, 30)])
@pytest.mark.parametrize("order", [1, 3])
def test_splines_equal_scipys_zoom(volume, shape, order):
    zoom = [new / old for new, old in zip(shape, volume.shape, strict=True)]
    expected = ndimage.zoom(volume.astype(float), zoom, order=order, mode="nearest", grid_mode=True)
    assert expected.shape == shape
    np.testing.assert_allclose(resample_volume(volume, shape, (order,) * 3), expected, atol=2e-6)


def test_nearest_repeats_samples():
    line = np.arange(3, dtype=np.float32).reshape(1, 1, 3)
    assert resample_volume(line, (1, 1, 6), (0, 0, 0)).ravel().tolist() == [0, 0, 1, 1, 2, 2]
    assert resample_volume(line, (1, 1, 1), (0, 0, 0)).ravel().tolist() == [1]


def test_nearest_across_slices_is_cubic_within_them(volume):
    mixed = resample_volume(volume, (18, 28, 22), (0, 3, 3))
    flat = np.stack(
        [ndimage.zoom(piece.astype(float), 2, order=3, mode="nearest", grid_mode=True) for piece in volume]
    )
    np.testing.assert_allclose(mixed, np.repeat(flat, 2, axis=0), atol=2e-6)


def test_channels_are_resampled_alike(volume):
    both = resample_volume(np.stack([volume, -volume]), (5, 20, 8), (1, 3, 3))
    np.testing.assert_array_equal(both[0], resample_volume(volume, (5, 20, 8), (1, 3, 3)))
    np.testing.assert_allclose(both[1], -both[0], atol=1e-6)


def test_rows_sum_to_one():
    for order in (0, 1, 3):
        np.testing.assert_allclose(axis_matrix(7, 12, order).sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("shape", [(20, 24, 16), (7, 9, 5)])
def test_labels_equal_the_largest_of_linear_indicators(shape):
    labels = np.zeros((10, 12, 8), np.uint8)
    labels[2:8, 3:9, 2:6] = 3
    labels[4:6, 5:9, 2:4] = 200
    zoom = [new / old for new, old in zip(shape, labels.shape, strict=True)]
    shares = np.stack(
        [
            ndimage.zoom((labels == value).astype(float), zoom, order=1, mode="nearest", grid_mode=True)
            for value in (0, 3, 200)
        ]
    )
    expected = np.array([0, 3, 200], np.uint8)[shares.argmax(axis=0)]
    ours = resample_labels(labels, shape, (1, 1, 1))
    # Only ties may differ, where single and double precision round apart.
    ordered = np.sort(shares, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-5
    assert clear.mean() > 0.8
    np.testing.assert_array_equal(ours[clear], expected[clear])
    assert set(np.unique(ours)) <= {0, 3, 200}


def test_labels_of_the_same_shape_are_left_alone():
    labels = np.random.default_rng(1).integers(0, 4, (3, 4, 5)).astype(np.uint8)
    assert resample_labels(labels, (3, 4, 5), (1, 1, 1)) is labels


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        ((1.0, 1.0, 1.0), (3, 3, 3)),
        ((10.0, 1.0, 1.0), (0, 3, 3)),
        ((1.0, 10.0, 1.0), (3, 0, 3)),
        ((3.0, 1.0, 1.0), (3, 3, 3)),
        ((5.0, 4.0, 1.0), (0, 3, 3)),
        ((0.2, 1.0, 1.0), (3, 3, 3)),
    ],
)
def test_only_thick_slices_are_copied(spacing, expected):
    assert axis_orders(spacing, 3) == expected
