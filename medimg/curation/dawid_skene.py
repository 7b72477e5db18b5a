"""Dawid and Skene: what is most probably true, and how each reader errs, from the readings alone.

Reference:
    Dawid and Skene, "Maximum likelihood estimation of observer error-rates using the EM algorithm", Applied
    Statistics 28, 1979, doi:10.2307/2346806.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medimg.errors import DataError
from medimg.scoring.ranking import FloatArray

_ITERATIONS = 2000
_CONVERGED = 1e-7
_NEVER = 1e-10  # of a probability: a reader who never erred so far may still err
_KEPT = 0.5
_EXACT = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class DawidSkene:
    """The estimate for one label.

    Attributes:
        probs: Probability of each value for each case, shape (N, V).
        shares: Share of each value among the cases, shape (V,).
        confusion: How often each reader says a value (last axis) where another is true, shape (R, V, V).
    """

    probs: FloatArray
    shares: FloatArray
    confusion: FloatArray


def dawid_skene(counts: npt.ArrayLike) -> DawidSkene:
    """Estimate the truth by expectation maximisation, from the shares of the votes on.

    Args:
        counts: How often each reader gave each value to each case, shape (N, R, V); zeros where a reader did not
            read a case. Every case has a reading.

    Returns:
        The estimate. A reader who never met a value that is true has the mean of all readers there.

    Raises:
        DataError: If a case has no reading, the estimate does not settle, or it runs away: more than half of the
            cases whose majority is one value are given another.

    Example:
        >>> votes = np.eye(2)[[[0, 0, 0], [1, 1, 1], [1, 1, 0], [0, 0, 0]]]
        >>> dawid_skene(votes).probs.round(2).tolist()
        [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]
    """
    said = np.asarray(counts, np.float64)
    votes = said.sum(axis=1)  # (N, V)
    if said.ndim != 3 or not (votes.sum(axis=1) > 0).all():
        raise DataError(
            f"expected readings of shape (N, R, V) with one for every case, found {said.shape}. "
            "Leave out cases that nobody read."
        )
    probs = votes / votes.sum(axis=1, keepdims=True)
    for _ in range(_ITERATIONS):
        shares = probs.mean(axis=0)
        confusion = _confusion(probs, said)
        # Logarithms, since products over many readings leave the range of a float.
        logs = np.log(np.maximum(shares, _NEVER)) + np.einsum(
            "nrv,rtv->nt", said, np.log(np.maximum(confusion, _NEVER)), optimize=True
        )
        logs -= logs.max(axis=1, keepdims=True)
        new = np.exp(logs)
        new /= new.sum(axis=1, keepdims=True)
        moved, probs = float(np.abs(new - probs).max()), new
        if moved < _CONVERGED:
            _refuse_runaway(votes, probs)
            return DawidSkene(probs, probs.mean(axis=0), _confusion(probs, said))
    raise DataError(
        f"Dawid and Skene's estimate did not settle within {_ITERATIONS} steps: the readers agree too little. "
        "Use --consensus majority."
    )


def _confusion(probs: FloatArray, said: FloatArray) -> FloatArray:
    """What each reader says where a value is true, shape (R, true V, said V)."""
    matrix = np.einsum("nt,nrv->rtv", probs, said, optimize=True)
    size = matrix.sum(axis=2, keepdims=True)
    common = matrix.sum(axis=0)
    common = common / np.maximum(common.sum(axis=1, keepdims=True), _NEVER)
    return np.asarray(np.where(size > _EXACT, matrix / np.maximum(size, _EXACT), common))


def _refuse_runaway(votes: FloatArray, probs: FloatArray) -> None:
    """Stop where the values have changed places, or one has swallowed another."""
    clear = 2 * votes.max(axis=1) > votes.sum(axis=1)
    majority, found = votes.argmax(axis=1), probs.argmax(axis=1)
    for value in np.unique(majority[clear]):
        of_it = clear & (majority == value)
        kept = float((found[of_it] == value).mean())
        if kept < _KEPT:
            raise DataError(
                f"Dawid and Skene's estimate ran away: of the {int(of_it.sum())} cases whose majority is value number "
                f"{value}, it keeps {kept:.0%}; expected at least {_KEPT:.0%}. Use --consensus majority, or leave out "
                "the reader who stands alone."
            )
