"""Which calls were most certain and wrong."""

import numpy as np
import numpy.typing as npt


def worst_mistakes(
    target: npt.ArrayLike, prob: npt.ArrayLike, *, exclusive: bool, limit: int = 16
) -> list[tuple[int, int]]:
    """Rank the wrong calls, the most certain one first.

    Args:
        target: 1, 0, or NaN where unknown, shape (N, K); one-hot for exclusive classes.
        prob: Probabilities of shape (N, K).
        exclusive: Whether one of K classes is called, or each label at 0.5.
        limit: Number of mistakes at most.

    Returns:
        Case and label of each mistake. Of exclusive classes the label is the wrong one that was called; a
        case whose class is unknown is no mistake.

    Raises:
        ValueError: If the shapes are not one (N, K).

    Example:
        >>> worst_mistakes([[1], [0], [0]], [[0.4], [0.9], [0.1]], exclusive=False)
        [(1, 0), (0, 0)]
    """
    truth, probs = np.asarray(target, np.float64), np.asarray(prob, np.float64)
    if truth.ndim != 2 or truth.shape != probs.shape:
        raise ValueError(f"target and prob of one shape (N, K) expected, found {truth.shape}, {probs.shape}")
    error = np.abs(probs - truth)
    if exclusive:
        called = np.arange(truth.shape[1]) == probs.argmax(axis=1)[:, None]
        certain_of_true = np.sum(probs * truth, axis=1, keepdims=True)  # NaN for a case of unknown class
        error = np.where(called & (truth < 0.5), 1 - certain_of_true, np.nan)
        wrong = ~np.isnan(error)
    else:
        wrong = ~np.isnan(truth) & ((probs > 0.5) != (truth >= 0.5))
    cells = np.flatnonzero(wrong)
    order = cells[np.argsort(-error.ravel()[cells], kind="stable")][:limit]
    return [divmod(int(cell), truth.shape[1]) for cell in order]
