"""Dice of run-length encoded masks, from the runs themselves: pictures of a gigapixel cost nothing."""

import numpy as np
import numpy.typing as npt

from medimg.errors import DataError

_EMPTY = {"-1", "nan"}  # ways in which tables write an empty mask


def read_runs(text: str, pixels: int | None = None) -> npt.NDArray[np.int64]:
    """Read ``start length`` pairs, the picture's first pixel being 1.

    Args:
        text: Pairs separated by spaces; empty, ``-1`` or ``nan`` for an empty mask.
        pixels: Number of pixels of the picture; ``None`` does not check the last one.

    Returns:
        First pixel and the pixel behind the last, counted from 0, of each run, shape (R, 2).

    Raises:
        DataError: If the text holds something else than pairs of whole numbers, or runs are empty, overlap,
            are not sorted or leave the picture.

    Example:
        >>> read_runs("1 3 10 5").tolist()
        [[0, 3], [9, 14]]
    """
    words = text.split()
    if len(words) == 1 and words[0].lower() in _EMPTY:
        words = []
    try:
        numbers = np.array([int(word) for word in words], np.int64)
    except (ValueError, OverflowError) as error:
        raise DataError("something else than whole numbers") from error
    if len(numbers) % 2:
        raise DataError("a start without its length")
    starts, lengths = numbers[::2] - 1, numbers[1::2]
    ends = starts + lengths
    if (lengths < 1).any() or (starts < 0).any():
        raise DataError("a run without pixels or before pixel 1")
    if (starts[1:] < ends[:-1]).any():
        raise DataError("runs that overlap or are not sorted")
    if pixels is not None and len(ends) and ends[-1] > pixels:
        raise DataError("runs that leave the picture")
    return np.stack([starts, ends], axis=1)


def runs_dice(
    pred: npt.NDArray[np.int64], target: npt.NDArray[np.int64], *, both_empty: float = 1.0
) -> float:
    """Dice of two masks given as runs.

    Args:
        pred: Runs of the prediction as ``read_runs`` gives them, shape (R, 2).
        target: Runs of the reference, shape (S, 2).
        both_empty: Score of two empty masks: 1 in the HuBMAP challenge; NaN leaves them out.

    Returns:
        A number in [0, 1], or ``both_empty``.

    Example:
        >>> runs_dice(read_runs("1 3 10 5"), read_runs("2 4"))  # 2 common pixels of 8 and 4
        0.3333333333333333
    """
    size = _pixels(pred) + _pixels(target)
    if not size:
        return both_empty
    edges = np.union1d(pred, target)  # between two neighbouring edges each mask is constant
    common = _covers(pred, edges[:-1]) & _covers(target, edges[:-1])
    return 2 * int(np.diff(edges)[common].sum()) / size


def _pixels(runs: npt.NDArray[np.int64]) -> int:
    return int((runs[:, 1] - runs[:, 0]).sum())


def _covers(runs: npt.NDArray[np.int64], pixels: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether each pixel lies in a run."""
    if not len(runs):
        return np.zeros(len(pixels), bool)
    run = np.searchsorted(runs[:, 0], pixels, side="right") - 1
    covered: npt.NDArray[np.bool_] = (run >= 0) & (pixels < runs[run, 1])
    return covered
