"""Scores of predicted numbers for watching a run, equal to those of the table on any number of processes."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from medimg.scoring.classification import label_mean
from medimg.scoring.regression import value_scores


class ValueMetrics(Metric):
    """Mean absolute error, R2 and Spearman's correlation, each the mean of the columns that are defined.

    Args:
        columns: Names of the numbers, in the order of the predictions.

    Example:
        >>> metric = ValueMetrics(["diameter_mm"])
        >>> metric.update(torch.tensor([[5.0], [9.0]]), torch.tensor([[4.0], [8.0]]))
        >>> metric.compute()
        {'mae': tensor(1.), 'r2': tensor(0.7500), 'spearman': tensor(1.)}
    """

    full_state_update = False
    preds: list[Tensor]
    target: list[Tensor]

    def __init__(self, columns: Sequence[str]) -> None:
        super().__init__()
        self.columns = tuple(columns)
        self.add_state("preds", [], dist_reduce_fx="cat")
        self.add_state("target", [], dist_reduce_fx="cat")
        self._start()

    def reset(self) -> None:
        """Forget all cases."""
        super().reset()
        self._start()

    def _start(self) -> None:
        """Begin with no case rather than no tensor: every process then takes part in the gathering."""
        for state in (self.preds, self.target):
            state.append(torch.zeros(0, len(self.columns), device=self.device))

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add cases.

        Args:
            preds: Predicted numbers (B, K), in the unit of the target.
            target: True numbers (B, K), NaN where unknown.
        """
        expected = (len(preds), len(self.columns))
        if tuple(preds.shape) != expected or tuple(target.shape) != expected:
            raise ValueError(
                f"preds and target of shape (B, {len(self.columns)}) expected, found {tuple(preds.shape)} and "
                f"{tuple(target.shape)}"
            )
        self.preds.append(preds.detach().float())
        self.target.append(target.detach().float())

    def compute(self) -> dict[str, Tensor]:
        """The scores over the cases of all processes, NaN where nothing is defined."""
        states = (self.preds, self.target)
        preds, target = (dim_zero_cat(state).cpu().numpy().astype(np.float64) for state in states)
        scores = [value_scores(*pair) for pair in zip(target.T, preds.T, strict=True)]
        means = {name: label_mean([one[name] for one in scores]).mean for name in ("mae", "r2", "spearman")}
        return {name: torch.tensor(value, device=self.device) for name, value in means.items()}
