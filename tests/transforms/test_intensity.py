import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from medimg.transforms.intensity import (
    Brightness,
    Contrast,
    Gamma,
    GaussianBlur,
    GaussianNoise,
    IntensityTransform,
    LowResolution,
)
from medimg.transforms.randomness import SampleRandom

KINDS = (GaussianNoise, GaussianBlur, Brightness, Contrast, LowResolution, Gamma)


def make_image(channels: int = 3, size: tuple[int, int, int] = (11, 14, 9)) -> torch.Tensor:
    image = torch.randn(channels, *size, generator=torch.Generator().manual_seed(4))
    return image * torch.arange(1.0, channels + 1).view(-1, 1, 1, 1) + 2


@pytest.mark.parametrize("kind", KINDS)
def test_probability_zero_and_one(kind: type[IntensityTransform]) -> None:
    image = make_image()
    for seed in range(20):
        assert torch.equal(kind(probability=0.0)(image.clone(), SampleRandom(seed)), image)
    changed = [
        not torch.equal(kind(probability=1.0)(image.clone(), SampleRandom(s)), image) for s in range(40)
    ]
    assert sum(changed) > 28  # with three channels at one half each, one in eight stays
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        kind(probability=1.1)


@pytest.mark.parametrize("kind", KINDS)
def test_works_in_place_and_is_finite(kind: type[IntensityTransform]) -> None:
    image = make_image()
    image[1] = 0.0  # an empty channel divides by nothing
    assert kind(probability=1.0)(image, SampleRandom(3)) is image
    assert torch.isfinite(image).all()


def test_noise_has_the_strength_that_was_asked() -> None:
    image = torch.zeros(2, 40, 40, 40)
    GaussianNoise(1.0, sigma=(0.07, 0.07))(image, SampleRandom(1))
    assert image.std().item() == pytest.approx(0.07, rel=0.02)
    assert abs(image.mean().item()) < 1e-3
    assert abs((image[0] * image[1]).mean().item()) < 1e-4  # channels draw for themselves


def test_blur_against_scipy() -> None:
    image = make_image()
    blurred = GaussianBlur(1.0, 1.0, sigma=(0.8, 0.8))(image.clone(), SampleRandom(1))
    for channel, expected in zip(blurred, image, strict=True):
        wanted = gaussian_filter(expected.numpy().astype(np.float64), 0.8, mode="reflect", truncate=6)
        assert np.abs(channel.numpy() - wanted).max() < 1e-4


def test_brightness_multiplies_each_channel_within_its_range() -> None:
    factors = []
    for seed in range(100):
        image = make_image()
        ratio = Brightness(1.0)(image.clone(), SampleRandom(seed)) / image
        for channel in ratio:
            assert channel.max() - channel.min() < 1e-5
            factors.append(channel.mean().item())
    assert 0.75 <= min(factors) < 0.8
    assert 1.2 < max(factors) <= 1.25
    assert 0.4 < np.mean(np.array(factors) < 1) < 0.6


def test_contrast_keeps_the_range_and_the_voxel_order() -> None:
    image = make_image()
    for factor in (0.6, 1.5):
        changed = Contrast(1.0, factor=(factor, factor))(image.clone(), SampleRandom(1))
        for before, after in zip(image, changed, strict=True):
            expected = ((before - before.mean()) * factor + before.mean()).clip(before.min(), before.max())
            assert torch.allclose(after, expected, atol=1e-5)


def test_low_resolution_against_numpy() -> None:
    image = torch.arange(12.0).view(1, 1, 1, 12).expand(1, 4, 4, 12).contiguous()
    LowResolution(1.0, 1.0, zoom=(0.5, 0.5))(image, SampleRandom(1))
    kept = np.arange(1, 12, 2)  # the nearest of two equally near voxels is the later one
    expected = np.interp(np.arange(12), np.arange(6) * 2 + 0.5, kept)
    assert np.allclose(image[0, 0, 0].numpy(), expected, atol=1e-5)


def test_low_resolution_spares_the_frozen_axis() -> None:
    levels = torch.randn(1, 9, 1, 1).expand(1, 9, 10, 10).contiguous()
    kept = levels.clone()
    assert torch.allclose(
        LowResolution(1.0, 1.0, (0.5, 0.5), frozen_axis=0)(levels, SampleRandom(1)), kept, atol=1e-6
    )
    assert not torch.allclose(LowResolution(1.0, 1.0, (0.5, 0.5))(levels, SampleRandom(1)), kept, atol=1e-2)


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("gamma", [0.7, 1.5])
def test_gamma_against_numpy(invert: bool, gamma: float) -> None:
    image = make_image()
    plain = Gamma(1.0, (gamma, gamma), invert, retain_stats=False)(image.clone(), SampleRandom(1))
    kept = Gamma(1.0, (gamma, gamma), invert, retain_stats=True)(image.clone(), SampleRandom(1))
    for before, after, same in zip(image.double().numpy(), plain.numpy(), kept.numpy(), strict=True):
        x = -before if invert else before
        y = ((x - x.min()) / np.ptp(x)) ** gamma * np.ptp(x) + x.min()
        y = -y if invert else y
        assert np.abs(after - y).max() < 1e-4
        assert same.mean() == pytest.approx(before.mean(), abs=1e-4)
        assert same.std() == pytest.approx(before.std(), rel=1e-4)
        assert np.abs(same - ((y - y.mean()) / y.std() * before.std() + before.mean())).max() < 1e-3


def test_channels_are_drawn_one_by_one() -> None:
    for kind in (GaussianBlur, LowResolution):
        changed = np.zeros(4)
        for seed in range(100):
            image = make_image(4)
            after = kind(probability=1.0, channel_probability=0.5)(image.clone(), SampleRandom(seed))
            changed += [not torch.equal(a, b) for a, b in zip(image, after, strict=True)]
        assert (changed > 30).all()
        assert (changed < 70).all()
