import pytest
import torch
from torch import nn

from medimg.reports.config_parts import Part
from medimg.reports.loss_words import default_loss, loss_words, optimizer_words, own_parts, schedule_words
from medimg.tasks import ClassificationTask, SegmentationTask, classification, segmentation, self_supervised


def task(name, **args):
    return Part(f"medimg.tasks.{name}", args)


def loss(name, **args):
    return {"class_path": f"medimg.losses.{name}", "init_args": args}


@pytest.mark.parametrize("module", [classification, segmentation, self_supervised])
def test_a_tasks_own_optimiser_is_told_as_it_is(module):
    given = f"medimg.tasks.{module.__name__.rpartition('.')[2]}.default_optimizer"
    [made] = own_parts(task("AnyTask", optimizer=given, loss="some.Loss"))
    built = module.default_optimizer([nn.Parameter(torch.zeros(1))])
    assert made.name == type(built).__name__
    assert all(built.defaults[key] == value for key, value in made.args.items())
    assert {"lr", "weight_decay"} == set(made.args)
    assert optimizer_words(task("AnyTask", optimizer=given)).startswith("AdamW (learning rate 0.00")


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_a_tasks_own_loss_is_told_as_it_is(kind):
    classes = ["a"] if kind == "binary" else ["a", "b"]
    built = ClassificationTask(nn.Identity(), task=kind, classes=classes)
    assert default_loss(task("ClassificationTask", task=kind)).name == type(built.loss).__name__


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_a_tasks_own_loss_of_masks(head):
    built = SegmentationTask(nn.Identity(), classes=["a"], head=head)
    assert default_loss(task("SegmentationTask", head=head)).name == type(built.loss).__name__


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (task("StudyTask", loss=loss("StudyLoss", loss=None, image_loss=None, image_weight=0.5)),
         "binary cross-entropy of the labels of studies and of slices (StudyLoss, weight of slices 0.5)"),
        (task("StudyTask", loss=loss("StudyLoss", loss=loss("FocalLoss", gamma=2.0))),
         "the focal loss (FocalLoss, gamma 2) of studies and binary cross-entropy of slices (StudyLoss)"),
        (task("SegmentationTask", loss=loss("DiceCELoss", dice_weight=1.0, ce_weight=0.5, label_smoothing=0.0)),
         "soft Dice and cross-entropy (DiceCELoss, weight of cross-entropy 0.5)"),
        (task("MultiTargetTask", targets=[{"name": "a"}], losses={"a": loss("FocalLoss")}, balance="fixed"),
         "the sum of the losses of all targets (TargetLoss) (the focal loss (FocalLoss) for a), with fixed weights"),
        (task("MoCoTask", version="v3", queue_size=4096), "the contrastive loss of MoCo (InfoNCE)"),
        (task("OtherTask"), ""),
    ],
    ids=lambda value: value.name if isinstance(value, Part) else "",
)  # fmt: skip
def test_losses(model, words):
    assert loss_words(model) == words


def test_schedules():
    def words(name, **args):
        return schedule_words(task("T", scheduler={"class_path": name, "init_args": args}))

    assert words("torch.optim.lr_scheduler.MultiStepLR", milestones=[50, 75], gamma=0.1) == (
        "was changed by a factor of 0.1 after 50 and 75 epochs"
    )
    assert (
        words("medimg.tasks.PolynomialSchedule", power=0.9, warmup=0.0) == "fell polynomially with power 0.9"
    )
    assert words("medimg.tasks.CosineSchedule", eta_min=1e-6) == "followed half a cosine down to 0.000001"
    assert words("mylab.Own") == "followed Own"
    # A saved config leaves it to the task; a config that does not name it says nothing.
    assert schedule_words(task("T", scheduler=None)) == "followed half a cosine down to 0"
    assert schedule_words(task("T")) == schedule_words(Part("mylab.T", {"scheduler": None})) == ""
    assert optimizer_words(task("T")) == ""
