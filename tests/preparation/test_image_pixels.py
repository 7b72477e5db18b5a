"""Pixels are windowed before they are rounded, keep their proportions, and say why they cannot be used."""

import numpy as np
import pytest
from PIL import Image
from writers.dicom import write_dicom

from medimg.errors import ConfigError, DataError
from medimg.preparation.image_pixels import ImageOptions, decode_image, read_pixels, resize
from medimg.records import Record


def record(*paths, **options):
    return Record("case", "patient", tuple(paths), **options)


def options(**changes):
    return ImageOptions(**{"size": (8, 8), "channels": 1, "mean": (0.5,), "std": (0.5,), **changes})


def write(path, array):
    Image.fromarray(array).save(path)
    return path


@pytest.fixture
def ramp16(tmp_path):
    """16 bits, values 1000 to 4150 in steps of 50."""
    return write(tmp_path / "ramp.png", (1000 + 50 * np.arange(64, dtype=np.uint16)).reshape(8, 8))


@pytest.mark.parametrize(
    ("window", "low", "high"), [("file", 0, 65535), ("range", 1000, 4150), ((2000.0, 3000.0), 2000, 3000)]
)
@pytest.mark.parametrize("bits", [8, 16])
def test_a_window_scales_16_bits(ramp16, window, low, high, bits):
    stored = 1000 + 50 * np.arange(64).reshape(1, 8, 8)
    expected = np.rint(np.clip((stored - low) / (high - low), 0, 1) * (2**bits - 1))
    found = read_pixels(record(ramp16), options(window=window, bits=bits))
    assert found.dtype == (np.uint8 if bits == 8 else np.uint16)
    np.testing.assert_allclose(found, expected, atol=1)


def test_8_bits_stay_as_they_are(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    path = write(tmp_path / "a.png", picture)
    assert np.array_equal(read_pixels(record(path), options())[0], picture)
    assert np.array_equal(read_pixels(record(path), options(channels=3, mean=(0.5,)))[2], picture)


def test_colours_become_brightness_and_files_become_channels(tmp_path):
    colours = np.zeros((8, 8, 3), np.uint8)
    colours[..., 0] = 200
    path = write(tmp_path / "red.png", colours)
    assert read_pixels(record(path), options())[0, 0, 0] == round(200 * 0.299)
    grey = write(tmp_path / "grey.png", np.full((8, 8), 7, np.uint8))
    two = read_pixels(record(grey, grey), options(channels=2))
    assert two.shape == (2, 8, 8)
    with pytest.raises(DataError, match=r"grey.png: has 2 channels, and .* asks for 5"):
        read_pixels(record(grey, grey), options(channels=5))


def test_files_of_a_case_have_one_shape(tmp_path):
    first = write(tmp_path / "a.png", np.zeros((8, 8), np.uint8))
    second = write(tmp_path / "b.png", np.zeros((8, 9), np.uint8))
    with pytest.raises(DataError, match=r"a.png \(1, 8, 8\), b.png \(1, 8, 9\)"):
        read_pixels(record(first, second), options(channels=2))


def test_proportions_are_kept_by_black_borders():
    found = resize(np.ones((1, 20, 40), np.float32), (16, 16), keep_aspect=True)
    assert found[0, 4:12].min() == pytest.approx(1)
    assert found[0, :4].max() == found[0, 12:].max() == 0
    assert resize(np.ones((1, 20, 40), np.float32), (16, 16), keep_aspect=False).min() == pytest.approx(1)


def test_shrinking_averages():
    image = np.random.default_rng(0).random((2, 32, 32), dtype=np.float32)
    expected = image.reshape(2, 8, 4, 8, 4).mean((2, 4))
    np.testing.assert_allclose(resize(image, (8, 8), keep_aspect=True), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 12, 12), (5, 12, 12, 3)])
