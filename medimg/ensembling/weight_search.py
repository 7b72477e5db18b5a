"""Search for the weights of members: greedy forward selection, and coordinate search on the simplex.

Both are deterministic, begin no worse than the best single member and than equal weights, and see the members
only through a score of their weighted mean.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medimg.scoring.bootstrap import FloatArray
from medimg.scoring.nested import NestedFit, nested_fit
from medimg.scoring.ranking import IndexArray

Search = Literal["greedy", "simplex"]
Stack = NDArray[np.floating[Any]]
Score = Callable[[Stack], float]

ROUNDS = 20
"""Members that the greedy search adds to its start: weights come in steps of about a twentieth."""

# Steps of the coordinate search: shares of the way to a vertex of the simplex.
_STEPS = (1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64)
_SWEEPS = 5
# An objective that only changes by rounding has not improved.
_BETTER = 1e-9


@dataclass(frozen=True, slots=True)
class _Point:
    """A mixture of members on the way of the coordinate search."""

    weights: FloatArray
    total: Stack
    score: float


def search_weights(stack: Stack, score: Score, search: Search) -> tuple[float, ...]:
    """Weights under which the weighted mean of the members scores best.

    Args:
        stack: What is averaged, shape (M, ...), such as probabilities or their logarithms.
        score: Higher is better; takes a weighted mean of shape (...), and may give NaN where it is not defined.
        search: ``greedy`` or ``simplex``.

    Returns:
        M weights of at least 0 that add up to 1.

    Example:
        >>> members = np.array([[0.0, 1.0], [1.0, 0.0], [5.0, 5.0]])
        >>> search_weights(members, lambda mean: -abs(mean - [0.5, 0.5]).sum(), "greedy")
        (0.5, 0.5, 0.0)
    """
    weights = (_greedy if search == "greedy" else _simplex)(stack, lambda total: _defined(score(total)))
    return tuple(float(weight) for weight in weights)


def search_nested(
    stack: Stack,
    score: Callable[[Stack, IndexArray], float],
    groups: Sequence[str],
    search: Search,
    *,
    folds: int = 5,
    seed: int = 0,
) -> NestedFit[tuple[float, ...]]:
    """Search on all cases, and once without each fold of patients, to judge what searching is worth.

    Args:
        stack: What is averaged, shape (M, ...).
        score: Score of a weighted mean on the cases whose positions it is given.
        groups: Patient of each case, length N.
        search: ``greedy`` or ``simplex``.
        folds: Number of folds.
        seed: Seed of their dealing.

    Returns:
        Weights of all cases, and those found without each fold.

    Raises:
        DataError: If there are fewer than two patients.
    """
    return nested_fit(
        lambda cases: search_weights(stack, lambda total: score(total, cases), search),
        groups,
        folds=folds,
        seed=seed,
    )


def _defined(score: float) -> float:
    return -np.inf if np.isnan(score) else float(score)


def _greedy(stack: Stack, score: Score) -> FloatArray:
    """Start from the best few members, then add the one that helps most, again and again.

    Reference:
        Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble selection from libraries of models", ICML 2004,
        10.1145/1015330.1015432.
    """
    members = len(stack)
    order = np.argsort([-score(one) for one in stack], kind="stable")
    counts, total, best = _best_start(stack, score, order)
    chosen, highest = counts / counts.sum(), best
    for _ in range(ROUNDS):
        size = counts.sum() + 1
        scores = [score((total + one) / size) for one in stack]
        member = int(np.argmax(scores))
        total, counts = total + stack[member], counts + (np.arange(members) == member)
        if scores[member] > highest + _BETTER:
            chosen, highest = counts / counts.sum(), scores[member]
    return np.asarray(chosen, np.float64)


def _best_start(stack: Stack, score: Score, order: NDArray[np.intp]) -> tuple[FloatArray, Stack, float]:
    """How often each member counts, their sum and its score, for the best few members, as many as score best."""
    total = sum_of_best = np.zeros_like(stack[0])
    best, found = -np.inf, 0
    for size, member in enumerate(order, start=1):
        total = total + stack[member]
        value = score(total / size)
        if value > best + _BETTER or not found:
            best, found, sum_of_best = value, size, total
    if best == -np.inf:  # not defined for any: nothing is known to be better than equal weights
        found, sum_of_best = len(stack), total
    counts = np.isin(np.arange(len(stack)), order[:found]).astype(np.float64)
    return counts, sum_of_best, best


def _simplex(stack: Stack, score: Score) -> FloatArray:
    """Move towards or away from one member after the other, by steps that shrink."""
    point = _start(stack, score)
    for step in _STEPS:
        for _ in range(_SWEEPS):
            before = point.score
            for member in range(len(stack)):
                point = _move(stack, score, point, member, step)
            if point.score <= before:
                break
    return np.asarray(point.weights / point.weights.sum(), np.float64)


def _start(stack: Stack, score: Score) -> _Point:
    """Equal weights, or the best single member where that is better."""
    members = len(stack)
    equal = stack.mean(axis=0)
    best = _Point(np.full(members, 1 / members), equal, score(equal))
    for member, one in enumerate(stack):
        value = score(one)
        if value > best.score + _BETTER:
            best = _Point(np.eye(members)[member], one, value)
    return best


def _move(stack: Stack, score: Score, point: _Point, member: int, step: float) -> _Point:
    share = float(point.weights[member])
    if share == 1:  # nothing else is there to move towards
        return point
    vertex = np.eye(len(stack))[member]
    for way in (step, max(-step, -share / (1 - share))):  # the farthest way back leaves the member out
        if way == 0:
            continue
        total = (1 - way) * point.total + way * stack[member]
        value = score(total)
        if value > point.score + _BETTER:
            weights = np.clip((1 - way) * point.weights + way * vertex, 0, 1)
            return _Point(weights, total, value)
    return point
