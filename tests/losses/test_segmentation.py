import math

import pytest
import torch
from monai.losses import DiceCELoss as MonaiDiceCE
from monai.losses import DiceFocalLoss as MonaiDiceFocal
from monai.losses import DiceLoss as MonaiDice
from torch.nn import functional as F

from medimg.losses import DiceBCELoss, DiceCELoss, DiceFocalLoss
from medimg.losses.segmentation import soft_dice_loss

B, K, SIZE = 3, 4, (5, 6, 7)


def exclusive(seed=0, dtype=torch.float32):
    """Logits (B, K, D, H, W) and indices (B, 1, D, H, W), with every class in every case."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(B, K, *SIZE, generator=generator).to(dtype)
    return logits, torch.randint(0, K, (B, 1, *SIZE), generator=generator, dtype=torch.uint8)


def overlapping(seed=0):
    """Logits and regions, both (B, K, D, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(B, K, *SIZE, generator=generator)
    return logits, torch.randint(0, 2, (B, K, *SIZE), generator=generator, dtype=torch.uint8)


# MONAI puts its smoothing into numerator and denominator alike, as here.
MONAI = {"smooth_nr": 1e-5, "smooth_dr": 1e-5}


@pytest.mark.parametrize("batch", [False, True])
def test_dice_ce_is_monais(batch):
    logits, target = exclusive()
    reference = MonaiDiceCE(softmax=True, to_onehot_y=True, include_background=False, batch=batch, **MONAI)
    # MONAI leaves the background out of its cross-entropy too; nnU-Net and this project do not.
    dice = MonaiDice(softmax=True, to_onehot_y=True, include_background=False, batch=batch, **MONAI)
    expected = dice(logits, target) + F.cross_entropy(logits, target[:, 0].long())
    torch.testing.assert_close(DiceCELoss(batch_dice=batch)(logits, target), expected, rtol=1e-5, atol=1e-6)
    own_dice = DiceCELoss(batch_dice=batch, ce_weight=0)(logits, target)
    torch.testing.assert_close(own_dice, reference.dice(logits, target), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch", [False, True])
def test_dice_bce_is_monais(batch):
    logits, target = overlapping()
    dice = MonaiDice(sigmoid=True, batch=batch, **MONAI)(logits, target)
    bce = F.binary_cross_entropy_with_logits(logits, target.float())
    found = DiceBCELoss(dice_weight=2.0, bce_weight=0.5, batch_dice=batch)(logits, target)
    torch.testing.assert_close(found, 2 * dice + 0.5 * bce, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 2.0, 3.5])
def test_dice_focal_of_regions_is_monais(gamma):
    logits, target = overlapping(1)
    reference = MonaiDiceFocal(sigmoid=True, gamma=gamma, batch=True, **MONAI)
    found = DiceFocalLoss(head="sigmoid", gamma=gamma)(logits, target)
    torch.testing.assert_close(found, reference(logits, target.float()), rtol=1e-5, atol=1e-6)


def test_dice_focal_of_classes_without_focus_is_dice_ce():
    logits, target = exclusive(2)
    found = DiceFocalLoss(head="softmax", gamma=0.0)(logits, target)
    torch.testing.assert_close(found, DiceCELoss()(logits, target))


def test_dice_focal_of_classes_by_hand():
    # Two classes at logit 0: each has probability 1/2, so the focal term is (1/2) ** 2 * ln 2.
    logits, target = torch.zeros(1, 2, 1, 1, 2), torch.tensor([0, 1]).view(1, 1, 1, 1, 2)
    found = DiceFocalLoss(dice_weight=0)(logits, target)
    assert float(found) == pytest.approx(math.log(2) / 4)


def test_soft_dice_by_hand():
    # Overlap .9, sums 1.0 + 1: Dice 1.8 / 2.0 in the first case; nothing against nothing in the second.
    probs = torch.tensor([[0.9, 0.1], [0.0, 0.0]]).view(2, 1, 1, 1, 2)
    target = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).view(2, 1, 1, 1, 2)
    counts = torch.ones_like(target)
    assert float(soft_dice_loss(probs, target, counts, batch=False)) == pytest.approx(0.05, abs=1e-5)
    assert float(soft_dice_loss(probs, target, counts, batch=True)) == pytest.approx(0.1, abs=1e-5)


LOSSES = {
    "ce": (DiceCELoss(), exclusive),
    "ce weighted": (DiceCELoss(class_weights=[0.1, 1.0, 2.0, 3.0], label_smoothing=0.1), exclusive),
    "bce": (DiceBCELoss(), overlapping),
    "focal softmax": (DiceFocalLoss(), exclusive),
    "focal sigmoid": (DiceFocalLoss(head="sigmoid"), overlapping),
}


@pytest.mark.parametrize("name", LOSSES)
def test_ignored_voxels_change_nothing_and_have_no_gradient(name):
    loss, make = LOSSES[name]
    logits, target = make()
    target[:, :, 2] = 255
    logits.requires_grad_()
    value = loss(logits, target)
    (gradient,) = torch.autograd.grad(value, logits)
    assert gradient[:, :, 2].abs().max() == 0
    assert gradient[:, :, [0, 1, 3, 4]].abs().min() > 0
    # As if the slice were not there.
    rest = [0, 1, 3, 4]
    torch.testing.assert_close(loss(logits[:, :, rest], target[:, :, rest]), value)
    with torch.no_grad():
        changed = logits.clone()
        changed[:, :, 2] = 40.0
        torch.testing.assert_close(loss(changed, target), value)


@pytest.mark.parametrize("name", LOSSES)
def test_all_ignored_is_finite(name):
    loss, make = LOSSES[name]
    logits, target = make()
    logits.requires_grad_()
    value = loss(logits, torch.full_like(target, 255))
    value.backward()
    assert value.isfinite()
    assert logits.grad.abs().max() == 0


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_logits_are_computed_in_float32(name):
    loss, make = LOSSES[name]
    logits, target = make()
    rounded = logits.bfloat16()
    value = loss(rounded, target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(rounded.float(), target))


@pytest.mark.parametrize("name", LOSSES)
def test_the_right_answer_costs_nothing_and_the_wrong_one_much(name):
    loss, make = LOSSES[name]
    if name == "ce weighted":
        loss = DiceCELoss(class_weights=[0.1, 1.0, 2.0, 3.0])
    _, target = make()
    inside = F.one_hot(target[:, 0].long(), K).movedim(-1, 1) if make is exclusive else target
    sure = (inside.float() * 2 - 1) * 30
    assert float(loss(sure, target)) < 1e-3
    assert float(loss(-sure, target)) > 5


def test_class_weights_scale_their_class_only():
    # One voxel of each class at logit 0: cross-entropy ln 2 each, weighted 1 and 3.
    logits, target = torch.zeros(1, 2, 1, 1, 2), torch.tensor([0, 1]).view(1, 1, 1, 1, 2)
    found = DiceCELoss(dice_weight=0, class_weights=[1.0, 3.0])(logits, target)
    assert float(found) == pytest.approx(2 * math.log(2))
    assert not DiceCELoss(class_weights=[1.0, 3.0]).state_dict()  # a setting, and no weight
