"""Changes of grey values, each drawn for every sample by itself.

All work IN PLACE on the private copy (C, D, H, W) float32 that ``Augment3D`` makes, and return it:
at these sizes a fresh buffer costs more than the arithmetic (10 ms against 1.3 ms for 4 x 128^3).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from medimg.transforms.axes import filter_axes, gaussian_matrix
from medimg.transforms.randomness import SampleRandom

_TINY = 1e-7


class IntensityTransform(nn.Module):
    """A change of the image that leaves its mask alone.

    Args:
        probability: Chance that a sample is changed at all, in [0, 1].
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"probability must lie in [0, 1], found {probability}")
        self.probability = probability

    def forward(self, image: Tensor, random: SampleRandom) -> Tensor:
        """Change one sample in place, or leave it.

        Args:
            image: Contiguous float32 image (C, D, H, W), overwritten.
            random: The sample's random numbers.

        Returns:
            ``image``.
        """
        return self.apply_to(image, random) if random.chance(self.probability) else image

    def apply_to(self, image: Tensor, random: SampleRandom) -> Tensor:
        """Change the image in place, whatever the probability, and return it."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """What ``print`` shows of the transform."""
        return f"probability={self.probability}"


class GaussianNoise(IntensityTransform):
    """Independent noise in every voxel, of one strength for all channels.

    Args:
        probability: Chance for a sample.
        sigma: Range of the noise's standard deviation, in units of the normalised image.
    """

    def __init__(self, probability: float = 0.1, sigma: tuple[float, float] = (0.0, 0.1)) -> None:
        super().__init__(probability)
        self.sigma = sigma

    def apply_to(self, image: Tensor, random: SampleRandom) -> Tensor:
        """Add noise."""
        sigma = random.uniform(*self.sigma)
        noise = torch.empty_like(image[0])  # one channel's buffer serves them all
        for channel in image:
            channel.add_(random.normal_(noise), alpha=sigma)
        return image


class GaussianBlur(IntensityTransform):
    """Smoothing with a width of its own for each channel and axis.

    Args:
        probability: Chance for a sample.
        channel_probability: Chance for each channel of a chosen sample.
        sigma: Range of the standard deviation, in voxels.
    """

    def __init__(
        self,
        probability: float = 0.2,
        channel_probability: float = 0.5,
        sigma: tuple[float, float] = (0.5, 1.0),
    ) -> None:
        super().__init__(probability)
        self.channel_probability = channel_probability
        self.sigma = sigma

    def apply_to(self, image: Tensor, random: SampleRandom) -> Tensor:
        """Smooth the channels that are drawn."""
        for channel in image:
            if random.chance(self.channel_probability):
                matrices = [
                    gaussian_matrix(size, random.uniform(*self.sigma), image.device) for size in channel.shape
                ]
                channel.copy_(filter_axes(channel, matrices))
        return image


class Brightness(IntensityTransform):
    """Each channel times a factor of its own.

    Args:
        probability: Chance for a sample.
        factor: Range of the factor; below and above one equally often.
    """

    def __init__(self, probability: float = 0.15, factor: tuple[float, float] = (0.75, 1.25)) -> None:
        super().__init__(probability)
        self.factor = factor

    def apply_to(self, image: Tensor, random: SampleRandom) -> Tensor:
        """Multiply."""
        return image.mul_(_factors(image, random, self.factor).view(-1, 1, 1, 1))


class Contrast(IntensityTransform):
    """Each channel stretched about its mean, then held within its former range.

    Args:
        probability: Chance for a sample.
        factor: Range of the stretch; below and above one equally often.
    """

    def __init__(self, probability: float = 0.15, factor: tuple[float, float] = (0.75, 1.25)) -> None:
        super().__init__(probability)
        self.factor = factor

    def apply_to(self, image: Tensor, random: SampleRandom) -> Tensor:
        """Stretch and clip."""
        rows = image.view(image.shape[0], -1)  # (C, D*H*W)
        factor = _factors(image, random, self.factor)
        low, high = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
        shift = rows.mean(1, keepdim=True) * (1.0 - factor)
        rows.mul_(factor).add_(shift).clamp_(low, high)
        return image


class LowResolution(IntensityTransform):
    """A coarser scan: voxels are dropped, then the rest is interpolated back to the old grid.

    Args:
        probability: Chance for a sample.
        channel_probability: Chance for each channel of a chosen sample.
        zoom: Range of the size of the coarse grid, as a part of the fine one, in (0, 1].
        frozen_axis: Spatial axis that keeps its resolution (0, 1 or 2), for thick slices.
    """

    def __init__(
        self,
        probability: float = 0.25,
        channel_probability: float = 0.5,
        zoom: tuple[float, float] = (0.5, 1.0),
        frozen_axis: int | None = None,
    ) -> None:
        super().__init__(probability)
        self.channel_probability = channel_probability
        self.zoom = zoom
        self.frozen_axis = frozen_axis

    def apply_to(self, image: Tensor, random: SampleRandom) -> Tensor:
        """Coarsen the channels that are drawn, all axes alike."""
        shape = list(image.shape[1:])
        for channel in image:
            if not random.chance(self.channel_probability):
                continue
            zoom = random.uniform(*self.zoom)
            coarse = [
                size if axis == self.frozen_axis else max(1, round(size * zoom))
                for axis, size in enumerate(shape)
            ]
            kept = functional.interpolate(channel[None, None], coarse, mode="nearest-exact")
            channel.copy_(functional.interpolate(kept, shape, mode="trilinear")[0, 0])
        return image


class Gamma(IntensityTransform):
    """A power law on each channel scaled to [0, 1]; mean and spread of the channel stay.

    Args:
        probability: Chance for a sample.
        gamma: Range of the exponent; below and above one equally often.
        invert: Apply the power law to the negative of the image, which bends the bright end.
        retain_stats: Give the channel its former mean and standard deviation again.
    """

    def __init__(
        self,
        probability: float = 0.3,
        gamma: tuple[float, float] = (0.7, 1.5),
        invert: bool = False,
        retain_stats: bool = True,
    ) -> None:
        super().__init__(probability)
        self.gamma = gamma
        self.invert = invert
        self.retain_stats = retain_stats

    def apply_to(self, image: Tensor, random: SampleRandom) -> Tensor:
        """Bend."""
        rows = image.view(image.shape[0], -1)  # (C, D*H*W)
        gamma = _factors(image, random, self.gamma)
        mean, spread = _centre_(rows)
        low, high = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
        width = (high - low).clamp_(min=_TINY)
        # The end that becomes 0: the dark one, or, seen on the negative, the bright one.
        zero, sign = (high, -1.0) if self.invert else (low, 1.0)
        rows.sub_(zero).mul_(sign / width)
        # exp(gamma * log x) takes a quarter of the time of pow; log 0 = -inf comes back as 0.
        rows.log_().mul_(gamma).exp_()
        if self.retain_stats:
            # The former mean and spread undo any scale, so the former range need not be restored.
            spread_now = _centre_(rows)[1]
            rows.mul_(sign * spread / spread_now.clamp_(min=_TINY)).add_(mean)
        else:
            rows.mul_(sign * width).add_(zero + mean)
        return image


def _factors(image: Tensor, random: SampleRandom, bounds: tuple[float, float]) -> Tensor:
    """One factor a channel, shape (C, 1), on the image's device."""
    values = [[random.around_one(*bounds)] for _ in range(image.shape[0])]
    return torch.tensor(values, dtype=image.dtype, device=image.device)


def _centre_(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Subtract the mean of each row in place; return mean and standard deviation, both (C, 1).

    ``torch.var_mean`` needs 42 ms for 4 x 128^3 where these three passes need 4.
    """
    mean = rows.mean(1, keepdim=True)
    rows.sub_(mean)
    return mean, torch.linalg.vector_norm(rows, dim=1, keepdim=True) / rows.shape[1] ** 0.5
