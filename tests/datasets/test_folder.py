import os
from pathlib import Path

import pytest

from medimg.datasets.folder import ImageFolder
from medimg.errors import ConfigError, DataError


def test_classes_masks_and_hidden_files(tmp_path, write_class_folders, write_picture):
    root = write_class_folders(tmp_path, {"benign": 2, "malignant": 1})
    for name in ("benign (1)_mask.png", "benign (1)_mask_1.png", ".hidden.png", "_old.png"):
        write_picture(root / "benign" / name)
    (root / "benign" / "notes.txt").write_text("x")
    write_picture(root / "malignant" / "deep" / "er.PNG")
    index = ImageFolder().index(root)
    assert (index.task, index.classes) == ("multiclass", ("benign", "malignant"))
    assert [record.case_id for record in index.records] == [
        "benign/benign (1).png",
        "benign/benign (2).png",
        "malignant/deep/er.PNG",
        "malignant/malignant (1).png",
    ]
    assert index.records[0].labels == {"benign": 1.0, "malignant": 0.0}
    assert all(record.patient_id == record.case_id for record in index.records)


def test_splits_and_positive_class(tmp_path, write_class_folders):
    for split in ("train", "valid", "test"):
        write_class_folders(tmp_path, {"no": 1, "yes": 2}, prefix=split)
    index = ImageFolder(positive=["yes"]).index(tmp_path)
    assert (index.task, index.classes) == ("binary", ("yes",))
    assert [(r.split, r.labels["yes"]) for r in index.records][:3] == [
        ("test", 0.0),
        ("test", 1.0),
        ("test", 1.0),
    ]
    assert {record.split for record in index.records} == {"train", "val", "test"}


def test_patient_from_the_name(tmp_path, write_class_folders):
    root = write_class_folders(tmp_path, {"no": 2, "yes": 2})
    index = ImageFolder(patient=r"\((\d+)\)").index(root)
    assert [record.patient_id for record in index.records] == ["1", "2", "1", "2"]
    with pytest.raises(DataError, match="finds no patient"):
        ImageFolder(patient=r"pat(\d+)").index(root)


def test_what_is_no_folder_of_classes(tmp_path, write_class_folders):
    with pytest.raises(DataError, match="there is none"):
        ImageFolder().index(tmp_path / "none")
    write_class_folders(tmp_path / "a", {"only": 2})
    with pytest.raises(DataError, match=r"two or more folders of images, one a class.*found only"):
        ImageFolder().index(tmp_path / "a")
    write_class_folders(tmp_path / "b", {"no": 1, "yes": 1}, prefix="test")
    with pytest.raises(DataError, match="expected a folder train beside test"):
        ImageFolder().index(tmp_path / "b")
    write_class_folders(tmp_path / "b", {"no": 1}, prefix="train")
    with pytest.raises(DataError, match="the class yes has no training images"):
        ImageFolder().index(tmp_path / "b")
    write_class_folders(tmp_path / "c", {"no": 1, "yes": 1})
    with pytest.raises(ConfigError, match="maybe is no class"):
        ImageFolder(positive=["maybe"]).index(tmp_path / "c")


def test_a_link_out_of_the_root_is_refused(tmp_path, write_class_folders, write_picture):
    root = write_class_folders(tmp_path / "data", {"no": 1, "yes": 1})
    (root / "no" / "x.png").symlink_to(write_picture(tmp_path / "outside.png"))
    with pytest.raises(DataError, match="outside the data folder"):
        ImageFolder().index(root)


@pytest.mark.real
def test_busi():
    index = ImageFolder(positive=["malignant"]).index(Path(os.environ["MEDIMG_REAL_DATA"]) / "BUSI")
    assert len(index.records) == 625
    assert sum(record.labels["malignant"] for record in index.records) == 168


def test_a_folder_a_class_with_patients_in_the_names(tmp_path, write_class_folders):
    root = write_class_folders(tmp_path, {"benign": 2, "malignant": 2})
    index = ImageFolder(positive=("malignant",), patient=r"\((\d)\)").index(root)
    assert index.classes == ("malignant",)
    assert {record.patient_id for record in index.records} == {"1", "2"}


def test_a_pattern_that_is_none_is_an_error_of_the_config(tmp_path, write_class_folders):
    with pytest.raises(ConfigError, match=r"patient: 'pat\(' is no regular expression"):
        ImageFolder(patient="pat(").index(write_class_folders(tmp_path, {"a": 1, "b": 1}))


def test_masks_lie_beside_their_images(tmp_path, write_class_folders, write_picture):
    root = write_class_folders(tmp_path, {"benign": 2, "malignant": 1})
    for name in ("benign (1)_mask_1.png", "benign (1)_mask.png", "benign (10)_mask.png"):
        write_picture(root / "benign" / name)
    found = ImageFolder().masks(ImageFolder().index(root))
    assert list(found) == ["benign/benign (1).png"]
    assert [path.name for path in found["benign/benign (1).png"].paths] == [
        "benign (1)_mask.png",
        "benign (1)_mask_1.png",
    ]
