"""The distance between grades, by hand and by the definition of the earth mover's distance."""

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from medimg.errors import ConfigError
from medimg.losses import OrdinalLoss, WeightedCrossEntropyLoss


def test_the_cross_entropy_is_that_of_the_plain_loss_and_the_distance_is_added():
    torch.manual_seed(0)
    logits, target, weight = torch.randn(5, 4), torch.eye(4)[[0, 1, 3, 2, 0]], torch.rand(5)
    options = {"class_weights": [1.0, 2.0, 0.5, 3.0], "label_smoothing": 0.1}
    plain = WeightedCrossEntropyLoss(**options)(logits, target, weight)
    torch.testing.assert_close(OrdinalLoss(emd_weight=0.0, **options)(logits, target, weight), plain)
    distance = OrdinalLoss(ce_weight=0.0, class_weights=options["class_weights"])(logits, target, weight)
    both = OrdinalLoss(emd_weight=3.0, **options)(logits, target, weight)
    torch.testing.assert_close(both, plain + 3 * distance)


def test_the_distance_is_that_of_the_cumulated_shares():
    torch.manual_seed(1)
    logits, target = torch.randn(6, 5), torch.rand(6, 5).softmax(1)
    probs = logits.softmax(1).double().numpy()
    expected = np.mean(
        [np.mean((np.cumsum(p) - np.cumsum(t))[:-1] ** 2) for p, t in zip(probs, target.numpy(), strict=True)]
    )
    found = OrdinalLoss(ce_weight=0.0)(logits, target)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_certain_answers_cost_as_far_as_they_are_off():
    # For certain answers the squared distance of each threshold is the distance itself.
    loss = OrdinalLoss(ce_weight=0.0)
    for answer in range(4):
        for truth in range(4):
            found = loss(1e4 * torch.eye(4)[[answer]], torch.eye(4)[[truth]]).item()
            assert found == pytest.approx(wasserstein_distance([answer], [truth]) / 3)


def test_unknown_rows_add_nothing_and_have_no_gradient():
    logits = torch.randn(3, 3, requires_grad=True)
    target = torch.eye(3)
    target[1] = float("nan")
    loss = OrdinalLoss()(logits, target)
    torch.testing.assert_close(loss, OrdinalLoss()(logits[[0, 2]], torch.eye(3)[[0, 2]]))
    loss.backward()
    assert (logits.grad[1] == 0).all() and logits.grad.isfinite().all()
    nothing = OrdinalLoss()(logits, torch.full((3, 3), float("nan")))
    assert nothing.item() == 0


def test_weights_of_cases_and_of_classes_are_those_of_a_weighed_mean():
    torch.manual_seed(2)
    logits, target = torch.randn(3, 3), torch.eye(3)[[0, 2, 2]]
    loss = OrdinalLoss(ce_weight=0.0)
    single = torch.stack([loss(logits[[n]], target[[n]]) for n in range(3)])
    weight = torch.tensor([1.0, 2.0, 0.0])
    torch.testing.assert_close(loss(logits, target, weight), (single * weight).sum() / 3)
    weighed = OrdinalLoss(ce_weight=0.0, class_weights=[4.0, 1.0, 1.0])(logits, target)
    torch.testing.assert_close(weighed, (4 * single[0] + single[1] + single[2]) / 6)


def test_half_precision_is_computed_in_full():
    logits, target = torch.randn(4, 3, dtype=torch.bfloat16), torch.eye(3)[[0, 1, 2, 0]]
    assert OrdinalLoss()(logits, target).dtype == torch.float32


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="one of them above 0, expected; found 0 and 0"):
        OrdinalLoss(emd_weight=0, ce_weight=0)
    with pytest.raises(ConfigError, match="found -1 and"):
        OrdinalLoss(emd_weight=-1)
    with pytest.raises(ConfigError, match="two classes or more expected, found one output"):
        OrdinalLoss()(torch.zeros(2, 1), torch.ones(2, 1))
    with pytest.raises(ConfigError, match="class_weights: expected one number for each of the 3 outputs"):
        OrdinalLoss(class_weights=[1.0, 2.0])(torch.zeros(2, 3), torch.eye(3)[:2])
