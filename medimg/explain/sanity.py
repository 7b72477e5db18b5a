"""Does a map tell of what was learned? One that looks alike with random weights does not."""

import copy
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def randomised(module: ModuleT, seed: int = 0) -> ModuleT:
    """A copy with random weights in every layer.

    Args:
        module: A trained network or task.
        seed: Another seed gives other weights.

    Reference:
        Adebayo et al. 2018, "Sanity checks for saliency maps", arXiv:1810.03292.
    """
    copied = copy.deepcopy(module)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for part in copied.modules():
            reset = getattr(part, "reset_parameters", None)
            if callable(reset):
                reset()
                continue
            for weights in part.parameters(recurse=False):  # positions, class tokens
                weights.copy_(torch.randn(weights.shape) * 0.02)
    return copied.eval()


def rank_correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Spearman's rank correlation of two maps of one shape; 0 where one of them is constant.

    Example:
        >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 40.0]))
        1.0
    """
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.round(stats.spearmanr(first.ravel(), second.ravel()).statistic, 12))
