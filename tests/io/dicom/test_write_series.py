import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread
from writers.grids import make_grid, make_hu

from medimg.errors import DataError
from medimg.io.dicom.write_series import write_series


def test_an_independent_reader_finds_voxels_and_grid(tmp_path):
    grid, voxels = make_grid(), make_hu()
    paths = write_series(tmp_path, voxels, grid)
    image = SimpleITK.ReadImage([str(path) for path in paths])
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), voxels)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ affine, grid.affine, atol=1e-6)


def test_slopes_and_places_of_their_own(tmp_path):
    paths = write_series(
        tmp_path,
        make_hu() * 2,
        make_grid(tilt=15.0),
        slope=[1, 2, 0.5, 1, 1],
        intercept=-1000,
        depths_mm=[0, 4, 8, 15, 22],
        patient_id="A",
        elements={"StationName": "here"},
    )
    files = [dcmread(path) for path in paths]
    assert [float(file.RescaleSlope) for file in files] == [1, 2, 0.5, 1, 1]
    np.testing.assert_allclose(files[1].pixel_array * 2.0 - 1000, make_hu()[1] * 2, atol=1)
    first, last = (np.array(files[at].ImagePositionPatient, float) for at in (0, 4))
    # The distance of slices along the table is what the tilt leaves of it.
    assert np.linalg.norm(last - first) == pytest.approx(22, abs=1e-6)
    assert files[0].StationName == "here"
    assert len({file.SOPInstanceUID for file in files}) == 5
    assert len({(file.SeriesInstanceUID, file.FrameOfReferenceUID) for file in files}) == 1


def test_the_same_input_gives_the_same_bytes(tmp_path):
    one, two = (write_series(tmp_path / name, make_hu(), make_grid()) for name in "ab")
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(DataError, match="Give both alike"):
        write_series(tmp_path, make_hu((4, 6, 7)), make_grid())
    with pytest.raises(DataError, match="do not fit 16 bits"):
        write_series(tmp_path, make_hu(), make_grid(), slope=0.01)
