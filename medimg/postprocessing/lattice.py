"""Gaussian filtering of values at scattered points on the permutohedral lattice, compiled by numba.

A Gaussian over N points costs N^2; on the lattice it costs about N: each point gives its value to the d + 1
corners of the simplex around it, the corners are blurred along the d + 1 axes of the lattice, and each point
collects what its corners hold.

Reference:
    Adams, Baek and Davis, Fast high-dimensional filtering using the permutohedral lattice, Computer Graphics
    Forum 29(2), 2010, doi:10.1111/j.1467-8659.2009.01645.x.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from medimg.errors import ConfigError

try:
    from numba import njit
except ImportError as error:
    raise ConfigError(
        "the dense CRF is compiled by numba. Install it with: pip install 'medimg[crf]'"
    ) from error

F = TypeVar("F", bound=Callable[..., Any])
FloatArray = NDArray[np.float32]
Ids = NDArray[np.uint32]
Codes = NDArray[np.int64]

_FIRST_CAPACITY = 1 << 14
_SEED = 0


def _compiled(function: F) -> F:
    # Kept on disk beside this file (or in the user's cache folder), so that only the first run ever waits.
    return cast(F, njit(cache=True, fastmath=True, nogil=True)(function))


@dataclass(frozen=True, slots=True)
class Lattice:
    """Where N points lie on the lattice, and which of its M vertices are neighbours.

    Row 0 of all values on the lattice stands for the vertices that no point touches, and is 0.

    Attributes:
        ids: Row of each corner of a point's simplex, shape (N, d + 1).
        weights: Barycentric weight of each corner, shape (N, d + 1), times what ``scale`` was given.
        ahead: Row of the next vertex along each axis, shape (d + 1, M + 1).
        behind: Row of the one before, shape (d + 1, M + 1).
    """

    ids: Ids
    weights: FloatArray
    ahead: Ids
    behind: Ids

    @property
    def rows(self) -> int:
        """M + 1."""
        return int(self.ahead.shape[1])

    def scale(self, factors: FloatArray) -> None:
        """Multiply what a point gives and what it collects by a factor of its own.

        Args:
            factors: One factor a point, shape (N,).
        """
        self.weights[...] *= factors[:, None]

    def add_filtered(self, values: FloatArray, into: FloatArray) -> None:
        """Add the filtered values, all K columns at a time.

        A point counts among its own neighbours. The sum is not divided by the weights that went into it, and
        is larger than that of a Gaussian of height 1 by a factor that is the same for all points.

        Args:
            values: Shape (N, K).
            into: Array to add to, shape (N, K).
        """
        held = np.zeros((self.rows, values.shape[1]), np.float32)
        _splat(self.ids, self.weights, values, held)
        other = np.empty_like(held)
        for ahead, behind in zip(self.ahead, self.behind, strict=True):
            _blur(held, ahead, behind, other)
            held, other = other, held
        _slice(self.ids, self.weights, held, into)


def build_lattice(features: FloatArray) -> Lattice:
    """Place points on the lattice, scaled so that the blur has a standard deviation of 1 feature unit.

    A vertex is known by a code of 64 bits: its d integer coordinates times d fixed odd random numbers, added
    up modulo 2^64. Neighbours then differ by a constant, whatever their place, and no coordinates are stored.
    Two of ten million vertices share a code with a chance of 3 in a million.

    Args:
        features: Coordinates of each point in standard deviations, shape (N, d), d at least 1.

    Returns:
        The lattice.

    Example:
        >>> lattice = build_lattice(np.array([[0.0], [0.1], [9.0]], np.float32))
        >>> sums = np.zeros((3, 1), np.float32)
        >>> lattice.add_filtered(np.ones((3, 1), np.float32), sums)
        >>> bool(sums[0, 0] > 1.5 * sums[2, 0])  # two points near each other, one alone
        True
    """
    points, axes = features.shape
    if points * (axes + 1) >= 2**32:
        raise ConfigError(
            f"a dense CRF of {points:,} voxels and {axes} features does not fit 32 bits. Crop the images first."
        )
    limits = np.iinfo(np.int64)
    # One multiplier a coordinate; the last coordinate follows from the others, since all add up to 0.
    multipliers = np.zeros(axes + 1, np.int64)
    multipliers[:axes] = np.random.default_rng(_SEED).integers(limits.min, limits.max, axes) | 1
    number = np.arange(1, axes + 1)
    # The steps of a basis of the hyperplane, times the width of the whole blur in lattice units.
    scales = (np.sqrt(2 / 3) * (axes + 1) / np.sqrt(number * (number + 1))).astype(np.float32)
    ids, weights, codes, table = _embed(np.ascontiguousarray(features, np.float32), scales, multipliers)
    ahead, behind = _link(codes, table, multipliers)
    return Lattice(ids, weights, ahead, behind)


@_compiled
def _find(codes: Codes, table: Ids, code: np.int64) -> Any:
    """Slot that holds the code, or the empty one where it belongs."""
    mask = table.size - 1
    slot = (code ^ (code >> 31)) & mask
    while table[slot] != 0 and codes[table[slot]] != code:
        slot = (slot + 1) & mask
    return slot


@_compiled
def _grown(codes: Codes, count: int) -> tuple[Codes, Ids]:
    """Room for twice as many vertices."""
    more = np.zeros(2 * codes.size, np.int64)
    more[: codes.size] = codes
    table = np.zeros(2 * more.size, np.uint32)
    for vertex in range(1, count + 1):
        table[_find(more, table, more[vertex])] = vertex
    return more, table


@_compiled
def _elevate(features: FloatArray, scales: FloatArray, place: FloatArray) -> None:
    """Bring one point into the hyperplane of d + 1 coordinates that add up to 0, in units of d + 1."""
    axes = features.size
    width = np.float32(axes + 1)
    total = np.float32(0)
    for axis in range(axes, 0, -1):
        step = features[axis - 1] * scales[axis - 1]
        place[axis] = (total - np.float32(axis) * step) / width
        total += step
    place[0] = total / width


@_compiled
def _round(place: FloatArray, base: Codes, rank: Codes, excess: FloatArray, axis_of: Codes) -> None:
    """Find the nearest vertex of remainder 0, ``base``, and what the point has beyond it.

    The coordinates are rounded one by one; where they then do not add up to 0, those that were moved furthest
    are moved back by 1. ``excess`` is in falling order, ``axis_of`` says of which axis.
    """
    width = place.size
    surplus = 0
    for axis in range(width):
        nearest = np.floor(place[axis] + np.float32(0.5))
        base[axis] = np.int64(nearest)
        place[axis] -= nearest
        surplus += base[axis]
        rank[axis] = 0
    for one in range(width - 1):
        for other in range(one + 1, width):
            if place[one] < place[other]:
                rank[one] += 1
            else:
                rank[other] += 1
    for axis in range(width):
        mended = rank[axis] + surplus
        if mended < 0:
            mended += width
            base[axis] += 1
            place[axis] -= np.float32(1)
        elif mended >= width:
            mended -= width
            base[axis] -= 1
            place[axis] += np.float32(1)
        excess[mended] = place[axis]
        axis_of[mended] = axis


@_compiled
def _embed(
    features: FloatArray, scales: FloatArray, multipliers: Codes
) -> tuple[Ids, FloatArray, Codes, Ids]:
    """Find or make the corners of each point's simplex.

    Returns the corners (N, d + 1), their weights, the code of each vertex (M + 1,) and the hash table: open
    addressing with linear probing, at most half full.
    """
    points, axes = features.shape
    width = axes + 1
    ids = np.empty((points, width), np.uint32)
    weights = np.empty((points, width), np.float32)
    codes = np.zeros(_FIRST_CAPACITY, np.int64)
    table = np.zeros(2 * _FIRST_CAPACITY, np.uint32)
    count = 0
    steps = multipliers * width
    one_up = multipliers.sum()  # all coordinates + 1
    place = np.empty(width, np.float32)
    base = np.empty(width, np.int64)
    rank = np.empty(width, np.int64)
    excess = np.empty(width, np.float32)
    axis_of = np.empty(width, np.int64)
    last_code = np.zeros(width, np.int64)
    last_id = np.zeros(width, np.uint32)
    for point in range(points):
        _elevate(features[point], scales, place)
        _round(place, base, rank, excess, axis_of)
        code = np.int64(0)
        for axis in range(width):
            code += base[axis] * steps[axis]
        # Corner r follows from corner r - 1: one up on all coordinates, d + 1 down on the r-th last by rank.
        for corner in range(width):
            if corner == 0:
                weights[point, 0] = np.float32(1) - (excess[0] - excess[axes])
            else:
                weights[point, corner] = excess[axes - corner] - excess[axes - corner + 1]
            if last_id[corner] == 0 or last_code[corner] != code:
                slot = _find(codes, table, code)
                if table[slot] == 0:
                    count += 1
                    if count >= codes.size:
                        codes, table = _grown(codes, count - 1)
                        slot = _find(codes, table, code)
                    codes[count] = code
                    table[slot] = count
                last_code[corner], last_id[corner] = code, table[slot]
            ids[point, corner] = last_id[corner]
            code += one_up - steps[axis_of[axes - corner]]
    return ids, weights, codes[: count + 1].copy(), table


@_compiled
def _link(codes: Codes, table: Ids, multipliers: Codes) -> tuple[Ids, Ids]:
    """Neighbours of each vertex along each axis, both (d + 1, M + 1)."""
    width, rows = multipliers.size, codes.size
    ahead = np.zeros((width, rows), np.uint32)
    behind = np.zeros((width, rows), np.uint32)
    one_up = multipliers.sum()
    for axis in range(width):
        step = one_up - width * multipliers[axis]
        for vertex in range(1, rows):
            found = table[_find(codes, table, codes[vertex] + step)]
            if found != 0:
                ahead[axis, vertex] = found
                behind[axis, found] = vertex
    return ahead, behind


@_compiled
def _splat(ids: Ids, weights: FloatArray, values: FloatArray, held: FloatArray) -> None:
    points, width = ids.shape
    columns = values.shape[1]
    for point in range(points):
        for corner in range(width):
            row, weight = ids[point, corner], weights[point, corner]
            for column in range(columns):
                held[row, column] += weight * values[point, column]


@_compiled
def _blur(held: FloatArray, ahead: Ids, behind: Ids, out: FloatArray) -> None:
    """One pass of (1/2, 1, 1/2) along one axis."""
    rows, columns = held.shape
    out[0] = 0
    for row in range(1, rows):
        after, before = ahead[row], behind[row]
        for column in range(columns):
            out[row, column] = held[row, column] + np.float32(0.5) * (
                held[after, column] + held[before, column]
            )


@_compiled
def _slice(ids: Ids, weights: FloatArray, held: FloatArray, into: FloatArray) -> None:
    points, width = ids.shape
    columns = held.shape[1]
    for point in range(points):
        for column in range(columns):
            total = np.float32(0)
            for corner in range(width):
                total += weights[point, corner] * held[ids[point, corner], column]
            into[point, column] += total


@_compiled
def choose_one(scores: FloatArray, messages: FloatArray, sums: FloatArray, out: FloatArray) -> None:
    """Softmax over K exclusive labels, of which the last one's message is what the others leave of the sum.

    Args:
        scores: Log probabilities, shape (N, K).
        messages: What each point hears of the first K - 1 labels, shape (N, K - 1).
        sums: What it hears of all labels together, shape (N,).
        out: Marginals of the first K - 1 labels, shape (N, K - 1).
    """
    points, labels = scores.shape
    for point in range(points):
        last = scores[point, labels - 1] + sums[point]
        for label in range(labels - 1):
            last -= messages[point, label]
        top = last
        for label in range(labels - 1):
            top = max(top, scores[point, label] + messages[point, label])
        total = np.exp(last - top)
        for label in range(labels - 1):
            share = np.exp(scores[point, label] + messages[point, label] - top)
            out[point, label] = share
            total += share
        for label in range(labels - 1):
            out[point, label] /= total


@_compiled
def choose_each(scores: FloatArray, messages: FloatArray, sums: FloatArray, out: FloatArray) -> None:
    """Sigmoid for K labels of which each one is there or not, whatever the others are.

    Args:
        scores: Log odds, shape (N, K).
        messages: What each point hears of each label, shape (N, K).
        sums: What it hears of a label and its absence together, shape (N,).
        out: Marginals, shape (N, K).
    """
    points, labels = scores.shape
    for point in range(points):
        for label in range(labels):
            odds = scores[point, label] + np.float32(2) * messages[point, label] - sums[point]
            odds = max(min(odds, np.float32(80)), np.float32(-80))  # within the range of float32's exp
            out[point, label] = np.float32(1) / (np.float32(1) + np.exp(-odds))
