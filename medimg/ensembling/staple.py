"""STAPLE: the truth that the members most probably saw, and how well each of them saw it.

Reference:
    Warfield, Zou and Wells, Simultaneous truth and performance level estimation (STAPLE): an algorithm for the
    validation of image segmentation, IEEE Transactions on Medical Imaging 23(7), 2004,
    doi:10.1109/TMI.2004.828354.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medimg.ensembling.votes import VotePatterns
from medimg.errors import DataError

# Voxels around the members' foreground that count as background that all members agree on.
MARGIN = 10
# A label whose volume is this many times the majority's, or this share of it, has run away.
_RUNAWAY = 2.0
_CONVERGED = 1e-7
_ITERATIONS = 2000
# Sensitivities of exactly 0 or 1 would make one member's vote outweigh all others for ever.
_SURE = 1e-10


@dataclass(frozen=True, slots=True)
class Staple:
    """What the estimate found for one label.

    Attributes:
        probs: Probability that the truth is foreground, by pattern of votes, shape (P,).
        sensitivity: Share of the true foreground that each member found, shape (M,).
        specificity: Share of the true background that each member left alone, shape (M,).
    """

    probs: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    specificity: NDArray[np.float64]


def staple(votes: NDArray[np.bool_], counts: NDArray[np.integer]) -> Staple:
    """Estimate the truth of one binary label by expectation maximisation.

    The prior is one for all voxels, the mean share of foreground, as in the authors' first choice; there is
    no smoothing between neighbours. The first estimate is the share of members that voted for a voxel.

    Args:
        votes: Whether each member voted for foreground, by pattern (or by voxel), shape (P, M).
        counts: Number of voxels of each pattern, shape (P,).

    Returns:
        Probabilities by pattern and the performance of each member.

    Raises:
        DataError: If the estimate does not settle.

    Reference:
        Warfield, Zou and Wells 2004, doi:10.1109/TMI.2004.828354, binary case, equations 14 to 19.

    Example:
        >>> votes = np.array([[0, 0, 0], [1, 1, 1], [1, 1, 0], [0, 0, 1]], bool)
        >>> staple(votes, np.array([900, 80, 15, 5])).probs.round(2).tolist()
        [0.0, 1.0, 1.0, 0.0]
    """
    number = np.asarray(counts, np.float64)
    probs = votes.mean(axis=1)
    prior = float(probs @ number / number.sum())
    if prior in (0.0, 1.0):  # nobody, or everybody everywhere
        sure = np.ones(votes.shape[1])
        return Staple(probs, sure, sure)
    odds = np.log(prior) - np.log1p(-prior)
    before = np.full((2, votes.shape[1]), np.inf)
    for _ in range(_ITERATIONS):
        true, false = probs * number, (1 - probs) * number
        sensitivity = np.clip(true @ votes / true.sum(), _SURE, 1 - _SURE)  # (M,)
        specificity = np.clip(false @ ~votes / false.sum(), _SURE, 1 - _SURE)
        # Logarithms, since products over fifty members leave the range of a float.
        for_vote = np.log(sensitivity) - np.log1p(-specificity)
        for_none = np.log1p(-sensitivity) - np.log(specificity)
        logit = odds + votes @ for_vote + ~votes @ for_none
        probs = 0.5 * (1 + np.tanh(logit / 2))
        now = np.stack([sensitivity, specificity])
        if np.abs(now - before).max() < _CONVERGED:
            return Staple(probs, sensitivity, specificity)
        before = now
    raise DataError(
        f"STAPLE did not settle within {_ITERATIONS} steps: the members agree too little. Use --method majority."
    )


def staple_labels(votes: VotePatterns, majority: NDArray[np.int16]) -> NDArray[np.int16]:
    """Fuse each label of a case on its own, within a box around where the members saw it.

    The box matters: the whole volume would be all but background, and every member's specificity all but 1.
    Of several labels above 0.5 the most probable one wins.

    Args:
        votes: Votes of all members.
        majority: Label of the majority by pattern, shape (P,), to compare volumes with.

    Returns:
        Labels by pattern, shape (P,).

    Raises:
        DataError: If a label's volume is more than twice or less than half of the majority's.
    """
    everywhere = np.bincount(votes.ids.ravel(), minlength=len(votes.table))
    result = np.zeros(len(votes.table), np.int16)
    best = np.full(len(votes.table), 0.5)
    for label in votes.labels():
        chosen = votes.table == label  # (P, M)
        box = _box(chosen.any(axis=1)[votes.ids])
        counts = np.bincount(votes.ids[box].ravel(), minlength=len(votes.table))
        present = counts > 0
        found = staple(chosen[present], counts[present])
        volume = int(counts[present][found.probs > 0.5].sum())
        expected = int(everywhere[majority == label].sum())
        if not expected / _RUNAWAY <= volume <= expected * _RUNAWAY:
            raise _runaway(label, volume, expected, found)
        probs = np.zeros(len(present))
        probs[present] = found.probs
        probs[~chosen.any(axis=1)] = 0  # what no member saw is not there, inside the box as outside
        result[probs > best] = label
        best = np.maximum(best, probs)
    return result


def _box(here: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Smallest box around the voxels, and a margin, shape (D, H, W)."""
    slices = []
    for axis in range(here.ndim):
        others = tuple(other for other in range(here.ndim) if other != axis)
        places = np.flatnonzero(here.any(axis=others))
        slices.append(slice(max(int(places[0]) - MARGIN, 0), int(places[-1]) + 1 + MARGIN))
    return tuple(slices)


def _runaway(label: int, volume: int, expected: int, found: Staple) -> DataError:
    seen = ", ".join(f"{value:.2f}" for value in found.sensitivity)
    return DataError(
        f"STAPLE ran away for label {label}: {volume} voxels, where the majority has {expected}; expected between "
        f"half and twice as many. It thinks that the members find these shares of it: {seen}. "
        "Use --method majority, or leave out the member that stands alone."
    )
