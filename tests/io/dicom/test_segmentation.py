import os
import sys
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import dcmread
from writers.dicom import write_enhanced
from writers.grids import make_grid, make_hu

from medimg.errors import ConfigError, DataError
from medimg.io.dicom.segmentation import write_dicom_seg
from medimg.io.dicom.series import read_stack
from medimg.io.dicom.write_series import write_series
from medimg.io.segments import make_segments

SEGMENTS = make_segments({"liver": 1, "tumour": 3, "absent": 4})


def mask_of(grid):
    mask = np.zeros(grid.shape, np.uint8)
    mask[1:4, 2:5, 3:5] = 1
    mask[2, 3, 4] = 3
    return mask


def pixels_of(path, files):
    """Label values (N, rows, columns) that a SEG states for the instances, as highdicom reads them."""
    segmentation = highdicom.seg.segread(path)
    read = segmentation.get_pixels_by_source_instance(
        [dcmread(file).SOPInstanceUID for file in files],
        combine_segments=True,
        relabel=True,
        assert_missing_frames_are_empty=True,
    )
    values = np.array([0, *(one.value for one in SEGMENTS)])
    return values[read]


def test_pixels_return_to_the_instances_they_were_predicted_on(tmp_path):
    files = write_series(tmp_path / "scan", make_hu(), make_grid(), patient_id="A", description="chest")
    stack = read_stack(tmp_path / "scan")
    write_dicom_seg(tmp_path / "seg.dcm", mask_of(stack.grid), stack, SEGMENTS)
    np.testing.assert_array_equal(pixels_of(tmp_path / "seg.dcm", files), mask_of(stack.grid))
    found, source = dcmread(tmp_path / "seg.dcm"), dcmread(files[0])
    assert (found.PatientID, found.StudyInstanceUID) == ("A", source.StudyInstanceUID)
    assert found.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert found.SeriesInstanceUID != source.SeriesInstanceUID
    assert [one.SegmentLabel for one in found.SegmentSequence] == ["liver", "tumour", "absent"]
    assert found.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Liver"


def test_a_tilted_series_gets_its_mask_on_its_own_slices(tmp_path):
    grid = make_grid((5, 20, 7), tilt=18.5)
    files = write_series(tmp_path / "scan", make_hu(grid.shape), grid)
    stack = read_stack(tmp_path / "scan")
    assert stack.grid.shape[1] > 20
    mask = np.zeros(stack.grid.shape, np.uint8)
    mask[:, 6:14, 2:5] = 1
    write_dicom_seg(tmp_path / "seg.dcm", mask, stack, SEGMENTS)
    pixels = pixels_of(tmp_path / "seg.dcm", files)
    assert pixels.shape == (5, 20, 7)
    np.testing.assert_array_equal(pixels, stack.to_slices(mask))
    # Each slice lies 2.5 mm x tan 18.5 degrees = 0.84 rows further than the one before.
    assert [int(np.flatnonzero(plane.any(axis=1))[0]) for plane in pixels] == [6, 5, 4, 3, 3]


def test_frames_of_an_enhanced_file(tmp_path):
    order = [3, 1, 4, 0, 2]
    path = write_enhanced(tmp_path / "a.dcm", make_hu(), make_grid(), order=order)
    stack = read_stack(path)
    write_dicom_seg(tmp_path / "seg.dcm", mask_of(stack.grid), stack, SEGMENTS)
    segmentation = highdicom.seg.segread(tmp_path / "seg.dcm")
    read = segmentation.get_pixels_by_source_frame(
        dcmread(path).SOPInstanceUID,
        [1, 2, 3, 4, 5],
        combine_segments=True,
        relabel=True,
        assert_missing_frames_are_empty=True,
    )
    np.testing.assert_array_equal(np.array([0, 1, 3, 4])[read], mask_of(stack.grid)[order])


def test_an_empty_mask_and_the_same_mask_twice(tmp_path):
    write_series(tmp_path / "scan", make_hu(), make_grid())
    stack = read_stack(tmp_path / "scan")
    write_dicom_seg(tmp_path / "empty.dcm", np.zeros(stack.grid.shape, np.uint8), stack, SEGMENTS)
    assert not highdicom.seg.segread(tmp_path / "empty.dcm").pixel_array.any()
    for name in "ab":
        write_dicom_seg(tmp_path / f"{name}.dcm", mask_of(stack.grid), stack, SEGMENTS)
    one, two = (dcmread(tmp_path / f"{name}.dcm") for name in "ab")
    assert (one.SOPInstanceUID, one.SeriesInstanceUID) == (two.SOPInstanceUID, two.SeriesInstanceUID)


def test_what_cannot_be_referred_to_is_refused(tmp_path, monkeypatch):
    files = write_series(tmp_path / "scan", make_hu(), make_grid())
    stack = read_stack(tmp_path / "scan")
    target = tmp_path / "seg.dcm"
    with pytest.raises(DataError, match=r"holds \[2, 6\].*Name every label"):
        write_dicom_seg(target, mask_of(stack.grid) * 2, stack, SEGMENTS)
    with pytest.raises(DataError, match="expected a mask of shape"):
        write_dicom_seg(target, mask_of(stack.grid)[1:], stack, SEGMENTS)
    file = dcmread(files[1])
    del file.FrameOfReferenceUID
    file.save_as(files[1])
    with pytest.raises(DataError, match=r"0002\.dcm: has no Frame of Reference UID"):
        write_dicom_seg(target, mask_of(stack.grid), stack, SEGMENTS)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(ConfigError, match=r"pip install 'medimg\[seg\]'"):
        write_dicom_seg(target, mask_of(stack.grid), stack, SEGMENTS)
    assert not target.exists()


@pytest.mark.real
@pytest.mark.parametrize("name", ["ct-ge", "ct-philips-head", "mr-hippocampus-crop-1", "mr-t2-22-slices"])
def test_real_series_get_their_masks_back(tmp_path, name):
    stack = read_stack(Path(os.environ["MEDIMG_REAL_DATA"]) / "dicom/series" / name, resample=True)
    mask = np.zeros(stack.grid.shape, np.uint8)
    depth, height, width = (slice(size // 4, 3 * size // 4) for size in mask.shape)
    mask[depth, height, width] = 1
    mask[depth.stop - 4 :, height, width] *= 3
    write_dicom_seg(tmp_path / "seg.dcm", mask, stack, SEGMENTS)
    pixels = pixels_of(tmp_path / "seg.dcm", [one.path for one in stack.slices])
    assert set(np.unique(pixels)) == {0, 1, 3}
    np.testing.assert_array_equal(pixels, stack.to_slices(mask))
