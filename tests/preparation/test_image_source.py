import numpy as np
import pytest

from medimg.errors import DataError
from medimg.preparation.image_source import box_means, grey, read_case_images, read_source
from medimg.records import Record


def test_raster_files_as_stored(tmp_path, write_picture):
    deep = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    image = read_source(write_picture(tmp_path / "a.png", deep))
    assert image.pixels.dtype == np.uint16 and np.array_equal(image.pixels[0], deep)
    colour = np.zeros((3, 4, 3), np.uint8)
    assert read_source(write_picture(tmp_path / "b.png", colour)).pixels.shape == (3, 3, 4)
    broken = write_picture(tmp_path / "c.tiff", np.array([[0, np.nan, np.inf]], np.float32))
    with pytest.raises(DataError, match=r"c\.tiff: holds 2 values that are no finite numbers"):
        read_source(broken)
    with pytest.raises(DataError, match="needs DICOM"):
        read_source(tmp_path / "a.png", units=True)


def test_every_image_of_a_case(tmp_path, write_picture):
    paths = tuple(write_picture(tmp_path / f"{n}.png", seed=n) for n in range(2))
    first, second = read_case_images(Record("c", "p", paths))
    assert not np.array_equal(first.pixels, second.pixels)
    with pytest.raises(DataError, match=r"gone\.png"):
        read_case_images(Record("c", "p", (tmp_path / "gone.png",)))


@pytest.mark.parametrize(
    ("shape", "expected"), [((6, 5), (1, 6, 5)), ((6, 5, 3), (3, 6, 5)), ((4, 6, 5), (4, 6, 5))]
)
def test_members_of_one_file(tmp_path, shape, expected):
    array = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", val_images=array)
    (image,) = read_case_images(Record("c", "p", (tmp_path / "a.npz",), split="val", member=2))
    assert image.pixels.shape == expected
    assert image.pixels.sum() == array[2].sum()


def test_box_means_of_uneven_sizes():
    image = np.arange(35, dtype=float).reshape(5, 7)
    small = box_means(image, (2, 3))
    # Rows 0-1 and 2-4, columns 0-1, 2-3 and 4-6.
    assert small[1, 2] == pytest.approx(image[2:, 4:].mean())
    assert small[0, 0] == pytest.approx(image[:2, :2].mean())
    assert box_means(np.array([[1.0, 2.0]]), (2, 4)).tolist() == [[1, 1, 2, 2], [1, 1, 2, 2]]
    assert grey(np.ones((3, 2, 2), np.uint8)).dtype == np.float32
