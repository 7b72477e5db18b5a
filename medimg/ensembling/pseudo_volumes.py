"""One volume of sure voxels: members averaged, everything that is not sure left out of training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.ensembling.averages import RunningAverage, place_values, winners
from medimg.ensembling.description import ChannelScheme
from medimg.ensembling.pseudo_choice import Changes, merge
from medimg.ensembling.volumes import CaseFiles, common_grid, open_members
from medimg.io.nifti import read_mask, write_mask
from medimg.scoring.overlap import dice

_DUST = 1e-6


@dataclass(frozen=True, slots=True)
class VolumeRules:
    """What a voxel and a case must fulfil.

    Attributes:
        scheme: What the channels mean.
        positive: Least probability of each channel, (K,): of exclusive classes the background is the first; a region
            is absent below 1 less that.
        ignore: Value of voxels that are not sure.
        out: Folder to write to.
        min_confidence: Least mean probability of the foreground.
        min_dice: Least mean Dice of members and their average.
    """

    scheme: ChannelScheme
    positive: tuple[float, ...]
    ignore: int
    out: Path
    min_confidence: float = 0.0
    min_dice: float = 0.0


@dataclass(frozen=True, slots=True)
class CaseLabels:
    """What became of one case.

    Attributes:
        confidence: Mean probability of the foreground's labels, or of the background where there is none.
        dice: Mean Dice of members and their average over the labels; NaN unless a least one was asked for.
        share: Share of voxels that have a label.
        taken: Whether a mask was written.
        earlier: Whether the round before had a mask of it.
        changes: Voxels that differ from the round before.
    """

    confidence: float
    dice: float
    share: float
    taken: bool
    earlier: bool
    changes: Changes


def label_case(case: tuple[CaseFiles, Path | None], rules: VolumeRules) -> CaseLabels:
    """Label the voxels that the members' mean is sure of and every member says by itself.

    Args:
        case: Its files, and its mask of the round before, whose labels stay unless they are now contradicted.
        rules: Thresholds, and where to write the mask.

    Returns:
        How sure it is; a case that was in the round before is taken whatever its confidence and Dice.

    Raises:
        DataError: If files cannot be used, or the grids differ.
        ResourceError: If the mask cannot be written.
    """
    files, before = case
    grid = common_grid(files.masks if before is None else (*files.masks, before))
    opened = open_members(files, rules.scheme, grid)
    running = RunningAverage("mean", opened[0].shape, exclusive=rules.scheme.head == "softmax")
    said: NDArray[np.uint8] | None = None
    agreed = np.ones(grid.shape, bool)
    for member in opened:
        place = winners(member.channels(), rules.scheme)
        agreed &= place == (place if said is None else said)
        said = place
        running.add(member.channels(), 1 / len(opened), str(member.path))
    mean = running.result()
    place = winners(mean, rules.scheme)
    called = np.asarray(place_values(len(mean), rules.scheme), np.int16)[place]
    certainty, sure = _certainty(mean, place, rules)
    labels = np.where(sure & agreed, called, np.int16(rules.ignore))
    confidence = _confidence(certainty, place)
    agreement = _agreement(files.masks, called) if rules.min_dice else np.nan
    earlier = (
        np.full_like(labels, rules.ignore)
        if before is None
        else read_mask(before, form="sform").astype(np.int16)
    )
    labels, changes = merge(labels, called, earlier, rules.ignore)
    share = float((labels != rules.ignore).mean())
    fine = confidence >= rules.min_confidence - _DUST and not agreement < rules.min_dice
    taken = share > 0 and (fine or before is not None)
    if taken:
        kind: Any = np.uint8 if rules.ignore <= 255 else np.int16
        write_mask(rules.out / f"{files.case_id}.nii.gz", labels.astype(kind), like=files.masks[0])
    return CaseLabels(confidence, agreement, share, taken, before is not None, changes)


def _certainty(
    mean: NDArray[np.float32], place: NDArray[np.uint8], rules: VolumeRules
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Probability of what each voxel is called, and whether that is enough, both (D, H, W)."""
    least = np.asarray(rules.positive, np.float32)
    if rules.scheme.head == "softmax":
        certainty = mean.max(axis=0)
        return certainty, certainty >= least[place] - _DUST
    sure = np.ones(place.shape, bool)
    for channel, enough in zip(mean, least, strict=True):
        sure &= (channel >= enough - _DUST) | (channel <= 1 - enough + _DUST)
    certainty = 1 - mean.max(axis=0)
    for number, channel in enumerate(rules.scheme.order, 1):
        np.copyto(certainty, mean[channel], where=place == number)
    return certainty, sure


def _confidence(certainty: NDArray[np.float32], place: NDArray[np.uint8]) -> float:
    """Mean over the foreground; the background, nearly always sure, would outweigh it."""
    foreground = place > 0
    return float(certainty[foreground].mean() if foreground.any() else certainty.mean())


def _agreement(masks: Sequence[Path], called: NDArray[np.int16]) -> float:
    """Mean over members and labels of the Dice with the average's labels; labels that neither has count nowhere."""
    scores = []
    for path in masks:
        own = read_mask(path, form="sform")
        values = {int(value) for value in (*np.unique(own), *np.unique(called))} - {0}
        scores += [dice(own == value, called == value, empty="one") for value in values]
    return float(np.mean(scores)) if scores else 1.0
