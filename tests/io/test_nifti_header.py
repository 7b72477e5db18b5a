import logging

import nibabel as nib
import numpy as np
import pytest

from medimg.errors import DataError
from medimg.io.gzip_guard import GuardedReader
from medimg.io.nifti import read_image
from medimg.io.nifti_header import parse_header


def ramp(*shape):
    return np.arange(np.prod(shape)).reshape(shape).astype(np.int16)


def with_header(path, change):
    """Change fields of a header on disk, past all of nibabel's checks."""
    content = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(content[:348]), check=False)
    change(header)
    content[:348] = header.binaryblock
    path.write_bytes(bytes(content))
    return path


def header_of(path):
    with GuardedReader(path) as reader:
        return parse_header(reader, "agree")


@pytest.mark.parametrize(("version", "size"), [(1, 348), (2, 540)])
def test_fields(tmp_path, write_volume, version, size):
    path = write_volume(
        tmp_path / "a.nii.gz", ramp(2, 3, 4, 5), slope=2.0, intercept=-1.0, big_endian=True, version=version
    )
    header, read = header_of(path)
    assert read == size
    assert header.channels == 2
    assert header.samples == 120
    assert header.grid.shape == (3, 4, 5)
    assert header.dtype == np.dtype(">i2")
    assert (header.slope, header.intercept) == (2.0, -1.0)
    assert header.scaled
    assert header.offset == size + 4


@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_slope_that_means_no_scaling(tmp_path, write_volume, slope):
    def change(header):
        header["scl_slope"], header["scl_inter"] = slope, 77

    header, _ = header_of(with_header(write_volume(tmp_path / "a.nii", ramp(3, 3, 3)), change))
    assert not header.scaled


def test_extensions_are_skipped(tmp_path, write_volume):
    image = nib.load(write_volume(tmp_path / "a.nii", ramp(3, 4, 5)))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 1000))
    nib.save(image, tmp_path / "b.nii.gz")
    assert header_of(tmp_path / "b.nii.gz")[0].offset > 1352
    np.testing.assert_array_equal(read_image(tmp_path / "b.nii.gz")[0], ramp(3, 4, 5))


def test_fifth_axis_after_a_single_point_in_time_is_the_channel(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((5, 4, 3, 1, 2), np.int16), np.eye(4)), tmp_path / "a.nii")
    assert header_of(tmp_path / "a.nii")[0].channels == 2


def test_agreeing_forms_are_silent(tmp_path, write_volume, caplog):
    with caplog.at_level(logging.WARNING):
        header_of(write_volume(tmp_path / "a.nii", ramp(3, 3, 3)))
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("dim", [9, 3, 3, 3, 1, 1, 1, 1], "not a volume"),
        ("dim", [3, 3, -3, 3, 1, 1, 1, 1], "not a volume"),
        ("dim", [5, 3, 3, 3, 2, 2, 1, 1], "at most one axis"),
        ("vox_offset", -5, "puts the voxels at byte"),
        ("vox_offset", 1e30, "puts the voxels at byte"),
        ("scl_slope", np.inf, "no value survives"),
        ("datatype", 77, "unknown type"),
        ("quatern_b", 5.0, "no rotation"),
    ],
)
def test_damaged_headers(tmp_path, write_volume, field, value, said):
    def change(header):
        header[field] = value

    with pytest.raises(DataError, match=said):
        read_image(with_header(write_volume(tmp_path / "a.nii", ramp(3, 3, 3)), change))
