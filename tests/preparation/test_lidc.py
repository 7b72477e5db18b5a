import csv
import json

import nibabel as nib
import numpy as np
import pydicom
import pytest

from medimg.datasets import LIDC
from medimg.datasets.nnunet import index_nnunet
from medimg.errors import ConfigError, DataError
from medimg.io.dicom.series import find_series
from medimg.io.nifti import read_mask
from medimg.phantoms.chest_scan import draw_chest, truth_file
from medimg.phantoms.lidc import write_lidc
from medimg.preparation.lidc import CropOptions, convert_lidc, cut_crop, offset_mm, without_copies
from medimg.preparation.splits import choose_split

SIZE = (40, 96, 96)
CASES = 3


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lidc") / "LIDC-IDRI"
    write_lidc(folder, cases=CASES, seed=5, size=SIZE)
    return folder


@pytest.fixture(scope="module")
def converted(raw, tmp_path_factory):
    out = tmp_path_factory.mktemp("converted") / "lidc"
    return out, convert_lidc(raw, out, min_readers=1, crop=CropOptions(16, 2.0))


def rows_of(out):
    with (out / "nodules.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_the_nodules_found_are_those_planted(converted):
    out, done = converted
    rows = rows_of(out)
    assert (done.scans, done.nodules, done.failed) == (CASES, len(rows), ())
    for index in range(CASES):
        planted = draw_chest(index, seed=5, size=SIZE, vessels=False).nodules
        found = [row for row in rows if row["patient_id"] == f"LIDC-IDRI-{9001 + index}"]
        assert len(found) == len(planted)
        for nodule in planted:
            z, y, x = nodule.centre
            away = [np.hypot(float(r["x_mm"]) - x, float(r["y_mm"]) - y) for r in found]
            nearest = found[int(np.argmin(away))]
            assert min(away) < 4
            assert abs(float(nearest["z_mm"]) - z) < 8
            assert float(nearest["malignancy"]) == pytest.approx(nodule.malignancy, abs=1.1)


def test_the_consensus_is_the_truth_but_for_its_border(raw, converted):
    for index in range(CASES):
        name = f"LIDC-IDRI-{9001 + index}"
        truth = truth_file(raw, name)
        mask = next((converted[0] / "labelsTr").glob(f"{name}*"))
        assert dice(read_mask(truth) > 0, read_mask(mask) == 1) >= 0.8
        np.testing.assert_allclose(nib.load(mask).affine, nib.load(truth).affine, atol=1e-3)


def test_every_other_step_reads_the_result(converted):
    index = index_nnunet(converted[0])
    assert (index.channels, index.labels, index.ignore_label) == (("CT",), {"nodule": 1}, 2)
    assert {record.patient_id for record in index.records} == {f"LIDC-IDRI-{9001 + n}" for n in range(CASES)}
    split = choose_split(index, fold=0, num_folds=3)
    patient = {record.case_id: record.patient_id for record in index.records}
    assert not {patient[case] for case in split.train} & {patient[case] for case in split.val}
    image = nib.load(index.records[0].images[0])
    assert image.get_data_dtype() == np.int16
    assert image.shape == SIZE[::-1]
    nodules = LIDC(min_readers=1, exclude_neither=False).index(converted[0])
    crop = nib.load(nodules.records[0].images[0])
    assert crop.shape == (16, 16, 16)
    assert crop.header.get_zooms() == pytest.approx((2, 2, 2))


def test_a_crop_has_the_nodule_in_its_middle(converted):
    for row in rows_of(converted[0]):
        crop = nib.load(converted[0] / row["image"])
        middle = (crop.affine @ [7.5, 7.5, 7.5, 1])[:3]
        np.testing.assert_allclose(middle, [float(row[f"{a}_mm"]) for a in "xyz"], atol=0.05)


def test_a_nodule_lies_off_the_middle_where_its_place_is_to_be_learned(raw, tmp_path):
    crop = CropOptions(16, 2.0, off_centre=0.25)
    convert_lidc(raw, tmp_path / "off", min_readers=1, crop=crop)
    offsets = []
    for row in rows_of(tmp_path / "off"):
        image = nib.load(tmp_path / "off" / row["image"])
        middle = (image.affine @ [7.5, 7.5, 7.5, 1])[:3]
        offsets.append([float(row[f"offset_{a}_mm"]) for a in "xyz"])
        np.testing.assert_allclose([float(row[f"{a}_mm"]) for a in "xyz"], middle + offsets[-1], atol=0.1)
    assert np.abs(offsets).max() <= 8 and np.abs(offsets).mean() > 2
    np.testing.assert_array_equal(offset_mm("a-n01", crop), offset_mm("a-n01", crop))
    with pytest.raises(ConfigError, match="holds a conversion with other settings"):
        convert_lidc(raw, tmp_path / "off", min_readers=1, crop=CropOptions(16, 2.0))
    with pytest.raises(ConfigError, match=r"off_centre in \[0, 0.5\), found"):
        convert_lidc(raw, tmp_path / "new", crop=CropOptions(16, 2.0, off_centre=0.5))


def test_a_crop_is_interpolated_and_has_air_beyond_the_edge():
    ramp = np.broadcast_to(np.arange(10, dtype=np.int16)[:, None, None] * 100, (10, 10, 10))
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    cube, own = cut_crop(ramp, affine, np.array([-5.0, -5.0, 9.0]), CropOptions(4, 1.0))
    np.testing.assert_array_equal(cube[:, 0, 0], [375, 425, 475, 525])
    np.testing.assert_allclose(np.diag(own), [-1, -1, 1, 1])
    np.testing.assert_allclose(own[:3, 3], [-3.5, -3.5, 7.5])
    assert (cut_crop(ramp, affine, np.array([60.0, 0, 0]), CropOptions(4, 1.0))[0] == -1024).all()


def test_nodules_of_few_readers_take_no_part(raw, tmp_path):
    convert_lidc(raw, tmp_path / "strict", min_readers=4, crop=CropOptions(0))
    rows = rows_of(tmp_path / "strict")
    assert {int(row["readers"]) for row in rows} >= {4}
    assert any(int(row["readers"]) < 4 for row in rows)
    for name in {row["case_id"] for row in rows}:
        values = set(np.unique(read_mask(tmp_path / "strict" / "labelsTr" / f"{name}.nii.gz")).tolist())
        own = [int(row["readers"]) for row in rows if row["case_id"] == name]
        assert values == {0} | ({1} if 4 in own else set()) | ({2} if min(own) < 4 else set())
    assert not (tmp_path / "strict" / "crops").exists()
    assert {row["image"] for row in rows} == {""}


def test_a_stopped_conversion_goes_on_and_other_settings_are_refused(raw, tmp_path):
    out = tmp_path / "out"
    options = {"min_readers": 2, "crop": CropOptions(0)}
    convert_lidc(raw, out, **options)
    first = next((out / "imagesTr").iterdir())
    before = first.stat().st_mtime_ns
    (out / "dataset.json").unlink()
    next((out / "readings").glob("LIDC-IDRI-9003*")).unlink()
    assert convert_lidc(raw, out, **options).scans == CASES
    assert (out / "dataset.json").is_file()
    assert (
        next(path for path in (out / "imagesTr").iterdir() if path.name == first.name).stat().st_mtime_ns
        == before
    )
    with pytest.raises(ConfigError, match="holds a conversion with other settings"):
        convert_lidc(raw, out, min_readers=3, crop=CropOptions(0))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    with pytest.raises(ConfigError, match="expected a new or empty folder"):
        convert_lidc(raw, tmp_path / "mine")
    with pytest.raises(ConfigError, match="min_readers: expected 1 to 4, found 5"):
        convert_lidc(raw, tmp_path / "new", min_readers=5)


def copy_of(raw, folder, name):
    source = next(raw.glob(f"{name}/*/*"))
    target = folder / name / "study" / source.name
    target.mkdir(parents=True)
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def test_a_scan_that_cannot_be_used_is_named_and_may_be_left_out(raw, tmp_path):
    copy_of(raw, tmp_path / "set", "LIDC-IDRI-9001")
    broken = copy_of(raw, tmp_path / "set", "LIDC-IDRI-9002")
    for number in range(10, 13):
        (broken / f"{number:04d}.dcm").unlink()
    with pytest.raises(DataError, match=r"1 of 2 cases failed:\n.*LIDC-IDRI-9002-9002: .*missing slices"):
        convert_lidc(tmp_path / "set", tmp_path / "out", crop=CropOptions(0))
    assert not (tmp_path / "out" / "dataset.json").exists()
    done = convert_lidc(tmp_path / "set", tmp_path / "out", crop=CropOptions(0), on_bad="skip")
    assert done.scans == 1
    assert "LIDC-IDRI-9002-9002" in done.failed[0]
    assert list(json.loads((tmp_path / "out" / "patients.json").read_text())) == ["LIDC-IDRI-9001-9001"]


def test_of_slices_at_one_place_the_lower_instance_number_stays(raw, tmp_path):
    folder = copy_of(raw, tmp_path, "LIDC-IDRI-9001")
    again = pydicom.dcmread(folder / "0005.dcm")
    again.InstanceNumber, again.SOPInstanceUID = 99, "1.2.3"
    again.file_meta.MediaStorageSOPInstanceUID = again.SOPInstanceUID
    again.save_as(folder / "0000.dcm")  # the name sorts before all others
    (series,) = find_series(folder)
    kept = without_copies(series)
    assert len(series.slices) == SIZE[0] + 1
    assert len(kept) == SIZE[0]
    assert "0000.dcm" not in {one.path.name for one in kept}
