"""Small data modules over fake cases."""

from types import SimpleNamespace

import numpy as np
import pytest
from lightning.pytorch.trainer.states import TrainerFn
from writers.dicom import write_dicom

from medimg.datamodules import DecathlonDataModule, PatchOptions, SplitOptions
from medimg.preparation.prepare import Preparation


@pytest.fixture
def make_decathlon(tmp_path, write_decathlon):
    """``make_decathlon(**options)``: a data module over 4 cases of 16 cubed, prepared and set up."""

    def make(cases=4, ready=True, **options):
        root = tmp_path / f"Task{cases}"
        if not root.exists():
            write_decathlon(root, cases=cases)
        settings = {
            "split": SplitOptions(num_folds=2),
            "preparation": Preparation(spacing_mm=(2.5, 1.0, 0.8)),
            "store": tmp_path / "store",
            "patches": PatchOptions(size=(8, 8, 8), batch_size=2, batches_per_epoch=6),
        }
        data = DecathlonDataModule(root, **{**settings, **options})
        if ready:
            data.prepare_data()
            data.setup("fit")
        return data

    return make


@pytest.fixture
def stand_in():
    """``stand_in(verb, rank, world)``: what a data module asks a Trainer for."""

    def make(verb="fit", rank=0, world=1, training=True):
        return SimpleNamespace(
            state=SimpleNamespace(fn=TrainerFn(verb)), global_rank=rank, world_size=world, training=training
        )

    return make


@pytest.fixture(scope="session")
def write_slice():
    """``write_slice(path, height, pixels)``: an axial CT slice; without a height it has no position."""

    def write(path, height, pixels=None):
        placed = {
            "ImagePositionPatient": [-20, -16, height],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "RescaleIntercept": -1024,
            "RescaleSlope": 1,
        }
        elements = {} if height is None else placed
        return write_dicom(
            path, np.full((16, 20), 1000, np.int16) if pixels is None else pixels, elements=elements
        )

    return write
