import gzip
import zipfile
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medimg.errors import ConfigError, DataError
from medimg.submission.faults import Faults
from medimg.submission.formats import FORMATS
from medimg.submission.volumes import (
    VolumeTask,
    asked_cases,
    case_files,
    check_archive,
    dataset_labels,
    write_empty,
    write_volumes,
)

DECATHLON = FORMATS["decathlon"]
ATLAS = np.array([[-1.0, 0, 0, 0], [0, -1.0, 0, 239], [0, 0, 1.0, 0], [0, 0, 0, 1.0]])
# The rules of 2023 on a grid that is quick to write.
BRATS = replace(FORMATS["brats2023"], shape=(4, 5, 6))
ALLOWED = frozenset({1, 2, 3})


def read(path, name):
    with zipfile.ZipFile(path) as archive:
        return nib.Nifti1Image.from_bytes(gzip.decompress(archive.read(name)))


def labels(values=(1, 2, 4), shape=(4, 5, 6)):
    return np.random.default_rng(0).choice(np.array([0, *values], np.uint8), shape)


def faults_of(path, task):
    faults = Faults()
    check_archive(path, task, faults)
    return faults.text("x") if faults else ""


def test_masks_are_relabelled_and_pass_the_check(write_volume, tmp_path):
    mask = labels()
    source = write_volume(tmp_path / "a.nii.gz", mask, ATLAS)
    task = VolumeTask(BRATS, values={1: 1, 2: 2, 4: 3}, allowed=ALLOWED)
    out = tmp_path / "out.zip"
    assert write_volumes(out, task, {"BraTS-GLI-00001-000": source}, Faults()) == 1
    image = read(out, "BraTS-GLI-00001-000.nii.gz")
    expected = np.where(mask == 4, 3, mask).transpose(2, 1, 0)
    np.testing.assert_array_equal(np.asarray(image.dataobj), expected)
    for form in (image.get_qform(coded=True), image.get_sform(coded=True)):
        np.testing.assert_array_equal(form[0], ATLAS)
        assert form[1] > 0
    assert faults_of(out, task) == ""


def test_two_archives_of_equal_masks_are_equal(write_volume, tmp_path):
    masks = {f"{n}": write_volume(tmp_path / f"{n}.nii.gz", labels((n,))) for n in (2, 1)}
    for name in ("x.zip", "y.zip"):
        write_volumes(tmp_path / name, VolumeTask(DECATHLON), masks, Faults())
    assert (tmp_path / "x.zip").read_bytes() == (tmp_path / "y.zip").read_bytes()
    assert zipfile.ZipFile(tmp_path / "x.zip").namelist() == ["1.nii.gz", "2.nii.gz"]
    assert {path.name for path in tmp_path.iterdir()} == {"1.nii.gz", "2.nii.gz", "x.zip", "y.zip"}


def test_masks_get_the_header_of_their_image(write_volume, tmp_path):
    image = write_volume(
        tmp_path / "i" / "c.nii.gz", np.zeros((4, 5, 6), np.int16), qform_code=2, sform_code=3
    )
    mask = write_volume(tmp_path / "m" / "c.nii.gz", labels((1,)))
    task = VolumeTask(DECATHLON, images={"c": image})
    write_volumes(tmp_path / "out.zip", task, {"c": mask}, Faults())
    header = read(tmp_path / "out.zip", "c.nii.gz").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (2, 3)


def test_every_fault_of_masks_is_listed_and_nothing_is_written(write_volume, tmp_path):
    away = ATLAS.copy()
    away[0, 3] = 2
    good = "BraTS-GLI-0000{}-000".format
    masks = {
        good(1): write_volume(tmp_path / "1.nii.gz", labels((4,)), ATLAS),
        good(2): write_volume(tmp_path / "2.nii.gz", labels((1,), (3, 5, 6)), ATLAS),
        good(3): write_volume(tmp_path / "3.nii.gz", labels((1,)), away),
        "BraTS-MEN-00001-000": write_volume(tmp_path / "4.nii.gz", labels((1,)), ATLAS),
        "case_5": write_volume(tmp_path / "5.nii.gz", labels((1,)), ATLAS),
        good(6): tmp_path / "6.nii.gz",
        good(7): write_volume(tmp_path / "7.nii.gz", np.zeros((2, 4, 5, 6), np.uint8), ATLAS),
    }
    masks[good(6)].write_bytes(b"")
    asked = tuple(good(number) for number in (1, 2, 3, 6, 7, 8))
    task = VolumeTask(BRATS, asked, allowed=ALLOWED)
    with pytest.raises(DataError) as caught:
        write_volumes(tmp_path / "out.zip", task, masks, Faults())
    for part in (
        "names unlike BraTS-GLI-00001-000.nii.gz (1):\n    case_5.nii.gz; --id_map",
        "doubled masks (1):\n    00001-000",
        "missing masks (1):\n    00008-000",
        "unknown masks (1):\n    case_5",
        "1.nii.gz: [4], expected 0 and [1, 2, 3]; say what they mean with --labels",
        "(3, 5, 6), the format asks (4, 5, 6) (D, H, W)",
        "2.00 mm from the affine asked for",
        "files that cannot be read (2)",
    ):
        assert part in str(caught.value)
    assert not (tmp_path / "out.zip").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".tmp")]


