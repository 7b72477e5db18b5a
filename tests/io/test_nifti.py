"""Reading and writing against nibabel, which knows nothing of medimg."""

import gzip
import os
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medimg.errors import DataError
from medimg.io.nifti import is_nifti, read_grid, read_image, read_mask, scan_channels, write_image, write_mask


def ramp(*shape, dtype=np.int16):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "float32", "float64"]
)
@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_voxels_are_the_file_transposed(tmp_path, write_volume, dtype, big_endian, name):
    path = write_volume(tmp_path / name, ramp(3, 4, 5, dtype=dtype), big_endian=big_endian)
    image = read_image(path)
    np.testing.assert_array_equal(image[0], np.asarray(nib.load(path).dataobj).T.astype(np.float32))
    assert image.shape == (1, 3, 4, 5)
    assert image.dtype == np.float32
    assert image.dtype.isnative
    assert image.flags.writeable
    assert image.flags.c_contiguous


def test_fourth_axis_of_the_file_is_the_channel(tmp_path, write_volume):
    array = ramp(2, 3, 4, 5)
    path = write_volume(tmp_path / "a.nii.gz", array)
    assert nib.load(path).shape == (5, 4, 3, 2)
    np.testing.assert_array_equal(read_image(path), array.astype(np.float32))
    np.testing.assert_array_equal(read_image(path, channel=1), array[1:].astype(np.float32))
    assert scan_channels(path) == 2
    with pytest.raises(DataError, match="no channel 2; the file has 2"):
        read_image(path, channel=2)


def test_slope_and_intercept_are_applied(tmp_path, write_volume):
    path = write_volume(tmp_path / "a.nii.gz", ramp(2, 3, 4), slope=0.5, intercept=-1024)
    np.testing.assert_allclose(read_image(path)[0], nib.load(path).get_fdata().T, rtol=1e-6)
    assert read_image(path).min() == -1024


def test_nifti2_is_read(tmp_path, write_volume):
    path = write_volume(tmp_path / "a.nii.gz", ramp(2, 3, 4), version=2)
    np.testing.assert_array_equal(read_image(path)[0], ramp(2, 3, 4))
    np.testing.assert_allclose(read_grid(path).affine, nib.load(path).affine, atol=1e-5)


def test_several_gzip_members_are_one_file(tmp_path, write_volume):
    content = write_volume(tmp_path / "a.nii", ramp(4, 4, 4)).read_bytes()
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(content[:400]) + gzip.compress(content[400:]) + b"\0" * 512)
    np.testing.assert_array_equal(read_image(path)[0], ramp(4, 4, 4))


def test_one_slice_is_a_volume_of_depth_one(tmp_path):
    nib.save(nib.Nifti1Image(ramp(5, 4), np.eye(4)), tmp_path / "a.nii")
    assert read_image(tmp_path / "a.nii").shape == (1, 1, 4, 5)


def test_grid_is_that_of_nibabel(tmp_path, write_volume):
    path = write_volume(tmp_path / "a.nii.gz", ramp(3, 4, 5))
    grid, image = read_grid(path), nib.load(path)
    assert grid.shape == (3, 4, 5)
    np.testing.assert_allclose(grid.affine, image.affine, atol=1e-6)
    np.testing.assert_allclose(grid.spacing_mm, (2.5, 1.0, 0.8), atol=1e-6)
    assert grid.orientation == "".join(nib.aff2axcodes(image.affine))
    assert grid.oriented


def test_units_become_millimetres(tmp_path, write_volume):
    path = write_volume(tmp_path / "a.nii", ramp(3, 4, 5), np.diag([500.0, 500.0, 2000.0, 1.0]))
    image = nib.load(path)
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "b.nii")
    np.testing.assert_allclose(read_grid(tmp_path / "b.nii").spacing_mm, (2.0, 0.5, 0.5))


# faults.md, volumes


def test_fault_1_truncated(tmp_path, write_volume):
    whole = write_volume(tmp_path / "a.nii.gz", ramp(16, 16, 16)).read_bytes()
    plain = write_volume(tmp_path / "a.nii", ramp(16, 16, 16)).read_bytes()
    for cut in (5, 200, len(whole) // 2, len(whole) - 4):
        (tmp_path / "b.nii.gz").write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"b\.nii\.gz: the file is truncated.*again"):
            read_image(tmp_path / "b.nii.gz")
    for cut in (100, len(plain) - 1):
        (tmp_path / "b.nii").write_bytes(plain[:cut])
        with pytest.raises(DataError, match=r"b\.nii: .*truncated"):
            read_image(tmp_path / "b.nii")


