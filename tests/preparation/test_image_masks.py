"""A mask lies where its image lies, whatever was done to both."""

import numpy as np
import pytest
from writers.dicom import write_dicom

from medimg.datasets.image_masks import MaskFiles, RunLengths
from medimg.errors import DataError
from medimg.preparation.image_masks import file_shape, read_mask_pixels, read_reference, resize_mask
from medimg.preparation.image_pixels import ImageOptions, read_pixels
from medimg.records import Record


def blob(shape):
    height, width = shape
    rows, columns = np.mgrid[:height, :width]
    inside = ((rows - 0.4 * height) / (0.3 * height)) ** 2 + (
        (columns - 0.6 * width) / (0.25 * width)
    ) ** 2 < 1
    return np.where(inside, 255, 0).astype(np.uint8)


@pytest.mark.parametrize("keep_aspect", [True, False])
@pytest.mark.parametrize("shape", [(64, 64), (90, 200), (33, 20), (300, 301)])
def test_the_mask_lies_on_its_image(tmp_path, write_picture, shape, keep_aspect):
    path = write_picture(tmp_path / "a.png", blob(shape))
    record = Record("a", "a", (path,))
    options = ImageOptions(size=(64, 64), channels=1, mean=(0.5,), std=(0.5,), keep_aspect=keep_aspect)
    mask = read_mask_pixels(record, MaskFiles((path,)), options)
    image = read_pixels(record, options)[0] >= 128
    assert mask.shape == (64, 64)
    # Averages of the image and centres of the mask may differ on the outline, and nowhere else.
    wrong = mask.astype(bool) != image
    assert wrong.mean() < 0.01
    outline = np.zeros_like(image)
    for axis in (0, 1):
        for step in (-1, 1):
            outline |= np.roll(image, step, axis) != image
    assert not (wrong & ~outline).any()


def test_sizes_are_read_from_headers(tmp_path, write_picture, monkeypatch):
    picture = Record("a", "a", (write_picture(tmp_path / "a.png", blob((20, 30))),))
    film = Record("b", "b", (write_dicom(tmp_path / "b.dcm", np.zeros((11, 13), np.uint8)),))
    np.savez(tmp_path / "m.npz", train_images=np.zeros((2, 28, 29), np.uint8))
    member = Record("c", "c", (tmp_path / "m.npz",), split="train", member=1)
    monkeypatch.setattr("PIL.Image.Image.load", lambda *_: pytest.fail("decoded"))
    assert [file_shape(record) for record in (picture, film, member)] == [(20, 30), (11, 13), (28, 29)]


def test_reference_and_faults_name_the_case(tmp_path, write_picture):
    record = Record("the case", "a", (write_picture(tmp_path / "a.png", blob((20, 30))),))
    assert read_reference(record, RunLengths(("1 20",)))[:, 0].all()
    with pytest.raises(
        DataError, match=r"the mask of the case: a run-length mask .* a start without its length"
    ):
        read_reference(record, RunLengths(("1 20 3",)))
    headless = write_dicom(tmp_path / "b.dcm", np.zeros((4, 4), np.uint8), elements={"Rows": None})
    with pytest.raises(DataError, match=r"b\.dcm: an image without rows and columns"):
        file_shape(Record("b", "b", (headless,)))


def test_values_stay_values():
    mask = np.array([[3, 255], [0, 7]], np.uint8)
    assert set(np.unique(resize_mask(mask, (9, 5), keep_aspect=False))) == {0, 3, 7, 255}
