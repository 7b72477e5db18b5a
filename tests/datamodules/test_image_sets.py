"""Each family lists its cases from its own layout and hands them on alike."""

from pathlib import Path

import numpy as np
import pytest

from medimg.datamodules import (
    BatchOptions,
    CacheOptions,
    FolderDataModule,
    ImageOptions,
    MedMNISTDataModule,
    SplitOptions,
    TableDataModule,
    TableOptions,
)
from medimg.datasets.table import TableColumns
from medimg.errors import ConfigError

IMAGE = ImageOptions(size=(16, 16), channels=1, mean=(0.5,), std=(0.5,))


def write_npz(path):
    arrays = {}
    for split, count in (("train", 6), ("val", 4), ("test", 4)):
        arrays[f"{split}_images"] = np.full((count, 28, 28), 9, np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 2)[:, None].astype(np.uint8)
    np.savez(path, **arrays)
    return path


def test_medmnist_takes_a_folder_or_a_file(tmp_path):
    path = write_npz(tmp_path / "pneumoniamnist.npz")
    for root in (tmp_path, path):
        index = MedMNISTDataModule(root).read_index(root)
        assert (index.task, index.classes, len(index.records)) == ("binary", ("pneumonia",), 14)
    assert len(MedMNISTDataModule(tmp_path).read_unlabelled(path).records) == 14


def test_a_folder_a_class_with_patients_in_the_names(tmp_path, write_class_folders):
    root = write_class_folders(tmp_path, {"benign": 2, "malignant": 2})
    data = FolderDataModule(root, positive=("malignant",), patient=r"\((\d)\)")
    index = data.read_index(root)
    assert index.classes == ("malignant",)
    assert {record.patient_id for record in index.records} == {"1", "2"}


def test_a_table(tmp_path, write_picture, write_table):
    for number in range(8):
        write_picture(tmp_path / f"{number}.png", seed=number)
    rows = [[n, n // 2, f"{n}.png", n % 2, n // 4, 0.5] for n in range(8)]
    write_table(tmp_path / "t.csv", ["id", "patient", "file", "mass", "fold", "weight"], rows)
    columns = TableColumns("id", "patient", ("file",), ("mass",), fold="fold", weight="weight")
    data = TableDataModule(
        tmp_path, table=TableOptions(Path("t.csv"), columns), image=IMAGE, fold=1,
        batch=BatchOptions(batch_size=4), cache=CacheOptions(tmp_path / "kept"), split=SplitOptions(),
    )  # fmt: skip
    data.prepare_data()
    data.setup("fit")
    assert data.split.val == ("4", "5", "6", "7")
    (batch,) = data.train_dataloader()
    assert batch["weight"].tolist() == [0.5] * 4


def test_a_table_data_module_without_a_table_says_so(tmp_path):
    with pytest.raises(ConfigError, match="name the table's file"):
        TableDataModule(tmp_path).read_index(tmp_path)