def test_fault_2_every_flipped_byte_of_the_stream_is_noticed(tmp_path, write_volume):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 1000, (6, 6, 6)).astype(np.int16)
    whole = write_volume(tmp_path / "a.nii.gz", array).read_bytes()
    path = tmp_path / "b.nii.gz"
    for place in range(40, len(whole), 7):
        broken = bytearray(whole)
        broken[place] ^= 0x10
        path.write_bytes(bytes(broken))
        with pytest.raises(DataError, match=r"b\.nii\.gz"):
            read_image(path)


def test_fault_2_checksum(tmp_path, write_volume):
    broken = bytearray(write_volume(tmp_path / "a.nii.gz", ramp(6, 6, 6)).read_bytes())
    broken[-6] ^= 1
    (tmp_path / "a.nii.gz").write_bytes(bytes(broken))
    with pytest.raises(DataError, match=r"gzip stream is damaged \(.*incorrect data check"):
        read_image(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_fault_3_zero_bytes(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(DataError, match="empty"):
        read_image(tmp_path / name)


def test_fault_4_names_that_lie_about_compression(tmp_path, write_volume):
    write_volume(tmp_path / "a.nii", ramp(3, 3, 3)).rename(tmp_path / "b.nii.gz")
    with pytest.raises(DataError, match=r"uncompressed NIfTI.*rename it to end in \.nii"):
        read_image(tmp_path / "b.nii.gz")
    write_volume(tmp_path / "a.nii.gz", ramp(3, 3, 3)).rename(tmp_path / "c.nii")
    with pytest.raises(DataError, match=r"rename it to \.nii\.gz"):
        read_image(tmp_path / "c.nii")
    (tmp_path / "d.nii.gz").write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match="not a gzip file"):
        read_image(tmp_path / "d.nii.gz")


def test_fault_5_gzip_bomb_stops_at_the_declared_size(tmp_path, write_volume):
    content = write_volume(tmp_path / "a.nii", ramp(8, 8, 8)).read_bytes()
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(content + bytes(100_000_000), compresslevel=9))
    assert 100_000_000 / path.stat().st_size > 900
    tracemalloc.start()
    with pytest.raises(DataError, match="go on past the size that the header declares"):
        read_image(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000


def huge(tmp_path, write_volume, name, padding):
    content = bytearray(write_volume(tmp_path / "a.nii", ramp(2, 2, 2)).read_bytes())
    content[40:56] = np.array([3, 32000, 32000, 32000, 1, 1, 1, 1], "<i2").tobytes()
    content += bytes(padding)
    (tmp_path / name).write_bytes(gzip.compress(bytes(content)) if name.endswith("gz") else bytes(content))
    return tmp_path / name


@pytest.mark.parametrize("name", ["b.nii", "b.nii.gz"])
def test_fault_6_huge_header_is_refused_before_allocating(tmp_path, write_volume, name):
    path = huge(tmp_path, write_volume, name, 100)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"\(32000, 32000, 32000\).*over the limit of 4,294,967,296"):
        read_image(path)
    with pytest.raises(DataError, match="holds at most"):
        read_image(path, max_bytes=1 << 60)
    assert tracemalloc.get_traced_memory()[1] < 3_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("reader", [read_image, read_mask])
def test_fault_7_not_a_number(tmp_path, write_volume, reader):
    array = ramp(3, 3, 3, dtype=np.float32)
    array[0, 0, 0], array[1, 1, 1], array[2, 2, 2] = np.nan, np.inf, np.nan
    with pytest.raises(DataError, match=r"3 of 27 voxels are not numbers \(2 NaN, 1 infinite\)"):
        reader(write_volume(tmp_path / "a.nii.gz", array))


def with_header(path, change):
    """Change fields of a header on disk, past all of nibabel's checks."""
    content = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(content[:348]), check=False)
    change(header)
    content[:348] = header.binaryblock
    path.write_bytes(bytes(content))
    return path


def test_fault_8_affine_of_nan(tmp_path, write_volume):
    def change(header):
        header["srow_x"][3] = np.nan

    path = with_header(write_volume(tmp_path / "a.nii", ramp(3, 3, 3)), change)
    with pytest.raises(DataError, match=r"affine \(sform\) holds NaN"):
        read_grid(path)
    assert np.isfinite(read_grid(path, form="qform").affine).all()


