"""Ranges of Hounsfield units, or of other units, as channels that a network sees."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.errors import DataError


def show_windows(pixels: NDArray[Any], windows: Sequence[tuple[float, float]]) -> NDArray[np.float32]:
    """Spread each window over [0, 1] and cut off what lies beyond it.

    A radiologist's level L and width W are the window (L - W / 2, L + W / 2).

    Args:
        pixels: One channel (1, H, W) in the units of the windows.
        windows: Lower and upper end of each.

    Returns:
        A channel a window, (len(windows), H, W).

    Raises:
        DataError: If there are several channels.

    Example:
        >>> show_windows(np.array([[[-600.0, 40.0, 140.0]]]), [(-1200, 0), (-160, 240)])[:, 0].tolist()
        [[0.5, 1.0, 1.0], [0.0, 0.5, 0.75]]
    """
    if len(pixels) != 1:
        raise DataError("a window in Hounsfield units needs one channel; this file has colours")
    return np.concatenate([show_window(pixels, window) for window in windows])


def show_window(pixels: NDArray[Any], window: tuple[float, float]) -> NDArray[np.float32]:
    """Spread one window over [0, 1] and cut off what lies beyond it, in any number of channels.

    Example:
        >>> show_window(np.array([0, 2, 8]), (0, 4)).tolist()
        [0.0, 0.5, 1.0]
    """
    low, high = window
    # Cut off before any resizing: one value far beyond the window must not outweigh its neighbours in a mean.
    shown: NDArray[np.float32] = np.clip(
        (pixels.astype(np.float32) - low) / max(high - low, 1e-12), 0, 1
    ).astype(np.float32)
    return shown
