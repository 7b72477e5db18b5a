"""Deletion and insertion: does the answer go with the hottest pixels, and come back with them?"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Curve:
    """How the answer moves as the hottest pixels change first.

    Attributes:
        shares: Share of changed pixels, from 0 to 1.
        deletion: Probability as they are taken out of the case.
        insertion: Probability as they are put into the baseline.
    """

    shares: NDArray[np.float64]
    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]

    @property
    def deletion_area(self) -> float:
        """Area below deletion, in [0, 1]; small for a faithful map.

        Example:
            >>> line = np.array([0.0, 1.0])
            >>> Curve(line, 1 - line, line).deletion_area
            0.5
        """
        return float(np.trapezoid(self.deletion, self.shares))

    @property
    def insertion_area(self) -> float:
        """Area below insertion, in [0, 1]; large for a faithful map."""
        return float(np.trapezoid(self.insertion, self.shares))


@torch.no_grad()
def deletion_insertion(
    prob: Callable[[Tensor], Tensor],
    case: Tensor,
    baseline: Tensor,
    heat: NDArray[np.floating],
    *,
    steps: int = 20,
    batch: int = 8,
) -> Curve:
    """Both curves of one heat map.

    Args:
        prob: Maps cases (B, ...) to the probability of the answer (B,), in [0, 1].
        case: One case, (1, C, ...) or a group (1, M, C, H, W).
        baseline: What stands in for removed pixels; the paper takes grey for deletion and blur for insertion, here
            both have the same.
        heat: Heat map (M, H, W) or (1, D, H, W).
        steps: Equal steps from none to all pixels.
        batch: Changed copies of the case that go through the network at once.

    Reference:
        Petsiuk et al. 2018, "RISE", arXiv:1806.07421.
    """
    order = np.argsort(-np.asarray(heat, np.float64), axis=None, kind="stable")
    place = np.empty(order.size, np.int64)
    place[order] = np.arange(order.size)
    ranks = torch.from_numpy(place.reshape(heat.shape)).to(case.device)
    # The channels of a pixel go together: (1, 1, H, W), or (1, M, 1, H, W) for groups.
    ranks = ranks[None, :, None] if case.ndim == ranks.ndim + 2 else ranks[:, None]
    shares = np.linspace(0, 1, steps + 1)
    limits = torch.from_numpy(np.rint(shares * order.size)).to(case.device)
    lines = []
    for hot, cold in ((baseline, case), (case, baseline)):
        found = []
        for some in torch.split(limits, batch):
            changed = ranks < some.view(-1, *[1] * (case.ndim - 1))
            found.append(prob(torch.where(changed, hot, cold)).double().cpu())
        lines.append(torch.cat(found).numpy())
    return Curve(shares, lines[0], lines[1])
