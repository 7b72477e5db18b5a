"""Dice of each class, averaged over cases, for watching a run."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from medimg.keys import IGNORE_INDEX


class CaseDice(Metric):
    """Mean over cases of the Dice of each class; cases where both sides are empty are left out.

    torchmetrics' DiceScore counts such pairs as zero or needs a class index; competition scores are
    computed from files by :mod:`medimg.scoring`, this one only steers a run.

    Args:
        classes: Names of the classes or regions, in channel order without the background.

    Example:
        >>> metric = CaseDice(["a", "b"])
        >>> hot = torch.tensor([[[[[1, 1]]], [[[0, 0]]]]]).reshape(1, 2, 1, 1, 2)
        >>> metric.update(hot, hot)
        >>> metric.compute()
        {'a': tensor(1.), 'b': tensor(nan)}
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.add_state("total", torch.zeros(len(classes)), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(len(classes)), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add cases: predictions and target (B, K, D, H, W) of 0 and 1, 255 in the target is ignored."""
        counts = target != IGNORE_INDEX
        inside = (target == 1) & counts
        preds = preds.bool() & counts
        axes = list(range(2, preds.ndim))
        overlap, total = (preds & inside).sum(axes), preds.sum(axes) + inside.sum(axes)  # (B, K)
        defined = total > 0
        self.total += torch.where(defined, 2 * overlap / total.clamp_min(1), 0.0).sum(0)
        self.count += defined.sum(0)

    def compute(self) -> dict[str, Tensor]:
        """Dice of each class; NaN for a class that no case holds."""
        means = self.total / self.count
        return dict(zip(self.classes, means, strict=True))
