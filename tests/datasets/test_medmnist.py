import os
from pathlib import Path

import numpy as np
import pytest

from medimg.datasets.medmnist import MedMNIST, read_array
from medimg.errors import DataError


def write(path, labels, shape=(28, 28), count=4):
    rng = np.random.default_rng(0)
    arrays = {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.array(labels, dtype=np.uint8).reshape(count, -1)
    np.savez_compressed(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("name", "labels", "shape", "task", "classes"),
    [
        ("pneumoniamnist.npz", [0, 1, 1, 0], (28, 28), "binary", ("pneumonia",)),
        ("fracturemnist3d_64.npz", [0, 1, 2, 0], (8, 8, 8), "multiclass", None),
        ("organamnist_224.npz", [0, 1, 2, 3], (32, 32), "multiclass", None),
        (
            "othermnist.npz",
            [[0, 1], [1, 1], [0, 0], [1, 0]],
            (28, 28, 3),
            "multilabel",
            ("label_0", "label_1"),
        ),
    ],
)
def test_tasks_sizes_and_members(tmp_path, name, labels, shape, task, classes):
    index = MedMNIST().index(write(tmp_path / name, labels, shape))
    assert index.task == task and len(index.records) == 12
    assert classes is None or index.classes == classes
    record = next(r for r in index.records if r.split == "val" and r.member == 1)
    assert record.case_id == record.patient_id == "val_000001"
    assert record.images == (tmp_path / name,)
    values = np.array([list(r.labels.values()) for r in index.records if r.split == "train"])
    if task == "multiclass":
        assert (values.argmax(1) == labels).all() and (values.sum(1) == 1).all()
    else:
        assert (values == np.array(labels).reshape(4, -1)).all()


def test_damaged_files_are_refused(tmp_path):
    path = write(tmp_path / "a.npz", [0, 1, 1, 0])
    (tmp_path / "cut.npz").write_bytes(path.read_bytes()[:2000])
    np.savez(tmp_path / "keys.npz", train_images=np.zeros((1, 2, 2), np.uint8))
    for name, says in [
        ("cut.npz", "cannot be read"),
        ("keys.npz", "train_labels"),
        ("none.npz", "no such file"),
    ]:
        with pytest.raises(DataError, match=says):
            MedMNIST().index(tmp_path / name)


def test_labels_that_do_not_fit(tmp_path):
    arrays = dict(np.load(write(tmp_path / "a.npz", [0, 1, 1, 0])))
    np.savez(tmp_path / "b.npz", **{**arrays, "val_labels": arrays["val_labels"][:3]})
    with pytest.raises(DataError, match=r"val_labels has shape \(3, 1\) beside 4 images"):
        MedMNIST().index(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", **{**arrays, "val_labels": np.full((4, 1), -1)})
    with pytest.raises(DataError, match="labels that count from 0"):
        MedMNIST().index(tmp_path / "c.npz")


def test_pickles_are_not_run(tmp_path):
    np.savez(tmp_path / "a.npz", train_labels=np.array([{"x": 1}], dtype=object))
    with pytest.raises(DataError, match=r"cannot be read as \.npz"):
        read_array(tmp_path / "a.npz", "train_labels")


@pytest.mark.real
def test_pneumoniamnist():
    index = MedMNIST().index(Path(os.environ["MEDIMG_REAL_DATA"]) / "medmnist" / "pneumoniamnist.npz")
    count = {split: sum(r.split == split for r in index.records) for split in ("train", "val", "test")}
    assert count == {"train": 4708, "val": 524, "test": 624}
    assert sum(r.labels["pneumonia"] for r in index.records if r.split == "test") == 390


def test_medmnist_takes_a_folder_or_a_file(tmp_path):
    arrays = {}
    for split, count in (("train", 6), ("val", 4), ("test", 4)):
        arrays[f"{split}_images"] = np.full((count, 28, 28), 9, np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 2)[:, None].astype(np.uint8)
    path = tmp_path / "pneumoniamnist.npz"
    np.savez(path, **arrays)
    for root in (tmp_path, path):
        index = MedMNIST().index(root)
        assert (index.task, index.classes, len(index.records)) == ("binary", ("pneumonia",), 14)
    assert len(MedMNIST().unlabelled(path).records) == 14
    with pytest.raises(DataError, match=r"breastmnist\.npz: there is no such file"):
        MedMNIST(name="breastmnist").index(tmp_path)
