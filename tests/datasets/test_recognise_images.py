import numpy as np
import pytest

from medimg.datasets.chestxray14 import LABELS as CHEST
from medimg.datasets.chexpert import LABELS as CHEXPERT
from medimg.datasets.recognise_images import recognise_images
from medimg.datasets.rsna_hemorrhage import HEMORRHAGE_LABELS
from medimg.errors import DataError
from medimg.phantoms.pe import COLUMNS as PE_COLUMNS
from medimg.scoring.label_forms import RANZCR_LABELS as LINES
from medimg.scoring.spine import SPINE_LABELS

UIDS = ["1.2.3"]
TABLES = {
    "ChestX-ray14": ("train-small.csv", ["Image", "PatientId", *CHEST], ["00000001_000.png", 1, *[0] * 14]),
    "CheXpert": (
        "train.csv",
        ["Path", "Frontal/Lateral", *CHEXPERT],
        ["train/patient00001/study1/view1.jpg", "Frontal", *[""] * 14],
    ),
    "RSNA-mammography": (
        "train.csv",
        ["patient_id", "image_id", "laterality", "view", "cancer"],
        ["1", "2", "L", "CC", 0],
    ),
    "RSNA-pneumonia": ("stage_2_train_labels.csv", ["patientId", "Target"], ["a", 0]),
    "VinBigData": ("train.csv", ["image_id", "class_name", "class_id", "rad_id"], ["a", "ILD", 5, "R1"]),
    "SIIM-pneumothorax": ("train-rle.csv", ["ImageId", " EncodedPixels"], ["a", "-1"]),
    "RANZCR": ("train.csv", ["StudyInstanceUID", *LINES, "PatientID"], ["a", *[0] * 11, "p"]),
    "RSNA-PE": ("train.csv", list(PE_COLUMNS), ["a", "b", "c", 0, 1, *[0] * 12]),
    "RSNA-spine": ("train.csv", ["StudyInstanceUID", *SPINE_LABELS], ["a", *[0] * 8]),
    "ISIC-2020": ("train.csv", ["image_name", "patient_id", "target"], ["a", "p", 0]),
    "tiles": ("train.csv", ["id", "encoding"], ["a", ""]),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_tell_the_data_set(tmp_path, write_table, name):
    table, header, row = TABLES[name]
    root = tmp_path / "tiles"
    write_table(root / table, header, [row])
    index = recognise_images(root, missing="keep")
    assert index is not None and index.name == name and len(index.records) == 1


def test_haemorrhage_needs_its_patients_too(tmp_path, write_table):
    rows = [[f"ID_a_{label}", 0] for label in HEMORRHAGE_LABELS]
    write_table(tmp_path / "stage_2_train.csv", ["ID", "Label"], rows)
    with pytest.raises(DataError, match="no table of patients"):
        recognise_images(tmp_path, missing="keep")
    write_table(tmp_path / "patients.csv", ["id", "patient", "study"], [["ID_a", "p", "s"]])
    assert recognise_images(tmp_path, missing="keep").name == "RSNA-hemorrhage"


def test_medmnist(tmp_path):
    labels = {f"{split}_labels": np.zeros((2, 1), np.uint8) for split in ("train", "val", "test")}
    images = {f"{split}_images": np.zeros((2, 28, 28), np.uint8) for split in ("train", "val", "test")}
    np.savez(tmp_path / "breastmnist.npz", **labels, **images)
    for root in (tmp_path, tmp_path / "breastmnist.npz"):
        assert len(recognise_images(root).records) == 6


def test_images_in_two_tables(tmp_path, write_table):
    table, header, row = TABLES["ChestX-ray14"]
    for name in (table, "valid-small.csv"):
        write_table(tmp_path / name, header, [row])
    with pytest.raises(DataError, match="in more than one split"):
        recognise_images(tmp_path, missing="keep")
    assert len(recognise_images(tmp_path, missing="keep", repeats="separate").records) == 2


def test_folders_of_classes(tmp_path, write_class_folders, write_picture):
    assert recognise_images(write_class_folders(tmp_path / "a", {"no": 1, "yes": 1})).task == "multiclass"
    write_class_folders(tmp_path / "b", {"no": 1, "yes": 1}, prefix="train")
    assert recognise_images(tmp_path / "b").records[0].split == "train"


def test_what_is_not_2d(tmp_path, write_table, write_brats):
    (tmp_path / "none").mkdir()
    write_table(tmp_path / "other" / "train.csv", ["name", "value"], [["a", 1]])
    for patient in ("p1", "p2"):
        (tmp_path / "series" / patient).mkdir(parents=True)
        (tmp_path / "series" / patient / "1.dcm").write_bytes(b"")
    for name in ("none", "other", "series", "absent"):
        assert recognise_images(tmp_path / name) is None
    assert recognise_images(write_brats(tmp_path / "brats", 1)) is None
