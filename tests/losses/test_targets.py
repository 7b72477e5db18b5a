import pytest
import torch
from torch import nn
from torch.nn import functional as F

from medimg.errors import ConfigError
from medimg.losses import FocalLoss, MaskedBCELoss, OrdinalLoss, TargetLoss, ValueLoss
from medimg.losses.targets import encode_targets
from medimg.scoring.targets import Target

NAN = float("nan")
TARGETS = (
    Target("malignant", "binary", weight=3.0),
    Target("texture", "ordinal", classes=("1", "2", "3")),
    Target("position", "regression", columns=("z", "y")),
)


def batch(seed=0, n=8):
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(n, 6, generator=generator)
    truth = torch.randn(n, 6, generator=generator)
    truth[:, 0] = (truth[:, 0] > 0).float()
    truth[:, 1:4] = F.one_hot(truth[:, 1:4].argmax(1), 3).float()
    truth[0, 0], truth[1, 1:4], truth[2, 5] = NAN, NAN, NAN
    return outputs, truth, torch.rand(n, generator=generator) + 0.5


def test_the_total_is_the_weighted_sum_of_the_parts():
    outputs, truth, weight = batch()
    total, parts = TargetLoss(TARGETS)(outputs, truth, weight)
    assert parts["malignant"] == pytest.approx(float(MaskedBCELoss()(outputs[:, :1], truth[:, :1], weight)))
    assert parts["texture"] == pytest.approx(float(OrdinalLoss()(outputs[:, 1:4], truth[:, 1:4], weight)))
    known = ~truth[:, 4:].isnan()
    errors = F.smooth_l1_loss(outputs[:, 4:], truth[:, 4:].nan_to_num(), reduction="none")
    share = known * weight[:, None]
    assert parts["position"] == pytest.approx(float((errors * share).sum() / share.sum()))
    assert total == pytest.approx(float(3 * parts["malignant"] + parts["texture"] + parts["position"]))


def test_what_is_unknown_moves_nothing():
    outputs, truth, weight = batch()
    outputs[0, 0] = 1e30  # overflows where it is unknown
    outputs.requires_grad_()
    TargetLoss(TARGETS, balance="uncertainty")(outputs, truth, weight)[0].backward()
    assert outputs.grad.isfinite().all()
    assert outputs.grad[0, 0] == 0 and (outputs.grad[1, 1:4] == 0).all() and outputs.grad[2, 5] == 0
    assert outputs.grad[2, 4] != 0


def test_uncertainty_settles_where_the_variance_is_the_loss():
    """The minimum of exp(-s) L + s / 2 lies at exp(s) = 2 L; Kendall's sigma^2 is L where L is half a square."""
    outputs, truth, weight = batch()
    loss = TargetLoss(TARGETS, balance="uncertainty")
    total, parts = loss(outputs, truth, weight)
    fixed, _ = TargetLoss(TARGETS)(outputs, truth, weight)
    assert total.item() == pytest.approx(fixed.item())  # it starts from the weights as they are
    optimizer = torch.optim.LBFGS(loss.parameters(), max_iter=100)

    def closure():
        optimizer.zero_grad()
        value = loss(outputs, truth, weight)[0]
        value.backward()
        return value

    optimizer.step(closure)
    wanted = [2 * float(part) for part in parts.values()]
    assert loss.log_variance.exp().tolist() == pytest.approx(wanted, rel=1e-3)


def test_a_target_unknown_in_a_whole_batch_keeps_its_variance():
    outputs, truth, weight = batch()
    truth[:, 4:] = NAN
    loss = TargetLoss(TARGETS, balance="uncertainty")
    total, parts = loss(outputs, truth, weight)
    total.backward()
    assert parts["position"] == 0
    assert loss.log_variance.grad[2] == 0 and (loss.log_variance.grad[:2] != 0).all()


def test_a_loss_of_ones_own_and_one_for_nothing():
    outputs, truth, weight = batch()
    focal = FocalLoss("binary")
    _, parts = TargetLoss(TARGETS, losses={"malignant": focal})(outputs, truth, weight)
    assert parts["malignant"] == pytest.approx(float(focal(outputs[:, :1], truth[:, :1], weight)))
    with pytest.raises(
        ConfigError, match="losses: there is no target size; found malignant, texture, position"
    ):
        TargetLoss(TARGETS, losses={"size": nn.Identity()})
    with pytest.raises(ConfigError, match="beta above 0 expected, found 0"):
        ValueLoss(beta=0)


def test_columns_become_outputs():
    targets = [TARGETS[0], Target("kind", "multiclass", classes=("solid", "glass")), TARGETS[1], TARGETS[2]]
    values = torch.tensor([[1.0, 1.0, 2.5, 3.0, -4.0], [NAN, NAN, 2.75, NAN, 0.0]])
    wanted = [[1, 0, 1, 0, 1, 0, 3, -4], [NAN, NAN, NAN, 0, 0, 1, NAN, 0]]
    torch.testing.assert_close(encode_targets(values, targets), torch.tensor(wanted), equal_nan=True)
    hot = Target("kind", "multiclass", columns=("a", "b"), classes=("solid", "glass"))
    torch.testing.assert_close(encode_targets(torch.eye(2), [hot]), torch.eye(2))
