import csv

import nibabel as nib
import numpy as np
import pytest
from writers.grids import make_grid, make_hu

from medimg.errors import DataError
from medimg.io.dicom.grouping import find_series, scan_folder
from medimg.io.dicom.write_series import write_series
from medimg.preparation.convert_series import COLUMNS, convert_all, convert_one


@pytest.fixture
def studies(tmp_path):
    """Three series of two patients; the third lacks a slice."""
    root = tmp_path / "studies"
    for patient, number in (("A", 1), ("A", 2), ("B", 1)):
        folder = root / patient / str(number)
        write_series(folder, make_hu(seed=number), make_grid(), patient_id=patient, series_number=number)
    (root / "B/1/0003.dcm").unlink()
    (root / "notes.txt").write_text("x")
    return root


def rows_of(out):
    with (out / "conversions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_series_keeps_values_and_place(tmp_path):
    write_series(tmp_path / "scan", make_hu(), make_grid(tilt=0.0))
    done = convert_one(find_series(tmp_path / "scan")[0], tmp_path / "a.nii.gz")
    image = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, make_hu())
    assert image.get_data_dtype() == np.int16
    np.testing.assert_allclose(image.affine, make_grid().affine, atol=1e-5)
    assert (done.status, done.shape, done.orientation, done.reason) == ("converted", (5, 6, 7), "LPS", "")


def test_a_refused_series_stops_the_folder_before_it_begins(studies, tmp_path):
    with pytest.raises(
        DataError, match=r"1 of 3 series make no volume, and nothing is written:\n.*missing slices"
    ):
        convert_all(scan_folder(studies), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_refused_series_is_skipped_on_request(studies, tmp_path, workers):
    out = tmp_path / "out"
    convert_all(scan_folder(studies), out, on_bad="skip", workers=workers)
    assert sorted(path.name for path in out.glob("*.nii.gz")) == ["A_001.nii.gz", "A_002.nii.gz"]
    rows = rows_of(out)
    assert tuple(rows[0]) == COLUMNS
    assert [(row["file"].split("/")[-1], row["status"]) for row in rows] == [
        ("A_001.nii.gz", "converted"),
        ("A_002.nii.gz", "converted"),
        ("1", "refused"),
        ("notes.txt", "set aside"),
    ]
    assert "missing slices" in rows[2]["reason"]
    assert (rows[0]["shape"], rows[0]["spacing_mm"], rows[0]["slices"]) == ("5 6 7", "2.5 1 0.8", "5")


def test_pixels_that_are_damaged_are_named_and_the_others_are_written(studies, tmp_path):
    broken = studies / "A/2/0002.dcm"
    broken.write_bytes(broken.read_bytes()[:-10])
    for path in (studies / "B/1").iterdir():
        path.unlink()
    with pytest.raises(
        DataError, match=r"1 of 2 series make no volume, and the other 1 are in .*out:\n.*0002\.dcm"
    ):
        convert_all(scan_folder(studies), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").glob("*.nii.gz")] == ["A_001.nii.gz"]
    assert [row["status"] for row in rows_of(tmp_path / "out")] == ["converted", "refused", "set aside"]
