"""What the encoder says is kept as it was said, and trains a second stage."""

import json

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from writers.studies import SLICE_LABEL, STUDY_LABELS, TABLE, sizes_of, write_studies

from medimg.callbacks import FeatureWriter
from medimg.datamodules import BatchOptions, CacheOptions, ImageDataModule, ImageOptions, SplitOptions
from medimg.datamodules.slice_features import SliceFeatureDataModule, read_features
from medimg.errors import ConfigError
from medimg.inference import FlipTTA
from medimg.models import FeatureSequence, SlicesAlone, SliceSequence, TimmClassifier
from medimg.tasks import LabelScoring, StudyTask

SPLIT = SplitOptions(num_folds=2)


def make_task(network=None, **options):
    torch.manual_seed(0)
    if network is None:
        encoder = TimmClassifier("test_efficientnet", 0, in_channels=3)
        network = SliceSequence(encoder, 2, sequence=SlicesAlone(8), chunk=3)
    return StudyTask(network, classes=STUDY_LABELS, image_classes=[SLICE_LABEL], **options)


@pytest.fixture
def make_trainer(tmp_path):
    def make(**options):
        return Trainer(
            accelerator="cpu", max_epochs=1, num_sanity_val_steps=0, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
            default_root_dir=tmp_path / "run", **options,
        )  # fmt: skip

    return make


@pytest.fixture
def data(tmp_path):
    return make_data(write_studies(tmp_path / "studies", 6))


def make_data(root):
    return ImageDataModule(
        root,
        dataset=TABLE,
        split=SPLIT,
        image=ImageOptions(size=(32, 32), channels=1, mean=(0.5,), std=(0.5,)),
        cache=CacheOptions(limit_gib=0),  # nothing kept: no processes to start
        batch=BatchOptions(batch_size=4, grouped=True),
    )


def test_features_are_the_encoder_s_and_feed_the_second_stage(data, make_trainer, tmp_path):
    task, folder = make_task(scoring=LabelScoring(resamples=5)), tmp_path / "features"
    trainer = make_trainer(callbacks=[FeatureWriter(folder)], limit_train_batches=1, limit_val_batches=1)
    trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    trainer.predict(task, data, ckpt_path=tmp_path / "last.ckpt", return_predictions=False, weights_only=True)
    files = sorted(folder.glob("*.npz"))
    assert [path.stem for path in files] == [f"s{number}" for number in range(6)]
    fresh = make_data(data.root)  # one that is not predicting
    for path, size in zip(files, sizes_of(6), strict=True):
        images, features = read_features(path)
        assert images == tuple(f"{path.stem}_{place:02}" for place in range(size))
        pixels = np.stack([fresh.pixels(name)[0] for name in images])
        with torch.no_grad():
            expected = task.eval().network.features((torch.from_numpy(pixels) - 0.5) / 0.5)
        assert features.dtype == np.float16
        np.testing.assert_allclose(features, expected.numpy(), atol=2e-3, rtol=2e-3)
    facts = json.loads((folder / "features.json").read_text())
    assert (facts["fold"], facts["part"]) == (0, "predict")
    second = make_task(FeatureSequence(features.shape[1], 2), scoring=LabelScoring(resamples=5))
    kept = SliceFeatureDataModule(data.root, dataset=TABLE, features=folder, split=SPLIT)
    trainer = make_trainer()
    trainer.fit(second, kept)
    assert trainer.callback_metrics["val/loss"].isfinite()


def test_only_an_encoder_of_slices_as_they_are_is_listened_to(data, make_trainer):
    trainer = make_trainer(callbacks=[FeatureWriter()])
    with pytest.raises(
        ConfigError, match=r"over a medimg\.models\.SliceSequence expected, found StudyTask over Feat"
    ):
        trainer.predict(make_task(FeatureSequence(4, 2)), data)
    with pytest.raises(ConfigError, match="as they are: take --tta none"):
        trainer.predict(make_task(scoring=LabelScoring(inferer=FlipTTA())), data)
