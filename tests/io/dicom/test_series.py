import os
import random
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless
from scipy import ndimage
from writers.dicom import write_enhanced
from writers.grids import make_grid, make_hu

from medimg.errors import ConfigError, DataError
from medimg.io.dicom.series import find_series, read_series, read_stack
from medimg.io.dicom.write_series import write_series
from medimg.io.nifti import Grid


def assert_same(volume, voxels, grid):
    np.testing.assert_array_equal(volume.voxels, voxels)
    assert volume.grid.shape == grid.shape
    np.testing.assert_allclose(volume.grid.affine, grid.affine, atol=1e-5)


def test_fault_28_shuffled_names_come_back_in_place(tmp_path):
    paths = write_series(tmp_path, make_hu(), make_grid())
    for path, number in zip(paths, random.Random(1).sample(range(99), 5), strict=True):
        path.rename(tmp_path / f"{number}.dcm")
    volume = read_series(tmp_path)
    assert_same(volume, make_hu(), make_grid())
    assert (volume.voxels.dtype, volume.flags) == (np.int16, ())
    assert volume.series.modality == "CT"


def test_fault_29_each_slice_has_its_slope_and_intercept(tmp_path):
    voxels = make_hu() * 2
    write_series(tmp_path, voxels, make_grid(), slope=[1, 2, 1, 2, 1], intercept=[0, -1000, 4, 100, -1024])
    assert_same(read_series(tmp_path), voxels, make_grid())
    write_series(tmp_path, voxels * 0.25, make_grid(), slope=[0.25, 0.5, 0.25, 0.5, 0.25], intercept=0)
    volume = read_series(tmp_path)
    assert volume.voxels.dtype == np.float32
    assert_same(volume, voxels * 0.25, make_grid())


def test_a_grid_against_the_normal_comes_back_turned(tmp_path):
    grid = make_grid()
    left = Grid(grid.shape, grid.affine @ np.diag([1, 1, -1, 1]))
    write_series(tmp_path, make_hu(), left)
    volume = read_series(tmp_path)
    np.testing.assert_array_equal(volume.voxels, make_hu()[::-1])
    np.testing.assert_allclose(volume.grid.affine[:3, 3], (left.affine @ [0, 0, 4, 1])[:3], atol=1e-5)


def test_fault_24_a_missing_file_is_refused(tmp_path):
    write_series(tmp_path, make_hu(), make_grid())[2].unlink()
    with pytest.raises(DataError, match=r"missing slices between .*0002\.dcm and .*0004\.dcm"):
        read_series(tmp_path)


def test_fault_25_a_copied_file_is_refused(tmp_path):
    path = write_series(tmp_path, make_hu(), make_grid())[2]
    (tmp_path / "copy.dcm").write_bytes(path.read_bytes())
    with pytest.raises(DataError, match=r"0003\.dcm and .*copy\.dcm are the same image"):
        read_series(tmp_path)


@pytest.mark.parametrize("tilt", [18.5, -10.0])
def test_fault_26_a_tilted_series_is_straightened(tmp_path, tilt):
    grid = make_grid((12, 40, 30), tilt=tilt)
    world = np.einsum(
        "ij,jdhw->idhw", grid.affine, np.stack([*np.indices(grid.shape)[::-1], np.ones(grid.shape)])
    )
    truth = np.rint(np.linalg.norm(world[:3] - world[:3, 6, 20, 15][:, None, None, None], axis=0) * 20 - 300)
    write_series(tmp_path, truth, grid)
    volume = read_series(tmp_path)
    assert f"a tilt of {abs(tilt)} degrees" in volume.flags[0]
    assert volume.voxels.min() == -1024
    index = np.linalg.inv(volume.grid.affine) @ world.reshape(4, -1)
    index[3] = 1
    found = ndimage.map_coordinates(volume.voxels, index[2::-1], order=1, mode="nearest").reshape(grid.shape)
    inner = np.s_[1:-1, 1:-1, 1:-1]
    # Read as a straight stack, the same voxels are hundreds of units off.
    assert np.abs(found - truth)[inner].max() < 10


