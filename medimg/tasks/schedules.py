"""Learning-rate schedules whose length is the run's, so that it stands in one place of a config.

Each is a formula of the step and the run's length, and keeps nothing else. A run that is gone on with and
made longer therefore follows the longer curve; torch's own chained schedulers stay at the rate, often
zero, with which the shorter one ended.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

_START = 0.01  # share of the rate with which a warm-up begins


class Schedule(ABC):
    """A learning rate that changes at every step of a run of known length.

    Args:
        warmup: Share of the run in which the rate rises linearly from a hundredth.
    """

    def __init__(self, warmup: float = 0.0) -> None:
        self.warmup = warmup

    @abstractmethod
    def rate(self, base: float, progress: float) -> float:
        """The rate after the warm-up, from the optimizer's rate and the share in [0, 1] of the way done."""

    def build(self, optimizer: Optimizer, steps: int) -> LRScheduler:
        """The whole schedule over ``steps`` optimizer steps."""
        return LambdaLR(optimizer, [self._factor(group["lr"], steps) for group in optimizer.param_groups])

    def _factor(self, base: float, steps: int) -> Callable[[int], float]:
        rising = round(self.warmup * steps)

        def factor(step: int) -> float:
            if step < rising:
                return _START + (1 - _START) * step / rising
            progress = min(1.0, (step - rising) / max(1, steps - rising))
            return self.rate(base, progress) / base if base else 0.0

        return factor


class CosineSchedule(Schedule):
    """Half a cosine from the optimizer's rate down to ``eta_min``.

    Args:
        eta_min: Rate at the end, of every group of parameters alike.
        warmup: Share of the run in which the rate rises linearly.

    Reference:
        Loshchilov and Hutter 2017, "SGDR", arXiv:1608.03983.

    Example:
        >>> CosineSchedule(eta_min=0.1).rate(base=0.3, progress=0.5)
        0.2
    """

    def __init__(self, eta_min: float = 0.0, warmup: float = 0.0) -> None:
        super().__init__(warmup)
        self.eta_min = eta_min

    def rate(self, base: float, progress: float) -> float:
        """One annealing without restarts."""
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * progress)) / 2


class PolynomialSchedule(Schedule):
    """The rate times (1 - progress) ** power, nnU-Net's schedule for SGD.

    Args:
        power: Exponent.
        warmup: Share of the run in which the rate rises linearly.

    Reference:
        Chen et al. 2018, "DeepLab", arXiv:1606.00915.

    Example:
        >>> PolynomialSchedule(power=2.0).rate(base=1.0, progress=0.5)
        0.25
    """

    def __init__(self, power: float = 0.9, warmup: float = 0.0) -> None:
        super().__init__(warmup)
        self.power = power

    def rate(self, base: float, progress: float) -> float:
        """Polynomial decay to zero."""
        return float(base * (1 - progress) ** self.power)