def test_a_member_of_an_npz(tmp_path, shape):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.savez(tmp_path / "set.npz", val_images=images)
    found = read_pixels(
        record(tmp_path / "set.npz", split="val", member=3), options(size=(12, 12), channels=3, mean=(0.5,))
    )
    expected = images[3][..., None].repeat(3, -1) if images.ndim == 3 else images[3]
    assert np.array_equal(found, expected.transpose(2, 0, 1))


def test_a_volume_is_no_image(tmp_path):
    np.savez(tmp_path / "set.npz", val_images=np.zeros((2, 6, 6, 6), np.uint8))
    with pytest.raises(DataError, match="expected one 2D image"):
        read_pixels(record(tmp_path / "set.npz", split="val", member=0), options())


def test_fractions_ask_for_a_window(tmp_path):
    path = tmp_path / "a.tiff"
    Image.fromarray(np.linspace(-1000, 400, 64, dtype=np.float32).reshape(8, 8)).save(path)
    with pytest.raises(DataError, match=r"a.tiff: .*found -1000 to 400: set data.init_args.image.window"):
        read_pixels(record(path), options())
    found = read_pixels(record(path), options(window=(-160.0, 240.0)))
    assert found.min() == 0 and found.max() == 255


def test_options_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r"image.mean: expected one value, or one for each of 1 channels"):
        ImageOptions(channels=1)
    with pytest.raises(ConfigError, match="a lower and a higher value"):
        options(window=(3.0, 3.0))


WINDOWS = ((-1350, 150), (50, 750), (-160, 240))


def test_windows_become_channels(tmp_path):
    units = np.linspace(-1500, 900, 64).reshape(8, 8).astype(np.float32)
    Image.fromarray(units).save(tmp_path / "ct.tif")
    chosen = options(channels=3, window=WINDOWS)
    found = read_pixels(record(tmp_path / "ct.tif"), chosen)
    for channel, window in zip(found, WINDOWS, strict=True):
        (alone,) = read_pixels(record(tmp_path / "ct.tif"), options(window=window))
        assert np.array_equal(channel, alone)
        assert channel.min() == 0 and channel.max() in (254, 255)
    (one,) = read_pixels(record(tmp_path / "ct.tif"), options(window=(WINDOWS[2],)))
    assert np.array_equal(one, found[2])


def test_windows_need_a_file_of_one_channel(tmp_path):
    path = write(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DataError, match=r"a\.png: a window in Hounsfield units needs one channel"):
        read_pixels(record(path), options(channels=3, window=WINDOWS))


@pytest.mark.parametrize(
    ("window", "channels", "message"),
    [
        (WINDOWS, 1, "3 windows are a channel each, and image.channels is 1: set it to 3"),
        (((5, 5), (1, 2)), 2, r"a lower and a higher value, found \[5, 5\]"),
        ((5, 5), 1, r"a lower and a higher value, found \[5, 5\]"),
        ((), 1, "expected one or more windows, found none"),
    ],
)
def test_windows_that_do_not_fit_are_refused(window, channels, message):
    with pytest.raises(ConfigError, match=message):
        options(window=window, channels=channels)


def test_a_value_far_beyond_the_window_does_not_outweigh_its_neighbours(tmp_path):
    units = np.zeros((16, 16), np.float32)
    units[::2, ::2] = 3000  # metal in every fourth pixel
    Image.fromarray(units).save(tmp_path / "ct.tif")
    found = read_pixels(record(tmp_path / "ct.tif"), options(window=(0.0, 100.0)))
    assert (found == round(255 / 4)).all()


def test_a_slice_tells_its_place(tmp_path):
    elements = {"ImagePositionPatient": [1, 2, 30], "ImageOrientationPatient": [1, 0, 0, 0, 0.6, 0.8]}
    path = write_dicom(tmp_path / "a.dcm", np.zeros((8, 8), np.uint8), elements=elements)
    assert decode_image(record(path), options()).position_mm == pytest.approx(30 * 0.6 - 2 * 0.8)
    assert np.isnan(
        decode_image(record(write(tmp_path / "b.png", np.zeros((8, 8), np.uint8))), options()).position_mm
    )
