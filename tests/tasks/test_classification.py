"""One task for one label, exclusive classes and several labels: right loss, right rows, on any number of processes."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.optim import SGD

from medimg.cli import main
from medimg.datamodules import (
    BatchOptions,
    CacheOptions,
    ImageDataModule,
    ImageOptions,
    SplitOptions,
)
from medimg.datasets import ImageFolder, ImageTable, TableColumns
from medimg.errors import CheckpointError, ConfigError
from medimg.inference import CropTTA, FlipTTA
from medimg.losses import DiceCELoss
from medimg.models import (
    GatedAttentionPooling,
    MaskedClassifier,
    MeanPooling,
    NoisyOrPooling,
    TimmClassifier,
)
from medimg.models.pooling import SIZES
from medimg.tasks import ClassificationTask, LabelScoring, RateOptions, TrainingOptions

CONFIG = Path(__file__).parents[1] / "conf" / "classification.yaml"
IMAGE = ImageOptions(size=(32, 32), channels=1, mean=(0.5,), std=(0.5,))
LABELS = ("mass", "hernia", "left_nodule")


class Brightness(nn.Module):
    """Logits from the mean brightness alone, so that a score can be worked out by hand."""

    def __init__(self, outputs=1):
        super().__init__()
        self.line = nn.Linear(1, outputs)

    def forward(self, image):
        return self.line(image.mean((1, 2, 3))[:, None])


def make_task(task="binary", classes=("malignant",), network=None, **options):
    settings = {"optimizer": lambda params: SGD(params, lr=0.01), "scoring": LabelScoring(resamples=10)}
    return ClassificationTask(
        network or Brightness(len(classes)), task=task, classes=classes, **{**settings, **options}
    )


def tiny(num_classes=1):
    return TimmClassifier("test_efficientnet", num_classes, in_channels=1)


@pytest.fixture
def make_folder(tmp_path, write_class_folders):
    def make(positive=("malignant",), **options):
        root = tmp_path / "set"
        if not root.exists():
            write_class_folders(root, {"benign": 6, "malignant": 4, "normal": 4})
        settings = {
            "split": SplitOptions(num_folds=2), "image": IMAGE, "batch": BatchOptions(batch_size=4),
            "cache": CacheOptions(tmp_path / "kept"),
        }  # fmt: skip
        return ImageDataModule(root, dataset=ImageFolder(positive=positive), **{**settings, **options})

    return make


@pytest.fixture
def make_table(tmp_path, write_picture, write_table):
    """Eight breasts of two views; ``hernia`` never occurs and ``mass`` is unknown in one."""

    def make(**options):
        root = tmp_path / "table"
        if not root.exists():
            rows = []
            for number in range(16):
                write_picture(root / f"{number}.png", seed=number)
                breast = number // 2
                mass = "" if breast == 7 else breast % 2
                rows.append(
                    [
                        number,
                        f"p{breast // 2}",
                        f"b{breast}",
                        f"{number}.png",
                        mass,
                        0,
                        breast % 2,
                        1 + breast,
                    ]
                )
            write_table(root / "labels.csv", ["id", "patient", "breast", "file", *LABELS, "weight"], rows)
        columns = TableColumns("id", "patient", ("{file}",), LABELS, group="breast", weight="weight")
        settings = {
            "split": SplitOptions(num_folds=2), "image": IMAGE, "cache": CacheOptions(tmp_path / "kept"),
            "batch": BatchOptions(batch_size=2, grouped=True),
        }  # fmt: skip
        table = ImageTable(Path("labels.csv"), columns, "multilabel")
        return ImageDataModule(root, dataset=table, **{**settings, **options})

    return make


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# ---- the rows and the numbers ----------------------------------------------------------------------


def test_the_table_holds_what_the_network_says(make_folder, make_trainer, tmp_path):
    task, data = make_task(), make_folder()
    make_trainer().test(task, data, verbose=False)
    found = rows_of(tmp_path / "run" / "test" / "per_case.csv")
    assert sorted(row["case_id"] for row in found) == sorted(data_split(make_folder()).val)
    fresh = make_folder()
    fresh.setup("test")
    for row in found:
        pixels = torch.from_numpy(fresh.pixels(row["case_id"])[0][None])
        prob = torch.sigmoid(task.network((pixels - 0.5) / 0.5)).item()
        assert float(row["prob_malignant"]) == pytest.approx(prob, abs=1e-5)
        assert float(row["target_malignant"]) == row["case_id"].startswith("malignant")
    summary = json.loads((tmp_path / "run" / "test" / "summary.json").read_text())
    target, prob = ([float(row[f"{what}_malignant"]) for row in found] for what in ("target", "prob"))
    assert summary["labels"]["auroc"]["malignant"]["mean"] == pytest.approx(roc_auc_score(target, prob))
    assert "validation cases of fold 0" in summary["title"]


def data_split(data):
    data.prepare_data()
    data.setup("fit")
    return data.split


def test_exclusive_classes(make_folder, make_trainer, tmp_path):
    classes = ("benign", "malignant", "normal")
    task = make_task(
        "multiclass", classes, tiny(3), training=TrainingOptions(count_weights=True, cutmix_alpha=1.0)
    )
    trainer = make_trainer()
    trainer.fit(task, make_folder(positive=()))
    assert {
        "val/auroc",
        "val/average_precision",
        "val/accuracy",
        "val/loss",
    } <= trainer.callback_metrics.keys()
    # 3 benign, 2 malignant and 2 normal train: each class weighs as much as the others.
    torch.testing.assert_close(task.loss.class_weights, torch.tensor([7 / 9, 7 / 6, 7 / 6]))
    trainer.validate(task, make_folder(positive=()), verbose=False)
    for row in rows_of(tmp_path / "run" / "validate" / "per_case.csv"):
        assert sum(float(row[f"prob_{name}"]) for name in classes) == pytest.approx(1, abs=1e-5)
        assert sum(float(row[f"target_{name}"]) for name in classes) == 1


def test_groups_of_images_with_unknown_and_absent_labels(make_table, make_trainer, tmp_path):
    task = make_task("multilabel", LABELS, tiny(3), pooling=GatedAttentionPooling(tiny().num_features))
    trainer = make_trainer(max_epochs=2)
    before = task.pooling.score.weight.clone()
    trainer.fit(task, make_table())
    assert not torch.equal(task.pooling.score.weight, before)  # trained end to end
    trainer.test(task, make_table(), verbose=False)
    rows = rows_of(tmp_path / "run" / "test" / "per_case.csv")
    assert len(rows) == 4 and all(row["case_id"].startswith("b") for row in rows)
    summary = json.loads((tmp_path / "run" / "test" / "summary.json").read_text())
    assert summary["labels"]["auroc"]["hernia"]["mean"] is None
    assert summary["macro"]["auroc"]["n_left_out"] >= 1


def test_an_unknown_label_and_a_weight_reach_the_loss():
    task = make_task("multilabel", LABELS)
    task.log = lambda *args, **options: None
    image = torch.randn(2, 1, 8, 8)
    batch = {
        "image": image,
        "weight": torch.tensor([1.0, 3.0]),
        "case_id": ["a", "b"],
        "seed": torch.tensor([1, 2]),
    }
    target = torch.tensor([[1.0, torch.nan, 0.0], [0.0, torch.nan, torch.nan]])
    loss = task.training_step({**batch, "label": target}, 0)
    bce = nn.functional.binary_cross_entropy_with_logits(task(image), target.nan_to_num(), reduction="none")
    expected = (bce[0, 0] + bce[0, 2] + 3 * bce[1, 0]) / 5
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert torch.isfinite(task.network.line.weight.grad).all()
    assert task.network.line.weight.grad[1] == 0


def test_positive_weights_are_counted_on_the_training_fold(make_folder, make_trainer):
    task, data = make_task(training=TrainingOptions(count_weights=True)), make_folder()
    make_trainer(limit_train_batches=1, limit_val_batches=1).fit(task, data)
    split = data_split(make_folder())
    positive = sum(case.startswith("malignant") for case in split.train)
    torch.testing.assert_close(task.loss.pos_weight, torch.tensor([(len(split.train) - positive) / positive]))


def test_labels_that_no_training_case_has_are_not_weighed():
    labels = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, torch.nan]])
    task = make_task("multilabel", ("a", "b"), tiny(2))
    task._weigh(labels)
    torch.testing.assert_close(task.loss.pos_weight, torch.tensor([2.0, 1.0]))
    task = make_task("multiclass", ("a", "b", "c"), tiny(3))
    task._weigh(torch.tensor([[1.0, 0.0, 0.0]] * 3 + [[0.0, 1.0, 0.0]]))
    torch.testing.assert_close(task.loss.class_weights, torch.tensor([4 / 9, 4 / 3, 1.0]))


# ---- masks as a second teacher -----------------------------------------------------------------------


def masked_batch(known=True):
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(4, 1, 32, 32, generator=generator)
    mask = (image > 0).to(torch.uint8) if known else torch.full((4, 1, 32, 32), 255, dtype=torch.uint8)
    return {
        "image": image, "mask": mask, "label": torch.tensor([[1.0], [0.0], [1.0], [0.0]]), "weight": torch.ones(4),
        "case_id": list("abcd"), "seed": torch.arange(4),
    }  # fmt: skip


def taught(network, batch, mask_weight, **options):
    """Loss of a training step, and the gradient that reaches the encoder's first layer."""
    task = make_task(network=network, training=TrainingOptions(mask_weight=mask_weight), **options)
    task.log = lambda *args, **kept: None
    network.zero_grad()
    loss = task.training_step(batch, 0)
    loss.backward()
    return loss.detach(), network.body.conv_stem.weight.grad.clone()


