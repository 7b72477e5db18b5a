import numpy as np
import pytest

from medimg.figures.image_grid import ImageTile, image_grid


def tile(image, prob=0.9, case_id="case"):
    return ImageTile(image, case_id, "mass", "no mass", prob)


def squares(value):
    """Left half bright, right half dark."""
    image = np.zeros((40, 40))
    image[:, :20] = value
    return image


def test_images_stand_in_rows():
    one, five = image_grid([tile(squares(1))]), image_grid([tile(squares(1)) for _ in range(5)])
    assert one.dtype == np.uint8
    assert one.shape[1:] == five.shape[1:] == (1200, 3)
    assert five.shape[0] == pytest.approx(2 * one.shape[0], abs=40)
    assert (image_grid([tile(squares(1))] * 2, columns=2)[300, :600] > 250).any()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 4000.0])
def test_grey_values_of_any_range_are_stretched(scale):
    panel = image_grid([tile(squares(scale))], columns=1)
    middle = panel[500]
    assert middle[100].min() > 250
    assert middle[1100].max() < 5


def test_aspect_is_kept():
    wide = image_grid([tile(np.ones((10, 40)) * np.arange(40))], columns=1)
    assert wide.shape[0] < 450
    tall = image_grid([tile(np.full((40, 10, 3), 1.0))], columns=1)
    lit = np.flatnonzero((tall[600] > 250).all(-1))
    assert len(lit) == pytest.approx(1168 / 4, abs=3)


def test_colours_are_kept_as_they_are():
    image = np.zeros((8, 8, 3))
    image[...] = (0.2, 0.4, 0.6)
    for shown in (image, np.round(image * 255).astype(np.uint8)):
        assert image_grid([tile(shown)], columns=1)[600, 600].tolist() == pytest.approx([51, 102, 153], abs=2)
    standardised = (image - 0.5) * 4
    assert image_grid([tile(standardised)], columns=1)[600, 600].tolist() == pytest.approx(
        [0, 127, 255], abs=5
    )


def test_the_bar_is_as_long_as_the_probability():
    lengths = []
    for prob in (0.5, 1.0):
        panel = image_grid([tile(np.zeros((4, 4)), prob)], columns=1)
        red = (np.abs(panel.astype(int) - (0xD5, 0x5E, 0x00)).max(-1) < 30).sum(axis=1)
        lengths.append(red.max())
    assert lengths == pytest.approx([584, 1168], abs=4)


def test_constant_and_not_finite_images_are_drawn():
    broken = squares(1.0)
    broken[0, 0], broken[1, 1] = np.nan, np.inf
    panel = image_grid([tile(np.full((4, 4), 7)), tile(broken), tile(np.full((4, 4), np.nan))])
    assert panel.max() > 200


def test_what_is_no_image_names_the_case():
    with pytest.raises(ValueError, match="case x7: an image"):
        image_grid([tile(np.zeros((4, 4, 2)), case_id="x7")])
    with pytest.raises(ValueError, match="found 0 images"):
        image_grid([])
