"""Studies and their slices: labels by name, a row each once, numbers that the tables bear out."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn
from writers.studies import (
    SLICE_LABEL,
    STUDY_LABELS,
    TABLE,
    WIDTH,
    sizes_of,
    write_studies,
    write_study_features,
)

from medimg.cli import main
from medimg.datamodules import BatchOptions, CacheOptions, ImageDataModule, ImageOptions, SplitOptions
from medimg.datamodules.slice_features import SliceFeatureDataModule
from medimg.errors import CheckpointError, ConfigError
from medimg.inference import FlipTTA
from medimg.losses import MaskedBCELoss, RSNAPulmonaryEmbolismLoss, StudyLoss
from medimg.models import GRUSequence, TimmClassifier
from medimg.models.slice_sequence import FeatureSequence, SliceSequence
from medimg.tasks import LabelScoring, StudyTask

CONFIG = Path(__file__).parents[1] / "conf" / "study.yaml"
SIZES = sizes_of(8)


def make_task(network=None, **options):
    torch.manual_seed(0)
    settings = {
        "classes": STUDY_LABELS,
        "image_classes": [SLICE_LABEL],
        "optimizer": lambda params: torch.optim.AdamW(params, lr=0.02),
        "scoring": LabelScoring(resamples=10),
    }
    network = network or FeatureSequence(WIDTH, 2, sequence=GRUSequence(8, dim=8))
    return StudyTask(network, **{**settings, **options})


@pytest.fixture
def make_features(tmp_path):
    """``make_features(**options)``: eight studies of one to five slices, of which the first feature tells the label."""
    root = write_studies(tmp_path / "studies", pictures=True)
    split = SplitOptions(num_folds=2)
    index = TABLE.index(root)
    from medimg.datamodules.image_split import choose_image_split

    whole = choose_image_split(index, fold=0, num_folds=2).whole
    folder = write_study_features(tmp_path / "features", root, json.dumps({"split": whole, "fold": 0}))

    def make(**options):
        settings = {"features": folder, "split": split, "batch": BatchOptions(batch_size=3, grouped=True)}
        return SliceFeatureDataModule(root, dataset=TABLE, **{**settings, **options})

    return make


@pytest.fixture
def make_images(tmp_path):
    """``make_images(**options)``: the same studies as pictures."""

    def make(**options):
        root = tmp_path / "studies"
        if not root.exists():
            write_studies(root)
        settings = {
            "split": SplitOptions(num_folds=2),
            "image": ImageOptions(size=(32, 32), channels=1, mean=(0.5,), std=(0.5,)),
            "cache": CacheOptions(limit_gib=0),  # nothing kept: no processes to start
            "batch": BatchOptions(batch_size=2, grouped=True),
        }
        return ImageDataModule(root, dataset=TABLE, **{**settings, **options})

    return make


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# ---- the rows and the numbers ----------------------------------------------------------------------


def test_both_tables_hold_what_the_network_says(make_features, make_trainer, tmp_path):
    task, data = make_task(), make_features()
    make_trainer().test(task, data, verbose=False)
    folder = tmp_path / "run" / "test"
    studies, slices = rows_of(folder / "per_case.csv"), rows_of(folder / "per_image.csv")
    assert [row["case_id"] for row in studies] == sorted({row["study"] for row in slices})
    assert len(studies) == 4
    assert len(slices) == sum(SIZES[int(row["case_id"][1:])] for row in studies)
    fresh = make_features(batch=BatchOptions(batch_size=1, grouped=True))
    fresh.setup("test")
    for batch in fresh.test_dataloader():
        with torch.no_grad():
            logits, image_logits = task.eval().network(batch["image"])
        (row,) = (row for row in studies if [row["case_id"]] == batch["case_id"])
        for name, prob in zip(STUDY_LABELS, logits.sigmoid()[0].tolist(), strict=True):
            assert float(row[f"prob_{name}"]) == pytest.approx(prob, abs=1e-5)
        number = int(row["case_id"][1:])
        assert float(row["target_sick"]) == number % 2
        by_name = {one["case_id"]: one for one in slices}
        for place, (name, prob) in enumerate(
            zip(batch["image_id"], image_logits.sigmoid()[:, 0], strict=True)
        ):
            assert by_name[name]["study"] == by_name[name]["patient_id"] == row["case_id"]
            assert float(by_name[name]["prob_seen"]) == pytest.approx(prob.item(), abs=1e-5)
            assert float(by_name[name]["target_seen"]) == (number % 2 and place == SIZES[number] - 1)


def test_summaries_are_those_of_the_tables(make_features, make_trainer, tmp_path):
    make_trainer().validate(make_task(), make_features(), verbose=False)
    folder = tmp_path / "run" / "validate"
    slices = rows_of(folder / "per_image.csv")
    target, prob = ([float(row[f"{what}_seen"]) for row in slices] for what in ("target", "prob"))
    summary = json.loads((folder / "image_summary.json").read_text())
    assert summary["labels"]["auroc"]["seen"]["mean"] == pytest.approx(roc_auc_score(target, prob))
    assert summary["labels"]["average_precision"]["seen"]["mean"] == pytest.approx(
        average_precision_score(target, prob)
    )
    assert (summary["n_cases"], summary["n_patients"]) == (len(slices), 4)  # slices are drawn study by study
    assert "weighted_log_loss" not in summary
    studies = json.loads((folder / "summary.json").read_text())
    assert set(studies["labels"]["auroc"]) == set(STUDY_LABELS)


def test_it_learns_what_one_slice_shows(make_features, make_trainer):
    task, trainer = make_task(), make_trainer(max_epochs=15)
    trainer.fit(task, make_features())
    assert trainer.callback_metrics["val/image_auroc"] > 0.95
    assert {
        "val/auroc",
        "val/loss",
        "train/loss",
        "val/image_average_precision",
    } <= trainer.callback_metrics.keys()


def test_labels_are_picked_by_name(make_features, make_trainer):
    """The data's order and the labels that are not asked for change nothing."""
    losses = []
    for names in (STUDY_LABELS, STUDY_LABELS[::-1]):
        task = make_task(classes=names)
        if names != STUDY_LABELS:
            head = task.network.study_head
            head.weight.data, head.bias.data = head.weight.data.flip(0), head.bias.data.flip(0)
        trainer = make_trainer()
        trainer.validate(task, make_features(), verbose=False)
        losses.append(trainer.callback_metrics["val/loss"])
    torch.testing.assert_close(losses[1], losses[0])
    only = make_task(FeatureSequence(WIDTH, 1), classes=["left"])
    make_trainer().validate(only, make_features(), verbose=False)
    assert only.task == "binary"