@pytest.fixture
def masked_network():
    torch.manual_seed(0)
    return MaskedClassifier(
        tiny(), width=8
    ).eval()  # so that batch norm makes no difference between two passes


def test_the_masks_loss_is_added_by_its_weight_and_reaches_the_encoder(masked_network):
    batch = masked_batch()
    plain, plain_grad = taught(masked_network.classifier, batch, 0.0)
    with torch.no_grad():
        mask_loss = DiceCELoss()(masked_network.features_and_masks(batch["image"])[1], batch["mask"])
    half, half_grad = taught(masked_network, batch, 0.5)
    whole, whole_grad = taught(masked_network, batch, 1.0)
    torch.testing.assert_close(half, plain + 0.5 * mask_loss)
    torch.testing.assert_close(whole, plain + mask_loss)
    assert not torch.allclose(half_grad, plain_grad)
    torch.testing.assert_close(whole_grad - half_grad, half_grad - plain_grad, rtol=1e-3, atol=1e-5)


def test_images_without_a_mask_are_taught_by_their_label_alone(masked_network):
    plain, plain_grad = taught(masked_network.classifier, masked_batch(), 0.0)
    found, grad = taught(masked_network, masked_batch(known=False), 1.0)
    torch.testing.assert_close(found, plain, rtol=0, atol=1e-6)
    torch.testing.assert_close(grad, plain_grad, rtol=0, atol=1e-7)


