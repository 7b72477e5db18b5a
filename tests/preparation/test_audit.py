import csv
import os
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from writers.nifti import OBLIQUE

from medimg.datasets import index_dataset
from medimg.preparation.audit import audit_dataset, check_case, write_reports

SHAPE = (6, 8, 10)


@pytest.fixture
def root(tmp_path, write_decathlon):
    return write_decathlon(tmp_path / "Task99", 3, tests=1, shape=SHAPE)


def report_of(root, case_id="fake_000", **options):
    index = index_dataset(root)
    record = next(r for r in (*index.records, *index.unlabelled) if r.case_id == case_id)
    return check_case(record, index, **options)


def texts(report):
    return " | ".join(f"{finding.verdict}: {finding.text}" for finding in report.findings)


def test_good_case(root):
    report = report_of(root)
    assert report.verdict == "ok"
    assert report.shape == SHAPE
    assert report.channels == 1
    np.testing.assert_allclose(report.spacing_mm, (2.5, 1.0, 0.8), atol=1e-6)
    assert report.orientation == "LAS"
    assert report.labels == (0, 1, 2)
    assert not report.empty_mask
    assert report_of(root, "fake_900").labels == ()


def test_fault_13_one_slice_is_accepted(root, write_volume):
    write_volume(root / "imagesTr/fake_000.nii.gz", np.arange(80, dtype=np.int16).reshape(1, 8, 10))
    write_volume(root / "labelsTr/fake_000.nii.gz", np.ones((1, 8, 10), np.uint8))
    assert report_of(root).verdict == "ok"


def test_fault_15_shapes_differ(root, write_volume):
    write_volume(root / "labelsTr/fake_000.nii.gz", np.zeros((6, 8, 9), np.uint8))
    report = report_of(root)
    assert report.verdict == "refuse"
    assert "has shape (6, 8, 9) (D, H, W) but fake_000.nii.gz has (6, 8, 10)" in texts(report)


# The smallest spacing is 0.8 mm, so half a voxel is 0.4 mm.
@pytest.mark.parametrize(
    ("shift_mm", "verdict"), [(0.0, "ok"), (0.045, "ok"), (0.06, "warn"), (0.38, "warn"), (0.42, "refuse")]
)
def test_fault_16_grids_of_image_and_mask(root, write_volume, shift_mm, verdict):
    affine = OBLIQUE.copy()
    affine[2, 3] += shift_mm
    write_volume(root / "labelsTr/fake_000.nii.gz", np.ones(SHAPE, np.uint8), affine)
    report = report_of(root)
    assert report.verdict == verdict
    if verdict != "ok":
        assert f"{shift_mm:.2f} mm apart" in texts(report)


def test_fault_17_unknown_labels_are_named(root, write_volume):
    mask = np.zeros(SHAPE, np.int16)
    mask[0, 0, :3] = 1, 7, 300
    write_volume(root / "labelsTr/fake_000.nii.gz", mask)
    report = report_of(root)
    assert report.verdict == "refuse"
    assert "holds the values [7, 300], expected [0, 1, 2]" in texts(report)


def test_ignore_label_and_regions_are_known(tmp_path, write_nnunet):
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "ignore": 4}
    root = write_nnunet(tmp_path, 2, labels=labels, shape=(16, 16, 16), more={"regions_class_order": [1, 2]})
    assert report_of(root, "case_000").labels == (0, 1, 2, 3, 4)
    assert report_of(root, "case_000").verdict == "ok"


def test_fault_19_empty_mask_is_accepted_and_counted(root, write_volume):
    write_volume(root / "labelsTr/fake_000.nii.gz", np.zeros(SHAPE, np.uint8))
    report = report_of(root)
    assert report.verdict == "ok"
    assert report.empty_mask


def test_fault_23_same_pixels_under_two_ids(root):
    image = nib.load(root / "imagesTr/fake_000.nii.gz")
    # Another type and other bytes on disk, the same pixels.
    image.set_data_dtype(np.float32)
    nib.save(image, root / "imagesTr/fake_002.nii.gz")
    reports = audit_dataset(index_dataset(root))
    assert [report.verdict for report in reports] == ["warn", "ok", "warn", "ok"]
    assert "the same pixels as fake_002, which counts as another patient" in texts(reports[0])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "truncated"),
        (lambda path: path.write_bytes(b""), "empty"),
    ],
)
def test_damaged_files_are_findings(root, damage, said):
    damage(root / "imagesTr/fake_000.nii.gz")
    report = report_of(root)
    assert report.verdict == "refuse"
    assert texts(report).count(said) == 1
    assert "imagesTr/fake_000.nii.gz" in texts(report)
    assert report.labels == (0, 1, 2)


