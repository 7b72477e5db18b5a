"""Which cases a run draws, in which order, with which seeds."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler


@dataclass(frozen=True, slots=True)
class SampleKey:
    """One sample asked of :class:`PatchDataset`: which case, and the seed of its random choices."""

    case: int
    seed: int


class EpochSampler(Sampler[SampleKey]):
    """Cases and seeds from (seed, epoch) alone, so that a run is the same on any number of workers.

    Each process of a distributed run takes every ``world``-th sample of one sequence.

    Args:
        num_samples: Samples in an epoch, over all processes.
        seed: Seed of the run.
        rank: This process.
        world: Number of processes.
    """

    def __init__(self, num_samples: int, *, seed: int, rank: int = 0, world: int = 1) -> None:
        self.num_samples, self.seed, self.rank, self.world = num_samples, seed, rank, world
        self.epoch = 0
        self.skip = 0
        """Samples of this process that the next pass leaves out, because a run that is resumed has seen them."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """The cases of an epoch, in order."""

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer before each epoch, after a resume too."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_samples // self.world

    def __iter__(self) -> Iterator[SampleKey]:
        rng = np.random.default_rng([self.seed, self.epoch])
        cases = self.draw(rng)
        seeds = rng.integers(2**62, size=self.num_samples)
        skipped, self.skip = self.skip, 0
        for i in range(self.rank + skipped * self.world, len(self) * self.world, self.world):
            yield SampleKey(int(cases[i]), int(seeds[i]))


class PatchSampler(EpochSampler):
    """Deals cases in shuffled rounds: none is drawn again before all were drawn.

    Args:
        num_cases: Cases to draw from.
        num_samples: See `EpochSampler`.
        seed: See `EpochSampler`.
        rank: See `EpochSampler`.
        world: See `EpochSampler`.
        weights: How often each case is drawn against the others (N,), give or take once an epoch; ``None``: alike.
    """

    def __init__(
        self,
        num_cases: int,
        num_samples: int,
        *,
        seed: int,
        rank: int = 0,
        world: int = 1,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        super().__init__(num_samples, seed=seed, rank=rank, world=world)
        self.num_cases, self.weights = num_cases, None if weights is None else weights / weights.sum()

    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """As many rounds as the epoch needs, or each case in its share of it."""
        if self.weights is not None:
            return rng.permutation(_systematic(self.weights, self.num_samples, rng))
        rounds = -(-self.num_samples // self.num_cases)
        return np.concatenate([rng.permutation(self.num_cases) for _ in range(rounds)])


class CaseSampler(Sampler[int]):
    """Every case exactly once over all processes: no padding to equal counts.

    Args:
        num_cases: Cases in all.
        rank: This process, which takes every ``world``-th case from its own rank on.
        world: Number of processes.
    """

    def __init__(self, num_cases: int, *, rank: int = 0, world: int = 1) -> None:
        self.own = range(rank, num_cases, world)

    def __len__(self) -> int:
        return len(self.own)

    def __iter__(self) -> Iterator[int]:
        return iter(self.own)


class ImageSampler(EpochSampler):
    """Deals every case once in an epoch, or as often as its weight says, on any number of processes.

    Args:
        num_cases: Number of cases N, which is also the number of samples in an epoch over all processes.
        weights: Probability of each case to be drawn (N,); ``None`` deals all cases once in an epoch.
        seed: See `EpochSampler`.
        rank: See `EpochSampler`.
        world: See `EpochSampler`.
    """

    def __init__(
        self, num_cases: int, *, weights: NDArray[np.float64] | None, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        super().__init__(num_cases, seed=seed, rank=rank, world=world)
        self.weights = weights

    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Every case, or the drawn ones, shuffled."""
        return rng.permutation(
            np.arange(self.num_samples)
            if self.weights is None
            else _systematic(self.weights, self.num_samples, rng)
        )


def _systematic(
    weights: NDArray[np.float64], num_samples: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw each case as often as its weight says, give or take one.

    Plain drawing with replacement would leave out a third of even an evenly weighted class.
    """
    n = len(weights)
    order = rng.permutation(n)
    places = (np.arange(num_samples) + rng.random()) / num_samples
    drawn = np.searchsorted(np.cumsum(weights[order]), places).clip(max=n - 1)
    picked: NDArray[np.int64] = order[drawn]
    return picked