def test_the_loss_is_that_of_studies_and_slices(make_features):
    task, data = make_task(loss=StudyLoss(image_weight=0.5)), make_features()
    task.log = lambda *args, **options: None
    data.setup("fit")
    task._columns = [0, 1], [2]
    batch = next(iter(data.train_dataloader()))
    logits, image_logits = task.answers(batch["image"], batch["sizes"])
    bce = nn.functional.binary_cross_entropy_with_logits
    expected = bce(logits, batch["label"][:, :2]) + 0.5 * bce(image_logits, batch["image_label"][:, 2:])
    torch.testing.assert_close(task.training_step(batch, 0), expected)


def test_predictions_have_no_targets(make_features, make_trainer, tmp_path):
    make_trainer().predict(make_task(), make_features(), return_predictions=False)
    studies, slices = (
        rows_of(tmp_path / "run" / "predict" / f"per_{what}.csv") for what in ("case", "image")
    )
    assert len(studies) == 8 and len(slices) == sum(SIZES)
    assert set(studies[0]) == {"case_id", "patient_id", "prob_sick", "prob_left"}
    assert set(slices[0]) == {"case_id", "patient_id", "prob_seen", "study"}


def test_end_to_end_from_pictures_and_views_are_averaged_for_both(make_images, make_trainer, tmp_path):
    encoder = TimmClassifier("test_efficientnet", 0, in_channels=3)
    network = SliceSequence(encoder, 2, sequence=GRUSequence(8, dim=8), chunk=4)
    task = make_task(network, scoring=LabelScoring(resamples=5, inferer=FlipTTA()))
    trainer = make_trainer(limit_train_batches=1)
    trainer.fit(task, make_images())
    trainer.test(task, make_images(), verbose=False)
    fresh = make_images(batch=BatchOptions(batch_size=1, grouped=True))
    fresh.setup("test")
    slices = {
        row["case_id"]: float(row["prob_seen"])
        for row in rows_of(tmp_path / "run" / "test" / "per_image.csv")
    }
    for batch in fresh.test_dataloader():
        image = fresh.on_after_batch_transfer(batch, 0)["image"]
        with torch.no_grad():
            views = [task.eval().network(view)[1].sigmoid()[:, 0] for view in (image, image.flip(3))]
        for name, prob in zip(batch["image_id"], sum(views) / 2, strict=True):
            assert slices[name] == pytest.approx(prob.item(), abs=1e-5)


# ---- what does not fit together ----------------------------------------------------------------------


