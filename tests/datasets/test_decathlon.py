import json
import os
from pathlib import Path

import pytest

from medimg.datasets.decathlon import index_decathlon
from medimg.errors import DataError


def change(root, **keys):
    path = root / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def test_index(tmp_path, write_decathlon):
    root = write_decathlon(tmp_path / "Task99_Fake", 3, tests=2, channels=("CT",))
    index = index_decathlon(root)
    assert index.name == "Task99_Fake"
    assert index.channels == ("CT",)
    assert dict(index.labels) == {"anterior": 1, "posterior": 2}
    assert [record.case_id for record in index.records] == ["fake_000", "fake_001", "fake_002"]
    assert [record.case_id for record in index.unlabelled] == ["fake_900", "fake_901"]
    record = index.records[0]
    assert record.patient_id == "fake_000"
    assert record.images == (root / "imagesTr/fake_000.nii.gz",)
    assert record.mask == root / "labelsTr/fake_000.nii.gz"
    assert index.unlabelled[0].mask is None
    assert not index.regions


def test_brain_tumours_get_regions_and_parts_share_a_patient(tmp_path, write_decathlon):
    root = write_decathlon(
        tmp_path,
        ["BRATS_009_01", "BRATS_009_02"],
        tests=0,
        channels=("FLAIR", "T1w", "t1gd", "T2w"),
        labels=("edema", "non-enhancing tumor", "enhancing tumour"),
    )
    index = index_decathlon(root)
    assert dict(index.regions) == {"WT": (1, 2, 3), "TC": (2, 3), "ET": (3,)}
    assert dict(index.region_labels) == {"WT": 1, "TC": 2, "ET": 3}
    assert {record.patient_id for record in index.records} == {"BRATS_009"}


def test_hidden_names_are_skipped(tmp_path, write_decathlon):
    root = write_decathlon(tmp_path, 2, tests=0)
    listed = json.loads((root / "dataset.json").read_text())["training"]
    hidden = [
        {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in ("._a", "_b")
    ]
    change(root, training=[*listed, *hidden])
    assert len(index_decathlon(root).records) == 2


def test_all_faults_are_listed_together(tmp_path, write_decathlon):
    root = write_decathlon(tmp_path / "data", 4)
    (root / "imagesTr/fake_000.nii.gz").unlink()
    (root / "labelsTr/fake_001.nii.gz").unlink()
    outside = tmp_path / "outside.nii.gz"
    (root / "labelsTr/fake_002.nii.gz").rename(outside)
    (root / "labelsTr/fake_002.nii.gz").symlink_to(outside)
    listed = json.loads((root / "dataset.json").read_text())["training"]
    change(root, training=[*listed, listed[3], {"image": "../../x.nii.gz", "label": "../y.nii.gz"}])
    with pytest.raises(DataError) as error:
        index_decathlon(root)
    said = str(error.value)
    assert "6 faults in this Decathlon data set" in said
    assert "fake_000: the image imagesTr/fake_000.nii.gz is missing" in said.replace("./", "")
    assert "fake_001: the mask labelsTr/fake_001.nii.gz is missing" in said.replace("./", "")
    assert "fake_002" in said
    assert "outside the data folder" in said  # 43
    assert "fake_003: the id is used twice" in said  # 21


def test_missing_test_images_are_left_out(tmp_path, write_decathlon, caplog):
    root = write_decathlon(tmp_path, 2, tests=0)
    change(root, test=["./imagesTs/x.nii.gz"])
    assert index_decathlon(root).unlabelled == ()
    assert "test images is not there" in caplog.text


def test_unlisted_images_are_named(tmp_path, write_decathlon, caplog):
    root = write_decathlon(tmp_path, 2, tests=0)
    (root / "imagesTr" / "extra.nii.gz").touch()
    assert len(index_decathlon(root).records) == 2
    assert "extra.nii.gz" in caplog.text


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"modality": {}}, "expected modality"),
        ({"modality": {"0": "A", "2": "B"}}, "numbered 0 to 1"),
        ({"labels": None}, "expected labels"),
        ({"labels": {"liver": 1}}, "must be numbers"),
        ({"labels": {"0": "bg", "1": "a", "2": "a"}}, "rename one"),
        ({"training": "all"}, "expected a list 'training'"),
        ({"training": [], "test": []}, "lists no case"),
        ({"training": ["x.nii.gz"]}, "'image' and 'label'"),
    ],
)
def test_unusable_json(tmp_path, write_decathlon, keys, said):
    root = write_decathlon(tmp_path, 1, tests=0)
    change(root, **keys)
    with pytest.raises(DataError, match=said):
        index_decathlon(root)


@pytest.mark.real
def test_real_tasks():
    root = Path(os.environ["MEDIMG_REAL_DATA"])
    index = index_decathlon(root / "Task04_Hippocampus")
    assert len(index.records) == 200
    assert dict(index.labels) == {"Anterior": 1, "Posterior": 2}
    index = index_decathlon(root / "Task01_BrainTumourPatches")
    assert len(index.records) == 12
    assert {record.patient_id for record in index.records} == {"BRATS_009"}
    assert set(index.regions) == {"WT", "TC", "ET"}
