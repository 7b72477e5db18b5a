"""What of a labelled case is needed to score any weights of its members.

Where all members agree on a voxel's label, every weighted mean of theirs has that label too. So only the voxels on
which members differ are kept, a few in a hundred, and Dice follows from them exactly. Of cases with too many of those
a random part stands for the rest.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg.ensembling.averages import SMALLEST, checked, place_values, winners
from medimg.ensembling.volumes import CaseFiles, VolumeSettings, common_grid, open_members
from medimg.errors import DataError
from medimg.io.nifti import read_grid, read_mask
from medimg.io.probs import ProbsFile
from medimg.scoring.bootstrap import FloatArray
from medimg.scoring.files import check_grids


@dataclass(frozen=True, slots=True)
class LabelledCase:
    """A case to search on.

    Attributes:
        files: Its predictions.
        reference: Its reference mask.
        patient: Its patient.
    """

    files: CaseFiles
    reference: Path
    patient: str


@dataclass(frozen=True, slots=True)
class DiceRules:
    """How weighted means of members become a Dice.

    Attributes:
        settings: What the channels mean, and how members are averaged.
        labels: Label values that may occur, L of them, the background among them, in rising order.
        classes: Label values of each class that counts; two empty masks score 1.
    """

    settings: VolumeSettings
    labels: tuple[int, ...]
    classes: Mapping[str, tuple[int, ...]]

    def numbers(self, channels: int) -> NDArray[np.uint8]:
        """Number of the label that each place of ``winners`` is written as."""
        return np.searchsorted(self.labels, place_values(channels, self.settings.scheme)).astype(np.uint8)

    def mean_dice(self, confusion: FloatArray) -> FloatArray:
        """Mean Dice over classes, shape (...), from voxels by reference and predicted label, shape (..., L, L)."""
        inside = np.array(
            [[label in values for label in self.labels] for values in self.classes.values()], float
        )
        common = np.einsum("cr,...rp,cp->...c", inside, confusion, inside)
        both = (confusion.sum(axis=-1) + confusion.sum(axis=-2)) @ inside.T
        dice = np.divide(2 * common, both, out=np.ones_like(both), where=both > 0)
        return np.asarray(dice.mean(axis=-1), np.float64)


@dataclass(frozen=True, slots=True)
class CaseSample:
    """What of a case is needed to score any weights.

    Attributes:
        fixed: Voxels on which all members agree, by reference and predicted label, shape (L, L).
        singles: Dice of each member alone, of all voxels, shape (M,).
        truth: Number of the reference label of each voxel kept, shape (V,).
        values: Probabilities there, shape (M, K, V).
        scale: Voxels on which members differ for each one kept; 1 where all are.
    """

    fixed: FloatArray
    singles: FloatArray
    truth: NDArray[np.uint8]
    values: NDArray[np.floating]
    scale: float


class DiceSample:
    """Scores weighted means of members on all cases by mean Dice over classes; two empty masks score 1.

    Args:
        samples: What is kept of each case, N of them.
        rules: How they are scored.
    """

    def __init__(self, samples: Sequence[CaseSample], rules: DiceRules) -> None:
        self._rules, size = rules, len(rules.labels)
        self._number = rules.numbers(samples[0].values.shape[1])
        cells = [(case * size + one.truth.astype(np.int64)) * size for case, one in enumerate(samples)]
        self._cell = np.concatenate(cells)  # (V,)
        self._fixed = np.stack([sample.fixed for sample in samples])  # (N, L, L)
        self._scale = np.array([sample.scale for sample in samples])[:, None, None]
        self.complete = np.array([sample.scale == 1 for sample in samples])
        self.stack = _stack(samples, geometric=rules.settings.method == "geometric")

    def dice(self, total: NDArray[np.floating]) -> FloatArray:
        """Mean Dice of each case, shape (N,), from a weighted mean of the stack, shape (K, V)."""
        probs = np.exp(total) if self._rules.settings.method == "geometric" else total
        pred = self._number[winners(probs, self._rules.settings.scheme)]
        counts = np.bincount(self._cell + pred, minlength=self._fixed.size).reshape(self._fixed.shape)
        return self._rules.mean_dice(self._fixed + self._scale * counts)

    def dice_by(self, weights: Sequence[float]) -> FloatArray:
        """Mean Dice of each case under weights of the members, shape (N,)."""
        return self.dice(np.tensordot(np.asarray(weights, np.float32), self.stack, axes=1))


def sample_case(case: LabelledCase, *, rules: DiceRules, most: int) -> CaseSample:
    """Read a case twice, member by member and channel by channel, and keep the voxels on which members differ.

    Args:
        case: The case.
        rules: How members are scored.
        most: Voxels to keep at most.

    Raises:
        DataError: If a file cannot be used, or the reference lies on another grid or holds another label.
    """
    opened, truth = read_truth(case, rules)
    number = rules.numbers(opened[0].shape[0])
    same, first, singles = np.ones(truth.shape, bool), np.zeros(truth.shape, np.uint8), []
    for member, one in enumerate(opened):
        place = winners(checked(one.channels(), str(one.path)), rules.settings.scheme)
        singles.append(rules.mean_dice(confusion(truth, number[place], len(rules.labels))))
        first = first if member else place
        same &= place == first
    voxels = np.flatnonzero(~same)
    differing = len(voxels)
    kept = min(differing, most)
    if kept < differing:
        # The same voxels in every run, and others in every case.
        draw = np.random.default_rng(zlib.crc32(case.files.case_id.encode()))
        voxels = np.sort(draw.choice(voxels, kept, replace=False))
    return CaseSample(
        fixed=confusion(truth[same], number[first[same]], len(rules.labels)),
        singles=np.array(singles),
        truth=truth.reshape(-1)[voxels],
        values=np.stack([np.stack([c.reshape(-1)[voxels] for c in one.channels()]) for one in opened]),
        scale=differing / kept if kept else 1.0,
    )


def read_truth(case: LabelledCase, rules: DiceRules) -> tuple[list[ProbsFile], NDArray[np.uint8]]:
    """Open the members, and read the number of each voxel's reference label, shape (D, H, W).

    Raises:
        DataError: If a file cannot be used, or the reference lies on another grid or holds another label.
    """
    labels = rules.labels
    opened = open_members(case.files, rules.settings.scheme, common_grid(case.files.masks))
    check_grids(case.files.case_id, read_grid(case.files.masks[0]), read_grid(case.reference))
    mask = read_mask(case.reference)
    truth = np.searchsorted(labels, mask).clip(max=len(labels) - 1).astype(np.uint8)
    odd = np.unique(mask[np.asarray(labels)[truth] != mask])
    if odd.size:
        raise DataError(
            f"{case.reference}: expected the label values {', '.join(map(str, labels))} of the members, found "
            f"{', '.join(map(str, odd[:10].tolist()))}. Bring both to the same labels first."
        )
    return opened, truth


def confusion(truth: NDArray[np.integer], pred: NDArray[np.integer], size: int) -> FloatArray:
    """Voxels by reference and predicted label, shape (L, L)."""
    cell = truth.astype(np.int32) * size + pred.astype(np.int32)
    return np.bincount(cell.reshape(-1), minlength=size * size).reshape(size, size).astype(np.float64)


def _stack(samples: Sequence[CaseSample], *, geometric: bool) -> NDArray[np.float32]:
    """Values of all cases side by side, shape (M, K, V); logarithms for geometric means."""
    ends = np.cumsum([0, *(sample.values.shape[2] for sample in samples)])
    stack = np.empty((*samples[0].values.shape[:2], int(ends[-1])), np.float32)
    for sample, start, end in zip(samples, ends[:-1], ends[1:], strict=True):
        stack[..., start:end] = sample.values
    if geometric:
        np.log(np.clip(stack, SMALLEST, 1, out=stack), out=stack)
    return stack
