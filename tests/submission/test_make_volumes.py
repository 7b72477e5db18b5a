import json
import zipfile

import numpy as np
import pytest

from medimg.errors import DataError
from medimg.submission.formats import FORMATS
from medimg.submission.make_volumes import submit_volumes
from medimg.submission.request import Request

ATLAS = np.array([[-1.0, 0, 0, 0], [0, -1.0, 0, 239], [0, 0, 1.0, 0], [0, 0, 0, 1.0]])


@pytest.fixture
def request_for(tmp_path):
    plain = dict.fromkeys(Request.__dataclass_fields__)
    plain |= {"predictions": (), "out": tmp_path / "out.zip", "part": "predict"}
    return lambda name, **changes: Request(**{**plain, "format": name, **changes})


def run(request):
    return submit_volumes(request, FORMATS[request.format])


def names(path):
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_predictions_of_a_decathlon_task(write_decathlon, write_volume, request_for, tmp_path):
    root = write_decathlon(tmp_path / "task", 3)
    sample = tmp_path / "sample.csv"
    sample.write_text("case\nfake_000\nfake_002\n")
    masks = tmp_path / "m"
    masks.mkdir()
    for name in ("fake_000", "fake_002"):
        (masks / f"{name}.nii.gz").write_bytes((root / "labelsTr" / f"{name}.nii.gz").read_bytes())
    request = request_for("decathlon", predictions=(masks,), sample=sample, images=root / "imagesTr")
    outcome = run(request)
    assert (outcome.summary, outcome.notes) == ("2 masks", ())
    assert names(request.out) == ["fake_000.nii.gz", "fake_002.nii.gz"]
    for options in ({"sample": sample, "images": root / "imagesTr"}, {}):
        outcome = run(request_for("decathlon", validate=request.out, **options))
        assert not outcome.faults
        assert len(outcome.notes) == (0 if options else 3)
    (masks / "fake_002.nii.gz").rename(masks / "fake_001.nii.gz")
    with pytest.raises(
        DataError, match=r"missing masks \(1\):\n    fake_002\n  unknown masks \(1\):\n    fake_001"
    ):
        run(request)


def test_labels_of_a_task_are_those_of_its_dataset_json(write_decathlon, request_for, tmp_path):
    root = write_decathlon(tmp_path / "task", 1, labels=("a", "b", "c"))
    content = json.loads((root / "dataset.json").read_text())
    content["labels"].pop("3")
    (root / "dataset.json").write_text(json.dumps(content))
    request = request_for("decathlon", predictions=(root / "labelsTr",), images=root / "imagesTr")
    with pytest.raises(DataError, match=r"\[3\], expected 0 and \[1, 2\]"):
        run(request)
    # The masks call 1 what the task calls 2, and the other way round.
    (root / "labelsTr" / "predictions.json").write_text(json.dumps({"labels": {"b": 1, "a": 2}}))
    with pytest.raises(DataError, match=r"\[3\], the labels name \[1, 2\]"):
        run(request)


def test_years_of_brats_meet_by_the_names_of_their_labels(write_volume, request_for, tmp_path):
    mask = np.zeros((155, 240, 240), np.uint8)
    mask[50:60, 50:60, 50:60] = 4
    write_volume(tmp_path / "m" / "mine.nii.gz", mask, ATLAS)
    (tmp_path / "ids.csv").write_text("case_id,submission_id\nmine,BraTS-GLI-00007-000\n")
    request = request_for("brats2023", predictions=(tmp_path / "m",), id_map=tmp_path / "ids.csv")
    with pytest.raises(
        DataError, match=r"\[4\], expected 0 and \[1, 2, 3\]; say what they mean with --labels"
    ):
        run(request)
    description = {"labels": {"NCR": 1, "ED": 2, "ET": 4}}
    (tmp_path / "m" / "predictions.json").write_text(json.dumps(description))
    assert run(request).summary == "1 masks"
    assert names(request.out) == ["BraTS-GLI-00007-000.nii.gz"]
    assert not run(request_for("brats2023", validate=request.out)).faults
    assert "label values (1)" in run(request_for("brats2021", validate=request.out)).faults.text("x")


def test_two_cases_of_one_id_are_a_fault(write_volume, request_for, tmp_path):
    for name in "ab":
        write_volume(tmp_path / "m" / f"{name}.nii.gz", np.zeros((2, 3, 4), np.uint8))
    (tmp_path / "ids.csv").write_text("case_id,submission_id\na,x\nb,x\n")
    with pytest.raises(DataError, match=r"ids of several cases \(1\):\n    x: "):
        run(request_for("decathlon", predictions=(tmp_path / "m",), id_map=tmp_path / "ids.csv"))


def test_empty_masks_for_all_images(write_decathlon, request_for, tmp_path):
    root = write_decathlon(tmp_path / "task", 2)
    assert run(request_for("decathlon", constant=0.0, images=root / "imagesTr")).summary == "2 masks"
    assert names(tmp_path / "out.zip") == ["fake_000.nii.gz", "fake_001.nii.gz"]


def test_values_that_nothing_explains_are_said_to_be_taken_as_they_are(write_volume, request_for, tmp_path):
    mask = np.zeros((155, 240, 240), np.uint8)
    mask[70, 100, 100:103] = 1, 2, 3
    write_volume(tmp_path / "m" / "BraTS-GLI-00001-000.nii.gz", mask, ATLAS)
    request = request_for("brats2023", predictions=(tmp_path / "m",))
    said = "nothing says what the values of the masks mean (--labels): they were taken for NCR=1, ED=2, ET=3"
    assert said in run(request).notes
    stated = request_for(
        "brats2023", predictions=(tmp_path / "m",), labels="brats2023", out=tmp_path / "b.zip"
    )
    assert said not in run(stated).notes
    assert said not in run(request_for("brats2023", validate=request.out)).notes
