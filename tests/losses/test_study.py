"""The loss of studies and slices is the sum of both."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.testing import assert_close

from medimg.losses import FocalLoss
from medimg.losses.study import StudyLoss


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return {
        "logits": torch.randn(2, 3),
        "target": torch.tensor([[1.0, 0.0, torch.nan], [0.0, 1.0, 1.0]]),
        "weight": torch.tensor([1.0, 3.0]),
        "image_logits": torch.randn(5, 1, requires_grad=True),
        "image_target": torch.tensor([[1.0], [0.0], [0.0], [torch.nan], [1.0]]),
        "sizes": torch.tensor([2, 3]),
    }


def test_it_is_the_mean_over_known_labels_of_each_kind(batch):
    study = bce(batch["logits"], batch["target"].nan_to_num(), reduction="none")
    image = bce(batch["image_logits"], batch["image_target"].nan_to_num(), reduction="none")[:, 0]
    expected = (study[0, :2].sum() + 3 * study[1].sum()) / (2 + 9)
    expected = expected + 0.5 * (image[:2].sum() + 3 * image[[2, 4]].sum()) / (2 + 6)
    loss = StudyLoss(image_weight=0.5)(**batch)
    assert_close(loss, expected)
    loss.backward()
    assert batch["image_logits"].grad[3] == 0


def test_other_losses_take_their_places(batch):
    focal = FocalLoss("multilabel")
    weight = torch.tensor([1.0, 1.0, 3.0, 3.0, 3.0])
    expected = focal(batch["logits"], batch["target"], batch["weight"]) + focal(
        batch["image_logits"], batch["image_target"], weight
    )
    assert_close(StudyLoss(focal, focal)(**batch), expected)