def test_fault_27_several_series_are_named_or_asked_for(tmp_path):
    for number in (1, 2):
        write_series(tmp_path / str(number), make_hu(seed=number), make_grid(), series_number=number)
    with pytest.raises(ConfigError, match="Name one with --series"):
        read_series(tmp_path)
    assert_same(read_series(tmp_path, which="2"), make_hu(seed=2), make_grid())


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [3, 1, 4, 0, 2]])
def test_fault_33_an_enhanced_file_has_its_affine_and_slopes(tmp_path, order):
    stored = make_hu() // 2
    path = write_enhanced(
        tmp_path / "a.dcm", stored, make_grid(), slopes=[1, 2, 3, 1, 2], intercept=-24, order=order
    )
    expected = stored * np.array([1, 2, 3, 1, 2])[:, None, None] - 24
    assert_same(read_series(path), expected, make_grid())
    assert_same(read_series([path]), expected, make_grid())


def test_fault_30_monochrome1_keeps_hounsfield_units(tmp_path):
    write_series(tmp_path, make_hu(), make_grid(), elements={"PhotometricInterpretation": "MONOCHROME1"})
    assert_same(read_series(tmp_path), make_hu(), make_grid())


def test_fault_34_files_without_preamble_are_read_and_flagged(tmp_path):
    for path in write_series(tmp_path, make_hu(), make_grid()):
        path.write_bytes(path.read_bytes()[132:])
    volume = read_series(tmp_path)
    assert_same(volume, make_hu(), make_grid())
    assert "no preamble" in volume.flags


def test_fault_35_a_truncated_slice_is_refused(tmp_path):
    path = write_series(tmp_path, make_hu(), make_grid())[3]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"0004\.dcm: .*truncated"):
        read_series(tmp_path)


def test_fault_38_huge_headers_are_refused_before_allocating(tmp_path):
    write_series(tmp_path, make_hu(), make_grid(), elements={"Rows": 65535, "Columns": 65535})
    with pytest.raises(DataError, match=r"declare \(5, 65535, 65535\) voxels, .* over the limit"):
        read_series(tmp_path)


def test_fault_41_uneven_slices_are_refused_or_interpolated(tmp_path):
    depths = np.array([0, 2, 4, 7, 10.0])
    voxels = np.broadcast_to(np.rint(depths * 10)[:, None, None], (5, 6, 7))
    write_series(tmp_path, voxels, make_grid(), depths_mm=depths)
    with pytest.raises(DataError, match="unevenly spaced"):
        read_series(tmp_path)
    volume = read_series(tmp_path, resample=True)
    assert volume.grid.spacing_mm[0] == pytest.approx(2)
    np.testing.assert_allclose(volume.voxels[:, 0, 0], [0, 20, 40, 60, 80, 100], atol=1e-4)
    assert "interpolated to 2 mm" in volume.flags[0]


def test_compressed_slices_and_odd_values(tmp_path):
    for path in write_series(tmp_path, make_hu((5, 40, 40)), make_grid((5, 40, 40))):
        file = dcmread(path)
        file.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
        file.save_as(path)
    assert_same(read_series(tmp_path), make_hu((5, 40, 40)), make_grid((5, 40, 40)))


def test_one_slice_without_thickness_is_flagged(tmp_path):
    path = write_series(tmp_path, make_hu(), make_grid())[1]
    file = dcmread(path)
    del file.SliceThickness
    file.save_as(path)
    volume = read_series(path)
    np.testing.assert_array_equal(volume.voxels, make_hu()[1:2])
    assert volume.flags == ("one slice of unknown thickness, taken as 1 mm",)


def test_files_of_two_series_are_refused(tmp_path):
    one, two = (write_series(tmp_path / str(n), make_hu(), make_grid(), series_number=n) for n in (1, 2))
    with pytest.raises(DataError, match="expected a slice of the series"):
        read_stack([*one, *two])


