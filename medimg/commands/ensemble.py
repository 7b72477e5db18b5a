"""``medimg ensemble``: one prediction out of several."""

from __future__ import annotations

import json
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
    from medimg.ensembling.objectives import Objective
    from medimg.ensembling.volumes import CaseFiles, VolumeSettings
    from medimg.ensembling.weight_search import Search
    from medimg.ensembling.weights_file import SearchedWeights

PARSER = WordListParser
"""``medimg.cli`` reads the words with this parser: members and weights are lists."""


def ensemble(
    members: list[Path],
    *,
    out: Path,
    method: Literal["mean", "geometric", "rank", "majority", "staple"] = "mean",
    weights: list[str] | None = None,
    weights_from: Path | None = None,
    objective: Literal["auroc", "average_precision", "log_loss", "pf1", "kappa", "dice"] | None = None,
    references: Path | None = None,
    regions: str | None = None,
    calibration: Path | None = None,
    part: Literal["test", "predict"] = "test",
    probabilities: bool = False,
    mixed_splits: bool = False,
    overwrite: bool = False,
    workers: int = 1,
    scheduler: str | None = None,
) -> int:
    """Combine the predictions of several members, of any origin, for the same cases.

    Masks come out on the grid of the first member's; tables as `per_case.csv`. A `predictions.json` names the
    members, the method and the weights. Weights searched on out-of-fold predictions are written to `weights.json`,
    for --weights_from, and each case here is combined with those found without its fold.

    Args:
        members: Folders of predictions, tables of a classification, run folders, or folders of cross-validations.
        out: Folder to write to.
        method: mean and geometric take probabilities (`<case>.npz`, or the columns of `per_case.csv`), rank
            takes tables, majority and staple take masks.
        weights: One number a member, or equal (default), or a search on out-of-fold predictions with targets: greedy
            (forward selection with replacement) or simplex (steps towards and away from members).
        weights_from: A weights.json, to be applied to other predictions of the same members in the same order.
        objective: What a search is for: auroc by default, of tables; dice, of volumes.
        references: Folder of the reference masks, for a search on volumes.
        regions: Challenge whose regions count for dice, such as brats2023; each label by default.
        calibration: File of `medimg calibrate`, applied to the combined table.
        part: Predictions of a run folder to take.
        probabilities: Also write `<case>.npz`.
        mixed_splits: Let runs of different splits meet, where no member was trained on these cases.
        overwrite: Replace an earlier ensemble in the output folder.
        workers: Processes that combine cases side by side.
        scheduler: Address of a Dask scheduler to send the cases to, such as tcp://host:port.
    """
    from medimg.commands.ensemble_search import (
        check_search_options,
        check_unseen,
        check_weights_file,
        known_weights,
        search_on_volumes,
        search_report,
        with_fold_weights,
    )
    from medimg.ensembling.description import agreed_description, channel_scheme
    from medimg.ensembling.members import TABLE, find_members, kind_of
    from medimg.ensembling.output import check_out, staged, write_description
    from medimg.ensembling.volumes import VolumeSettings, case_files
    from medimg.ensembling.weights import normalised_weights, read_weight_words
    from medimg.ensembling.weights_file import write_weights

    words = read_weight_words(weights)
    search = words if isinstance(words, str) else None
    shares = normalised_weights(None if isinstance(words, str) else words, len(members))
    found = find_members(members, part=part)
    kind = kind_of(found, method)
    _check_options(method, weights, weights_from, probabilities=probabilities, kind=kind)
    check_search_options(search, kind, objective, references, regions, calibration)
    common = agreed_description(
        [one.name for one in found], [one.description for one in found], kind, mixed_splits=mixed_splits
    )
    check_out(out, found, overwrite=overwrite)
    check_weights_file(out, overwrite=overwrite)
    if search is not None:
        check_unseen(found)
    if weights_from is not None:
        shares = known_weights(weights_from, found, method, kind)
    searched, cases = None, None
    with staged(out) as folder:
        if kind == "table":
            searching = (search, objective or "auroc")
            searched, labels = _tables(found, folder, shares, method, common, searching, calibration)
            common = replace(common, classes=common.classes or labels)
        else:
            settings = VolumeSettings(method, shares, folder, probabilities=probabilities)
            files = case_files(found, kind)
            if kind == "probabilities":
                settings = replace(settings, scheme=channel_scheme(common))
            if search is not None and references is not None:
                searched = search_on_volumes(
                    found, files, settings, common, search, references, regions, workers, scheduler
                )
                files = with_fold_weights(files, searched)
            cases = _volumes(files, settings, workers, scheduler)
        if searched is not None:
            shares = searched.weights
            write_weights(folder, searched)
        write_description(folder, common, found, shares, method=method, cases=cases)
        if calibration is not None:
            _note_calibration(folder, calibration)
    print(f"{method} of {len(found)} members, weights {' '.join(f'{share:.3g}' for share in shares)}: {out}")
    if searched is not None:
        print(search_report(out, method, searched))
    else:
        print(f"next: the ensemble's table is {out / TABLE}" if kind == "table" else _score_line(out, common))
    return 0


