import math

import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from medimg.errors import ConfigError
from medimg.losses import AsymmetricLoss, FocalLoss, MaskedBCELoss, WeightedCrossEntropyLoss

B, K = 12, 4
NAN = math.nan


def labels(seed=0):
    """Logits and independent labels, (B, K)."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(B, K, generator=generator)
    return logits, torch.randint(0, 2, (B, K), generator=generator).float()


def classes(seed=0):
    """Logits (B, K) and class indices (B,)."""
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(B, K, generator=generator), torch.randint(0, K, (B,), generator=generator)


def one_hot(index):
    return F.one_hot(index, K).float()


LABEL_LOSSES = [
    MaskedBCELoss(),
    MaskedBCELoss(pos_weight=[1.0, 2.0, 3.0, 4.0], label_smoothing=0.1),
    FocalLoss("multilabel"),
    FocalLoss("multilabel", gamma=0.5, alpha=0.25),
    AsymmetricLoss(),
    AsymmetricLoss(gamma_neg=2, gamma_pos=0, clip=0),
]
CLASS_LOSSES = [
    WeightedCrossEntropyLoss(),
    WeightedCrossEntropyLoss(class_weights=[1.0, 2.0, 3.0, 4.0], label_smoothing=0.1),
    FocalLoss("multiclass"),
    FocalLoss("multiclass", gamma=0.5, alpha=[1.0, 2.0, 3.0, 4.0]),
]


@pytest.mark.parametrize("pos_weight", [None, [0.5, 2.0, 1.0, 7.0]])
def test_bce_is_torchs(pos_weight):
    logits, target = labels()
    weights = None if pos_weight is None else torch.tensor(pos_weight)
    expected = F.binary_cross_entropy_with_logits(logits, target, pos_weight=weights)
    torch.testing.assert_close(MaskedBCELoss(pos_weight=pos_weight)(logits, target), expected)
    soft = 0.8 * target + 0.1
    entry = torch.ones_like(target) if weights is None else torch.where(target == 1, weights, 1.0)
    expected = F.binary_cross_entropy_with_logits(logits, soft, weight=entry)
    found = MaskedBCELoss(pos_weight=pos_weight, label_smoothing=0.2)(logits, target)
    torch.testing.assert_close(found, expected)


def test_a_weight_on_rare_positives_leaves_smoothed_negatives_where_they_are():
    logits = torch.full((5, 1), torch.tensor(0.05).logit(), requires_grad=True)
    MaskedBCELoss(pos_weight=[399.0], label_smoothing=0.1)(logits, torch.zeros(5, 1)).backward()
    torch.testing.assert_close(logits.grad, torch.zeros(5, 1))  # 0.05 is the best that can be said


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 1.0, 7.0]])
def test_cross_entropy_is_torchs(weights, smoothing):
    logits, index = classes()
    expected = F.cross_entropy(
        logits, index, None if weights is None else torch.tensor(weights), label_smoothing=smoothing
    )
    loss = WeightedCrossEntropyLoss(class_weights=weights, label_smoothing=smoothing)
    torch.testing.assert_close(loss(logits, one_hot(index)), expected)


def test_cross_entropy_of_soft_targets_is_torchs():
    logits, _ = classes()
    soft = torch.rand(B, K, generator=torch.Generator().manual_seed(1)).softmax(1)
    expected = F.cross_entropy(logits, soft, label_smoothing=0.1)
    torch.testing.assert_close(WeightedCrossEntropyLoss(label_smoothing=0.1)(logits, soft), expected)


@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_focal_loss_is_torchvisions(gamma, alpha):
    logits, target = labels()
    expected = sigmoid_focal_loss(
        logits, target, alpha=-1 if alpha is None else alpha, gamma=gamma, reduction="mean"
    )
    torch.testing.assert_close(FocalLoss("multilabel", gamma, alpha)(logits, target), expected)
    column = slice(0, 1)
    expected = sigmoid_focal_loss(
        logits[:, column],
        target[:, column],
        alpha=-1 if alpha is None else alpha,
        gamma=gamma,
        reduction="mean",
    )
    torch.testing.assert_close(
        FocalLoss("binary", gamma, alpha)(logits[:, column], target[:, column]), expected
    )


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_focal_loss_of_classes_by_its_formula(gamma):
    logits, index = classes()
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    true = logits.softmax(1)[torch.arange(B), index]
    expected = (weights[index] * (1 - true) ** gamma * -true.log()).mean()
    loss = FocalLoss("multiclass", gamma, weights.tolist())
    torch.testing.assert_close(loss(logits, one_hot(index)), expected)
    plain = FocalLoss("multiclass", 0.0)(logits, one_hot(index))
    torch.testing.assert_close(plain, F.cross_entropy(logits, index))


def test_two_classes_of_softmax_are_one_of_sigmoid():
    logits, target = labels()
    pair = torch.cat([torch.zeros(B, 1), logits[:, :1]], 1)
    hot = torch.cat([1 - target[:, :1], target[:, :1]], 1)
    found = FocalLoss("multiclass", 2.0)(pair, hot)
    torch.testing.assert_close(found, FocalLoss("binary", 2.0)(logits[:, :1], target[:, :1]))


def test_asymmetric_loss_by_its_formula():
    logits, target = labels()
    p = logits.double().sigmoid()
    shifted = (p - 0.05).clamp(min=0)
    expected = -(target * (1 - p) * p.log() + (1 - target) * shifted**4 * (1 - shifted).log()).mean()
    torch.testing.assert_close(AsymmetricLoss()(logits, target).double(), expected, rtol=1e-5, atol=1e-7)


def test_asymmetric_loss_without_asymmetry_is_focal_loss_and_bce():
    logits, target = labels()
    found = AsymmetricLoss(gamma_neg=2, gamma_pos=2, clip=0)(logits, target)
    torch.testing.assert_close(found, FocalLoss("multilabel", 2.0)(logits, target))
    found = AsymmetricLoss(gamma_neg=0, gamma_pos=0, clip=0)(logits, target)
    torch.testing.assert_close(found, F.binary_cross_entropy_with_logits(logits, target))


@pytest.mark.parametrize("unknown", [NAN, -1.0])
@pytest.mark.parametrize("loss", LABEL_LOSSES)
def test_unknown_labels_have_no_gradient_and_do_not_count(loss, unknown):
    logits, target = labels()
    masked = torch.rand(B, K, generator=torch.Generator().manual_seed(2)) < 0.4
    target[masked] = unknown
    logits[masked] = torch.tensor([math.inf, 1e4, NAN, -1e4]).repeat(B)[: int(masked.sum())]
    logits.requires_grad_()
    value = loss(logits, target)
    value.backward()
    assert value.isfinite()
    assert (logits.grad[masked] == 0).all()
    assert (logits.grad[~masked].abs() > 0).float().mean() > 0.5
    # Other logits where it is unknown give the same loss to the last bit.
    changed = torch.where(masked, torch.ones_like(logits), logits.detach())
    assert loss(changed, target) == value


@pytest.mark.parametrize("loss", LABEL_LOSSES)
def test_the_mean_is_over_the_known_labels(loss):
    """One known label a row, and it alone: the mean of its entries alone."""
    logits, target = labels()
    only = torch.full_like(target, NAN)
    only[:3, 2] = target[:3, 2]
    single = [loss(logits[i : i + 1], only[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(loss(logits, only), torch.stack(single).mean())


@pytest.mark.parametrize("loss", CLASS_LOSSES)
def test_cases_of_unknown_class_have_no_gradient_and_do_not_count(loss):
    logits, index = classes()
    target = one_hot(index)
    target[:3], target[3, 1] = -1, NAN
    logits.requires_grad_()
    value = loss(logits, target)
    value.backward()
    assert (logits.grad[:4] == 0).all()
    assert (logits.grad[4:] != 0).any(1).all()
    torch.testing.assert_close(value, loss(logits[4:], target[4:]))


@pytest.mark.parametrize("loss", [*LABEL_LOSSES, *CLASS_LOSSES])
def test_a_batch_without_any_known_target_is_zero_with_zero_gradient(loss):
    logits = torch.randn(B, K, requires_grad=True)
    value = loss(logits, torch.full((B, K), NAN), torch.rand(B))
    value.backward()
    assert value == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("loss", [*LABEL_LOSSES, *CLASS_LOSSES])
def test_a_case_of_weight_two_counts_twice_and_of_weight_zero_not_at_all(loss):
    logits, index = classes()
    target, weight = one_hot(index), torch.ones(B)
    weight[0], weight[1] = 2, 0
    again = [0, 0, *range(2, B)]
    torch.testing.assert_close(loss(logits, target, weight), loss(logits[again], target[again]))
    torch.testing.assert_close(loss(logits, target, 5 * weight), loss(logits, target, weight))


@pytest.mark.parametrize("loss", [*LABEL_LOSSES, *CLASS_LOSSES])
def test_half_precision_logits_are_computed_in_float32(loss):
    logits, index = classes()
    half = logits.bfloat16()
    found = loss(half, one_hot(index))
    assert found.dtype == torch.float32
    assert found == loss(half.float(), one_hot(index))


@pytest.mark.parametrize("loss", [*LABEL_LOSSES, *CLASS_LOSSES])
@pytest.mark.parametrize("size", [1e3, -1e3])
def test_extreme_logits_have_finite_gradients(loss, size):
    logits = torch.zeros(2, K)
    logits[:, 0] = size
    logits.requires_grad_()
    value = loss(logits, torch.eye(K)[:2])
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


def test_wrong_shapes_and_settings_are_refused():
    with pytest.raises(ValueError, match=r"found \(3, 2\) and \(3,\)"):
        MaskedBCELoss()(torch.zeros(3, 2), torch.zeros(3))
    with pytest.raises(ConfigError, match="pos_weight: expected one number for each of the 3 outputs"):
        MaskedBCELoss(pos_weight=[2.0])(torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(ConfigError, match="list of weights"):
        FocalLoss("multiclass", alpha=0.25)
    with pytest.raises(ConfigError, match="gamma of 0"):
        FocalLoss("binary", gamma=-1)
    with pytest.raises(ConfigError, match="clip in"):
        AsymmetricLoss(clip=1.0)
    with pytest.raises(ConfigError, match="label_smoothing"):
        MaskedBCELoss(label_smoothing=1.0)


def test_the_weights_are_no_part_of_a_checkpoint():
    assert not MaskedBCELoss(pos_weight=[2.0]).state_dict()
    assert not WeightedCrossEntropyLoss(class_weights=[2.0]).state_dict()
