"""Prepared pixels find their way back to the file's own."""

import numpy as np
import pytest

from medimg.errors import ConfigError, DataError
from medimg.phantoms.mammography import write_mammography
from medimg.preparation.image_grid import FileGrid, expect_whole_images, file_grid, image_geometry, inner_box
from medimg.preparation.image_pixels import ImageOptions, read_pixels, resize
from medimg.records import Record

SHAPES = [(32, 40), (40, 32), (33, 90), (7, 64), (64, 64), (200, 31), (1, 500)]


@pytest.mark.parametrize("keep_aspect", [True, False])
@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_box_is_where_the_image_was_put(shape, size, keep_aspect):
    prepared = resize(np.ones((1, *shape), np.float32), size, keep_aspect=keep_aspect)[0]
    expected = np.zeros(size, bool)
    expected[inner_box(shape, size, keep_aspect=keep_aspect)] = True
    np.testing.assert_array_equal(prepared > 0.5, expected)


def test_the_way_back_has_the_files_shape_and_spacing():
    geometry = image_geometry(FileGrid((100, 200), (0.5, 0.25)), (slice(16, 48), slice(0, 64)))
    assert geometry.cropped_shape == geometry.source_shape == (1, 100, 200)
    assert geometry.shape == (1, 32, 64)
    assert geometry.source_spacing_mm == (1.0, 0.5, 0.25)
    assert geometry.spacing_mm == (1.0, 0.5 * 100 / 32, 0.25 * 200 / 64)
    labels = np.arange(20_000).reshape(1, 100, 200)
    np.testing.assert_array_equal(geometry.to_source(labels), labels)


def test_a_picture_tells_its_size_and_dicom_its_spacing_too(tmp_path, write_picture):
    picture = write_picture(tmp_path / "a.png")
    assert file_grid(Record("a", "a", (picture,))) == FileGrid((32, 40), None)
    write_mammography(tmp_path / "set", patients=1, size=(80, 64))
    image = next((tmp_path / "set").rglob("*.dcm"))
    found = file_grid(Record("b", "b", (image,)))
    assert found.shape == (80, 64)
    assert found.spacing_mm == pytest.approx((3.0, 3.0))


def test_an_array_of_many_images_tells_the_size_of_one(tmp_path):
    path = tmp_path / "many.npz"
    np.savez(path, train_images=np.zeros((3, 20, 24), np.uint8))
    record = Record("c", "c", (path,), split="train", member=1)
    assert read_pixels(record, ImageOptions(size=(20, 24), channels=1, mean=(0.5,), std=(0.5,))).shape == (
        1,
        20,
        24,
    )
    assert file_grid(record).shape == (20, 24)


def test_what_cannot_be_drawn_on_is_refused(tmp_path):
    expect_whole_images(ImageOptions(size=(32, 32)))
    with pytest.raises(ConfigError, match=r"stored_size: \[48, 48\] would leave the rim"):
        expect_whole_images(ImageOptions(size=(32, 32), stored_size=(48, 48)))
    with pytest.raises(DataError, match=r"absent\.png"):
        file_grid(Record("a", "a", (tmp_path / "absent.png",)))
