"""Means of probabilities that take one member at a time, and the labels that follow from them."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medimg.ensembling.description import ChannelScheme
from medimg.errors import DataError

Average = Literal["mean", "geometric"]

# The least float16 above 0: a 0 of a file in float16 stands for anything below, and must not veto a class.
SMALLEST = 2.0**-24
# Dust of other frameworks' float32 beyond 0 and 1.
_DUST = 1e-5
# Float16 moves a sum by 0.0005 at most, and classes resampled one by one by somewhat more. Regions add up to
# about 0 in the background.
_SUM_TOLERANCE = 0.05


class RunningAverage:
    """Weighted mean of volumes of probabilities in float32, one channel in memory beside the sum.

    Args:
        average: ``mean`` adds probabilities, ``geometric`` their logarithms.
        shape: (K, D, H, W).
        exclusive: Whether the channels are classes of a softmax: those of a member must add up to 1, and
            those of a geometric mean are made to.

    Example:
        >>> running = RunningAverage("mean", (2, 1, 1, 1), exclusive=True)
        >>> for probs, weight in (([[[[0.25]]], [[[0.75]]]], 0.75), ([[[[0.75]]], [[[0.25]]]], 0.25)):
        ...     running.add(np.array(probs), weight, "a.npz")
        >>> running.result().ravel()
        array([0.375, 0.625], dtype=float32)
    """

    def __init__(self, average: Average, shape: tuple[int, int, int, int], *, exclusive: bool) -> None:
        self.average, self.exclusive = average, exclusive
        self._sum = np.zeros(shape, np.float32)

    def add(self, channels: Iterable[NDArray[np.floating]], weight: float, source: str) -> None:
        """Add one member.

        Args:
            channels: Its K channels, each (D, H, W).
            weight: Its share, all members' shares adding up to 1.
            source: Where the channels come from, for messages.

        Raises:
            DataError: If a value is NaN or outside [0, 1], or exclusive classes do not add up to 1.
        """
        total = np.zeros(self._sum.shape[1:], np.float32) if self.exclusive else None
        for into, channel in zip(self._sum, checked(channels, source), strict=True):
            values = channel.astype(np.float32)
            if total is not None:
                total += values
            if self.average == "geometric":
                np.log(np.clip(values, SMALLEST, 1, out=values), out=values)
            values *= np.float32(weight)
            into += values
        if total is not None:
            self._check_sum(float(total.min()), float(total.max()), source)

    @staticmethod
    def _check_sum(low: float, high: float, source: str) -> None:
        if low < 1 - _SUM_TOLERANCE or high > 1 + _SUM_TOLERANCE:
            raise DataError(
                f"{source}: expected classes that add up to 1 in each voxel, found {low:.3g} to {high:.3g}. If "
                "these are regions, put a predictions.json with head sigmoid, classes and labels beside them."
            )

    def result(self) -> NDArray[np.float32]:
        """The average of all members added, shape (K, D, H, W), in [0, 1]; add none after it."""
        probs = self._sum
        if self.average == "geometric":
            np.exp(probs, out=probs)
            if self.exclusive:
                probs /= probs.sum(axis=0)
        np.clip(probs, 0, 1, out=probs)
        return probs


def checked(channels: Iterable[NDArray[np.floating]], source: str) -> Iterator[NDArray[np.floating]]:
    """Hand on channels of probabilities, each looked at.

    Raises:
        DataError: If a value is NaN or outside [0, 1].
    """
    for channel in channels:
        low, high = float(channel.min()), float(channel.max())
        if not (low >= -_DUST and high <= 1 + _DUST):  # NaN is neither
            found = "NaN" if np.isnan(low + high) else f"{low:g} to {high:g}"
            raise DataError(
                f"{source}: expected probabilities in [0, 1], found {found}. Write probabilities and not "
                "logits, or leave the member out."
            )
        yield channel


def labels_of(probs: NDArray[np.floating], scheme: ChannelScheme) -> NDArray[Any]:
    """Label map by the rules by which predictions are exported.

    Exclusive classes: the most probable one, of equal ones the first. Regions: each one in writing order
    wherever its probability exceeds 0.5, later ones over earlier ones.

    Args:
        probs: Probabilities, shape (K, D, H, W).
        scheme: What the channels mean.

    Returns:
        Label values, shape (D, H, W), uint8, or int16 if one exceeds 255.

    Raises:
        DataError: If the scheme has another number of channels.

    Example:
        >>> regions = np.array([0.9, 0.9, 0.9, 0.1, 0.9, 0.9]).reshape(2, 1, 1, 3)
        >>> labels_of(regions, ChannelScheme("sigmoid", (2, 1), (0, 1)))
        array([[[2, 1, 1]]], dtype=uint8)
    """
    check_channels(len(probs), scheme)
    values = place_values(len(probs), scheme)
    kind = np.uint8 if max(values) <= 255 else np.int16
    return np.asarray(values, kind)[winners(probs, scheme)]


def place_values(number: int, scheme: ChannelScheme) -> tuple[int, ...]:
    """Label value of each place that ``winners`` tells, for so many channels."""
    values = scheme.values or tuple(range(number))
    if scheme.head == "sigmoid":
        return (0, *(values[channel] for channel in scheme.order))
    return values


def winners(channels: Iterable[NDArray[np.floating]], scheme: ChannelScheme) -> NDArray[np.uint8]:
    """Which channel decides each voxel, one channel in memory at a time.

    Where all members agree on the winner, every weighted mean of theirs has it too.

    Args:
        channels: K channels of probabilities, at most 255, each of one shape (...).
        scheme: What they mean.

    Returns:
        Places of shape (...): the channel of exclusive classes; of regions 0 for none, else 1 + the place in
        writing order.

    Example:
        >>> winners(np.array([[0.9, 0.2, 0.6], [0.1, 0.8, 0.6]]), ChannelScheme())
        array([0, 1, 0], dtype=uint8)
    """
    place: NDArray[np.uint8] | None = None
    best: NDArray[np.floating] | None = None
    for number, channel in enumerate(channels):
        if place is None:
            place = np.zeros(channel.shape, np.uint8)
        if scheme.head == "sigmoid":
            if number in scheme.order:
                written = np.uint8(scheme.order.index(number) + 1)
                np.maximum(place, written, out=place, where=channel > 0.5)
        elif best is None:
            best = channel.copy()
        else:
            place[channel > best] = number
            np.maximum(best, channel, out=best)
    if place is None:
        raise ValueError("one channel or more expected, found none")
    return place


def check_channels(number: int, scheme: ChannelScheme, source: str = "probabilities") -> None:
    """Refuse probabilities of another number of channels than the classes need.

    Raises:
        DataError: If the numbers differ.
    """
    if scheme.values is not None and len(scheme.values) != number:
        background = " with the background" if scheme.head == "softmax" else ""
        raise DataError(
            f"{source}: expected {len(scheme.values)} channels{background}, found {number}. "
            "Combine members of one task only, or mend the classes in predictions.json."
        )
