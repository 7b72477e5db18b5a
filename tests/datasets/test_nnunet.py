import json
import shutil

import pytest
from sklearn.model_selection import KFold

from medimg.datasets.nnunet import index_nnunet
from medimg.errors import DataError
from medimg.preparation.splits import choose_split


def test_index(tmp_path, write_nnunet):
    root = write_nnunet(tmp_path / "Dataset500_Fake", 3, tests=1, channels=("T1", "ct"))
    index = index_nnunet(root)
    assert index.name == "Dataset500_Fake"
    assert index.channels == ("T1", "CT")
    assert dict(index.labels) == {"liver": 1, "tumour": 2}
    assert [record.case_id for record in index.records] == ["case_000", "case_001", "case_002"]
    images = tuple(root / f"imagesTr/case_000_000{n}.nii.gz" for n in range(2))
    assert index.records[0].images == images
    assert index.records[0].mask == root / "labelsTr/case_000.nii.gz"
    assert [record.case_id for record in index.unlabelled] == ["case_900"]
    assert index.folds == ()  # fewer cases than folds


def test_version_1(tmp_path, write_nnunet):
    index = index_nnunet(write_nnunet(tmp_path / "Task500_Fake", 2, version=1))
    assert dict(index.labels) == {"liver": 1, "tumour": 2}
    assert len(index.records) == 2


def test_regions_and_ignore(tmp_path, write_nnunet):
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}
    root = write_nnunet(tmp_path, labels=labels, more={"regions_class_order": [1, 2, 3]})
    index = index_nnunet(root)
    assert dict(index.regions) == {"whole": (1, 2, 3), "core": (2, 3), "enhancing": (3,)}
    assert dict(index.region_labels) == {"whole": 1, "core": 2, "enhancing": 3}
    assert sorted(index.labels.values()) == [1, 2, 3]
    assert index.ignore_label == 4


def test_default_split_is_used_without_a_file(tmp_path, write_nnunet):
    index = index_nnunet(write_nnunet(tmp_path, 7, shape=(6, 6, 6)))
    ids = [record.case_id for record in index.records]
    for fold, (train, val) in enumerate(KFold(5, shuffle=True, random_state=12345).split(ids)):
        split = choose_split(index, fold=fold, num_folds=5)
        assert split.train == tuple(ids[i] for i in train)
        assert split.val == tuple(ids[i] for i in val)
    assert len(choose_split(index, fold=2, num_folds=3).val) == 2  # and other numbers of folds are dealt


@pytest.mark.parametrize(
    "place", ["raw/Dataset1/splits_final.json", "nnUNet_preprocessed/Dataset1/splits_final.json"]
)
def test_published_split(tmp_path, write_nnunet, place):
    root = write_nnunet(tmp_path / "raw" / "Dataset1", 3, shape=(6, 6, 6))
    splits = [{"train": ["case_000", "case_001"], "val": ["case_002"]}]
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text(json.dumps(splits))
    assert index_nnunet(root).folds == ((("case_000", "case_001"), ("case_002",)),)


def test_published_split_is_checked(tmp_path, write_nnunet):
    root = write_nnunet(tmp_path, 2, shape=(6, 6, 6))
    (root / "splits_final.json").write_text('[{"train": ["case_000", "gone"], "val": ["case_000"]}]')
    with pytest.raises(DataError, match="not there: gone") as error:
        index_nnunet(root)
    assert "both sides: case_000" in str(error.value)
    (root / "splits_final.json").write_text('{"train": []}')
    with pytest.raises(DataError, match="expected a list of"):
        index_nnunet(root)


def test_faults_20_and_21_are_listed_together(tmp_path, write_nnunet):
    root = write_nnunet(tmp_path, 4, tests=1, channels=("T1", "FLAIR"), shape=(6, 6, 6))
    images, masks = root / "imagesTr", root / "labelsTr"
    (images / "case_000_0001.nii.gz").unlink()
    (masks / "case_001.nii.gz").unlink()
    shutil.copy(images / "case_002_0000.nii.gz", images / "case_002_0002.nii.gz")
    shutil.copy(images / "case_002_0000.nii.gz", images / "odd.nii.gz")
    shutil.copy(masks / "case_003.nii.gz", masks / "orphan.nii.gz")
    for number in range(2):
        shutil.copy(images / f"case_003_000{number}.nii.gz", root / "imagesTs")
    (images / ".case_009_0000.nii.gz").touch()
    with pytest.raises(DataError) as error:
        index_nnunet(root)
    for said in (
        "6 faults",
        "case_000: the modality FLAIR (case_000_0001.nii.gz) is missing",
        "case_001: the mask labelsTr/case_001.nii.gz is missing",
        "case_002_0002.nii.gz is a channel that dataset.json does not name",
        "odd.nii.gz: (imagesTr) expected a name such as",
        "orphan: labelsTr/orphan.nii.gz is a mask without images",
        "case_003: the id is used twice, in imagesTr and imagesTs",
    ):
        assert said in str(error.value)


