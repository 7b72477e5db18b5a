from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from medimg import keys
from medimg.callbacks import SamplePictures
from medimg.callbacks.sample_pictures import nested_labels

CLASSES = ("WT", "TC", "ET")


@pytest.fixture
def seen(tmp_path):
    """A logger that keeps its pictures in a list."""
    logger, pictures = TensorBoardLogger(tmp_path, name="t"), []
    logger._experiment = SimpleNamespace(
        add_image=lambda name, picture, step, dataformats: pictures.append((name, picture, step, dataformats))
    )
    return logger, pictures


def trainer(logger, epoch=9, epochs=20, **options):
    settings = {"sanity_checking": False, "is_global_zero": True, "global_step": 7, **options}
    return SimpleNamespace(loggers=[logger], current_epoch=epoch, max_epochs=epochs, **settings)


def batch():
    image = torch.randn(1, 4, 8, 10, 12)
    mask = torch.zeros(1, 3, 8, 10, 12, dtype=torch.uint8)
    mask[:, 0, 2:6, 2:8, 2:9] = mask[:, 1, 3:5, 3:6, 3:7] = 1
    geometry = SimpleNamespace(spacing_mm=(2.0, 1.0, 1.0))
    return {keys.IMAGE: image, keys.MASK: mask, keys.CASE_ID: ["case_1"], keys.GEOMETRY: [geometry]}


def draw(callback, state, index=0):
    data = batch()
    task = SimpleNamespace(classes=CLASSES)
    callback.on_validation_batch_end(state, task, {"preds": data[keys.MASK]}, data, index)


def test_the_picture_shows_the_case_in_colour(seen):
    logger, pictures = seen
    draw(SamplePictures(channel=3), trainer(logger))
    ((name, picture, step, form),) = pictures
    assert (name, step, form) == ("val/case_1", 7, "HWC")
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    # Contours are coloured, the image is grey.
    assert (picture.max(axis=2).astype(int) - picture.min(axis=2) > 60).sum() > 50


@pytest.mark.parametrize(("epoch", "drawn"), [(0, 0), (3, 0), (4, 1), (5, 0), (9, 1), (18, 0), (19, 1)])
def test_every_few_epochs_and_at_the_end(seen, epoch, drawn):
    draw(SamplePictures(every_n_epochs=5), trainer(seen[0], epoch))
    assert len(seen[1]) == drawn


def test_the_first_cases_only_and_one_process_only(seen):
    logger, pictures = seen
    for index in range(4):
        draw(SamplePictures(cases=2), trainer(logger), index)
    assert len(pictures) == 2
    draw(SamplePictures(), trainer(logger, is_global_zero=False))
    draw(SamplePictures(), trainer(logger, sanity_checking=True))
    assert len(pictures) == 2


def test_other_loggers_get_none(tmp_path):
    draw(SamplePictures(), trainer(CSVLogger(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_regions_are_drawn_over_each_other_and_ignored_voxels_not_at_all():
    regions = torch.tensor([[1, 1, 1, 0, 255], [0, 1, 1, 0, 255], [0, 0, 1, 0, 255]], dtype=torch.uint8)
    assert nested_labels(regions.view(3, 1, 1, 5), 3).ravel().tolist() == [1, 2, 3, 0, 0]
    indices = torch.tensor([0, 1, 2, 255], dtype=torch.uint8).view(1, 1, 1, 4)
    assert nested_labels(indices, 2).ravel().tolist() == [0, 1, 2, 0]


def test_predictions_of_one_channel_a_class_are_drawn_like_their_indices():
    hot = torch.tensor([[1, 0, 0], [0, 1, 0]], dtype=torch.bool).view(2, 1, 1, 3)
    assert nested_labels(hot, 2).ravel().tolist() == [1, 2, 0]


def test_one_class_alone():
    assert nested_labels(torch.tensor([0, 1, 255], dtype=torch.uint8).view(1, 1, 1, 3), 1).ravel().tolist() == [
        0, 1, 0,
    ]  # fmt: skip
