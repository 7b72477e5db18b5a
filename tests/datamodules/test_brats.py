import os
from pathlib import Path

import numpy as np
import pytest

from medimg import keys
from medimg.datamodules import BraTSDataModule, BraTSPhantom, SplitOptions
from medimg.datasets.brats import CHANNELS
from medimg.errors import ConfigError

TASK01 = {
    "channels": ("FLAIR", "T1w", "t1gd", "T2w"),
    "labels": ("edema", "non-enhancing tumor", "enhancing tumour"),
}


def test_without_data_it_says_how_to_get_some():
    with pytest.raises(ConfigError, match=r"--data\.root FOLDER") as error:
        BraTSDataModule().prepare_data()
    assert "demo.yaml" in str(error.value)


@pytest.mark.parametrize("year", [2018, 2021, 2023, 2024])
def test_every_year_gives_the_three_regions(tmp_path, write_brats, year):
    root = write_brats(tmp_path / "data", 4, year=year, shape=(6, 6, 6))
    data = BraTSDataModule(root, split=SplitOptions(num_folds=2), store=tmp_path / "store")
    data.setup("fit")
    assert data.scheme.names == ("WT", "TC", "ET")
    assert set(data.scheme.written) == {"WT", "TC", "ET"}


def test_the_decathlons_task_has_the_channels_in_the_order_of_brats(tmp_path, write_decathlon):
    import nibabel as nib

    root = write_decathlon(tmp_path / "Task01_BrainTumour", cases=4, **TASK01)
    data = BraTSDataModule(
        root, split=SplitOptions(num_folds=2), store=tmp_path / "store",
    )  # fmt: skip
    data.prepare_data()
    data.setup("fit")
    assert data.scheme.values == {"WT": (1, 2, 3), "TC": (2, 3), "ET": (3,)}
    index = data.read_index(root)
    assert index.channels == CHANNELS  # t1n, t1c, t2w, t2f
    batch = next(iter(data.val_dataloader()))
    stored = batch[keys.IMAGE][0].numpy()
    volume = np.asarray(nib.load(batch[keys.SOURCE][0][0]).dataobj).transpose(3, 2, 1, 0).astype(np.float64)
    for channel, place in enumerate((1, 2, 3, 0)):
        # Cropping and reorienting leave the mean of the z-scored channel alone; its order of voxels tells it.
        values = volume[place]
        scored = (values - values.mean()) / values.std()
        np.testing.assert_allclose(np.sort(stored[channel].ravel()), np.sort(scored.ravel()), atol=5e-3)


def test_phantoms_are_written_once(tmp_path):
    phantom = BraTSPhantom(cases=2, seed=3, shape=(24, 24, 24))
    root = tmp_path / "phantoms"
    data = BraTSDataModule(root, phantom=phantom, split=SplitOptions(num_folds=2), store=tmp_path / "store")
    data.prepare_data()
    data.setup("fit")
    images = sorted(root.rglob("*-t1c.nii.gz"))
    assert len(images) == 2
    before = [path.stat().st_mtime_ns for path in images]
    data.prepare_data()
    assert [path.stat().st_mtime_ns for path in images] == before
    assert len(data.split.train) == len(data.split.val) == 1


def test_a_folder_that_is_missing_is_no_phantom(tmp_path):
    with pytest.raises(Exception, match="nowhere"):
        BraTSDataModule(tmp_path / "nowhere").prepare_data()


@pytest.mark.real
def test_real_decathlon_patches(tmp_path):
    root = Path(os.environ["MEDIMG_REAL_DATA"]) / "Task01_BrainTumourPatches"
    index = BraTSDataModule(root).read_index(root)
    assert index.channel_order == (1, 2, 3, 0)
    assert len(index.records) == 12
    assert {record.patient_id for record in index.records} == {"BRATS_009"}