@pytest.mark.parametrize("spacing", [0.0, -1.0, np.nan])
def test_fault_9_spacing(tmp_path, write_volume, spacing):
    def change(header):
        header["pixdim"][2] = spacing

    path = with_header(write_volume(tmp_path / "a.nii", ramp(3, 3, 3)), change)
    with pytest.raises(DataError, match="must be positive and finite"):
        read_grid(path)


def test_fault_9_sform_without_length(tmp_path, write_volume):
    def change(header):
        header["srow_x"][0] = header["srow_y"][0] = header["srow_z"][0] = 0

    path = with_header(write_volume(tmp_path / "a.nii", ramp(3, 3, 3)), change)
    with pytest.raises(DataError, match="spacing of zero"):
        read_grid(path)


def test_fault_10_forms_disagree(tmp_path, write_volume):
    other = np.diag([1.0, 1.0, 1.0, 1.0])
    path = write_volume(tmp_path / "a.nii", ramp(3, 3, 3), np.diag([-1.0, 1.0, 1.0, 1.0]), qform=other)
    with pytest.raises(DataError, match=r"4\.00 mm apart.*form: sform or form: qform"):
        read_grid(path)
    with pytest.raises(DataError, match="apart"):
        read_image(path)
    assert read_grid(path, form="sform").orientation == "LAS"
    assert read_grid(path, form="qform").orientation == "RAS"
    assert read_image(path, form="sform").shape == (1, 3, 3, 3)


def test_fault_10_a_declared_form_that_is_not_set_gives_way(tmp_path, write_volume):
    path = write_volume(tmp_path / "a.nii", ramp(3, 3, 3), qform_code=0)
    np.testing.assert_allclose(read_grid(path, form="qform").affine, nib.load(path).affine, atol=1e-6)


def test_fault_11_neither_form(tmp_path, write_volume, caplog):
    path = write_volume(tmp_path / "a.nii", ramp(3, 3, 3), sform_code=0, qform_code=0)
    grid = read_grid(path)
    assert not grid.oriented
    assert "neither sform nor qform" in caplog.text
    np.testing.assert_allclose(grid.affine, nib.load(path).affine, atol=1e-6)


def test_fault_12_mask_of_four_axes(tmp_path, write_volume):
    path = write_volume(tmp_path / "a.nii", ramp(2, 3, 3, 3, dtype=np.uint8))
    with pytest.raises(DataError, match=r"4D file of 2 channels.*channel: 0 to 1"):
        read_mask(path)
    np.testing.assert_array_equal(read_mask(path, channel=1), ramp(2, 3, 3, 3, dtype=np.uint8)[1])


def test_fault_18_float_labels(tmp_path, write_volume):
    labels = np.zeros((3, 3, 3), np.float32)
    labels[0, 0, 0], labels[1, 1, 1] = 0.9999, 2.0005
    mask = read_mask(write_volume(tmp_path / "a.nii.gz", labels))
    assert mask.dtype == np.uint8
    assert np.unique(mask).tolist() == [0, 1, 2]
    labels[2, 2, 2] = 0.5
    with pytest.raises(DataError, match=r"1 voxels in between, such as 0\.5"):
        read_mask(write_volume(tmp_path / "b.nii.gz", labels))


# other refusals


def test_pairs_and_other_formats_are_refused_by_name(tmp_path):
    nib.save(nib.Nifti1Pair(ramp(3, 3, 3), np.eye(4)), tmp_path / "a.img")
    for name in ("a.img", "a.hdr", "a.nrrd", "a.mha"):
        with pytest.raises(DataError, match=r"convert .*to"):
            read_image(tmp_path / name)
    (tmp_path / "a.hdr").rename(tmp_path / "a.nii")
    with pytest.raises(DataError, match=r"another file \(\.hdr/\.img\)"):
        read_image(tmp_path / "a.nii")
    with pytest.raises(DataError, match="no such file"):
        read_image(tmp_path / "missing.nii.gz")
    (tmp_path / "text.nii").write_text("x" * 500)
    with pytest.raises(DataError, match="not NIfTI"):
        read_image(tmp_path / "text.nii")
    assert not is_nifti(Path("a.hdr"))


