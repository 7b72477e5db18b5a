import numpy as np
import pytest
from scipy.ndimage import zoom
from writers.grids import make_grid, make_hu
from writers.slicer import write_slicer

from medimg.errors import DataError
from medimg.io.dicom.segmentation import write_dicom_seg
from medimg.io.dicom.segmentation_read import read_dicom_seg
from medimg.io.dicom.series import read_stack
from medimg.io.dicom.write_series import write_series
from medimg.io.grid import Grid
from medimg.io.itksnap import write_label_descriptions
from medimg.io.mask_import import import_mask
from medimg.io.nifti import write_image
from medimg.io.segments import make_segments

LABELS = {"organ": 1, "tumour": 2}
GRID = make_grid((6, 7, 8))


def make_mask():
    mask = np.zeros(GRID.shape, np.uint8)
    mask[1:4, 2:6, 3:7], mask[2, 3:5, 4] = 1, 2
    return mask


def moved(mask, *, flip=False, start=(0, 0, 0)):
    """The mask cut from ``start`` (D, H, W), or flipped along W, and its grid."""
    affine = GRID.affine.copy()
    affine[:3, 3] += GRID.affine[:3, :3] @ start[::-1]
    if flip:
        affine[:3, 3] += GRID.affine[:3, 0] * (mask.shape[2] - 1)
        affine[:3, 0] *= -1
        mask = mask[:, :, ::-1]
    mask = mask[tuple(slice(one, None) for one in start)]
    return mask, Grid(mask.shape, affine)


def test_a_cropped_renumbered_segmentation_returns_to_its_image(tmp_path):
    mask, grid = moved(make_mask(), start=(1, 2, 3))
    layers = np.zeros((1, *mask.shape), np.uint8)
    layers[0][mask == 1], layers[0][mask == 2] = 7, 4  # other values, other order
    segments = [("tumour", 4, 0), ("Segment_9", 9, 0), ("organ", 7, 0)]
    write_slicer(tmp_path / "a.seg.nrrd", layers, grid, segments, offset=(3, 2, 1))
    np.testing.assert_array_equal(import_mask(tmp_path / "a.seg.nrrd", GRID, LABELS), make_mask())


def test_overlapping_layers(tmp_path):
    mask, path = make_mask(), tmp_path / "a.seg.nrrd"
    layers = np.stack([mask > 0, mask == 2]).astype(np.uint8)
    write_slicer(path, layers, GRID, [("organ", 1, 0), ("tumour", 1, 1)])
    with pytest.raises(DataError, match="2 voxels of tumour belong to another segment"):
        import_mask(path, GRID, LABELS)
    np.testing.assert_array_equal(import_mask(path, GRID, LABELS, overlap="last"), mask)


def test_flipped_and_resampled_ones_are_refused_or_resampled_on_request(tmp_path):
    path = tmp_path / "a.nii.gz"
    mask, grid = moved(make_mask(), flip=True)
    write_image(path, mask, grid.affine)
    with pytest.raises(DataError, match=r"it was flipped or turned.*ask to resample"):
        import_mask(path, GRID, LABELS)
    np.testing.assert_array_equal(import_mask(path, GRID, LABELS, resample=True), make_mask())
    fine = GRID.affine @ np.diag([0.5, 0.5, 0.5, 1.0])
    fine[:3, 3] -= GRID.affine[:3, :3] @ np.full(3, 0.25)
    write_image(path, zoom(make_mask(), 2, order=0, grid_mode=True, mode="nearest"), fine)
    with pytest.raises(DataError, match="it was resampled or belongs to another image"):
        import_mask(path, GRID, LABELS)
    np.testing.assert_array_equal(import_mask(path, GRID, LABELS, resample=True), make_mask())
    shifted = GRID.affine.copy()
    shifted[0, 3] += 0.2
    write_image(path, make_mask(), shifted)
    with pytest.raises(DataError, match=r"0\.20 mm apart at a corner"):
        import_mask(path, GRID, LABELS)


def test_unknown_labels_and_voxels_outside(tmp_path):
    path = tmp_path / "a.nii.gz"
    write_image(path, make_mask() * 3, GRID.affine)
    with pytest.raises(DataError, match=r"expected the labels organ, tumour, found \[3, 6\]"):
        import_mask(path, GRID, LABELS)
    write_slicer(tmp_path / "a.seg.nrrd", make_mask()[None], GRID, [("organ", 1, 0), ("cyst", 2, 0)])
    with pytest.raises(DataError, match="found cyst"):
        import_mask(tmp_path / "a.seg.nrrd", GRID, LABELS)
    write_image(path, make_mask(), GRID.affine)
    with pytest.raises(DataError, match="12 labelled voxels lie outside"):
        import_mask(path, Grid((6, 7, 6), GRID.affine), LABELS)


def test_names_of_itk_snap_say_what_values_are(tmp_path):
    write_label_descriptions(tmp_path / "labels.txt", make_segments({"tumour": 1, "organ": 2}))
    write_image(tmp_path / "a.nii.gz", make_mask(), GRID.affine)
    found = import_mask(tmp_path / "a.nii.gz", GRID, LABELS, names=tmp_path / "labels.txt")
    np.testing.assert_array_equal(found, np.array([0, 2, 1])[make_mask()])


def test_a_dicom_seg_comes_back(tmp_path):
    write_series(tmp_path / "scan", make_hu(GRID.shape), GRID)
    stack, segments = read_stack(tmp_path / "scan"), make_segments(LABELS)
    write_dicom_seg(tmp_path / "a.dcm", make_mask(), stack, segments)
    np.testing.assert_array_equal(import_mask(tmp_path / "a.dcm", stack.grid, LABELS), make_mask())
    found = read_dicom_seg(tmp_path / "a.dcm").segments
    assert [(one.name, one.layer, one.kind) for one in found] == [
        (one.name, layer, one.kind) for layer, one in enumerate(segments)
    ]
    apart = np.subtract([one.colour for one in found], [one.colour for one in segments])
    assert np.abs(apart).max() <= 2
    with pytest.raises(DataError, match="expected a binary DICOM SEG"):
        read_dicom_seg(next((tmp_path / "scan").iterdir()))
