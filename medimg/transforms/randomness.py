"""The random numbers of one sample, drawn from its own seed and from nothing else."""

import torch
from torch import Tensor

_TABLE = 64  # Uniform numbers drawn at once: one call into torch instead of one per decision.


class SampleRandom:
    """Decisions and noise for one sample of a batch.

    Two samples never share a stream, so what happens to one depends neither on the others of its
    batch nor on the worker that made it. Decisions are drawn on the CPU whatever the device, so a
    GPU takes the same ones without waiting for it; only noise comes from the device's own generator.

    Args:
        seed: Fixes every number.
        device: Where noise is drawn.

    Example:
        >>> SampleRandom(7).uniform(0.7, 1.4) == SampleRandom(7).uniform(0.7, 1.4)
        True
    """

    def __init__(self, seed: int, device: torch.device | None = None) -> None:
        self._seed = seed
        self._device = device or torch.device("cpu")
        self._generator = torch.Generator().manual_seed(seed)
        self._noise: torch.Generator | None = None
        self._numbers: list[float] = []

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number between ``low`` and ``high``, each equally likely."""
        if not self._numbers:
            self._numbers = torch.rand(_TABLE, generator=self._generator, dtype=torch.float64).tolist()
        return low + (high - low) * self._numbers.pop()

    def chance(self, probability: float) -> bool:
        """True with the given probability; 0 is never and 1 is always."""
        return self.uniform() < probability

    def around_one(self, low: float, high: float) -> float:
        """A factor: below one in half of the cases, above one in the others.

        A plain uniform number from a lopsided range such as (0.7, 1.5) would mostly enlarge.
        """
        if not low < 1.0 < high:
            return self.uniform(low, high)
        return self.uniform(low, 1.0) if self.chance(0.5) else self.uniform(1.0, high)

    def normal_(self, values: Tensor) -> Tensor:
        """Fill a tensor in place with standard normal numbers and return it."""
        if self._noise is None:
            on_cpu = self._device.type == "cpu"
            self._noise = self._generator if on_cpu else torch.Generator(self._device).manual_seed(self._seed)
        return values.normal_(generator=self._noise)
