import contextlib

import numpy as np
import pytest
from writers.dicom import write_dicom, write_enhanced
from writers.grids import make_grid, make_hu

from medimg.errors import DataError
from medimg.io.dicom.image import read_image
from medimg.io.dicom.slices import read_position, read_slices

PIXELS = np.zeros((4, 5), np.int16)
PLACED = {
    "ImagePositionPatient": [1.5, -2, 3],
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "PixelSpacing": [0.5, 0.25],
    "ImageType": ["ORIGINAL", "PRIMARY"],
}


def read(tmp_path, pixels=PIXELS, **elements):
    absent = {name for name in PLACED if name in elements and elements[name] is None}
    kept = {name: value for name, value in (PLACED | elements).items() if name not in absent}
    return read_slices(write_dicom(tmp_path / "a.dcm", pixels, elements=kept))


def test_what_a_header_says(tmp_path):
    found = read(tmp_path, SliceThickness=2, SeriesNumber=3, EchoTime=30, SeriesDescription="T2")
    (one,) = found.slices
    assert (one.position, one.spacing_mm, one.size) == ((1.5, -2, 3), (0.5, 0.25), (4, 5))
    assert one.orientation == (1, 0, 0, 0, 1, 0)
    assert (one.thickness_mm, one.phase, one.frames) == (2, ("EchoTime 30.0",), 1)
    assert one.name == str(found.path)
    assert (found.number, found.description, found.patient_id, found.reason) == (3, "T2", "P1", "")
    assert not found.derived


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a localizer"),
        ({"ImageType": ["DERIVED", "PRIMARY", "MIP"]}, "derived image (mip)"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, "a segmentation"),
        ({"ImagePositionPatient": None}, "no position"),
        ({"ImageOrientationPatient": [1, 0, 0]}, "no position or orientation"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "not at right angles"),
        ({"PixelSpacing": None}, "no pixel spacing"),
        ({"PixelSpacing": [0, 1]}, "no pixel spacing"),
    ],
)
def test_what_is_no_slice_is_set_aside_with_its_reason(tmp_path, elements, reason):
    found = read(tmp_path, **elements)
    assert reason in found.reason
    assert found.slices == ()


def test_colours_frames_and_headers_alone_are_set_aside(tmp_path):
    assert read(tmp_path, np.zeros((4, 5, 3), np.uint8)).reason == "an image in colour"
    assert read(tmp_path, np.zeros((2, 4, 5), np.int16)).reason == "2 frames without a position each"
    report = read(tmp_path, Rows=None, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    assert report.reason == "holds no image (Basic Text SR Storage)"


def test_fault_35_an_image_cut_before_its_size_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.dcm: an image without rows and columns .*truncated"):
        read(tmp_path, Rows=0)


def test_fault_33_frames_of_an_enhanced_file_have_places_of_their_own(tmp_path):
    grid = make_grid()
    found = read_slices(write_enhanced(tmp_path / "a.dcm", make_hu(), grid, order=[4, 0, 1, 2, 3]))
    assert [one.frame for one in found.slices] == [0, 1, 2, 3, 4]
    places = np.array([one.position for one in found.slices]) * [-1, -1, 1]
    expected = grid.affine[:3, 3] + np.outer([4, 0, 1, 2, 3], grid.affine[:3, 2])
    np.testing.assert_allclose(places, expected, atol=1e-6)
    assert found.slices[1].spacing_mm == pytest.approx((1.0, 0.8))
    assert found.slices[1].name.endswith("a.dcm frame 1")


def test_fault_36_a_position_that_is_no_number_is_refused_or_set_aside(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", PIXELS, elements=PLACED)
    damaged = path.read_bytes().replace(b"1.5\\-2", b"1.5\\xx", 1)
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    try:
        assert "no position" in read_slices(path).reason
    except DataError as error:
        assert "a.dcm" in str(error)


def test_flipped_bytes_never_raise_anything_else(tmp_path):
    rng = np.random.default_rng(0)
    path = write_enhanced(tmp_path / "a.dcm", make_hu(), make_grid())
    good = path.read_bytes()
    for _ in range(150):
        damaged = bytearray(good)
        for place in rng.integers(132, len(good) - 420, 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(DataError):
            read_slices(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(b"PK\3\4" + b"x" * 200)
    with pytest.raises(DataError, match="not a DICOM file"):
        read_slices(path)


def test_the_place_along_the_normal(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", PIXELS, elements=PLACED)
    assert read_position(path) == 3
    turned = PLACED | {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}  # sagittal: the normal is -x
    path = write_dicom(tmp_path / "b.dcm", PIXELS, elements=turned)
    assert read_position(path) == read_image(path).position_mm == -1.5
    path = write_enhanced(tmp_path / "c.dcm", make_hu(), make_grid())
    assert read_position(path) == pytest.approx(stack_of(path))


def stack_of(path):
    first = read_slices(path).slices[0]
    return float(np.cross(first.orientation[:3], first.orientation[3:]) @ np.array(first.position))


@pytest.mark.parametrize(
    "elements",
    [
        {"ImagePositionPatient": [1, 2]},
        {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
        {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
    ],
)
def test_a_place_that_is_none_leaves_the_image_readable(tmp_path, elements):
    path = write_dicom(tmp_path / "a.dcm", PIXELS, elements=PLACED | elements)
    assert read_position(path) is None
    assert read_image(path).position_mm is None
