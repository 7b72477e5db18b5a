"""Score a table of masks of the UW-Madison GI tract challenge, scan by scan."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medimg.errors import DataError
from medimg.io.rle import decode, read_runs
from medimg.parallel import map_cases, raise_failures
from medimg.scoring.gi_tract import DICE_SHARE, HAUSDORFF_SHARE, scaled_hausdorff
from medimg.scoring.mask_answers import Size, TrueMask, read_masks, read_predicted
from medimg.scoring.official import LEVEL, OfficialScore, figure
from medimg.scoring.ratio_bootstrap import Sums, ratio_interval
from medimg.scoring.run_lengths import runs_dice
from medimg.scoring.table import CASE_COLUMN, PATIENT_COLUMN, Row

_SLICE = re.compile(r"(?P<day>.+)_slice_(?P<number>\d+)$")
_SLICE_FILE = re.compile(r"(slice_\d+)_(\d+)_(\d+)_")  # slice, width, height, spacings


@dataclass(frozen=True, slots=True)
class _Volume:
    """All slices of one day's scan: for each class the texts of prediction and reference, slice by slice."""

    day: str
    size: Size
    texts: Mapping[str, list[tuple[str, str]]]


def score_uw_madison(
    pred: Path,
    ref: Path,
    *,
    images: Path | None = None,
    resamples: int = 1000,
    workers: int = 1,
    scheduler: str | None = None,
) -> OfficialScore:
    """Score the GI tract challenge: 0.4 Dice of slices + 0.6 (1 - scaled 3D Hausdorff of volumes).

    A volume is one class of one day's scan, all slices of which stand in the reference. What both leave empty
    is skipped, slices and volumes alike.

    Args:
        pred: ``id,class,predicted``.
        ref: ``id,class,segmentation``, such as ``train.csv``.
        images: Folder of the scans, whose file names hold their sizes; ``None``: the reference has the columns
            ``height`` and ``width``.
        resamples: Draws of the bootstrap over patients (``case123`` of ``case123_day20``).
        workers: Processes that score volumes side by side.
        scheduler: Address of a Dask scheduler.

    Raises:
        DataError: If a row is missing, doubled or unknown, a mask cannot be read, or a size is not known.
    """
    truth = read_masks(ref, ("id", "class"))
    sizes = {} if images is None else slice_sizes(images)
    texts = read_predicted(pred, truth, ("id", "class"), sizes)
    volumes = _volumes(truth, texts, sizes, ref)
    outcomes = map_cases(
        _score_volume, volumes, names=[one.day for one in volumes], workers=workers, scheduler=scheduler
    )
    rows = raise_failures(outcomes)
    groups = [str(row[PATIENT_COLUMN]) for row in rows]
    dice, hausdorff = _sums(rows, "dice", "slices"), _sums(rows, "hausdorff", None)
    closeness = (hausdorff[1] - hausdorff[0], hausdorff[1])
    n_volumes = len(rows) * sum(column.startswith("hausdorff_") for column in rows[0])
    figures = []
    for name, parts, shares in (
        ("score", [dice, closeness], (DICE_SHARE, HAUSDORFF_SHARE)),
        (f"  Dice, {int(dice[1].sum()):,} of {len(truth):,} slices", [dice], (1.0,)),
        (f"  Hausdorff, {int(hausdorff[1].sum()):,} of {n_volumes:,} volumes", [hausdorff], (1.0,)),
    ):
        interval = ratio_interval(parts, shares=shares, groups=groups, level=LEVEL, resamples=resamples)
        figures.append(figure(name, interval, "scans"))
    return OfficialScore(
        title="UW-Madison GI tract: 0.4 Dice + 0.6 (1 - Hausdorff)",
        figures=tuple(figures),
        unit="scans",
        rows=rows,
        n_patients=len(set(groups)),
        n_answers=len(truth),
    )


