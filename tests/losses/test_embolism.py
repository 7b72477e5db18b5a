"""The competition's score as a loss: the same number, and no gradient from what is unknown."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from medimg.errors import ConfigError
from medimg.losses.embolism import RSNAPulmonaryEmbolismLoss
from medimg.scoring.embolism import EXAM_LABELS, embolism_log_loss


def drawn(sizes=(3, 1, 8)):
    generator = torch.Generator().manual_seed(0)
    exams, images = len(sizes), sum(sizes)
    return {
        "logits": torch.randn(exams, 9, generator=generator),
        "target": torch.randint(0, 2, (exams, 9), generator=generator).float(),
        "weight": torch.ones(exams),
        "image_logits": torch.randn(images, 1, generator=generator),
        "image_target": torch.randint(0, 2, (images, 1), generator=generator).float(),
        "sizes": torch.tensor(sizes),
    }


def test_it_is_the_competition_s_score():
    batch = drawn()
    expected = embolism_log_loss(
        batch["target"].numpy(), batch["logits"].sigmoid().double().numpy(), batch["image_target"][:, 0].numpy(),
        batch["image_logits"][:, 0].sigmoid().double().numpy(), np.repeat([0, 1, 2], [3, 1, 8]),
    )  # fmt: skip
    assert RSNAPulmonaryEmbolismLoss()(**batch).item() == pytest.approx(expected, abs=1e-6)


def test_labels_are_weighed_by_name():
    batch = drawn()
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    turned = {**batch, "logits": batch["logits"][:, order], "target": batch["target"][:, order]}
    loss = RSNAPulmonaryEmbolismLoss([EXAM_LABELS[place] for place in order])
    assert_close(loss(**turned), RSNAPulmonaryEmbolismLoss()(**batch))


def test_worked_by_hand():
    """One exam of two labels, two slices of which one is positive, everything at one half."""
    loss = RSNAPulmonaryEmbolismLoss(["central_pe", "rv_lv_ratio_gte_1"])
    batch = {
        "logits": torch.tensor([[0.0, 2.0]]),
        "target": torch.tensor([[1.0, torch.nan]]),
        "weight": torch.tensor([5.0]),
        "image_logits": torch.zeros(2, 1),
        "image_target": torch.tensor([[1.0], [0.0]]),
        "sizes": torch.tensor([2]),
    }
    assert loss(**batch).item() == pytest.approx(np.log(2))  # log 2 whatever the weights
    image = {**batch, "image_logits": torch.tensor([[50.0], [-50.0]])}
    assert loss(**image).item() == pytest.approx(
        np.log(2) * 0.1877300613 / (0.1877300613 + 0.07361963 * 0.5 * 2)
    )


def test_exams_without_a_positive_slice_teach_by_their_own_labels_and_weights_count():
    batch = {**drawn(), "image_target": torch.zeros(12, 1), "weight": torch.tensor([1.0, 0.0, 0.0])}
    batch["image_logits"].requires_grad_()
    batch["logits"].requires_grad_()
    RSNAPulmonaryEmbolismLoss()(**batch).backward()
    assert batch["image_logits"].grad.abs().sum() == 0
    assert batch["logits"].grad[0].abs().min() > 0
    assert batch["logits"].grad[1:].abs().sum() == 0


def test_unknown_labels_have_no_gradient_and_nothing_known_is_zero():
    batch = drawn()
    batch["target"][:, 4], batch["image_target"][2] = torch.nan, -1.0
    batch["logits"].requires_grad_(), batch["image_logits"].requires_grad_()
    RSNAPulmonaryEmbolismLoss()(**batch).backward()
    assert (batch["logits"].grad[:, 4] == 0).all()
    assert batch["image_logits"].grad[2] == 0
    assert batch["logits"].grad.isfinite().all()
    nothing = {
        **batch,
        "target": torch.full((3, 9), torch.nan),
        "image_target": torch.full((12, 1), torch.nan),
    }
    assert RSNAPulmonaryEmbolismLoss()(**nothing).item() == 0


def test_other_labels_are_refused():
    with pytest.raises(ConfigError, match="no weight for mass; the competition weighs negative_exam_for_pe"):
        RSNAPulmonaryEmbolismLoss(["mass"])
    two = {**drawn(), "image_logits": torch.zeros(12, 2), "image_target": torch.zeros(12, 2)}
    with pytest.raises(ConfigError, match=r"one label of slices expected, found 2: set .*image_classes"):
        RSNAPulmonaryEmbolismLoss()(**two)