def _check_options(
    method: Method, weights: object, weights_from: Path | None, *, probabilities: bool, kind: Kind
) -> None:
    if weights is not None and weights_from is not None:
        raise ConfigError(
            "--weights and --weights_from both say how much each member counts. Give one of them."
        )
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
    common: Description,
    what: tuple[Search | None, Objective],
    calibration: Path | None,
) -> tuple[SearchedWeights | None, tuple[str, ...]]:
    """Combine tables into one; the weights, if they were searched, and the labels of its columns."""
    from medimg.ensembling.calibration_file import read_calibration, refuse_calibrated
    from medimg.ensembling.members import TABLE
    from medimg.ensembling.table_search import search_tables
    from medimg.ensembling.tables import align_tables, averaged_form, fuse_probs, read_member_table
    from medimg.scoring.label_table import write_label_table

    tables = [read_member_table(member.name, member.table) for member in found if member.table is not None]
    aligned = align_tables(tables, task=common.task)
    searched, (search, objective) = None, what
    if search is None:
        probs = fuse_probs(averaged_form(aligned.probs, method), shares, method, aligned.exclusive)
    else:
        searched, probs = search_tables(
            aligned,
            [one.name for one in found],
            method=method,
            search=search,
            objective=objective,
            split=common.split,
        )
    fused = aligned.fused(probs)
    for warning in fused.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    rows = fused.rows
    if calibration is not None:
        for member in found:
            refuse_calibrated(member.folder)
        known = read_calibration(calibration)
        known.check(fused.labels, common.task)
        if common.part == "validation" and known.split is not None and known.split == common.split:
            sys.stderr.write(
                "warning: the calibration was fitted on out-of-fold predictions of this split: on these cases it looks "
                "better than it is; medimg calibrate printed what it is worth for unseen patients\n"
            )
        rows = known.calibrate_rows(rows)
    write_label_table(folder / TABLE, rows)
    return searched, fused.labels


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


def _note_calibration(folder: Path, path: Path) -> None:
    """Write into ``predictions.json`` which calibration the table went through."""
    from medimg.ensembling.calibration_file import CALIBRATION, predictions_facts, read_calibration
    from medimg.ensembling.description import PREDICTIONS

    facts = {**predictions_facts(folder), CALIBRATION: read_calibration(path).digest}
    (folder / PREDICTIONS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _score_line(out: Path, common: Description) -> str:
    """How to score the masks; what regions consist of is not known here."""
    labels = ",".join(f"{name}={value}" for name, value in (common.labels or {}).items())
    what = f"--labels {shlex.quote(labels) if labels else 'NAME=VALUE'}"
    if common.head == "sigmoid":
        what = "--regions CHALLENGE"
    return f"next: medimg score {shlex.quote(str(out))} REFERENCES {what}"