def test_masks_change_nothing_of_what_is_said_at_test_time(masked_network):
    task = make_task(network=masked_network, training=TrainingOptions(mask_weight=1.0))
    alone = make_task(network=masked_network.classifier)
    image = masked_batch()["image"]
    with torch.no_grad():
        assert torch.equal(task(image), alone(image))


@pytest.mark.parametrize(
    "pooling", [MeanPooling(), GatedAttentionPooling(TimmClassifier("test_efficientnet", 1).num_features)]
)
def test_masks_of_the_images_of_a_group_teach_too(pooling, masked_network):
    batch = {
        **masked_batch(),
        "label": torch.tensor([[1.0], [0.0]]),
        "weight": torch.ones(2),
        "case_id": ["s", "t"],
    }
    batch[SIZES] = torch.tensor([1, 3])
    loss, grad = taught(masked_network, batch, 1.0, pooling=pooling)
    task = make_task(network=masked_network, training=TrainingOptions(mask_weight=1.0), pooling=pooling)
    with torch.no_grad():
        mask_loss = DiceCELoss()(masked_network.features_and_masks(batch["image"])[1], batch["mask"])
        label_loss = task.loss(task(batch["image"], batch[SIZES]), batch["label"], batch["weight"])
    torch.testing.assert_close(loss, label_loss + mask_loss)
    assert grad.any()


def test_mask_settings_that_do_not_fit(masked_network):
    masks = TrainingOptions(mask_weight=0.5)
    with pytest.raises(ConfigError, match=r"go together: found 0\.5 and TimmClassifier"):
        make_task(network=tiny(), training=masks)
    with pytest.raises(ConfigError, match="go together: found 0 and MaskedClassifier"):
        make_task(network=masked_network)
    for wrong in ({"mixup_alpha": 0.2}, {"cutmix_alpha": 1.0}):
        with pytest.raises(ConfigError, match="neither mixup nor cutmix"):
            make_task(network=masked_network, training=TrainingOptions(mask_weight=0.5, **wrong))
    with pytest.raises(ConfigError, match="nor compile"):
        make_task(network=masked_network, training=masks, compile=True)
    with pytest.raises(ConfigError, match="expected 0 or more"):
        make_task(network=masked_network, training=TrainingOptions(mask_weight=-1.0))
    batch = masked_batch()
    del batch["mask"]
    with pytest.raises(ConfigError, match=r"set data\.init_args\.batch\.masks to true"):
        taught(masked_network, batch, 0.5)