# The real odd series, against SimpleITK where it is right.


def real(name):
    return Path(os.environ["MEDIMG_REAL_DATA"]) / "dicom/series" / name


def with_simpleitk(folder):
    """Voxels and grid as SimpleITK's reader of series has them."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    voxels = SimpleITK.GetArrayFromImage(image)
    return voxels, Grid(voxels.shape, np.diag([-1.0, -1, 1, 1]) @ affine)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "shape", "spacing"),
    [
        ("ct-philips-head", (28, 512, 512), (5, 0.451171875, 0.451171875)),
        ("mr-hippocampus-crop-1", (32, 51, 35), (1, 1, 1)),
        ("mr-hippocampus-crop-2", (35, 48, 36), (1, 1, 1)),
        ("mr-t2-22-slices", (22, 320, 280), (6.5, 0.6875, 0.6875)),
    ],
)
def test_even_straight_series_are_as_simpleitk_reads_them(name, shape, spacing):
    volume = read_series(real(name))
    voxels, grid = with_simpleitk(real(name))
    assert volume.grid.shape == shape
    np.testing.assert_allclose(volume.grid.spacing_mm, spacing, atol=1e-5)
    assert_same(volume, voxels, grid)
    assert volume.grid.orientation == "LPS"
    assert volume.flags == ()


@pytest.mark.real
def test_the_file_without_position_is_set_aside():
    (found,) = find_series(real("ct-philips-head"))
    assert len(found.files) == 28
    assert "DIRFILE" not in {path.name for path in found.files}


@pytest.mark.real
def test_fault_26_and_41_simpleitk_is_wrong_on_the_tilted_ct():
    with pytest.raises(DataError, match=r"13 x 4\.00, 13 x 7\.00, 1 x 1\.08 mm"):
        read_series(real("ct-ge"))
    volume = read_series(real("ct-ge"), resample=True)
    assert "a tilt of 18.5 degrees" in volume.flags[1]
    assert volume.grid.shape == (37, 611, 512)
    np.testing.assert_allclose(volume.grid.spacing_mm, (4.0025, 0.48828, 0.48828), atol=1e-4)
    voxels, grid = with_simpleitk(real("ct-ge"))  # it warns on stderr, and averages
    ours, theirs = [], []
    for number, one in enumerate(volume.stack.slices):
        rows, columns = np.mgrid[20:500:24, 20:500:24]
        column, row = np.reshape(one.orientation, (2, 3))[::-1] * 0.4882812
        places = np.array(one.position) + rows[..., None] * column + columns[..., None] * row
        pixels = voxels[number, rows, columns].astype(float)  # what the file says of these places
        for errors, where, image in ((ours, volume.grid, volume.voxels), (theirs, grid, voxels)):
            index = (places * [-1, -1, 1] - where.affine[:3, 3]) @ np.linalg.inv(where.affine[:3, :3]).T
            found = ndimage.map_coordinates(
                image, np.moveaxis(index[..., ::-1], -1, 0), np.float32, order=1, mode="nearest"
            )
            errors.append(np.abs(found - pixels).mean())
    # SimpleITK's one spacing of 5.63 mm along a straight stack puts most slices centimetres away.
    assert grid.spacing_mm[0] == pytest.approx(5.627, abs=1e-3)
    assert np.mean(ours) < 12 < 100 < np.mean(theirs)


@pytest.mark.real
def test_fault_24_simpleitk_reads_over_a_missing_slice(tmp_path):
    for path in real("ct-philips-head").glob("I*"):
        if path.name != "I100":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    _, grid = with_simpleitk(tmp_path)
    assert grid.spacing_mm[0] == pytest.approx(135 / 26)
    with pytest.raises(DataError, match=r"missing slices between .*I90 and .*I110 \(10 mm apart\)"):
        read_series(tmp_path)
