import base64
import io

import numpy as np
import pytest
from PIL import Image

from medimg.figures.thumbnails import PREDICTION, REFERENCE, outlined, picture_uri


def opened(uri):
    head, _, text = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(text, validate=True)))


@pytest.fixture
def smooth():
    """A picture that JPEG keeps well, (40, 60, 3)."""
    rows, columns = np.mgrid[0:40, 0:60]
    return np.stack([4 * columns, 6 * rows, 2 * (rows + columns)], axis=-1).astype(np.uint8)


def test_the_picture_comes_back_in_its_size_and_colours(smooth):
    back = opened(picture_uri(smooth))
    assert back.format == "JPEG" and back.size == (60, 40) and back.mode == "RGB"
    assert np.abs(np.asarray(back, int) - smooth).mean() < 3


def test_grey_stays_grey_and_lower_quality_is_smaller(smooth):
    assert opened(picture_uri(smooth[..., 0])).mode == "L"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    assert len(picture_uri(noise, quality=30)) < 0.7 * len(picture_uri(noise))


def test_only_the_border_of_a_mask_is_coloured(smooth):
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 30:50] = 1
    before = smooth.copy()
    drawn = outlined(smooth, {REFERENCE: mask})
    inner = np.zeros_like(mask, dtype=bool)
    inner[11:19, 31:49] = True
    border = (mask == 1) & ~inner
    assert (drawn[border] == REFERENCE).all()
    assert np.array_equal(drawn[~border], smooth[~border])
    assert np.array_equal(smooth, before)


def test_each_label_and_each_hole_has_its_outline(smooth):
    mask = np.zeros((40, 60), np.int16)
    mask[5:35, 5:30], mask[5:35, 30:55] = 1, 300  # side by side: a border between them
    mask[15:25, 10:20] = 0
    coloured = (outlined(smooth, {PREDICTION: mask}) == PREDICTION).all(axis=-1)
    assert coloured[10:30, 29].all() and coloured[10:30, 30].all()
    assert coloured[16:24, 9].all() and coloured[16:24, 20].all() and not coloured[16:24, 14].any()


def test_the_last_mask_lies_on_top_and_a_missing_one_is_not_drawn(smooth):
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 10:20] = 1
    both = outlined(smooth, {REFERENCE: mask, PREDICTION: mask})
    assert tuple(both[10, 15]) == PREDICTION
    assert np.array_equal(outlined(smooth, {REFERENCE: None, PREDICTION: np.zeros_like(mask)}), smooth)


def test_a_mask_of_another_size_is_refused(smooth):
    with pytest.raises(ValueError, match=r"a mask of shape \(40, 60\) expected, found \(60, 40\)"):
        outlined(smooth, {REFERENCE: np.ones((60, 40), np.uint8)})
