import highdicom
import nibabel as nib
import numpy as np
import pytest
from writers.grids import make_grid, make_hu

from medimg.cli import main
from medimg.commands import convert_lidc
from medimg.io.dicom.write_series import write_series


@pytest.fixture
def scan(tmp_path):
    write_series(tmp_path / "scan", make_hu(), make_grid(), description="CHEST")
    return tmp_path / "scan"


def refused(capsys, *words):
    assert main(["convert", *map(str, words)]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert "Traceback" not in message
    return message


def test_a_series_becomes_a_file(scan, tmp_path, capsys):
    target = tmp_path / "a.nii.gz"
    assert main(["convert", str(scan), str(target)]) == 0
    np.testing.assert_array_equal(np.asarray(nib.load(target).dataobj).T, make_hu())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{target}: 5 x 6 x 7 voxels (D x H x W) of 2.5 x 1 x 0.8 mm, LPS"
    assert lines[-1].startswith("next: medimg predict")
    assert "there already" in refused(capsys, scan, target)
    assert main(["convert", str(scan), str(target), "--overwrite"]) == 0


def test_a_folder_becomes_a_folder(scan, tmp_path, capsys):
    write_series(tmp_path / "scan/other", make_hu(seed=1), make_grid(), series_number=4)
    (scan / "other/0002.dcm").unlink()
    out = tmp_path / "out"
    assert "--on_bad skip" in refused(capsys, scan, "--out", out)
    assert not out.exists()
    assert main(["convert", str(scan), "--out", str(out), "--on_bad", "skip"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["P1_001_CHEST.nii.gz", "conversions.csv"]
    text = capsys.readouterr().out
    assert "refused: " in text
    assert "1 series converted, 1 refused, 0 files set aside" in text
    assert "there already" in refused(capsys, scan, "--out", out, "--on_bad", "skip")


def test_one_of_several_is_named(scan, tmp_path, capsys):
    write_series(tmp_path / "scan/other", make_hu(seed=1), make_grid(), series_number=4)
    assert "Name one with --series" in refused(capsys, scan, tmp_path / "a.nii.gz")
    assert main(["convert", str(scan), str(tmp_path / "a.nii.gz"), "--series", "4"]) == 0
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "a.nii.gz").dataobj).T, make_hu(seed=1))


def test_uneven_slices_are_resampled_on_request(tmp_path, capsys):
    write_series(tmp_path / "scan", make_hu(), make_grid(), depths_mm=[0, 2, 4, 7, 10])
    target = tmp_path / "a.nii.gz"
    assert "Give --resample" in refused(capsys, tmp_path / "scan", target)
    assert main(["convert", str(tmp_path / "scan"), str(target), "--resample"]) == 0
    assert "interpolated to 2 mm" in capsys.readouterr().out


def test_a_mask_returns_to_its_series(scan, tmp_path, capsys):
    image, mask = tmp_path / "a.nii.gz", tmp_path / "mask.nii.gz"
    main(["convert", str(scan), str(image)])
    values = (make_hu() > 500).astype(np.uint8)
    nib.save(nib.Nifti1Image(values.T, nib.load(image).affine), mask)
    for name in ("seg.dcm", "a.seg.nrrd"):
        words = ["convert", mask, tmp_path / name, "--like", scan, "--labels", "liver=1"]
        assert main([str(word) for word in words]) == 0
        assert (tmp_path / name).is_file()
    assert highdicom.seg.segread(tmp_path / "seg.dcm").pixel_array.sum() == values.sum()
    assert "--like SERIES" in refused(capsys, mask, tmp_path / "b.dcm")
    assert "has several values" in refused(
        capsys, mask, tmp_path / "b.dcm", "--like", scan, "--labels", "a=1+2"
    )
    moved = np.array(nib.load(image).affine)
    moved[0, 3] += 9
    nib.save(nib.Nifti1Image(values.T, moved), mask)
    message = refused(capsys, mask, tmp_path / "b.dcm", "--like", scan, "--labels", "liver=1")
    assert "9.00 mm apart" in message


def test_annotations_make_a_data_set_of_lidc(scan, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        convert_lidc, "convert_lidc_set", lambda *paths, **rest: asked.append((paths, rest)) or 0
    )
    words = ["convert", scan, "--annotations", tmp_path / "xml", "--out", tmp_path / "out", "--crop", "0"]
    assert main([str(word) for word in words]) == 0
    ((paths, rest),) = asked
    assert paths == (scan, tmp_path / "xml", tmp_path / "out")
    assert (rest["crop"], rest["min_readers"], rest["on_bad"]) == (0, 3, "refuse")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scan"], "expected `medimg convert SERIES OUT.nii.gz`"),
        (["scan", "a", "--out", "b"], "one folder of studies at a time"),
        (["scan", "--out", "a.nii.gz"], "--out names a folder"),
        (["scan", "a.png"], "expected a file ending in .nii.gz"),
        (["scan", "a.nii", "--labels", "a=1"], "belong to a mask"),
        (["scan", "--out", "b", "--series", "1"], "--series picks one series"),
        (["scan", "a", "--annotations", "xml"], "name its folder with --out"),
        (["none", "a.nii"], "there is none"),
        (["empty", "--out", "b"], "expected DICOM series, found none"),
    ],
)
def test_words_that_make_no_sense_are_refused(scan, tmp_path, capsys, monkeypatch, words, message):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, *words)
