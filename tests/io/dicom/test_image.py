import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless
from writers.dicom import write_dicom

from medimg.errors import DataError
from medimg.io.dicom import DicomImage, read_image

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
WINDOWS = {"WindowCenter": [1000, 2048], "WindowWidth": [200, 4096], "VOILUTFunction": "LINEAR_EXACT"}


@pytest.fixture
def write(tmp_path):
    def write(pixels=RAMP, **about):
        return write_dicom(tmp_path / "a.dcm", pixels, **{"bits": 12 if pixels is RAMP else None} | about)

    return write


def test_what_an_image_carries(write):
    elements = {
        **WINDOWS,
        "PixelSpacing": [0.1, 0.2],
        "ImageLaterality": "L",
        "ViewPosition": "MLO",
        "PatientID": "../../x",
    }
    found = read_image(write(elements=elements, syntax=JPEG2000Lossless))
    assert isinstance(found, DicomImage)
    assert found.pixels.dtype == np.float32
    assert found.pixels.shape == (1, 64, 64)
    assert found.value_range == (0.0, 1.0)
    assert (found.spacing_mm, found.laterality, found.view) == ((0.1, 0.2), "L", "MLO")
    assert found.patient_id == "../../x"
    assert found.transfer_syntax == JPEG2000Lossless
    assert found.windows == 2
    assert found.flags == ()
    assert len({found.study_uid, found.series_uid, found.sop_uid}) == 3


@pytest.mark.parametrize(
    ("window", "center", "width"), [("first", 1000, 200), (0, 1000, 200), (1, 2048, 4096)]
)
def test_windows_are_chosen_by_number(write, window, center, width):
    found = read_image(write(elements=WINDOWS), window=window).pixels[0]
    np.testing.assert_allclose(found, np.clip((RAMP - float(center)) / width + 0.5, 0, 1), atol=1e-6)


def test_a_window_of_ones_own(write):
    found = read_image(write(elements={"RescaleIntercept": -1024, "RescaleSlope": 1}), window=(40, 400))
    expected = np.clip((RAMP - 1024.0 - 39.5) / 399 + 0.5, 0, 1)
    np.testing.assert_allclose(found.pixels[0], expected, atol=1e-6)
    assert found.flags == ()


@pytest.mark.parametrize("window", [2, -1, (40, 0), "last"])
def test_a_window_that_is_not_there_is_refused(write, window):
    with pytest.raises(DataError, match="window"):
        read_image(write(elements=WINDOWS), window=window)


def test_modality_units(write):
    found = read_image(write(elements={"RescaleIntercept": -1024, "RescaleSlope": 2}), window="none")
    np.testing.assert_array_equal(found.pixels[0], RAMP * 2.0 - 1024)
    assert found.value_range is None


@pytest.mark.parametrize("window", ["first", "none", (2048, 4096)])
def test_fault_30_monochrome1_is_the_negative(write, window):
    plain = read_image(write(elements=WINDOWS), window=window).pixels
    negative = read_image(write(elements=WINDOWS, photometric="MONOCHROME1"), window=window).pixels
    np.testing.assert_allclose(negative, (4095 if window == "none" else 1) - plain, atol=1e-6)


def test_a_voi_table_follows_the_windows(write):
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4096, 0, 8])
    table.add_new("LUTData", "US", [value * value // 66000 for value in range(4096)])
    path = write(elements={**WINDOWS, "VOILUTSequence": [table]})
    found = read_image(path, window=2)
    assert found.windows == 3
    np.testing.assert_allclose(found.pixels[0], (RAMP.astype(int) ** 2 // 66000) / 255, atol=1e-6)


def test_without_a_window_the_own_range_is_spread_and_flagged(write):
    pixels = (RAMP + 100).astype(np.uint16)
    pixels[0] = 60000
    found = read_image(write(pixels=pixels, elements={"PixelPaddingValue": 60000}))
    assert found.flags == ("no window: the frame's own range is spread",)
    np.testing.assert_allclose(found.pixels[0, 1:], (RAMP[1:] - 64.0) / (4095 - 64), atol=1e-6)


def test_eight_bits_without_a_window_are_spread_over_what_they_can_hold(write):
    pixels = np.array([[10, 20], [30, 40]], np.uint8)
    found = read_image(write(pixels=pixels))
    np.testing.assert_allclose(found.pixels[0], pixels / 255, atol=1e-6)


def test_a_constant_image_is_read(write):
    assert read_image(write(pixels=np.full((4, 4), 7, np.uint16))).pixels.max() == 0


def test_several_frames_and_one(write):
    pixels = np.stack([RAMP[:8, :8], RAMP[8:16, :8]])
    path = write(pixels=pixels, elements=WINDOWS)
    both = read_image(path)
    assert both.pixels.shape == (2, 1, 8, 8)
    np.testing.assert_array_equal(read_image(path, frame=1).pixels, both.pixels[1])


def test_fault_32_colours_are_in_zero_to_one(write):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    path = write(pixels=pixels)
    np.testing.assert_allclose(read_image(path).pixels, np.moveaxis(pixels, -1, 0) / 255, atol=1e-6)
    np.testing.assert_array_equal(read_image(path, window="none").pixels, np.moveaxis(pixels, -1, 0))


def test_fault_31_a_palette_becomes_colours(write):
    elements = {}
    for colour, entries in (("Red", [0, 65535]), ("Green", [257, 0]), ("Blue", [0, 257 * 128])):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [2, 0, 16]
        elements[f"{colour}PaletteColorLookupTableData"] = np.array(entries, "<u2").tobytes()
    pixels = np.array([[0, 1], [1, 0]], np.uint8)
    found = read_image(write(pixels=pixels, photometric="PALETTE COLOR", elements=elements)).pixels
    assert found.shape == (3, 2, 2)
    np.testing.assert_allclose(found[:, 0, 0], [0, 1 / 255, 0], atol=1e-6)
    np.testing.assert_allclose(found[:, 0, 1], [1, 0, 128 / 255], atol=1e-6)


def test_fault_31_a_palette_without_its_tables_is_refused(write):
    with pytest.raises(DataError, match=r"a\.dcm"):
        read_image(write(pixels=np.zeros((2, 2), np.uint8), photometric="PALETTE COLOR"))