def slice_sizes(folder: Path) -> dict[str, Size]:
    """Height and width of each slice, from the names of the scans' files.

    Args:
        folder: Holds ``case123_day20/scans/slice_0001_266_266_1.50_1.50.png`` at any depth; the name has the
            width first.

    Returns:
        Sizes by id, ``case123_day20_slice_0001``.
    """
    found = {}
    for path in folder.rglob("slice_*.png"):
        if match := _SLICE_FILE.match(path.name):
            found[f"{path.parent.parent.name}_{match[1]}"] = (int(match[3]), int(match[2]))
    return found


def _volumes(
    truth: Mapping[str, TrueMask], texts: Mapping[str, str], sizes: Mapping[str, Size], ref: Path
) -> list[_Volume]:
    """Gather slices by scan and class, in the order of their numbers."""
    slices: dict[str, dict[str, list[tuple[int, str]]]] = {}
    size_of: dict[str, set[Size | None]] = {}
    for key, one in truth.items():
        slice_id, name = key.split(" ", 1)
        match = _SLICE.match(slice_id)
        if match is None:
            raise DataError(f"{ref}: expected ids such as case123_day20_slice_0001, found {slice_id!r}.")
        slices.setdefault(match["day"], {}).setdefault(name, []).append((int(match["number"]), key))
        size_of.setdefault(match["day"], set()).add(one.size or sizes.get(slice_id))
    classes = {name for by_class in slices.values() for name in by_class}
    volumes = []
    for day, by_class in slices.items():
        size = next(iter(size_of[day]))
        if len(size_of[day]) > 1 or size is None:
            raise DataError(
                f"{ref}: expected one height and width for all slices of {day}, found {size_of[day]}. Name the "
                "folder of the scans with --images, or add the columns height and width to the reference."
            )
        if set(by_class) != classes or len({len(numbers) for numbers in by_class.values()}) > 1:
            raise DataError(f"{ref}: expected a row for each slice and class of {day}, some are missing.")
        pairs = {
            name: [(texts[key], truth[key].text) for _, key in sorted(by_class[name])]
            for name in sorted(classes)
        }
        volumes.append(_Volume(day, size, pairs))
    return volumes


def _score_volume(volume: _Volume) -> Row:
    """Mean Dice of the slices, their number, and the Hausdorff distance, class by class."""
    row: Row = {CASE_COLUMN: volume.day, PATIENT_COLUMN: volume.day.split("_")[0]}
    for name, texts in volume.texts.items():
        pairs = [(read_runs(one), read_runs(other)) for one, other in texts]
        dice = np.array([runs_dice(one, other, both_empty=math.nan) for one, other in pairs])
        defined = dice[~np.isnan(dice)]
        pred, target = (_stack([text[side] for text in texts], volume.size) for side in (0, 1))
        row |= {
            f"dice_{name}": float(defined.mean()) if len(defined) else math.nan,
            f"slices_{name}": float(len(defined)),
            f"hausdorff_{name}": scaled_hausdorff(pred, target),
        }
    return row


def _stack(texts: Sequence[str], size: Size) -> npt.NDArray[np.bool_]:
    """A volume (D, H, W) out of its slices."""
    return np.stack([decode(text, size) for text in texts]).astype(bool)


def _sums(rows: Sequence[Row], metric: str, weight: str | None) -> Sums:
    """Sums over the classes of each scan: value times weight, and weight; undefined values weigh nothing."""
    names = [column.removeprefix(f"{metric}_") for column in rows[0] if column.startswith(f"{metric}_")]
    values = np.array([[float(row[f"{metric}_{name}"]) for name in names] for row in rows])
    weights = np.ones(values.shape)
    if weight is not None:
        weights = np.array([[float(row[f"{weight}_{name}"]) for name in names] for row in rows])
    weights = np.where(np.isnan(values), 0.0, weights)
    return (np.nan_to_num(values) * weights).sum(axis=1), weights.sum(axis=1)