def test_cases_listed_in_the_json(tmp_path, write_nnunet):
    listed = {
        "b": {"images": ["imagesTr/case_001_0000.nii.gz"], "label": "labelsTr/case_001.nii.gz"},
        "a": {"images": ["imagesTr/case_000_0000.nii.gz"], "label": "labelsTr/case_000.nii.gz"},
    }
    root = write_nnunet(tmp_path / "data", 2, shape=(6, 6, 6), more={"dataset": listed})
    index = index_nnunet(root)
    assert [record.case_id for record in index.records] == ["a", "b"]
    assert index.records[0].images == (root / "imagesTr/case_000_0000.nii.gz",)
    listed["../../x"] = listed.pop("b")
    listed["c"] = {"images": ["../../secret.nii.gz"], "label": "labelsTr/none.nii.gz"}
    listed["d"] = {"images": []}
    listed["e"] = {**listed["a"], "images": []}
    root = write_nnunet(tmp_path / "data", 2, shape=(6, 6, 6), more={"dataset": listed})
    with pytest.raises(DataError) as error:
        index_nnunet(root)
    for said in (
        "'../../x'",
        "outside the data folder",
        "none.nii.gz is missing",
        "d: expected",
        "e: expected 1 im",
    ):
        assert said in str(error.value)


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".png"])
def test_other_endings_are_refused_with_a_way_out(tmp_path, write_nnunet, ending):
    root = write_nnunet(tmp_path, 1, shape=(6, 6, 6), more={"file_ending": ending})
    with pytest.raises(DataError, match=rf"'\{ending}'.*Convert"):
        index_nnunet(root)


def test_without_masks_all_cases_are_unlabelled(tmp_path, write_nnunet, caplog):
    root = write_nnunet(tmp_path, 2, shape=(6, 6, 6))
    shutil.rmtree(root / "labelsTr")
    index = index_nnunet(root)
    assert len(index.unlabelled) == 2
    assert index.records == ()
    assert "no case has a mask" in caplog.text
    shutil.rmtree(root / "imagesTr")
    with pytest.raises(DataError, match="no image <case>_0000"):
        index_nnunet(root)


def test_patients_are_read_and_replace_the_default_folds(tmp_path, write_nnunet):
    root = write_nnunet(tmp_path, 6, tests=1, shape=(6, 6, 6))
    patient_of = {f"case_{number:03d}": number // 2 for number in range(6)}
    (root / "patients.json").write_text(json.dumps({**patient_of, "case_001": "p"}))
    index = index_nnunet(root)
    assert [record.patient_id for record in index.records] == ["0", "p", "1", "1", "2", "2"]
    assert index.unlabelled[0].patient_id == "case_900"
    assert index.folds == ()
    (root / "patients.json").write_text(json.dumps({**patient_of, "case_900": 7}))
    assert index_nnunet(root).unlabelled[0].patient_id == "7"
    (root / "splits_final.json").write_text('[{"train": ["case_000"], "val": ["case_002"]}]')
    assert index_nnunet(root).folds == ((("case_000",), ("case_002",)),)


def test_patients_are_checked(tmp_path, write_nnunet):
    root = write_nnunet(tmp_path, 3, shape=(6, 6, 6))
    (root / "patients.json").write_text('{"case_000": "a", "case_001": null, "gone": "b"}')
    with pytest.raises(DataError, match="3 faults") as error:
        index_nnunet(root)
    for said in (
        "case_001: patients.json: expected the patient's id, found None",
        "case_002: patients.json does not name its patient",
        "gone: patients.json names a case that is not there",
    ):
        assert said in str(error.value)


def test_labelled_test_cases_are_apart_and_hidden_ones_stay_unlabelled(tmp_path, write_nnunet):
    root = write_nnunet(tmp_path, 5, tests=2, shape=(6, 6, 6))
    first, second = (record.case_id for record in index_nnunet(root).unlabelled)
    (root / "labelsTs").mkdir()
    shutil.copy(root / "labelsTr/case_000.nii.gz", root / f"labelsTs/{first}.nii.gz")
    index = index_nnunet(root)
    assert [record.case_id for record in index.test] == [first]
    assert index.test[0].mask == root / f"labelsTs/{first}.nii.gz"
    assert [record.case_id for record in index.unlabelled] == [second]
    assert len(index.records) == 5
    split = choose_split(index, fold=0, num_folds=5)
    assert sorted((*split.train, *split.val)) == [record.case_id for record in index.records]
    assert len(index.all_records) == 7
    shutil.copy(root / "labelsTr/case_000.nii.gz", root / "labelsTs/stray.nii.gz")
    with pytest.raises(DataError, match=r"labelsTs/stray\.nii\.gz is a mask without images"):
        index_nnunet(root)
