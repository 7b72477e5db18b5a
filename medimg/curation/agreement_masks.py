"""How far readers agree on masks: Dice, surface Dice and HD95 of each two readers, case by case."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from medimg.curation.agreement import AgreementRow, Bootstrap
from medimg.curation.consensus import half_mask
from medimg.errors import ConfigError, DataError
from medimg.io.nifti import is_nifti, read_grid, read_mask, write_mask
from medimg.scoring.bootstrap import mean_interval
from medimg.scoring.case import class_scores
from medimg.scoring.empty import METRICS, Metric
from medimg.scoring.files import check_grids
from medimg.scoring.pairs import case_id_of
from medimg.scoring.regions import region_mask
from medimg.scoring.table import Row

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class ReaderMasks:
    """The masks of one case.

    Attributes:
        case_id: Name of the case.
        readers: Names of the readers.
        files: One label map a reader.
    """

    case_id: str
    readers: tuple[str, ...]
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class MaskSettings:
    """How masks are compared.

    Attributes:
        classes: Label values of each class.
        nsd_tolerance_mm: Distance in mm that counts as agreement of surfaces.
        empty: What a case scores in which both readers left a class empty: ``skip`` leaves it out and counts it,
            ``one`` gives Dice 1 and HD95 0. Where one reader alone did, Dice is 0 and HD95 the volume's diagonal.
        consensus: Folder for masks on which at least half of the readers agree; ``None`` for none.
    """

    classes: Mapping[str, tuple[int, ...]]
    nsd_tolerance_mm: float = 1.0
    empty: Literal["skip", "one"] = "skip"
    consensus: Path | None = None


def find_reader_masks(folders: Sequence[Path]) -> list[ReaderMasks]:
    """Find the masks of each case in the readers' folders, one folder a reader, with equal file names.

    Args:
        folders: Two folders or more; a reader is called as its folder.

    Returns:
        The cases, sorted by name.

    Raises:
        ConfigError: If there are fewer than two folders, or one stands twice.
        DataError: If a folder holds no masks, holds a case twice, or the folders do not hold the same cases.
    """
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):  # such as anna/masks and ben/masks
        names = [str(folder) for folder in folders]
    if len(folders) < 2 or len({folder.resolve() for folder in folders}) < len(folders):
        raise ConfigError(
            f"expected the folders of two readers or more, each once, found {', '.join(names)}. Name one a reader."
        )
    found = [_masks_of(folder) for folder in folders]
    every = sorted({case for masks in found for case in masks})
    for name, masks in zip(names, found, strict=True):
        missing = [case for case in every if case not in masks]
        if missing:
            more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
            raise DataError(
                f"{name}: expected a mask of each of the {len(every)} cases, {len(missing)} are missing: "
                f"{', '.join(missing[:_SHOWN])}{more}. Add them, or compare folders of the cases that all have read."
            )
    return [ReaderMasks(case, tuple(names), tuple(masks[case] for masks in found)) for case in every]


def _masks_of(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder. Expected the masks of one reader.")
    masks: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if is_nifti(path) and not path.name.startswith((".", "_")):
            other = masks.setdefault(case_id_of(path), path)
            if other != path:
                raise DataError(
                    f"case {case_id_of(path)} stands twice: {other} and {path}. Keep one of them."
                )
    if not masks:
        raise DataError(f"{folder}: no mask found. Expected <case>.nii.gz in the folder itself.")
    return masks


def compare_case(case: ReaderMasks, settings: MaskSettings) -> list[Row]:
    """Compare each two readers on one case, and write the masks on which half of all agree.

    Args:
        case: Its masks.
        settings: How to compare them.

    Returns:
        A row a pair: ``case_id``, ``reader_a``, ``reader_b``, and ``<metric>_<class>``.

    Raises:
        DataError: If masks lie on different grids, or cannot be read.
        ResourceError: If the consensus cannot be written.
    """
    grid = read_grid(case.files[0], form="sform")
    masks: list[npt.NDArray[np.uint8] | npt.NDArray[np.int16]] = []
    for path in case.files:
        check_grids(case.case_id, read_grid(path, form="sform"), grid)
        masks.append(read_mask(path, form="sform"))
    rows: list[Row] = []
    for a, b in combinations(range(len(masks)), 2):
        row: Row = {"case_id": case.case_id, "reader_a": case.readers[a], "reader_b": case.readers[b]}
        for name, values in settings.classes.items():
            first, second = region_mask(masks[a], values), region_mask(masks[b], values)
            scores = _scores(first, second, grid.spacing_mm, settings)
            row |= {f"{metric}_{name}": score for metric, score in scores.items()}
        rows.append(row)
    if settings.consensus is not None:
        write_mask(settings.consensus / f"{case.case_id}.nii.gz", half_mask(masks), like=case.files[0])
    return rows


def _scores(
    first: npt.NDArray[np.bool_],
    second: npt.NDArray[np.bool_],
    spacing_mm: Sequence[float],
    settings: MaskSettings,
) -> dict[Metric, float]:
    if settings.empty == "skip" and not (first.any() or second.any()):
        return dict.fromkeys(METRICS, float("nan"))
    # The rule "one" treats both readers alike, as no reference stands here.
    return class_scores(
        first, second, spacing_mm, metrics=METRICS, empty="one", nsd_tolerance_mm=settings.nsd_tolerance_mm
    )


def summarise_masks(
    rows: Sequence[Row], classes: Sequence[str], bootstrap: Bootstrap | None = None
) -> tuple[list[AgreementRow], list[AgreementRow]]:
    """Means over cases with bootstrap intervals.

    Args:
        rows: What `compare_case` gave for all cases.
        classes: Names of the classes.
        bootstrap: How intervals are made; whole cases are drawn.

    Returns:
        One row a class, over the mean of each case's pairs; and one a class and pair of readers.
    """
    options = bootstrap or Bootstrap()
    pairs = list(dict.fromkeys((str(row["reader_a"]), str(row["reader_b"])) for row in rows))
    everyone = [_summary(rows, name, (), options) for name in classes]
    by_pair = {pair: [row for row in rows if (row["reader_a"], row["reader_b"]) == pair] for pair in pairs}
    return everyone, [_summary(by_pair[pair], name, pair, options) for name in classes for pair in pairs]


def _summary(rows: Sequence[Row], name: str, pair: tuple[str, ...], options: Bootstrap) -> AgreementRow:
    cases = list(dict.fromkeys(str(row["case_id"]) for row in rows))
    figures: dict[str, tuple[float, float, float]] = {}
    n = compared = 0
    for metric in METRICS:
        by_case: dict[str, list[float]] = {case: [] for case in cases}
        for row in rows:
            value = float(row[f"{metric}_{name}"])
            if not np.isnan(value):
                by_case[str(row["case_id"])].append(value)
        means = [float(np.mean(values)) if values else float("nan") for values in by_case.values()]
        found = mean_interval(means, level=options.level, resamples=options.resamples, seed=options.seed)
        figures[metric] = (found.mean, found.low, found.high)
        n, compared = found.n, sum(len(values) for values in by_case.values())
    return AgreementRow(name, pair, n, 2 * compared, figures)
