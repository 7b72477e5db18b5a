import numpy as np
import pytest

from medimg.preparation.image_crop import contour_box, otsu


def test_otsu_against_every_threshold():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(40, 8, 3000), rng.normal(160, 20, 1000)])

    def within(threshold):
        low, high = values[values <= threshold], values[values > threshold]
        return low.var() * len(low) + high.var() * len(high)

    best = min(within(threshold) for threshold in np.linspace(60, 140, 400))
    assert within(otsu(values)) == pytest.approx(best, rel=0.01)


def test_the_breast_is_found_and_the_marker_is_not():
    rng = np.random.default_rng(0)
    image = rng.normal(5, 2, (1500, 1200))
    rows, columns = np.mgrid[:1500, :1200]
    breast = ((rows - 700) / 500) ** 2 + (columns / 400) ** 2 < 1
    image[breast] += rng.normal(120, 20, breast.sum())
    image[100:160, 1000:1100] = 255
    top, bottom, left, right = contour_box(image)
    assert abs(top - 180) <= 8 and abs(bottom - 1220) <= 8  # 200 to 1200 and a margin of 2 %
    assert left == 0 and abs(right - 420) <= 8


@pytest.mark.parametrize("image", [np.full((30, 40), 3.0), np.zeros((1, 1)), np.eye(400) * 9])
def test_without_a_large_part_the_whole_picture_stays(image):
    assert contour_box(image) == (0, image.shape[0], 0, image.shape[1])
