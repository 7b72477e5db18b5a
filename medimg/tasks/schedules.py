"""Learning-rate schedules whose length is the run's, so that it stands in one place of a config."""

from abc import ABC, abstractmethod

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, PolynomialLR, SequentialLR


class Schedule(ABC):
    """A learning rate that changes at every step of a run of known length.

    Args:
        warmup: Share of the run in which the rate rises linearly from a hundredth.
    """

    def __init__(self, warmup: float = 0.0) -> None:
        self.warmup = warmup

    @abstractmethod
    def main(self, optimizer: Optimizer, steps: int) -> LRScheduler:
        """The schedule after the warm-up, over ``steps`` optimizer steps."""

    def build(self, optimizer: Optimizer, steps: int) -> LRScheduler:
        """The whole schedule over ``steps`` optimizer steps."""
        rising = round(self.warmup * steps)
        after = self.main(optimizer, max(1, steps - rising))
        if not rising:
            return after
        start = LinearLR(optimizer, start_factor=0.01, total_iters=rising)
        return SequentialLR(optimizer, [start, after], milestones=[rising])


class CosineSchedule(Schedule):
    """Half a cosine from the optimizer's rate down to ``eta_min``.

    Args:
        eta_min: Rate at the end.
        warmup: Share of the run in which the rate rises linearly.

    Reference:
        Loshchilov and Hutter 2017, "SGDR", arXiv:1608.03983.
    """

    def __init__(self, eta_min: float = 0.0, warmup: float = 0.0) -> None:
        super().__init__(warmup)
        self.eta_min = eta_min

    def main(self, optimizer: Optimizer, steps: int) -> LRScheduler:
        """One annealing without restarts."""
        return CosineAnnealingLR(optimizer, T_max=steps, eta_min=self.eta_min)


class PolynomialSchedule(Schedule):
    """The rate times (1 - progress) ** power, nnU-Net's schedule for SGD.

    Args:
        power: Exponent.
        warmup: Share of the run in which the rate rises linearly.

    Reference:
        Chen et al. 2018, "DeepLab", arXiv:1606.00915.
    """

    def __init__(self, power: float = 0.9, warmup: float = 0.0) -> None:
        super().__init__(warmup)
        self.power = power

    def main(self, optimizer: Optimizer, steps: int) -> LRScheduler:
        """Polynomial decay to zero."""
        return PolynomialLR(optimizer, total_iters=steps, power=self.power)
