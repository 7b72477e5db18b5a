"""One loss of several targets of a case, any of which may be unknown, weighed by hand or by what can be learned."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medimg.errors import ConfigError
from medimg.losses.classification import MaskedBCELoss, WeightedCrossEntropyLoss, _mean
from medimg.losses.ordinal import OrdinalLoss
from medimg.scoring.targets import Target

Balance = Literal["fixed", "uncertainty"]


class ValueLoss(nn.Module):
    """Smooth L1 loss of numbers, some of which are unknown: half the square of small errors, the size of large ones.

    Args:
        beta: Error at which one passes into the other, in the unit of the numbers; standardised ones have a spread
            of 1.

    Raises:
        ConfigError: If ``beta`` is not above 0.

    Example:
        >>> loss = ValueLoss()
        >>> loss(torch.tensor([[1.0, 9.0]]), torch.tensor([[0.0, float("nan")]]))
        tensor(0.5000)
    """

    def __init__(self, *, beta: float = 1.0) -> None:
        super().__init__()
        if beta <= 0:
            raise ConfigError(f"ValueLoss: beta above 0 expected, found {beta}")
        self.beta = beta

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean over the known entries of pred and target (B, K), NaN where unknown, cases weighed by weight (B,)."""
        known = ~target.isnan()
        zero = torch.zeros((), device=pred.device)
        # Masked before the loss: what overflows under an unknown number stays out of the gradient.
        pred, target = torch.where(known, pred.float(), zero), torch.where(known, target.float(), zero)
        loss = F.smooth_l1_loss(pred, target, beta=self.beta, reduction="none")
        return _mean(loss, known.float(), weight)


class TargetLoss(nn.Module):
    """The weighted sum of the losses of several targets, each the mean over the cases in which it is known.

    Weighed by uncertainty, the loss of a target is divided by its learned variance, whose logarithm is added: a target
    that cannot be told counts little, and none can be switched off for nothing.

    Args:
        targets: What is learned, with fixed weights, which hold beside the learned ones.
        losses: By name of a target, its loss of outputs, target and weights in place of binary cross-entropy,
            cross-entropy, ordinal or smooth L1 loss.
        balance: ``fixed``, or by learned ``uncertainty``.

    Raises:
        ConfigError: If a loss is named for a target that is not there.

    Reference:
        Kendall, Gal and Cipolla 2018, "Multi-task learning using uncertainty to weigh losses for scene geometry and
        semantics", arXiv:1705.07115.

    Example:
        >>> loss = TargetLoss([Target("malignant", "binary"), Target("diameter_mm", "regression", weight=2.0)])
        >>> total, parts = loss(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]))
        >>> total, parts["diameter_mm"]
        (tensor(1.6931), tensor(0.5000))
    """

    log_variance: nn.Parameter | None

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        losses: Mapping[str, nn.Module] | None = None,
        balance: Balance = "fixed",
    ) -> None:
        super().__init__()
        self.targets, given = tuple(targets), dict(losses or {})
        if unknown := sorted(given.keys() - {target.name for target in targets}):
            raise ConfigError(
                f"losses: there is no target {unknown[0]}; found {', '.join(target.name for target in targets)}"
            )
        self.losses = nn.ModuleList(given.get(target.name) or _default(target) for target in targets)
        log_variance = nn.Parameter(torch.zeros(len(self.targets))) if balance == "uncertainty" else None
        self.register_parameter("log_variance", log_variance)

    def forward(
        self, outputs: Tensor, target: Tensor, weight: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The total, and the loss of each target before it is weighed.

        Args:
            outputs: What the network says, (B, O), the outputs of the targets one after the other.
            target: The same of the truth, one-hot for classes and standardised for numbers, NaN where unknown.
            weight: Weight of each case (B,).
        """
        said, truth = (split_outputs(values, self.targets) for values in (outputs, target))
        columns = zip(self.targets, self.losses, said, truth, strict=True)
        parts, total = dict[str, Tensor](), torch.zeros((), device=outputs.device)
        for number, (one, loss, pred, true) in enumerate(columns):
            part = parts[one.name] = loss(pred, true, weight)
            if self.log_variance is not None:
                # Where nothing is known there is nothing to be uncertain of: the variance stays as it is.
                spread = self.log_variance[number] * (~true.isnan()).any()
                part = part * (-spread).exp() + spread / 2
            total = total + one.weight * part
        return total, parts


def _default(target: Target) -> nn.Module:
    match target.kind:
        case "binary":
            return MaskedBCELoss()
        case "multiclass":
            return WeightedCrossEntropyLoss()
        case "ordinal":
            return OrdinalLoss()
    return ValueLoss()


def split_outputs(values: Tensor, targets: Sequence[Target]) -> tuple[Tensor, ...]:
    """The outputs of each target, (B, o) each, of (B, O)."""
    parts: tuple[Tensor, ...] = torch.split(values, [len(target.outputs) for target in targets], 1)
    return parts


def encode_targets(values: Tensor, targets: Sequence[Target]) -> Tensor:
    """What the outputs of a network should say, from columns of a table.

    Args:
        values: The columns of the targets, one after the other, NaN where unknown, (B, columns).
        targets: What they mean.

    Returns:
        (B, O): a yes or no and numbers as they are, classes one-hot, and NaN where unknown.

    Example:
        >>> grade = Target("grade", "ordinal", classes=("2", "3", "4"))
        >>> encode_targets(torch.tensor([[3.25], [float("nan")]]), [grade])
        tensor([[0., 1., 0.],
                [nan, nan, nan]])
    """
    encoded = []
    parts = torch.split(values.float(), [len(target.columns) for target in targets], 1)
    for target, column in zip(targets, parts, strict=True):
        if target.exclusive and len(target.columns) == 1:
            places = torch.tensor(target.class_values, device=values.device)
            nearest = (column - places).abs().nan_to_num().argmin(1)  # (B,)
            hot = F.one_hot(nearest, len(places)).to(column.dtype)
            column = torch.where(column.isnan(), torch.nan, hot)
        encoded.append(column)
    return torch.cat(encoded, 1)
