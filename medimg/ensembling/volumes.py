"""One case of an ensemble of volumes: read member by member, combined, written."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.ensembling.averages import Average, RunningAverage, check_channels, labels_of
from medimg.ensembling.description import ChannelScheme, Kind
from medimg.ensembling.members import Member, Method, check_same_cases
from medimg.ensembling.staple import staple_labels
from medimg.ensembling.votes import VotePatterns, majority
from medimg.errors import DataError
from medimg.io.grid import Grid
from medimg.io.nifti import FORM_TOLERANCE_MM, read_grid, read_mask, write_mask
from medimg.io.probs import ProbsFile, open_probs, write_probs


@dataclass(frozen=True, slots=True)
class CaseFiles:
    """The files of one case, one a member.

    Attributes:
        case_id: Name of the case.
        masks: Masks, in the order of the members.
        probs: Probabilities, in the order of the members; empty where masks are combined.
        weights: Weight of each member in this case; ``None`` takes those of the settings.
    """

    case_id: str
    masks: tuple[Path, ...]
    probs: tuple[Path, ...] = ()
    weights: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class VolumeSettings:
    """How volumes are combined.

    Attributes:
        method: ``mean`` or ``geometric`` of probabilities, ``majority`` or ``staple`` of masks.
        weights: Weight of each member, adding up to 1.
        out: Folder to write to.
        scheme: What the channels of probabilities mean.
        probabilities: Also write ``<case>.npz``.
    """

    method: Method
    weights: tuple[float, ...]
    out: Path
    scheme: ChannelScheme = field(default_factory=ChannelScheme)
    probabilities: bool = False


def case_files(members: Sequence[Member], kind: Kind) -> list[CaseFiles]:
    """The files of each case, sorted by case id.

    Args:
        members: The members.
        kind: ``probabilities`` or ``masks``.

    Raises:
        DataError: If members hold different cases.
    """
    cases = check_same_cases([member.name for member in members], [member.masks.keys() for member in members])
    return [
        CaseFiles(
            case,
            tuple(member.masks[case] for member in members),
            tuple(member.probs[case] for member in members) if kind == "probabilities" else (),
        )
        for case in cases
    ]


def fuse_case(files: CaseFiles, settings: VolumeSettings) -> dict[str, Any]:
    """Combine one case and write it on the grid of the first member's mask.

    Args:
        files: Its files.
        settings: How to combine them.

    Returns:
        Shape (D, H, W) and spacing of the case, as ``predictions.json`` lists them.

    Raises:
        DataError: If the grids differ, a file cannot be used, or STAPLE runs away.
        ResourceError: If a file cannot be written.
    """
    grid = common_grid(files.masks)
    name = f"{files.case_id}.nii.gz"
    if settings.method in ("mean", "geometric"):
        probs = average_case(files, settings, grid)
        write_mask(settings.out / name, labels_of(probs, settings.scheme), like=files.masks[0])
        if settings.probabilities:
            write_probs(settings.out / f"{files.case_id}.npz", probs)
    else:
        write_mask(settings.out / name, _vote(files, settings, grid), like=files.masks[0])
    return {"shape": list(grid.shape), "spacing_mm": list(grid.spacing_mm)}


def common_grid(masks: Sequence[Path]) -> Grid:
    """The grid that all masks of a case lie on.

    Raises:
        DataError: If one lies on another grid.
    """
    # Members copy both forms of one image, so the form is the same choice for all.
    first = read_grid(masks[0], form="sform")
    for path in masks[1:]:
        grid = read_grid(path, form="sform")
        if grid.shape != first.shape:
            found = f"shape {grid.shape}, and {masks[0]} has {first.shape} (D, H, W)"
        elif (distance := first.corner_distance_mm(grid)) > FORM_TOLERANCE_MM:
            found = f"corners up to {distance:.3g} mm away from those of {masks[0]}"
        else:
            continue
        raise DataError(
            f"{path}: expected the grid of the other members, found {found}. "
            "Bring all predictions of a case to the grid of its image first."
        )
    return first


def average_case(files: CaseFiles, settings: VolumeSettings, grid: Grid) -> NDArray[np.float32]:
    """Average the probabilities of one case.

    Args:
        files: Its files.
        settings: Of which the method, ``mean`` or ``geometric``, the weights and the scheme are used.
        grid: The grid of its masks.

    Returns:
        Probabilities of shape (K, D, H, W).

    Raises:
        DataError: If a file cannot be used.
    """
    average: Average = "mean" if settings.method == "mean" else "geometric"
    opened = open_members(files, settings.scheme, grid)
    running = RunningAverage(average, opened[0].shape, exclusive=settings.scheme.head == "softmax")
    for one, weight in zip(opened, files.weights or settings.weights, strict=True):
        running.add(one.channels(), weight, str(one.path))
    return running.result()


def open_members(files: CaseFiles, scheme: ChannelScheme, grid: Grid) -> list[ProbsFile]:
    """Open the probabilities of all members and check that they fit the masks and one another.

    Raises:
        DataError: If a file is damaged, or has another shape or number of classes.
    """
    opened = [open_probs(path) for path in files.probs]
    shape = (opened[0].shape[0], *grid.shape)
    for one in opened:
        _check_shape(one, shape)
    check_channels(shape[0], scheme, str(files.probs[0]))
    return opened


def _check_shape(probs: ProbsFile, expected: tuple[int, int, int, int]) -> None:
    if probs.shape != expected:
        raise DataError(
            f"{probs.path}: expected shape {expected} (K, D, H, W), as the first member and its mask have, found "
            f"{probs.shape}. Write the probabilities on the grid of the mask, of the same classes."
        )


def _vote(files: CaseFiles, settings: VolumeSettings, grid: Grid) -> NDArray[np.int16]:
    votes = VotePatterns(grid.shape)
    for path in files.masks:
        votes.add(read_mask(path, form="sform"))
    winners = majority(votes.table, settings.weights)
    if settings.method == "staple":
        winners = staple_labels(votes, winners)
    return votes.spread(winners)
