"""Run-length encoded masks of competitions: absolute and relative, by columns and by rows."""

import re
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medimg.errors import DataError

Order = Literal["columns", "rows"]
# Ways in which tables write an empty mask.
_EMPTY = {"-1", "nan"}
# int() would also take "1_0", "+1" and the digits of other scripts, which no competition reads.
_PLAIN = re.compile(r"[-0-9\s]*", re.ASCII)
# No picture has so many pixels, and sums of such numbers stay below 64 bits.
_MOST = 1 << 40


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
        DataError: As for :func:`read_runs`.

    Example:
        >>> decode("1 3 10 5", (5, 4)).T.tolist()
        [[1, 1, 1, 0, 0], [0, 0, 0, 0, 1], [1, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
    """
    height, width = shape
    try:
        runs = read_runs(text.replace(",", " "), height * width, relative=relative)
    except DataError as fault:
        raise DataError(
            f"a run-length mask of {height} x {width} pixels holds {fault}. Check the column, the size, and whether "
            "starts are relative."
        ) from fault
    flat = np.zeros(height * width, np.uint8)
    for start, end in runs.tolist():
        flat[start:end] = 1
    return np.ascontiguousarray(flat.reshape(shape, order="F" if order == "columns" else "C"))


def read_runs(text: str, pixels: int | None = None, *, relative: bool = False) -> NDArray[np.int64]:
    """Read ``start length`` pairs without drawing the mask.

    Args:
        text: Pairs separated by spaces; empty, ``-1`` or ``nan`` for an empty mask.
        pixels: Number of pixels of the picture; ``None`` does not check the last one.
        relative: Starts count from the end of the run before; otherwise the picture's first pixel is 1.

    Returns:
        First pixel and the pixel behind the last, counted from 0, of each run, shape (R, 2).

    Raises:
        DataError: If the text holds something else than pairs of whole numbers, or runs are empty, overlap,
            are not sorted or leave the picture. The message is the kind of fault, with numbers in brackets.

    Example:
        >>> read_runs("1 3 10 5").tolist()
        [[0, 3], [9, 14]]
    """
    if text.strip().lower() in _EMPTY:
        text = ""
    try:
        numbers = [int(word) for word in text.split()] if _PLAIN.fullmatch(text) else [_MOST + 1]
    except ValueError:
        numbers = [_MOST + 1]
    if max(numbers, default=0) > _MOST or min(numbers, default=0) < -_MOST:
        raise DataError("something else than whole numbers of a picture's size")
    if len(numbers) % 2:
        raise DataError("a start without its length")
    starts, lengths = np.array(numbers, np.int64).reshape(-1, 2).T
    if (lengths < 1).any():
        raise DataError("a run without pixels")
    if relative:
        gaps, starts = starts, np.cumsum(starts + lengths) - lengths
    else:
        starts = starts - 1
        gaps = starts - np.concatenate([[0], (starts + lengths)])[: len(starts)]
    if (starts < 0).any():
        raise DataError("a run before pixel 1")
    if (gaps < 0).any():
        raise DataError("runs that overlap or are not sorted")
    ends = starts + lengths
    if pixels is not None and len(ends) and ends[-1] > pixels:
        raise DataError(f"runs that leave the picture (pixel {ends[-1]} of {pixels})")
    return np.stack([starts, ends], axis=1)