def test_fault_7_not_a_number(root, write_volume):
    image = np.ones(SHAPE, np.float32)
    image[0, 0, 0] = np.nan
    write_volume(root / "imagesTr/fake_000.nii.gz", image)
    assert "refuse: " in texts(report_of(root))
    assert "1 of 480 voxels are not numbers" in texts(report_of(root))


def test_fault_10_is_refused_or_declared(root, write_volume):
    for folder, value in (("imagesTr", 2), ("labelsTr", 1)):
        array = (
            np.arange(480).reshape(SHAPE).astype(np.uint8) % value if value == 2 else np.ones(SHAPE, np.uint8)
        )
        write_volume(root / folder / "fake_000.nii.gz", array, qform=np.eye(4))
    assert report_of(root).verdict == "refuse"
    assert report_of(root, form="sform").verdict == "ok"


def test_fault_11_is_warned_of(root, write_volume):
    for folder in ("imagesTr", "labelsTr"):
        path = root / folder / "fake_000.nii.gz"
        write_volume(path, np.asarray(nib.load(path).dataobj).T, sform_code=0, qform_code=0)
    report = report_of(root)
    assert report.verdict == "warn"
    assert report.orientation == "?"
    assert "left and right are a guess" in texts(report)


def test_channels_are_counted_and_lie_on_one_grid(tmp_path, write_brats, write_volume):
    root = write_brats(tmp_path, 1)
    case, image = "BraTS-GLI-00000-000", np.arange(16**3, dtype=np.int16).reshape(16, 16, 16)
    assert report_of(root, case).verdict == "ok"
    assert report_of(root, case).channels == 4
    moved = np.diag([-1.0, -1.0, 1.0, 1.0])
    write_volume(root / case / f"{case}-t2w.nii.gz", image, moved)
    report = report_of(root, case)
    assert report.verdict == "refuse"
    assert "t2w.nii.gz and BraTS-GLI-00000-000-t1n.nii.gz lie up to 239.00 mm apart" in texts(report)
    write_volume(root / case / f"{case}-t2w.nii.gz", np.stack([image, image]), moved)
    assert "4D file of 2 channels beside other files" in texts(report_of(root, case))


def test_missing_channel_of_a_4d_file(tmp_path, write_decathlon, write_volume):
    root = write_decathlon(tmp_path, 1, tests=0, channels=("T2", "ADC"), shape=SHAPE)
    write_volume(root / "imagesTr/fake_000.nii.gz", np.arange(480, dtype=np.int16).reshape(SHAPE))
    assert "has 1 channels, expected 2 (T2, ADC)" in texts(report_of(root))


def test_flat_image_is_warned_of(root, write_volume):
    write_volume(root / "imagesTr/fake_000.nii.gz", np.full(SHAPE, 5, np.int16))
    assert "every voxel of channel 0 has the value 5" in texts(report_of(root))


def test_two_workers_say_what_one_says(root):
    index = index_dataset(root)
    shutil.copy(root / "imagesTr/fake_000.nii.gz", root / "imagesTr/fake_001.nii.gz")
    alone = audit_dataset(index)
    assert audit_dataset(index, workers=2) == alone
    assert [report.case_id for report in alone] == ["fake_000", "fake_001", "fake_002", "fake_900"]


def test_a_row_for_each_case(root, tmp_path):
    (root / "imagesTr/fake_001.nii.gz").write_bytes(b"")
    reports = audit_dataset(index_dataset(root))
    write_reports(tmp_path / "audit.csv", reports)
    with (tmp_path / "audit.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["verdict"] for row in rows] == ["ok", "refuse", "ok", "ok"]
    assert (rows[0]["depth"], rows[0]["height"], rows[0]["width"]) == ("6", "8", "10")
    assert rows[0]["spacing_d_mm"] == "2.5"
    assert rows[0]["labels"] == "0 1 2"
    assert rows[1]["depth"] == rows[1]["spacing_w_mm"] == ""
    assert "empty" in rows[1]["findings"]


def test_a_check_that_breaks_names_its_case(root, monkeypatch):
    def broken(*arguments, **options):
        raise RuntimeError("unforeseen")

    monkeypatch.setattr("medimg.preparation.audit.read_mask", broken)
    report = audit_dataset(replace(index_dataset(root), unlabelled=()))[0]
    assert report.verdict == "refuse"
    assert "unforeseen" in texts(report)


@pytest.mark.real
def test_real_data_pass():
    root = Path(os.environ["MEDIMG_REAL_DATA"])
    for name, cases in (("Task04_Hippocampus", 200), ("Task01_BrainTumourPatches", 12), ("BraTS2023", 1)):
        reports = audit_dataset(index_dataset(root / name))
        assert len(reports) == cases
        assert {report.verdict for report in reports} == {"ok"}