def test_encoder_and_decoder_learn_at_rates_of_their_own(masked_network):
    training = TrainingOptions(mask_weight=0.5, rates=RateOptions(backbone_lr_scale=0.1))
    optimizer = make_task(network=masked_network, training=training).optimizer(masked_network.parameters())
    rate_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rate_of[id(masked_network.body.conv_stem.weight)] == pytest.approx(0.001)
    assert (
        rate_of[id(masked_network.head_module.weight)] == rate_of[id(masked_network.mask_head.weight)] == 0.01
    )
    assert set(rate_of) == {id(p) for p in masked_network.parameters()}


class Left(nn.Module):
    """Logits from the left half alone; counts how often it is asked."""

    def __init__(self):
        super().__init__()
        self.asked = 0

    def forward(self, image):
        self.asked += 1
        return 4 * image[..., : image.shape[-1] // 2].mean((1, 2, 3))[:, None]


def test_views_are_averaged_in_probabilities_and_only_at_the_end(make_folder, make_trainer, tmp_path):
    flips = FlipTTA(axes=("horizontal", "vertical"))
    task = make_task(network=Left(), scoring=LabelScoring(resamples=5, inferer=flips))
    make_trainer().test(task, make_folder(), verbose=False)
    assert task.network.asked == 2 * 4  # two batches
    summary = json.loads((tmp_path / "run" / "test" / "summary.json").read_text())
    assert summary["settings"]["tta"] == ["FlipTTA(axes=('horizontal', 'vertical'))"]
    fresh = make_folder()
    fresh.setup("test")
    for row in rows_of(tmp_path / "run" / "test" / "per_case.csv"):
        image = (torch.from_numpy(fresh.pixels(row["case_id"])[0][None]) - 0.5) / 0.5
        expected = (Left()(image).sigmoid() + Left()(image.flip(3)).sigmoid()) / 2
        assert float(row["prob_malignant"]) == pytest.approx(expected.item(), abs=1e-5)


def test_mirroring_at_test_time_is_questioned_where_images_have_sides(make_folder, make_trainer, caplog):
    scoring = LabelScoring(resamples=5, inferer=FlipTTA())
    make_trainer().test(make_task(scoring=scoring), make_folder(), verbose=False)
    assert "mirrors left and right" not in caplog.text
    data = make_folder(positive=())
    data.harm_of_mirroring = lambda index: "labels tell them apart (left lung)"
    task = make_task("multiclass", ("benign", "malignant", "normal"), tiny(3), scoring=scoring)
    make_trainer().test(task, data, verbose=False)
    said = "the test-time augmentation mirrors left and right, and labels tell them apart (left lung)"
    assert said in caplog.text
    caplog.clear()
    make_trainer().predict(task, data, return_predictions=False)
    assert said in caplog.text


@pytest.mark.parametrize(
    ("inferer", "asked"), [(FlipTTA(), 2), (CropTTA(crops=1, whole=False), 2), (None, 1)]
)
def test_the_loss_is_that_of_the_images_as_they_are(inferer, asked, make_folder, make_trainer):
    losses = []
    for chosen in (None, inferer):
        task = make_task(network=Left(), scoring=LabelScoring(resamples=5, inferer=chosen))
        trainer = make_trainer()
        trainer.validate(task, make_folder(), verbose=False)
        losses.append(trainer.callback_metrics["val/loss"])
    assert task.network.asked == 2 * asked
    assert torch.equal(*losses)


def test_predictions_have_no_targets(make_folder, make_trainer, tmp_path):
    task = make_task()
    task.predictions_folder = tmp_path / "out"
    make_trainer().predict(task, make_folder(), return_predictions=False)
    rows = rows_of(tmp_path / "out" / "per_case.csv")
    assert len(rows) == 14
    assert set(rows[0]) == {"case_id", "patient_id", "prob_malignant"}


# ---- what does not fit together ----------------------------------------------------------------------


def test_labels_other_than_the_data_s_are_refused(make_folder, make_trainer):
    with pytest.raises(ConfigError, match=r"the data are binary with the labels \['malignant'\]"):
        make_trainer().fit(make_task(classes=("cancer",)), make_folder())


def test_groups_need_a_pooling_and_a_pooling_groups(make_table, make_folder, make_trainer):
    with pytest.raises(ConfigError, match=r"name a pooling"):
        make_trainer().test(make_task("multilabel", LABELS), make_table(), verbose=False)
    with pytest.raises(ConfigError, match=r"batch\.grouped"):
        make_trainer().test(make_task(pooling=MeanPooling()), make_folder(), verbose=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ("a", "b")}, "one label, the positive one"),
        ({"task": "multiclass", "classes": ("a", "b"), "pooling": NoisyOrPooling()}, "noisy-or"),
        ({"pooling": MeanPooling(), "training": TrainingOptions(mixup_alpha=0.2)}, "mixup and cutmix"),
    ],
)
def test_settings_that_exclude_each_other(options, message):
    with pytest.raises(ConfigError, match=message):
        make_task(**options)


