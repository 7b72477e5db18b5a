"""The options of a classification are plain values and parts that a config can name."""

import pytest
import yaml
from jsonargparse import ArgumentParser

from medimg.errors import ConfigError
from medimg.losses import DiceFocalLoss
from medimg.tasks import LabelScoring, TrainingOptions
from medimg.tasks.learning_rates import RateOptions


def test_a_config_names_the_mask_loss_and_its_weight():
    parser = ArgumentParser()
    parser.add_argument("--training", type=TrainingOptions, default=TrainingOptions())
    loss = {"class_path": "medimg.losses.DiceFocalLoss", "init_args": {"gamma": 1.0}}
    text = yaml.safe_dump({"mask_weight": 0.3, "mask_loss": loss, "rates": {"layer_decay": 0.8}})
    found = parser.instantiate_classes(parser.parse_args(["--training", text])).training
    assert isinstance(found.mask_loss, DiceFocalLoss)
    assert (found.mask_loss.gamma, found.mask_weight, found.rates) == (1.0, 0.3, RateOptions(layer_decay=0.8))


def test_nothing_is_mixed_weighed_or_taught_beside_the_labels_by_default():
    plain = TrainingOptions()
    assert (plain.mixup_alpha, plain.cutmix_alpha, plain.mask_weight, plain.mask_loss) == (0, 0, 0, None)
    assert LabelScoring().inferer is None
    with pytest.raises(ConfigError, match=r"layer_decay: expected a factor in \(0, 1\], found 2"):
        TrainingOptions(rates=RateOptions(layer_decay=2))
