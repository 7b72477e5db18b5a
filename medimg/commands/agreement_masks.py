"""The masks' side of ``medimg agreement``: compare folders of masks, and make one mask out of several."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medimg.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medimg.curation.agreement import Bootstrap
    from medimg.curation.agreement_masks import MaskSettings, ReaderMasks
    from medimg.scoring.table import Row

Method = Literal["half", "majority", "staple", "none"]


def compare_masks(
    folders: Sequence[Path],
    out: Path,
    labels: str | None,
    *,
    consensus: str,
    nsd_tolerance_mm: float,
    empty: Literal["skip", "one"],
    bootstrap: Bootstrap,
    workers: int,
    scheduler: str | None,
) -> int:
    """Compare the masks of readers, write everything and print the figures.

    Args:
        folders: One a reader.
        out: Folder to write to.
        labels: Classes and their values, such as ``tumour=1``.
        consensus: ``half``, ``majority``, ``staple`` or ``none``.
        nsd_tolerance_mm: Distance in mm that counts as agreement of surfaces.
        empty: What a class scores that both readers left empty.
        bootstrap: How intervals are made.
        workers: Local processes.
        scheduler: Address of a Dask scheduler.

    Raises:
        ConfigError: If the labels are missing, or a number is out of range.
        DataError: If masks cannot be compared, or STAPLE runs away.
    """
    from medimg.commands.agreement_output import report
    from medimg.commands.score_masks import parse_labels
    from medimg.curation.agreement_masks import MaskSettings, find_reader_masks, summarise_masks
    from medimg.parallel import map_cases, raise_failures

    if labels is None:
        raise ConfigError("say what the masks hold: --labels tumour=1, or --labels kidney=1+2,tumour=2.")
    if not 0 <= nsd_tolerance_mm < math.inf:
        raise ConfigError(
            f"--nsd_tolerance_mm: expected millimetres of at least 0, found {nsd_tolerance_mm}."
        )
    cases = find_reader_masks(folders)
    settings = MaskSettings(parse_labels(labels), nsd_tolerance_mm, empty)
    if consensus != "none":
        settings = replace(settings, consensus=out / "consensus")
    compare = partial(_compare, settings=settings, method=consensus)
    names = [one.case_id for one in cases]
    outcomes = map_cases(compare, cases, names=names, workers=workers, scheduler=scheduler)
    rows = [row for part in raise_failures(outcomes) for row in part]
    everyone, pairs = summarise_masks(rows, list(settings.classes), bootstrap)
    _write_cases(out / "cases.csv", rows)
    print(f"{len(cases)} cases, {len(folders)} readers")
    report(everyone, pairs, out, cases[0].readers, "dice", bootstrap)
    if settings.consensus is None:
        places = " ".join(shlex.quote(str(one)) for one in folders)
        print(
            f"next: medimg adjudicate conflicts {places} --third NAME --images IMAGES --masks {shlex.quote(labels)} "
            "--out DIR"
        )
        return 0
    print(f"consensus ({consensus}) in {settings.consensus}")
    reader, masks = shlex.quote(str(folders[0])), shlex.quote(str(settings.consensus))
    print(f"next: medimg score {reader} {masks} --labels {shlex.quote(labels)}")
    return 0


def _compare(case: ReaderMasks, settings: MaskSettings, method: str) -> list[Row]:
    """Compare one case; a majority or STAPLE is the ensemble's, by which volumes are fused anywhere."""
    from medimg.curation.agreement_masks import compare_case
    from medimg.ensembling.volumes import CaseFiles, VolumeSettings, fuse_case

    if method in ("half", "none") or settings.consensus is None:
        return compare_case(case, settings)
    weights = (1 / len(case.files),) * len(case.files)
    fusion = VolumeSettings("staple" if method == "staple" else "majority", weights, settings.consensus)
    rows = compare_case(case, replace(settings, consensus=None))
    fuse_case(CaseFiles(case.case_id, case.files), fusion)
    return rows


def _write_cases(path: Path, rows: Sequence[Row]) -> None:
    """A row a case and pair, blank where a class was left out."""
    import csv

    from medimg.io.files import atomic_write

    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(rows[0])
        for row in rows:
            writer.writerow(
                ""
                if isinstance(one, float) and math.isnan(one)
                else one
                if isinstance(one, str)
                else f"{one:.6g}"
                for one in row.values()
            )
