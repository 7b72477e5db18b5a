"""Masks are what their files say, on the pixels of their image, or are refused."""

import numpy as np
import pytest

from medimg.datasets.image_masks import MaskFiles, RunLengths, nearest
from medimg.errors import DataError


def square(value=255, size=(12, 10)):
    mask = np.zeros(size, np.uint8)
    mask[2:5, 3:9] = value
    return mask


def test_parts_are_united_whatever_their_brightness(tmp_path, write_picture):
    one = write_picture(tmp_path / "a.png", square(255))
    other = write_picture(tmp_path / "b.png", square(1).T.copy().reshape(12, 10))
    expected = (square() > 0) | (square(1).T.copy().reshape(12, 10) > 0)
    found = MaskFiles((one, other)).read((12, 10))
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected)
    colours = write_picture(tmp_path / "c.png", np.stack([square(), 0 * square(), 0 * square()], axis=-1))
    assert np.array_equal(MaskFiles((colours,)).read((12, 10)), square() > 0)


def test_the_noise_of_a_jpeg_is_outside(tmp_path, write_picture):
    mask = np.zeros((32, 32), np.uint8)
    mask[8:24, 8:24] = 255
    path = write_picture(tmp_path / "a.jpg", mask)
    assert np.array_equal(MaskFiles((path,)).read((32, 32)), mask > 0)


def test_classes_keep_their_values(tmp_path, write_picture):
    path = write_picture(tmp_path / "a.png", square(3) + square(0))
    assert np.array_equal(MaskFiles((path,), classes=True).read((12, 10)), square(3))
    colours = write_picture(tmp_path / "b.png", np.zeros((12, 10, 3), np.uint8))
    with pytest.raises(DataError, match=r"b\.png: a label map has one channel of 8 bits, found 3 of uint8"):
        MaskFiles((colours,), classes=True).read((12, 10))


def test_another_size_is_refused(tmp_path, write_picture):
    path = write_picture(tmp_path / "a.png", square())
    with pytest.raises(
        DataError, match=r"a\.png: a mask of \(12, 10\) pixels \(H, W\) for an image of \(10, 12\)"
    ):
        MaskFiles((path,)).read((10, 12))


def test_run_lengths_are_united_and_brought_to_the_pixels_of_the_image():
    codes = RunLengths(("0 3", "6 5"), relative=True, shape=(5, 4))
    expected = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]])
    assert np.array_equal(codes.read((5, 4)), expected | np.array([[0, 0, 1, 0]] + [[0] * 4] * 4))
    large = RunLengths(("1 8 17 8",), shape=(8, 8))
    assert np.array_equal(large.read((4, 4)), nearest(large.read((8, 8)), (4, 4)))
    assert not RunLengths((), shape=(8, 8)).read((4, 4)).any()
    with pytest.raises(DataError, match=r"a mask of \(8, 8\) pixels .* other proportions"):
        large.read((4, 5))
    with pytest.raises(DataError, match="runs that leave the picture"):
        RunLengths(("9 100",)).read((4, 4))


def test_the_nearest_pixel_is_that_of_the_centre():
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert nearest(values, (3, 4)) is values
    assert np.array_equal(nearest(values, (6, 8)), values.repeat(2, 0).repeat(2, 1))
    assert np.array_equal(nearest(values, (1, 2)), [[5, 7]])


def test_a_stamp_tells_another_mask(tmp_path, write_picture):
    path = write_picture(tmp_path / "a.png", square())
    before = MaskFiles((path,)).stamp()
    write_picture(path, 0 * square())
    assert MaskFiles((path,)).stamp() != before
    assert RunLengths(("1 2",)).stamp() != RunLengths(("1 3",)).stamp()
