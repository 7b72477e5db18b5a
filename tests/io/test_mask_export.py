import sys
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from writers.grids import make_grid, make_hu

from medimg.errors import ConfigError, DataError
from medimg.io.dicom.write_series import write_series
from medimg.io.mask_export import check_save_as, export_mask, mask_format, mask_path

LABELS = {"liver": 1, "tumour": 2}


@pytest.fixture
def mask():
    mask = np.zeros((5, 6, 7), np.uint8)
    mask[1:4, 2:4, 3] = 1
    mask[2, 2, 3] = 2
    return mask


def test_masks_of_a_series(tmp_path, mask):
    files = write_series(tmp_path / "scan", make_hu(), make_grid())
    export_mask(tmp_path / "a.nii.gz", mask, files, LABELS)
    image = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, mask)
    np.testing.assert_allclose(image.affine, make_grid().affine, atol=1e-5)
    export_mask(tmp_path / "a.seg.nrrd", mask, files, LABELS)
    np.testing.assert_array_equal(
        SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / "a.seg.nrrd")), mask
    )
    export_mask(tmp_path / "a.dcm", mask, files, LABELS)
    assert highdicom.seg.segread(tmp_path / "a.dcm").number_of_segments == 2
    with pytest.raises(DataError, match="expected a mask of shape"):
        export_mask(tmp_path / "b.nii.gz", mask[1:], files, LABELS)


def test_masks_of_a_nifti(tmp_path, mask, write_volume):
    source = write_volume(tmp_path / "image.nii.gz", make_hu())
    export_mask(tmp_path / "a.nii.gz", mask, [source], LABELS)
    np.testing.assert_array_equal(nib.load(tmp_path / "a.nii.gz").affine, nib.load(source).affine)
    export_mask(tmp_path / "a.seg.nrrd", mask, [source], LABELS)
    image = SimpleITK.ReadImage(tmp_path / "a.seg.nrrd")
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), mask)
    np.testing.assert_allclose(image.GetOrigin(), nib.load(source).affine[:3, 3] * [-1, -1, 1], atol=1e-5)
    with pytest.raises(DataError, match=r"image\.nii\.gz is NIfTI\. Predict from the DICOM folder"):
        export_mask(tmp_path / "a.dcm", mask, [source], LABELS)


def test_formats_are_told_by_name(monkeypatch):
    assert [mask_format(mask_path(Path("p"), "x", one)) for one in ("nifti", "seg.nrrd", "dicom-seg")] == [
        "nifti",
        "seg.nrrd",
        "dicom-seg",
    ]
    with pytest.raises(ConfigError, match="expected a name that ends in"):
        mask_format(Path("a.png"))
    with pytest.raises(ConfigError, match="found 'png'"):
        check_save_as("png")
    check_save_as("dicom-seg")
    monkeypatch.setitem(sys.modules, "highdicom", None)
    check_save_as("nifti")
    with pytest.raises(ConfigError, match="highdicom is not installed"):
        check_save_as("dicom-seg")
