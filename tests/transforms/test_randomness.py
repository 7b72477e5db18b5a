import numpy as np
import pytest
import torch

from medimg.transforms.randomness import SampleRandom


def test_uniform_covers_its_range_beyond_one_table() -> None:
    random = SampleRandom(1)
    numbers = np.array([random.uniform(2, 4) for _ in range(2000)])
    assert 2 <= numbers.min() < 2.01
    assert 3.99 < numbers.max() < 4
    assert numbers.mean() == pytest.approx(3, abs=0.05)


def test_chance() -> None:
    random = SampleRandom(1)
    assert not any(random.chance(0.0) for _ in range(200))
    assert all(random.chance(1.0) for _ in range(200))
    assert np.mean([random.chance(0.2) for _ in range(2000)]) == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("bounds", [(0.7, 1.5), (1.1, 1.3), (0.5, 0.8), (1.0, 1.0)])
def test_around_one_stays_in_its_range(bounds: tuple[float, float]) -> None:
    random = SampleRandom(1)
    numbers = np.array([random.around_one(*bounds) for _ in range(1000)])
    assert bounds[0] <= numbers.min()
    assert numbers.max() <= bounds[1]
    if bounds == (0.7, 1.5):
        assert np.mean(numbers < 1) == pytest.approx(0.5, abs=0.05)


def test_neighbouring_seeds_are_unrelated() -> None:
    first = np.array([SampleRandom(seed).uniform() for seed in range(1000)])
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.1


def test_noise_follows_the_seed() -> None:
    assert torch.equal(SampleRandom(3).normal_(torch.empty(50)), SampleRandom(3).normal_(torch.empty(50)))
    assert not torch.equal(SampleRandom(4).normal_(torch.empty(50)), SampleRandom(3).normal_(torch.empty(50)))