def test_colours_are_refused(tmp_path):
    colours = np.zeros((3, 3, 3), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nib.save(nib.Nifti1Image(colours, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(DataError, match="RGB"):
        read_image(tmp_path / "a.nii")


# writing


@pytest.mark.parametrize(
    ("top", "dtype"), [(3, np.uint8), (300, np.int16)], ids=["fits in uint8", "needs int16"]
)
def test_mask_is_written_on_the_grid_of_its_source(tmp_path, write_volume, top, dtype):
    source = write_volume(tmp_path / "s.nii.gz", ramp(2, 4, 5, 6), sform_code=2, qform_code=1)
    mask = (ramp(4, 5, 6) % (top + 1)).astype(np.int64)
    mask[0, 0, 0] = top
    write_mask(tmp_path / "m.nii.gz", mask, like=source)
    written, like = nib.load(tmp_path / "m.nii.gz"), nib.load(source)
    assert written.get_data_dtype() == dtype
    assert written.shape == (6, 5, 4)
    np.testing.assert_array_equal(np.asarray(written.dataobj).T, mask)
    for name in ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "qoffset_x"):
        np.testing.assert_array_equal(written.header[name], like.header[name])
    np.testing.assert_array_equal(written.header["pixdim"][:4], like.header["pixdim"][:4])
    np.testing.assert_array_equal(read_mask(tmp_path / "m.nii.gz"), mask)
    assert read_mask(tmp_path / "m.nii.gz").dtype == dtype


def test_mask_of_another_shape_or_range_is_refused(tmp_path, write_volume):
    source = write_volume(tmp_path / "s.nii.gz", ramp(3, 4, 5))
    with pytest.raises(DataError, match=r"\(5, 4, 3\).*\(3, 4, 5\)"):
        write_mask(tmp_path / "m.nii.gz", np.zeros((5, 4, 3), np.uint8), like=source)
    with pytest.raises(DataError, match="70000"):
        write_mask(tmp_path / "m.nii.gz", np.full((3, 4, 5), 70000), like=source)
    with pytest.raises(DataError, match="integer labels"):
        write_mask(tmp_path / "m.nii.gz", np.zeros((3, 4, 5), np.float32), like=source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.nii.gz"]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64", "bool"])
@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 4, 5)])
def test_image_comes_back_as_it_was(tmp_path, dtype, shape):
    from writers.nifti import OBLIQUE

    array = ramp(*shape, dtype=dtype)
    write_image(tmp_path / "a.nii.gz", array, OBLIQUE)
    expected = array if array.ndim == 4 else array[None]
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii.gz"), expected.astype(np.float32))
    np.testing.assert_allclose(nib.load(tmp_path / "a.nii.gz").affine, OBLIQUE, atol=1e-6)
    first = (tmp_path / "a.nii.gz").read_bytes()
    write_image(tmp_path / "a.nii.gz", array, OBLIQUE)
    assert (tmp_path / "a.nii.gz").read_bytes() == first


def test_sheared_affine_is_kept_by_the_sform_alone(tmp_path):
    affine = np.eye(4)
    affine[0, 2] = 0.3
    write_image(tmp_path / "a.nii", ramp(3, 4, 5), affine)
    np.testing.assert_allclose(read_grid(tmp_path / "a.nii").affine, affine, atol=1e-6)
    assert int(nib.load(tmp_path / "a.nii").header["qform_code"]) == 0


def test_array_that_is_no_volume_is_refused(tmp_path):
    with pytest.raises(DataError, match="shape"):
        write_image(tmp_path / "a.nii", np.zeros((3, 3), np.uint8), np.eye(4))
    with pytest.raises(DataError, match="cannot store"):
        write_image(tmp_path / "a.nii", np.zeros((3, 3, 3), np.int64), np.eye(4))


@pytest.mark.real
def test_real_files_read_as_nibabel_reads_them():
    root = Path(os.environ["MEDIMG_REAL_DATA"])
    paths = [
        *sorted((root / "Task04_Hippocampus").rglob("*.nii.gz"))[::20],
        *(root / "BraTS2023").rglob("*.nii.gz"),
    ]
    paths += list((root / "Task01_BrainTumourPatches").rglob("*.nii.gz"))[:4]
    assert len(paths) > 20
    for path in paths:
        image = nib.load(path)
        expected = np.asarray(image.dataobj, np.float32).T
        np.testing.assert_allclose(read_image(path), expected.reshape(-1, *expected.shape[-3:]))
        np.testing.assert_allclose(read_grid(path).affine, image.affine, atol=1e-5)