def test_a_network_with_other_outputs_says_which():
    with pytest.raises(ConfigError, match="num_classes"):
        make_task(network=Brightness(2))(torch.zeros(1, 1, 4, 4))


def test_a_checkpoint_for_other_labels_is_refused():
    checkpoint = {}
    make_task().on_save_checkpoint(checkpoint)
    make_task().on_load_checkpoint(checkpoint)
    with pytest.raises(CheckpointError, match=r"trained as binary for \['malignant'\]"):
        make_task(classes=("cancer",)).on_load_checkpoint(checkpoint)


# ---- whole runs ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(tmp_path_factory, write_class_folders):
    """The tiny config through fit, test and predict."""
    folder = tmp_path_factory.mktemp("classification")
    root = write_class_folders(folder / "data", {"benign": 8, "malignant": 8})
    run = folder / "lightning_logs" / "classification" / "version_0"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for verb in ("fit", "test", "predict"):
            config = CONFIG if verb == "fit" else run / "config.yaml"
            assert main([verb, "--config", str(config), "--data.root", str(root)]) == 0
    return run


def test_a_run_leaves_tables_of_three_kinds(done):
    columns = {"case_id", "patient_id", "target_malignant", "prob_malignant"}
    for verb, count in (("validate", 8), ("test", 8), ("predict", 16)):
        rows = rows_of(done / verb / "per_case.csv")
        assert len(rows) == count
        assert set(rows[0]) == columns - ({"target_malignant"} if verb == "predict" else set())
    assert json.loads((done / "predict" / "predictions.json").read_text())["classes"] == ["malignant"]
    facts = json.loads((done / "test" / "predictions.json").read_text())
    assert facts["split"]
    assert facts["tta"] == ["FlipTTA(axes=('horizontal',))"]
    assert rows_of(done / "validate" / "per_case.csv") == rows_of(done / "test" / "per_case.csv")


@pytest.mark.parametrize(("name", "described"), [("none", []), ("xray", ["ScaleTTA", "CropTTA"])])
def test_an_augmentation_is_typed_in_place_of_the_config_s(name, described, done, tmp_path):
    words = ["test", "--config", str(done / "config.yaml"), "--tta", name, "--out", str(tmp_path)]
    assert main(words) == 0
    facts = json.loads((tmp_path / "predictions.json").read_text())
    assert [words.partition("(")[0] for words in facts["tta"]] == described
    before, after = (rows_of(folder / "per_case.csv") for folder in (done / "test", tmp_path))
    assert [row["case_id"] for row in after] == [row["case_id"] for row in before]
    assert [row["prob_malignant"] for row in after] != [row["prob_malignant"] for row in before]


def test_no_threshold_is_reported_on_the_cases_that_would_choose_it(done):
    # The set has no test split, so test scores the validation cases.
    assert "at_validation_thresholds" not in json.loads((done / "test" / "summary.json").read_text())


def test_curves_and_mistakes_are_drawn(done):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(done), size_guidance={"images": 0})
    events.Reload()
    assert {"val/curves", "val/confusion_malignant", "test/curves"} <= set(events.Tags()["images"])
    assert {"val/auroc", "train/loss_step"} <= set(events.Tags()["scalars"])


@pytest.mark.slow
def test_two_processes_give_the_table_of_one(done):
    words = [
        "-m",
        "medimg",
        "test",
        "--config",
        str(done / "config.yaml"),
        "--trainer.devices",
        "2",
        "--trainer.strategy",
        "ddp",
    ]
    before = rows_of(done / "test" / "per_case.csv")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *words], check=True, cwd=done.parents[2], env=environment, timeout=300)
    after = rows_of(done / "test" / "per_case.csv")
    assert [row["case_id"] for row in after] == [row["case_id"] for row in before]
    for one, two in zip(before, after, strict=True):
        assert float(one["prob_malignant"]) == pytest.approx(float(two["prob_malignant"]), abs=1e-6)
