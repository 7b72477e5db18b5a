"""Nodules in the form of MedMNIST: read by its reader, patients on one side, written whole or not at all."""

import numpy as np
import pytest

from medimg.datasets import MedMNIST
from medimg.errors import ConfigError
from medimg.phantoms import nodule_mnist
from medimg.phantoms.nodule_mnist import split_of, write_nodule_mnist
from medimg.phantoms.nodules import draw_nodule, nodule_row


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantoms") / "set"
    with pytest.MonkeyPatch.context() as patch:
        # A cube costs a tenth of a second; one is drawn truly below.
        patch.setattr(
            nodule_mnist, "draw_nodule", lambda index, seed, size: (np.full([size] * 3, index * 20 - 1000), 0)
        )
        return write_nodule_mnist(root, nodules=60, seed=2, size=16)


def test_it_is_read_as_medmnist(written):
    index = MedMNIST(name="nodulemnist3d").index(written.parent)
    assert (index.task, index.classes) == ("binary", ("malignant",))
    arrays = np.load(written)
    for split, patients in (("train", 14), ("val", 2), ("test", 4)):
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        assert images.dtype == labels.dtype == np.uint8
        assert images.shape[1:] == (16, 16, 16)
        rows = [nodule_row(n, seed=2, size=16) for n in range(60) if split_of(n) == split]
        assert len({row["patient_id"] for row in rows}) == patients
        kept = [row["malignant"] for row in rows if row["malignant"]]
        assert labels[:, 0].tolist() == [int(value) for value in kept]
    assert "none can be compared" in (written.parent / "README.txt").read_text()


def test_bytes_are_the_window(written):
    train = [n for n in range(60) if split_of(n) == "train" and nodule_row(n, seed=2, size=16)["malignant"]]
    expected = np.rint(np.clip(np.array(train) * 20, 0, 1400) * 255 / 1400)
    assert np.load(written)["train_images"][:, 0, 0, 0].tolist() == expected.tolist()
    voxels, _ = draw_nodule(4, seed=2, size=16)
    cube = nodule_mnist._draw(4, seed=2, size=16)
    inside = (voxels > -990) & (voxels < 390)
    back = cube[inside] / 255 * 1400 - 1000
    assert np.abs(back - voxels[inside]).max() <= 1400 / 255 / 2 + 1e-6


def test_a_file_that_is_there_stays_and_other_settings_are_refused(written, monkeypatch):
    monkeypatch.setattr(nodule_mnist, "_arrays", None)
    assert write_nodule_mnist(written.parent, nodules=60, seed=2, size=16) == written
    with pytest.raises(ConfigError, match="holds phantoms made with other settings"):
        write_nodule_mnist(written.parent, nodules=90, seed=2, size=16)


@pytest.mark.parametrize(
    ("options", "said"), [({"nodules": 9}, "nodules"), ({"seed": -1}, "seed"), ({"size": 8}, "size")]
)
def test_settings_that_make_no_sense_are_refused(tmp_path, options, said):
    with pytest.raises(ConfigError, match=f"^{said}: expected"):
        write_nodule_mnist(tmp_path / "set", **options)