def test_labels_that_the_data_lack_are_named(make_features, make_trainer):
    with pytest.raises(
        ConfigError, match=r"the data have no label healthy: .* out of \['sick', 'left', 'seen'\]"
    ):
        make_trainer().fit(make_task(classes=["sick", "healthy"]), make_features())


def test_images_that_are_not_grouped_are_refused(make_images, make_trainer):
    task = make_task(SliceSequence(TimmClassifier("test_efficientnet", 0, in_channels=3), 2))
    with pytest.raises(ConfigError, match=r"data\.init_args\.batch\.grouped to true"):
        make_trainer().fit(task, make_images(batch=BatchOptions(batch_size=2)))


def test_views_of_features_are_refused(make_features, make_trainer):
    task = make_task(scoring=LabelScoring(inferer=FlipTTA()))
    with pytest.raises(ConfigError, match="this network takes features: take --tta none"):
        make_trainer().test(task, make_features(), verbose=False)


def test_settings_that_exclude_each_other():
    with pytest.raises(ConfigError, match="sick: named in classes and in image_classes"):
        make_task(image_classes=["sick"])
    with pytest.raises(ConfigError, match=r"weighs the labels \['negative_exam.*give both in the same order"):
        make_task(loss=RSNAPulmonaryEmbolismLoss())
    with pytest.raises(
        ConfigError, match="gives 3 labels of studies and 1 of slices, the task has 2 and 1: set"
    ):
        make_task(FeatureSequence(WIDTH, 3))(torch.zeros(2, WIDTH))


def test_a_checkpoint_for_other_labels_is_refused():
    checkpoint = {}
    make_task().on_save_checkpoint(checkpoint)
    make_task().on_load_checkpoint(checkpoint)
    with pytest.raises(CheckpointError, match=r"for slices with \['seen'\], this config says \['visible'\]"):
        make_task(image_classes=["visible"]).on_load_checkpoint(checkpoint)
    with pytest.raises(CheckpointError, match="trained as multilabel"):
        make_task(FeatureSequence(WIDTH, 1), classes=["sick"]).on_load_checkpoint(checkpoint)


def test_the_default_loss_is_cross_entropy_of_each():
    loss = make_task().loss
    assert isinstance(loss.loss, MaskedBCELoss) and isinstance(loss.image_loss, MaskedBCELoss)
    assert loss.image_weight == 1


# ---- whole runs ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The tiny config through fit, test and predict, and the features that it keeps."""
    folder = tmp_path_factory.mktemp("study")
    root = write_studies(folder / "data")
    run = folder / "lightning_logs" / "study" / "version_0"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for verb in ("fit", "test", "predict"):
            config = CONFIG if verb == "fit" else run / "config.yaml"
            assert main([verb, "--config", str(config), "--data.root", str(root)]) == 0
    return run


@pytest.mark.slow
def test_a_run_leaves_tables_of_studies_and_slices(done):
    for verb, studies in (("validate", 4), ("test", 4), ("predict", 8)):
        assert len(rows_of(done / verb / "per_case.csv")) == studies
        assert len({row["study"] for row in rows_of(done / verb / "per_image.csv")}) == studies
        if verb == "validate":
            continue  # at the end of fit, which writes no predictions
        assert json.loads((done / verb / "predictions.json").read_text())["classes"] == list(STUDY_LABELS)
    assert len(list((done / "features").glob("*.npz"))) == 8
    assert json.loads((done / "features" / "features.json").read_text())["fold"] == 0


@pytest.mark.slow
def test_two_processes_give_the_tables_of_one(done):
    before = [rows_of(done / "test" / name) for name in ("per_case.csv", "per_image.csv")]
    words = ["-m", "medimg", "test", "--config", str(done / "config.yaml")]
    words += ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *words], check=True, cwd=done.parents[2], env=environment, timeout=300)
    after = [rows_of(done / "test" / name) for name in ("per_case.csv", "per_image.csv")]
    for one, two, label in zip(before, after, ("sick", "seen"), strict=True):
        assert [row["case_id"] for row in two] == [row["case_id"] for row in one]
        for left, right in zip(one, two, strict=True):
            assert float(right[f"prob_{label}"]) == pytest.approx(float(left[f"prob_{label}"]), abs=1e-6)


@pytest.mark.slow
def test_the_file_of_export_answers_as_the_run(done):
    assert main(["export", str(done), "--format", "torch-export"]) == 0
    facts = json.loads((done / "export" / "best.json").read_text())
    assert facts["check"]["largest_difference"] < 1e-4
    assert facts["classes"] == list(STUDY_LABELS)
