import gzip

import nibabel as nib
import numpy as np
import pytest

from medimg.curation.deidentify_nifti import clean_nifti
from medimg.curation.deidentify_streams import LeftOut
from medimg.errors import DataError


def write(path, kind=nib.Nifti1Image, order="<", shape=(5, 6, 7), dtype=np.int16, tail=b"Jane Doe"):
    volume = np.random.default_rng(0).integers(0, 90, shape).astype(np.dtype(dtype).newbyteorder(order))
    header = kind.header_class(endianness=order)
    header.set_data_dtype(volume.dtype)
    affine = np.array([[-1.5, 0.1, 0, 7], [0.1, 2, 0, 8], [0, 0, 3, 9], [0, 0, 0, 1.0]])
    image = kind(volume, affine, header)
    image.header["descrip"], image.header["aux_file"], image.header["intent_name"] = (
        b"Jane",
        b"Doe",
        b"17.3.31",
    )
    image.header["cal_max"], image.header["scl_slope"], image.header["scl_inter"] = 90, 2, 0
    image.header["intent_code"], image.header["intent_p1"] = 1007, 3
    image.header.extensions.append(nib.nifti1.Nifti1Extension(6, b"Jane Doe"))
    content = image.to_bytes() + tail
    if path.name.endswith(".gz"):
        with path.open("wb") as file, gzip.GzipFile("Jane_Doe.nii", "wb", 6, file) as packed:
            packed.write(content)
    else:
        path.write_bytes(content)
    return volume, affine


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_voxels_and_place_stay_and_text_goes(tmp_path, kind, order, suffix):
    source, target = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    volume, affine = write(source, kind, order)
    assert clean_nifti(source, target) == 4
    made, before = nib.load(target), nib.load(source)
    assert np.array_equal(np.asarray(made.dataobj), np.asarray(before.dataobj))
    assert np.allclose(made.affine, affine)
    for name in (
        "dim",
        "pixdim",
        "datatype",
        "qform_code",
        "sform_code",
        "xyzt_units",
        "cal_max",
        "intent_code",
    ):
        assert np.array_equal(made.header[name], before.header[name]), name
    assert not made.header.extensions
    raw = target.read_bytes()
    content = gzip.decompress(raw) if suffix.endswith(".gz") else raw
    assert not [word for word in (b"Jane", b"Doe", b"17.3.31") if word in raw + content]
    assert len(content) == (352 if kind is nib.Nifti1Image else 544) + volume.nbytes
    assert raw[4:8] == b"\0" * 4 or not suffix.endswith(".gz")
    clean_nifti(target, tmp_path / f"c{suffix}")
    assert (tmp_path / f"c{suffix}").read_bytes() == raw


def test_colours_and_four_axes(tmp_path):
    volume = np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    volume["G"] = 7
    nib.Nifti1Image(volume, np.eye(4)).to_filename(tmp_path / "a.nii")
    clean_nifti(tmp_path / "a.nii", tmp_path / "b.nii")
    assert np.array_equal(np.asarray(nib.load(tmp_path / "b.nii").dataobj), volume)
    write(tmp_path / "c.nii", shape=(2, 3, 4, 5))
    clean_nifti(tmp_path / "c.nii", tmp_path / "d.nii")
    assert nib.load(tmp_path / "d.nii").shape == (2, 3, 4, 5)


def test_damaged_files_and_halves_are_refused(tmp_path):
    write(tmp_path / "a.nii", tail=b"")
    content = (tmp_path / "a.nii").read_bytes()
    for name, damaged, message in (
        ("cut", content[:-9], "declares|truncated"),
        ("size", b"\0" * 4 + content[4:], "expected a NIfTI header"),
        ("axes", content[:40] + b"\x09\0" + content[42:], "does not describe a volume"),
        ("place", content[:108] + b"\0\0\x80\x7f" + content[112:], "voxels begin at byte -1"),
    ):
        path = tmp_path / f"{name}.nii"
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=message):
            clean_nifti(path, tmp_path / "out.nii")
    (tmp_path / "pair.hdr").write_bytes(content[:344] + b"ni1\0" + content[348:])
    with pytest.raises(LeftOut, match=r"half of a \.hdr/\.img pair"):
        clean_nifti(tmp_path / "pair.hdr", tmp_path / "out.nii")
    assert not (tmp_path / "out.nii").exists()
