import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from writers.grids import make_grid, make_hu

from medimg.errors import DataError
from medimg.io.dicom.segmentation import write_dicom_seg
from medimg.io.dicom.segmentation_read import read_dicom_seg
from medimg.io.dicom.series import read_stack
from medimg.io.dicom.write_series import write_series
from medimg.io.grid import Grid
from medimg.io.mask_import import import_mask
from medimg.io.segments import make_segments

CT, SEG = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.66.4"


@pytest.mark.parametrize(("storage", "kind"), [(CT, None), (SEG, "FRACTIONAL")])
def test_what_is_no_binary_segmentation_is_refused(tmp_path, storage, kind):
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = storage, "1.2.3"
    if kind is not None:
        header.SegmentationType = kind
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID, header.file_meta.MediaStorageSOPInstanceUID = storage, "1.2.3"
    header.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    with pytest.raises(
        DataError, match=f"expected a binary DICOM SEG, found SOP class {storage} of type {kind}"
    ):
        read_dicom_seg(tmp_path / "x.dcm")


def write_seg(folder, slices, *, grid=None, depths_mm=None):
    """A SEG by highdicom of a series whose given slices hold a box; the file, the mask and the series' grid."""
    grid = grid or make_grid((6, 8, 7), spacing_mm=(1.0, 1.0, 0.8))
    write_series(folder / "scan", make_hu(grid.shape), grid, depths_mm=depths_mm)
    stack = read_stack(folder / "scan", resample=depths_mm is not None)
    mask = np.zeros(stack.grid.shape, np.uint8)
    mask[slices, 3:6, 2:5] = 1
    write_dicom_seg(folder / "seg.dcm", mask, stack, make_segments({"organ": 1}))
    return folder / "seg.dcm", mask, stack.grid


def test_slices_that_are_left_out_as_empty_come_back_empty(tmp_path):
    path, mask, grid = write_seg(tmp_path, [1, 4])
    assert dcmread(path).NumberOfFrames == 2
    found = read_dicom_seg(path)
    assert found.layers[0].any(axis=(1, 2)).tolist() == [True, False, False, True]
    np.testing.assert_array_equal(import_mask(path, grid, {"organ": 1}), mask)


def without_spacing(path):
    file = dcmread(path)
    del file.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices
    file.save_as(path)


def test_gaps_that_may_be_uneven_spacing_are_refused(tmp_path):
    path, _, _ = write_seg(tmp_path, [1, 2, 5])
    without_spacing(path)
    with pytest.raises(
        DataError, match=r"seg\.dcm: its slices are 1 to 3 mm apart.*unevenly spaced.*grid of the volume"
    ):
        read_dicom_seg(path)


def test_the_segmentation_of_an_unevenly_spaced_series_is_refused(tmp_path):
    # A part of 1 mm and a part of 5 mm, as trauma scans have: each a whole number of the finest step.
    path, _, _ = write_seg(tmp_path, slice(None), depths_mm=[0.0, 1.0, 2.0, 3.0, 8.0, 13.0])
    with pytest.raises(
        DataError, match=r"seg\.dcm: its (slices are 1 to 5 mm apart|frames make no regular volume)"
    ):
        read_dicom_seg(path)


def test_the_segmentation_of_a_tilted_series_comes_back(tmp_path):
    grid = make_grid((5, 20, 7), tilt=18.5)
    path, mask, resampled = write_seg(tmp_path, slice(None), grid=grid)
    found = read_dicom_seg(path)
    # The frames lie where the source's slices do, from the last to the first.
    turned = grid.affine @ np.diag([1.0, 1.0, -1.0, 1.0])
    turned[:, 3] += grid.affine[:, 2] * (grid.shape[0] - 1)
    assert found.grid.corner_distance_mm(Grid(grid.shape, turned)) < 1e-3
    with pytest.raises(DataError, match="does not lie on the grid of its image"):
        import_mask(path, resampled, {"organ": 1})
    np.testing.assert_array_equal(import_mask(path, resampled, {"organ": 1}, resample=True), mask)


def test_slices_that_are_shifted_by_no_common_step_are_refused(tmp_path):
    path, _, _ = write_seg(tmp_path, [1, 2, 3])
    file = dcmread(path)
    place = file.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
    column = np.array(
        file.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient[3:], float
    )
    place.ImagePositionPatient = [
        f"{value:.6f}" for value in np.array(place.ImagePositionPatient, float) + 0.5 * column
    ]
    file.save_as(path)
    with pytest.raises(DataError, match="by no common step"):
        read_dicom_seg(path)
