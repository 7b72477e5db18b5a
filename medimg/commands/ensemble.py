"""``medimg ensemble``: one prediction out of several."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medimg.commands.word_lists import WordListParser
from medimg.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medimg.ensembling.description import Description, Kind
    from medimg.ensembling.members import Member, Method
    from medimg.ensembling.volumes import CaseFiles, VolumeSettings

PARSER = WordListParser
"""``medimg.cli`` reads the words with this parser: members and weights are lists."""


def ensemble(
    members: list[Path],
    *,
    out: Path,
    method: Literal["mean", "geometric", "rank", "majority", "staple"] = "mean",
    weights: list[float] | None = None,
    part: Literal["test", "predict"] = "test",
    probabilities: bool = False,
    mixed_splits: bool = False,
    overwrite: bool = False,
    workers: int = 1,
    scheduler: str | None = None,
) -> int:
    """Combine the predictions of several members, of any origin, for the same cases.

    Masks come out on the grid of the first member's; tables as `per_case.csv`. A `predictions.json` names the
    members, the method and the weights.

    Args:
        members: Folders of predictions, tables of a classification, or run folders.
        out: Folder to write to.
        method: mean and geometric take probabilities (`<case>.npz`, or the columns of `per_case.csv`), rank
            takes tables, majority and staple take masks.
        weights: One number a member; all alike by default.
        part: Predictions of a run folder to take.
        probabilities: Also write `<case>.npz`.
        mixed_splits: Let runs of different splits meet, where no member was trained on these cases.
        overwrite: Replace an earlier ensemble in the output folder.
        workers: Processes that combine cases side by side.
        scheduler: Address of a Dask scheduler to send the cases to, such as tcp://host:port.
    """
    from medimg.ensembling.description import agreed_description, channel_scheme
    from medimg.ensembling.members import TABLE, find_members, kind_of
    from medimg.ensembling.output import check_out, staged, write_description
    from medimg.ensembling.volumes import VolumeSettings, case_files
    from medimg.ensembling.weights import normalised_weights

    shares = normalised_weights(weights, len(members))
    found = find_members(members, part=part)
    kind = kind_of(found, method)
    _check_options(method, weights, probabilities=probabilities, kind=kind)
    common = agreed_description(
        [one.name for one in found], [one.description for one in found], kind, mixed_splits=mixed_splits
    )
    check_out(out, found, overwrite=overwrite)
    cases = None
    with staged(out) as folder:
        if kind == "table":
            labels = _tables(found, folder, shares, method, common.task)
            common = replace(common, classes=common.classes or labels)
        else:
            settings = VolumeSettings(method, shares, folder, probabilities=probabilities)
            if kind == "probabilities":
                settings = replace(settings, scheme=channel_scheme(common))
            cases = _volumes(case_files(found, kind), settings, workers, scheduler)
        write_description(folder, common, found, shares, method=method, cases=cases)
    print(f"{method} of {len(found)} members, weights {' '.join(f'{share:.3g}' for share in shares)}: {out}")
    print(f"next: the ensemble's table is {out / TABLE}" if kind == "table" else _score_line(out, common))
    return 0


def _check_options(
    method: Method, weights: Sequence[float] | None, *, probabilities: bool, kind: Kind
) -> None:
    if method == "staple" and weights is not None:
        raise ConfigError("--weights: staple finds out itself how far to trust each member. Leave them away.")
    if probabilities and method not in ("mean", "geometric"):
        raise ConfigError(
            f"--probabilities: {method} gives no probabilities. Use --method mean or geometric, or leave it away."
        )
    if probabilities and kind == "table":
        raise ConfigError("--probabilities is for volumes: a table holds its probabilities anyway.")


def _tables(
    found: Sequence[Member],
    folder: Path,
    shares: Sequence[float],
    method: Method,
    task: str | None,
) -> tuple[str, ...]:
    """Combine tables into one; the labels of its columns."""
    from medimg.ensembling.members import TABLE
    from medimg.ensembling.tables import fuse_tables, read_member_table
    from medimg.scoring.label_table import write_label_table

    tables = [read_member_table(member.name, member.table) for member in found if member.table is not None]
    fused = fuse_tables(tables, shares, method, task=task)
    for warning in fused.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    write_label_table(folder / TABLE, fused.rows)
    return fused.labels


def _volumes(
    files: Sequence[CaseFiles], settings: VolumeSettings, workers: int, scheduler: str | None
) -> dict[str, Any]:
    """Combine case by case; the grid of each."""
    from medimg.ensembling.volumes import fuse_case
    from medimg.parallel import map_cases, raise_failures

    names = [one.case_id for one in files]
    combine = partial(fuse_case, settings=settings)
    grids = raise_failures(map_cases(combine, files, names=names, workers=workers, scheduler=scheduler))
    return dict(zip(names, grids, strict=True))


def _score_line(out: Path, common: Description) -> str:
    """How to score the masks; what regions consist of is not known here."""
    labels = ",".join(f"{name}={value}" for name, value in (common.labels or {}).items())
    what = f"--labels {shlex.quote(labels) if labels else 'NAME=VALUE'}"
    if common.head == "sigmoid":
        what = "--regions CHALLENGE"
    return f"next: medimg score {shlex.quote(str(out))} REFERENCES {what}"
