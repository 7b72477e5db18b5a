"""Run-length encoded masks of competitions: absolute and relative, by columns and by rows."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medimg.errors import DataError

Order = Literal["columns", "rows"]
# Ways in which tables write an empty mask.
_EMPTY = {"-1", "nan"}


def encode(mask: NDArray[np.generic], *, relative: bool = False, order: Order = "columns") -> str:
    """Write the pixels of a mask as ``start length`` pairs.

    Args:
        mask: Shape (H, W); everything but zero is inside.
        relative: Write as start how many pixels lie between this run and the one before (for the first: and
            the picture's beginning), as SIIM pneumothorax does; otherwise the place of the run's first pixel,
            the picture's first being 1.
        order: Whether pixels are counted down the columns, as most competitions do, or along the rows.

    Returns:
        Sorted pairs without overlap, separated by spaces; empty for an empty mask.

    Raises:
        DataError: If the mask has not two axes.

    Example:
        >>> mask = np.zeros((5, 4), bool)
        >>> mask[:3, 0] = True
        >>> mask[4, 1] = True
        >>> mask[:4, 2] = True
        >>> encode(mask)
        '1 3 10 5'
        >>> encode(mask, relative=True)
        '0 3 6 5'
    """
    if mask.ndim != 2:
        raise DataError(f"expected a mask of shape (H, W) to encode, found {mask.shape}. Encode each plane.")
    flat = (mask != 0).ravel(order="F" if order == "columns" else "C")
    edges = np.flatnonzero(np.diff(flat.astype(np.int8), prepend=0, append=0))
    starts, ends = edges[::2], edges[1::2]
    first = starts - np.concatenate([[0], ends])[:-1] if relative else starts + 1
    return " ".join(str(number) for number in np.stack([first, ends - starts], axis=1).ravel())


def decode(
    text: str, shape: tuple[int, int], *, relative: bool = False, order: Order = "columns"
) -> NDArray[np.uint8]:
    """Read a mask from ``start length`` pairs.

    Args:
        text: Pairs separated by spaces or commas; empty, ``-1`` or ``nan`` for an empty mask.
        shape: Height and width of the mask.
        relative: Starts count from the end of the run before; see :func:`encode`.
        order: Way in which pixels are counted.

    Returns:
        0 outside and 1 inside, shape (H, W).

    Raises:
        DataError: If the text holds an odd count of numbers or something else than numbers, or runs overlap,
            are not sorted, are empty or leave the picture.

    Example:
        >>> decode("1 3 10 5", (5, 4)).T.tolist()
        [[1, 1, 1, 0, 0], [0, 0, 0, 0, 1], [1, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
    """
    height, width = shape
    flat = np.zeros(height * width, np.uint8)
    starts, lengths = _runs(text, relative=relative)
    _check(starts, lengths, shape)
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        flat[start : start + length] = 1
    return np.ascontiguousarray(flat.reshape(shape, order="F" if order == "columns" else "C"))


def _runs(text: str, *, relative: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return starts, counted from 0, and lengths."""
    words = text.replace(",", " ").split()
    if len(words) == 1 and words[0].lower() in _EMPTY:
        words = []
    try:
        numbers = np.array([int(word) for word in words], np.int64)
    except (ValueError, OverflowError) as error:
        raise DataError(f"expected whole numbers in a run-length mask: {error}. Check the column.") from error
    if len(numbers) % 2:
        raise DataError(
            f"expected pairs of start and length in a run-length mask, found {len(numbers)} numbers. The text "
            "is cut, or the column is another one."
        )
    starts, lengths = numbers[::2], numbers[1::2]
    if relative and len(starts):
        ends_before = np.concatenate([[0], np.cumsum(starts + lengths)[:-1]])
        return starts + ends_before, lengths
    return starts - 1, lengths


def _check(starts: NDArray[np.int64], lengths: NDArray[np.int64], shape: tuple[int, int]) -> None:
    height, width = shape
    if (lengths <= 0).any():
        run = int(np.flatnonzero(lengths <= 0)[0])
        raise DataError(f"run {run + 1} of a run-length mask has length {lengths[run]}; expected 1 or more.")
    ends = starts + lengths
    if len(starts) and (starts.min() < 0 or ends.max() > height * width):
        raise DataError(
            f"a run-length mask holds pixels {int(starts.min()) + 1} to {int(ends.max())}, outside 1 to "
            f"{height * width} of a {height} x {width} picture. Check the size, and whether starts are relative."
        )
    if (wrong := np.flatnonzero(starts[1:] < ends[:-1])).size:
        run = int(wrong[0])
        raise DataError(
            f"runs {run + 1} and {run + 2} of a run-length mask overlap or are not sorted: pixels "
            f"{starts[run] + 1} to {ends[run]}, then {starts[run + 1] + 1} on. Check whether starts are relative."
        )
