import csv

import numpy as np
import pydicom
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from medimg.errors import ConfigError
from medimg.io.dicom import read_image, read_stored
from medimg.phantoms.mammography import COLUMNS, draw_patient, patient_rows, write_mammography

SIZE = (80, 64)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("mammography")
    write_mammography(out, patients=5, seed=1, size=SIZE)
    return out


def table(out):
    with (out / "train.csv").open(newline="") as file:
        reader = csv.DictReader(file)
        return list(reader), tuple(reader.fieldnames)


def test_the_layout_is_rsnas(written):
    rows, columns = table(written)
    assert columns == COLUMNS
    assert len(rows) == 20
    for row in rows:
        path = written / "train_images" / row["patient_id"] / f"{row['image_id']}.dcm"
        assert path.is_file()
        image = read_image(path)
        assert image.pixels.shape == (1, *SIZE)
        assert (image.patient_id, image.laterality, image.view) == (
            row["patient_id"],
            row["laterality"],
            row["view"],
        )
        assert image.spacing_mm == pytest.approx((3.0, 3.0))
        assert "no window" not in " ".join(image.flags)
    assert len(list(written.rglob("*.dcm"))) == 20


def test_a_fifth_of_the_breasts_has_cancer_and_both_views_say_so():
    rows = [row for index in range(40) for row in patient_rows(index, seed=0)]
    breasts = {}
    for row in rows:
        breasts.setdefault((row["patient_id"], row["laterality"]), set()).add(row["cancer"])
    assert len(breasts) == 80
    assert all(len(values) == 1 for values in breasts.values())
    assert sum(values == {1} for values in breasts.values()) == 16
    assert {"L", "R"} == {side for (_, side), values in breasts.items() if values == {1}}
    assert all(row["cancer"] for row in rows if row["invasive"])


def test_the_kinds_of_files_are_all_there(written):
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in written.rglob("*.dcm")]
    assert {header.PhotometricInterpretation for header in headers} == {"MONOCHROME1", "MONOCHROME2"}
    assert {header.VOILUTFunction for header in headers} == {"LINEAR", "LINEAR_EXACT", "SIGMOID"}
    assert {header.file_meta.TransferSyntaxUID.name for header in headers} == {
        "JPEG 2000 Image Compression (Lossless Only)",
        "Explicit VR Little Endian",
    }
    assert {header["WindowCenter"].VM for header in headers} == {1, 2, 3}
    for header in headers:
        assert header.BitsStored == 12
        assert "PHANTOM" in str(header.PatientName)
        assert "no patient" in header.ImageComments


def test_files_hold_what_was_drawn(written):
    for index in range(5):
        images = draw_patient(index, seed=1, size=SIZE)
        for row, drawn in zip(patient_rows(index, seed=1), images, strict=True):
            path = written / "train_images" / str(row["patient_id"]) / f"{row['image_id']}.dcm"
            inverted = pydicom.dcmread(path).PhotometricInterpretation == "MONOCHROME1"
            np.testing.assert_array_equal(read_stored(path)[0, ..., 0], 4095 - drawn if inverted else drawn)


def test_the_same_seed_gives_the_same_bytes(written, tmp_path):
    write_mammography(tmp_path, patients=3, seed=1, size=SIZE)
    for path in sorted((tmp_path / "train_images").rglob("*.dcm")):
        assert path.read_bytes() == (written / path.relative_to(tmp_path)).read_bytes()
    assert table(tmp_path)[0] == table(written)[0][:12]
    write_mammography(tmp_path / "other", patients=1, seed=2, size=SIZE)
    other = next((tmp_path / "other").rglob("*.dcm"))
    assert other.read_bytes() != (tmp_path / other.relative_to(tmp_path / "other")).read_bytes()


def test_a_stopped_run_goes_on(written):
    path = next(written.rglob("*.dcm"))
    content = path.read_bytes()
    others = {file: file.stat().st_mtime_ns for file in written.rglob("*.dcm") if file.parent != path.parent}
    path.unlink()
    assert write_mammography(written, patients=5, seed=1, size=SIZE) == [
        written / "train_images" / str(90_000 + index) for index in range(5)
    ]
    assert path.read_bytes() == content
    assert all(file.stat().st_mtime_ns == time for file, time in others.items())


def test_cancers_can_be_found_in_the_pixels():
    scores, labels = [], []
    for index in range(20):
        for row, image in zip(
            patient_rows(index, seed=0), draw_patient(index, seed=0, size=(256, 208)), strict=True
        ):
            # A blob a few millimetres across against its surroundings, away from the muscle.
            blob = gaussian_filter(image.astype(float), 5) - gaussian_filter(image.astype(float), 14)
            scores.append(blob[90:].max())
            labels.append(row["cancer"])
    assert roc_auc_score(labels, scores) > 0.85


@pytest.mark.parametrize(
    "wrong", [{"patients": 0}, {"patients": 20_000}, {"seed": -1}, {"size": (32, 64)}], ids=str
)
def test_wrong_arguments_are_refused(tmp_path, wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        write_mammography(tmp_path / "x", **{"patients": 1, "size": SIZE} | wrong)
    assert not (tmp_path / "x").exists()


def test_folders_of_others_are_refused(tmp_path, written):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="other files"):
        write_mammography(tmp_path, patients=1, size=SIZE)
    with pytest.raises(ConfigError, match="found a file"):
        write_mammography(tmp_path / "notes.txt", patients=1, size=SIZE)
    with pytest.raises(ConfigError, match="other settings"):
        write_mammography(written, patients=1, seed=7, size=SIZE)
