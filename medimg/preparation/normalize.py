"""Intensities to numbers of similar size, case by case."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medimg.errors import ConfigError

Normalization = Literal["zscore", "zscore_nonzero", "ct", "none"]


def zscore(channel: NDArray[np.float32], *, nonzero: bool = False) -> NDArray[np.float32]:
    """Subtract the mean and divide by the standard deviation of one image.

    Args:
        channel: Image of one channel (D, H, W).
        nonzero: Count only voxels that are not zero, and leave the others at zero: for images whose
            background was removed.

    Returns:
        Image of mean 0 and standard deviation 1 over the counted voxels; all zeros for a constant one.

    Example:
        >>> zscore(np.array([[[0.0, 2.0, 4.0]]], np.float32), nonzero=True).tolist()
        [[[0.0, -1.0, 1.0]]]
    """
    counted = channel != 0 if nonzero else np.ones(channel.shape, dtype=bool)
    values = channel[counted]
    result = np.zeros_like(channel)
    if values.size:
        # float64 sums: raw MRI intensities reach millions.
        mean, std = values.mean(dtype=np.float64), values.std(dtype=np.float64)
        result[counted] = (values - mean) / max(float(std), 1e-8)
    return result


def window(
    channel: NDArray[np.float32], window_hu: tuple[float, float], mean: float, std: float
) -> NDArray[np.float32]:
    """Clip Hounsfield units to a window and standardise with the data set's statistics.

    Args:
        channel: Image of one channel (D, H, W) in Hounsfield units.
        window_hu: Lower and upper limit.
        mean: Mean of the foreground over the training cases.
        std: Standard deviation of the foreground over the training cases.

    Example:
        >>> window(np.array([[[-2000.0, 50.0]]], np.float32), (-100, 300), 50, 10).tolist()
        [[[-15.0, 0.0]]]
    """
    return (channel.clip(*window_hu) - np.float32(mean)) / np.float32(std)


def normalize(
    image: NDArray[np.float32],
    kinds: tuple[Normalization, ...],
    window_hu: tuple[float, float] | None,
    mean_std: tuple[float, float] | None,
) -> NDArray[np.float32]:
    """Normalise every channel of an image in its own way.

    Args:
        image: Image (C, D, H, W).
        kinds: One way for each channel, or a single one for all.
        window_hu: Window of the channels that are CT.
        mean_std: Mean and standard deviation of the CT foreground.

    Raises:
        ConfigError: If the number of ways is neither one nor C, or CT lacks its numbers.
    """
    if len(kinds) not in (1, len(image)):
        raise ConfigError(
            f"normalization names {len(kinds)} ways for {len(image)} channels: give one, or one each"
        )
    ways = kinds * len(image) if len(kinds) == 1 else kinds
    result = np.empty_like(image)
    for channel, kind in enumerate(ways):
        match kind:
            case "zscore" | "zscore_nonzero":
                result[channel] = zscore(image[channel], nonzero=kind == "zscore_nonzero")
            case "ct":
                if window_hu is None or mean_std is None:
                    raise ConfigError(
                        "normalization 'ct' needs window_hu and mean_std: `medimg plan DATA` measures both"
                    )
                result[channel] = window(image[channel], window_hu, *mean_std)
            case "none":
                result[channel] = image[channel]
    return result
