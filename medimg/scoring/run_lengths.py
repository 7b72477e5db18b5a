"""Dice of run-length encoded masks, from the runs themselves: pictures of a gigapixel cost nothing."""

import numpy as np
import numpy.typing as npt


def runs_dice(
    pred: npt.NDArray[np.int64], target: npt.NDArray[np.int64], *, both_empty: float = 1.0
) -> float:
    """Dice of two masks given as runs.

    Args:
        pred: Runs of the prediction as ``medimg.io.rle.read_runs`` gives them, shape (R, 2).
        target: Runs of the reference, shape (S, 2).
        both_empty: Score of two empty masks: 1 in the HuBMAP challenge; NaN leaves them out.

    Returns:
        A number in [0, 1], or ``both_empty``.

    Example:
        >>> from medimg.io.rle import read_runs
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