def test_a_value_without_a_meaning_is_named(write_volume, tmp_path):
    mask = write_volume(tmp_path / "a.nii.gz", labels((1, 7)))
    task = VolumeTask(DECATHLON, values={1: 1, 2: 2})
    with pytest.raises(DataError, match=r"\[7\], the labels name \[1, 2\]"):
        write_volumes(tmp_path / "out.zip", task, {"a": mask}, Faults())


def test_masks_are_compared_with_their_images(write_volume, tmp_path):
    images = {name: write_volume(tmp_path / f"{name}.nii.gz", labels()) for name in "ab"}
    moved = np.eye(4)
    masks = {
        "a": write_volume(tmp_path / "m" / "a.nii.gz", labels((1,)), moved),
        "b": write_volume(tmp_path / "m" / "b.nii.gz", labels((1,), (2, 5, 6))),
        "c": write_volume(tmp_path / "m" / "c.nii.gz", labels((1,))),
    }
    with pytest.raises(DataError) as caught:
        write_volumes(tmp_path / "out.zip", VolumeTask(DECATHLON, images=images), masks, Faults())
    for part in ("mm from its image", "its image asks (4, 5, 6)", "masks without an image (1):\n    c"):
        assert part in str(caught.value)


def pack(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, file in files.items():
            archive.write(file, name)
    return path


def test_an_archive_from_elsewhere_is_checked_member_by_member(write_volume, tmp_path):
    good = write_volume(tmp_path / "g.nii.gz", labels((1,)), ATLAS)
    qform = ATLAS.copy()
    qform[1, 3] = 0
    other = write_volume(tmp_path / "q.nii.gz", labels((1,)), ATLAS, qform=qform)
    broken = tmp_path / "b.nii.gz"
    broken.write_bytes(good.read_bytes()[:-20])
    files = {
        "x_00001-000.nii.gz": good,
        "BraTS-GLI-00002-000.nii.gz": other,
        "BraTS-GLI-00003-000.nii.gz": broken,
        "BraTS-GLI-00004-000-seg.nii.gz": good,
        "__MACOSX/x.nii.gz": good,
        "notes.txt": good,
        "BraTS-GLI-00005-000.nii.gz": write_volume(tmp_path / "l.nii.gz", labels((4,)), ATLAS),
    }
    asked = tuple(f"BraTS-GLI-0000{n}-000" for n in (1, 2, 3, 5))
    text = faults_of(pack(tmp_path / "x.zip", files), VolumeTask(BRATS, asked, allowed=ALLOWED))
    for part in (
        "files that are no .nii.gz (1):\n    notes.txt",
        "folders; masks lie at the top of the archive (1):\n    __MACOSX/x.nii.gz",
        "BraTS-GLI-00002-000.nii.gz: sform and qform put a corner",
        "BraTS-GLI-00003-000.nii.gz: ",
        "names unlike BraTS-GLI-00001-000.nii.gz (1):\n    BraTS-GLI-00004-000-seg.nii.gz",
        "BraTS-GLI-00005-000.nii.gz: [4], expected 0 and [1, 2, 3]",
    ):
        assert part in text
    assert str(tmp_path) not in text
    assert "missing" not in text  # x_00001-000 is the case 00001-000


def test_an_empty_archive_is_a_fault(tmp_path):
    assert "no masks (1)" in faults_of(pack(tmp_path / "x.zip", {}), VolumeTask(DECATHLON))
    (tmp_path / "y.zip").write_bytes(b"no zip")
    assert "no zip archive" in faults_of(tmp_path / "y.zip", VolumeTask(DECATHLON))


def test_empty_masks_take_the_place_of_the_format_or_the_image(write_volume, tmp_path):
    out = tmp_path / "out.zip"
    task = VolumeTask(BRATS, ("BraTS-GLI-00002-000", "BraTS-GLI-00001-000"), allowed=ALLOWED)
    assert write_empty(out, task, Faults()) == 2
    assert faults_of(out, task) == ""
    assert not np.asarray(read(out, "BraTS-GLI-00002-000.nii.gz").dataobj).any()
    image = write_volume(tmp_path / "c.nii.gz", labels())
    task = VolumeTask(DECATHLON, ("c",), images={"c": image})
    write_empty(tmp_path / "d.zip", task, Faults())
    assert faults_of(tmp_path / "d.zip", task) == ""
    with pytest.raises(ConfigError, match="give --images"):
        write_empty(out, VolumeTask(DECATHLON, ("c",)), Faults())
    with pytest.raises(DataError, match="cases without an image"):
        write_empty(tmp_path / "e.zip", replace(task, asked=("c", "d")), Faults())


def test_cases_are_found_in_folders_archives_and_tables(
    write_brats, write_decathlon, write_table, write_volume, tmp_path
):
    brats = write_brats(tmp_path / "brats", 2)
    names = ["BraTS-GLI-00000-000", "BraTS-GLI-00001-000"]
    assert sorted(case_files(brats)) == names
    task = write_decathlon(tmp_path / "task", 2)
    assert sorted(case_files(task / "imagesTr")) == ["fake_000", "fake_001"]
    assert dataset_labels(task / "imagesTr") == {"anterior": 1, "posterior": 2}
    assert dataset_labels(tmp_path) == {}
    assert asked_cases(brats) == tuple(names)
    table = write_table(tmp_path / "s.csv", ["case", "fold"], [[name, 0] for name in names])
    assert asked_cases(table) == tuple(names)
    files = {f"{name}.nii.gz": write_volume(tmp_path / "m.nii.gz", labels()) for name in names}
    assert asked_cases(pack(tmp_path / "s.zip", files)) == tuple(names)
    with pytest.raises(DataError, match="found none"):
        asked_cases(write_table(tmp_path / "e.csv", ["case"], []))
    with pytest.raises(DataError, match="no such folder"):
        case_files(Path("nowhere"))


def test_headers_that_organisers_refuse_are_faults(write_volume, tmp_path):
    mask = nib.load(write_volume(tmp_path / "a.nii.gz", labels((1,)), ATLAS))
    voxels = np.asarray(mask.dataobj)
    nib.save(nib.Nifti1Image(voxels[..., None], ATLAS, mask.header), tmp_path / "four.nii.gz")
    bare = nib.Nifti1Image(voxels, ATLAS, mask.header)
    bare.header.set_qform(None, code=0)
    nib.save(bare, tmp_path / "bare.nii.gz")
    files = {
        f"BraTS-GLI-0000{n}-000.nii.gz": tmp_path / f"{name}.nii.gz"
        for n, name in enumerate(("four", "bare"))
    }
    text = faults_of(pack(tmp_path / "x.zip", files), VolumeTask(BRATS, allowed=ALLOWED))
    assert "masks that are not 3D (1):\n    BraTS-GLI-00000-000.nii.gz: 4 axes" in text
    assert "masks without a qform (1):\n    BraTS-GLI-00001-000.nii.gz" in text


def test_a_name_that_would_make_a_folder_is_refused(write_volume, tmp_path):
    mask = write_volume(tmp_path / "a.nii.gz", labels((1,)))
    for name in ("../a", "x/a", "x\\a", ".a", "_a"):
        with pytest.raises(DataError, match="names unlike hippocampus_002"):
            write_volumes(tmp_path / "out.zip", VolumeTask(DECATHLON), {name: mask}, Faults())


def test_what_a_system_packs_beside_the_masks_is_no_case(write_volume, tmp_path):
    mask = write_volume(tmp_path / "a.nii.gz", labels((1,)))
    sample = pack(tmp_path / "s.zip", {"__MACOSX/._a.nii.gz": mask, "a.nii.gz": mask})
    assert asked_cases(sample) == ("a",)
