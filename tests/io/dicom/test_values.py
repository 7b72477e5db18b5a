import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_windowing

from medimg.errors import DataError
from medimg.io.dicom.values import Table, Window, frame_group, map_values, modality_mapping, voi_mappings


def lut(entries, first=0, bits=8, kind="US"):
    holder = Dataset()
    holder.add_new("LUTDescriptor", kind, [len(entries), first, bits])
    holder.add_new("LUTData", "US", list(entries))
    return holder


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(40, 400), (2047.5, 4096), (-600, 1500), (0, 1.5)])
def test_windows_equal_pydicom(function, center, width):
    values = np.arange(-2048, 4096, 7, dtype=np.int16)
    header = Dataset()
    header.WindowCenter, header.WindowWidth, header.VOILUTFunction = center, width, function
    header.PhotometricInterpretation = "MONOCHROME2"
    header.PixelRepresentation, header.BitsStored, header.BitsAllocated = 1, 16, 16
    with np.errstate(over="ignore"):
        peer = apply_windowing(values, header)  # over the 16 bits' own range
    found = Window(center, width, function)(values.astype(np.float64))
    np.testing.assert_allclose(found, (peer + 32768) / 65535, atol=1e-9)


def test_a_linear_window_of_width_one_is_a_threshold():
    values = np.array([39.0, 39.5, 39.6, 40.0])
    assert Window(40, 1)(values).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("window", "valid"),
    [
        (Window(0, 0), False),
        (Window(0, 0.5), False),
        (Window(0, 0.5, "LINEAR_EXACT"), True),
        (Window(0, -3, "SIGMOID"), False),
        (Window(np.nan, 3), False),
    ],
)
def test_windows_without_meaning(window, valid):
    assert window.valid is valid


def test_sigmoid_far_below_is_zero_without_a_warning():
    with np.errstate(all="raise"):
        assert Window(0, 1, "SIGMOID")(np.array([-1e6])).tolist() == [0.0]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.int32, np.float32])
def test_a_table_of_all_values_equals_each_value_mapped(dtype):
    random = np.random.default_rng(0)
    for size in (10, 70_000):
        stored = random.integers(0, 200, size).astype(dtype) - np.array(100, dtype)
        expected = (stored.astype(np.float64) * 3 - 7).astype(np.float32)
        np.testing.assert_array_equal(map_values(stored, lambda values: values * 3 - 7), expected)


def test_slope_and_intercept(tmp_path):
    header = Dataset()
    assert modality_mapping(tmp_path, header, 0) is None
    header.RescaleSlope, header.RescaleIntercept = 2, -1024
    assert modality_mapping(tmp_path, header, 0)(np.array([0.0, 10.0])).tolist() == [-1024, -1004]
    header.RescaleSlope = 0
    with pytest.raises(DataError, match="slope 0"):
        modality_mapping(tmp_path, header, 0)


def test_a_modality_table_comes_before_the_slope(tmp_path):
    header = Dataset()
    header.RescaleSlope, header.RescaleIntercept = 2, -1024
    header.ModalityLUTSequence = [lut([5, 6, 900], first=10, bits=16)]
    assert modality_mapping(tmp_path, header, 0)(np.array([0.0, 11.0, 50.0])).tolist() == [5, 6, 900]


def test_a_negative_first_value_and_many_bits(tmp_path):
    header = Dataset()
    header.VOILUTSequence = [lut([0, 100, 4095], first=-1, bits=12, kind="SS")]
    (table,), flags = voi_mappings(tmp_path, header, 0)
    assert flags == []
    np.testing.assert_allclose(table.spread(np.array([-5.0, 0.0, 1.0])), [0, 100 / 4095, 1])


@pytest.mark.parametrize("data", [b"\x01\x02\x03\x04", b"\x01\x00\x02\x00\x03\x00\x04\x00"])
def test_packed_and_wide_tables(tmp_path, data):
    holder = Dataset()
    holder.add_new("LUTDescriptor", "US", [4, 0, 8])
    holder.add_new("LUTData", "OW", data)
    holder.set_original_encoding(False, True, "iso8859")
    header = Dataset()
    header.VOILUTSequence = [holder]
    (table,), _ = voi_mappings(tmp_path, header, 0)
    assert isinstance(table, Table)
    assert table(np.array([0.0, 3.0])).tolist() == [1, 4]


def test_a_short_table_is_refused(tmp_path):
    holder = lut([1, 2, 3])
    holder.LUTDescriptor = [9, 0, 8]
    header = Dataset()
    header.VOILUTSequence = [holder]
    with pytest.raises(DataError, match="declares 9 entries"):
        voi_mappings(tmp_path, header, 0)


def test_windows_come_before_tables_and_bad_ones_are_flagged(tmp_path):
    header = Dataset()
    header.WindowCenter, header.WindowWidth = [40, 0, 600], [400, 0, 1500]
    header.VOILUTFunction = "LINEAR_EXACT"
    header.VOILUTSequence = [lut([1, 2])]
    found, flags = voi_mappings(tmp_path, header, 0)
    assert found[:2] == [Window(40, 400, "LINEAR_EXACT"), Window(600, 1500, "LINEAR_EXACT")]
    assert isinstance(found[2], Table)
    assert flags == ["window 0/0 means nothing, left out"]


def test_an_enhanced_file_says_it_frame_by_frame(tmp_path):
    def group(slope):
        inner, outer = Dataset(), Dataset()
        inner.RescaleSlope, inner.RescaleIntercept = slope, 0
        outer.PixelValueTransformationSequence = [inner]
        return outer

    header = Dataset()
    header.PerFrameFunctionalGroupsSequence = [group(2), group(3)]
    header.SharedFunctionalGroupsSequence = [group(5)]
    for frame, slope in enumerate((2, 3, 5)):
        assert modality_mapping(tmp_path, header, frame)(np.array([1.0])).tolist() == [slope]
    assert frame_group(header, 0, "PixelMeasuresSequence") is None
