import numpy as np
import pytest
from matplotlib.colors import to_rgb

from medimg.figures.canvas import add_axes_px, dark_figure, pixels, shortened, text_px


def test_places_are_counted_from_the_upper_left_corner():
    figure = dark_figure(200, 100)
    axes = add_axes_px(figure, 20, 30, 50, 40)
    axes.imshow(np.ones((2, 2, 3)), aspect="auto")
    axes.set_axis_off()
    picture = pixels(figure)
    assert (picture.shape, picture.dtype) == ((100, 200, 3), np.uint8)
    rows, columns = np.nonzero(picture.min(-1) > 250)
    assert [rows.min(), rows.max(), columns.min(), columns.max()] == pytest.approx([30, 69, 20, 69], abs=1)


def test_words_stand_where_they_are_put_and_are_no_formula():
    figure = dark_figure(200, 60)
    text_px(figure, 190, 20, "a_$x$", color="#ff0000", align="right")
    lit = np.argwhere(np.abs(pixels(figure) / 255 - np.array(to_rgb("#ff0000"))).max(-1) < 0.3)
    assert lit[:, 1].max() == pytest.approx(189, abs=3)
    assert lit[:, 0].mean() == pytest.approx(20, abs=5)


@pytest.mark.parametrize(
    ("text", "length", "expected"), [("abc", 3, "abc"), ("abcdef", 5, "ab…ef"), ("abcd", 2, "a…")]
)
def test_long_names_lose_their_middle(text, length, expected):
    assert shortened(text, length) == expected
    assert len(shortened(text, length)) <= length
