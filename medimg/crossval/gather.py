"""What every fold predicted unseen, put side by side: each case once, and by weights that never saw it."""

import csv
import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from medimg.crossval.folds import Fold, described
from medimg.crossval.settings import first_difference, read_settings
from medimg.crossval.table import Scored, format_lines, scores_of, shown_scores, with_spread, write_lines
from medimg.ensembling.calibration_file import refuse_calibrated
from medimg.ensembling.description import PREDICTIONS, Description, Kind, agreed_description
from medimg.ensembling.members import OUT_OF_FOLD, TABLE
from medimg.errors import DataError, ResourceError
from medimg.io.files import atomic_write, link_or_copy
from medimg.scoring.label_table import summarise_labels
from medimg.scoring.label_text import format_label_table
from medimg.scoring.table import (
    CASE_COLUMN,
    PATIENT_COLUMN,
    Row,
    format_table,
    summarise,
    without_nan,
    write_per_case,
)
from medimg.scoring.target_text import format_target_table
from medimg.scoring.targets import Target, summarise_targets

CROSSVAL = "crossval.csv"
SUMMARY = "summary.json"
TARGETS = "targets"
PER_IMAGE = "per_image.csv"
"""Slices of studies; those of a study stand in the fold of the study."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was written.

    Attributes:
        folder: ``out_of_fold``.
        text: Scores of the folds, and those of all cases together with intervals.
        missing: Folds that are still to do.
        task: Kind of a classification, or ``targets``; ``None`` for masks.
    """

    folder: Path
    text: str
    missing: tuple[int, ...]
    task: str | None


def gather(experiment: Path, folds: Sequence[Fold]) -> Gathered:
    """Write ``crossval.csv`` and ``out_of_fold/`` from the folds that are finished.

    Args:
        experiment: Folder ``<logs>/<experiment>``.
        folds: Finished folds, one or more, by number.

    Returns:
        What was written.

    Raises:
        DataError: If folds are of different splits or settings, a case is missing or stands twice, a patient
            stands in two folds, or a file of a prediction is missing.
        ResourceError: If a file cannot be written.
    """
    expect_one_split(folds)
    rows = {fold.number: fold.rows() for fold in folds}
    _expect_disjoint(folds, rows)
    common, tta = _agreed(folds), _same_test(folds)
    scored = _scored(folds[0], common.task)
    total = folds[0].split.folds
    missing = tuple(sorted(set(range(total)) - set(rows)))
    title = fold_words(list(rows), total)
    text = _write_scores(experiment / CROSSVAL, folds, rows, scored, title)
    combined = [row for number in rows for row in rows[number]]
    leaky = sum(len(fold.split.leaky) for fold in folds)
    title = f"out of fold, {title}" + (", LEAKY: patients on both sides" if leaky else "")
    summary, table = _combined(combined, scored, title)
    stage = experiment / f".tmp-{secrets.token_hex(4)}-{OUT_OF_FOLD}"
    try:
        stage.mkdir()
        cases = {} if common.task else _bring_files(folds, stage)
        write_per_case(stage / TABLE, combined)
        _write_slices(folds, stage)
        _write_json(stage / SUMMARY, summary)
        _write_json(stage / PREDICTIONS, _facts(folds, common, tta, cases))
        _swap(stage, experiment / OUT_OF_FOLD)
    except OSError as error:
        raise ResourceError(f"{experiment}: cannot be written ({error.strerror or error}).") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return Gathered(experiment / OUT_OF_FOLD, f"{text}\n\n{table}", missing, common.task)


def fold_words(numbers: Sequence[int], total: int) -> str:
    """Which folds there are.

    Example:
        >>> fold_words([0, 2], 5), fold_words([0, 1], 2), fold_words([1], 5)
        ('folds 0, 2 of 5', 'all 2 folds', 'fold 1 of 5')
    """
    if len(numbers) == total > 1:
        return f"all {total} folds"
    return f"fold{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))} of {total}"


def expect_one_split(folds: Sequence[Fold]) -> None:
    """Refuse folds that do not belong together.

    Raises:
        DataError: If two are of different splits, or differ in a setting that is not the machine's.
    """
    first = folds[0]
    settings = read_settings(first.run.config)
    for fold in folds[1:]:
        if (fold.split.split, fold.split.folds) != (first.split.split, first.split.folds):
            raise DataError(
                f"folds of two splits: {first.run.path} has split {first.split.split} of {first.split.folds} folds, "
                f"{fold.run.path} {fold.split.split} of {fold.split.folds}. Train all folds on one split, best on a "
                "table of medimg split, and remove the folder that does not belong here."
            )
        if difference := first_difference(settings, read_settings(fold.run.config)):
            raise DataError(
                f"folds of two configs: {difference} in {first.run.path} and {fold.run.path}. Train all folds with one "
                "config, and remove the folder that does not belong here."
            )


def _expect_disjoint(folds: Sequence[Fold], rows: dict[int, list[Row]]) -> None:
    cases: dict[str, int] = {}
    patients: dict[str, int] = {}
    leaky = {patient for fold in folds for patient in fold.split.leaky}
    for number, own in rows.items():
        for row in own:
            case, patient = str(row[CASE_COLUMN]), str(row.get(PATIENT_COLUMN) or row[CASE_COLUMN])
            other = cases.setdefault(case, number)
            if other != number:
                raise DataError(
                    f"case {case} stands in fold {other} and in fold {number}, and out-of-fold predictions hold each "
                    "case once. Deal folds that share no case, with medimg split."
                )
            other = patients.setdefault(patient, number)
            if other != number and patient not in leaky:
                raise DataError(
                    f"patient {patient} stands in fold {other} and in fold {number} (case {case}): scores would be "
                    "too good. Deal the patients with medimg split, and train the folds again."
                )


def _agreed(folds: Sequence[Fold]) -> Description:
    """Classes, labels, head and task, which all folds must share; of masks there is no task."""
    found = [replace(fold.description(), split=None, fold=None) for fold in folds]
    if all(one.task == TARGETS for one in found) and len({one.classes for one in found}) == 1:
        return replace(found[0], split=folds[0].split.split, part="validation")
    kind: Kind = "table" if all(one.task for one in found) else "probabilities"
    common = agreed_description([str(fold.run.path) for fold in folds], found, kind)
    return replace(common, split=folds[0].split.split, part="validation")


def _write_scores(
    path: Path, folds: Sequence[Fold], rows: dict[int, list[Row]], scored: Scored, title: str
) -> str:
    lines = {}
    for fold in folds:
        scores = scores_of(rows[fold.number], scored)
        if held_out := fold.test_rows():
            scores |= {f"test_{name}": value for name, value in scores_of(held_out, scored).items()}
        lines[fold.number] = scores
    spread = with_spread(lines)
    write_lines(path, spread)
    return format_lines(spread, f"mean and standard deviation over {title}", shown_scores(scored))


def _scored(fold: Fold, task: str | None) -> Scored:
    """What the tables hold; targets are described by the settings of a fold."""
    if task == TARGETS:
        return _targets(fold.run.config)
    match task:
        case None | "binary" | "multiclass" | "multilabel":
            return task
    raise DataError(
        f"{PREDICTIONS}: expected binary, multiclass, multilabel or targets as task, found {task!r}."
    )


def _targets(config: Path) -> tuple[Target, ...]:
    """The targets of a run, from the settings that it wrote."""
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
        listed: list[dict[str, Any]] = [
            {name: tuple(value) if isinstance(value, list) else value for name, value in one.items()}
            for one in content["model"]["init_args"]["targets"]
        ]
        return tuple(Target(**one) for one in listed)
    except (OSError, yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        raise DataError(
            f"{config}: expected the targets as model.init_args.targets ({error}). Train the fold again."
        ) from error


def _combined(rows: list[Row], scored: Scored, title: str) -> tuple[dict[str, Any], str]:
    """Scores of all cases together, with intervals, and the table of them."""
    if scored is None:
        summary = summarise(rows)
        return {"title": title, **summary}, format_table(summary, title)
    if isinstance(scored, tuple):
        targets = summarise_targets(rows, scored)
        return {"title": title, **targets}, format_target_table(targets, title)
    labels = summarise_labels(rows, scored)
    return {"title": title, **labels}, format_label_table(labels, title)


def _write_slices(folds: Sequence[Fold], stage: Path) -> None:
    """The rows of every slice, where the folds are of studies."""
    tables = [fold.unseen / PER_IMAGE for fold in folds]
    missing = [table for table in tables if not table.is_file()]
    if len(missing) == len(tables):
        return
    if missing:
        raise DataError(
            f"{missing[0]}: expected the slices of the fold's studies, found no file. Remove {missing[0].parent} and "
            "run medimg crossval again, which predicts this fold anew."
        )
    rows: list[Row] = []
    for table in tables:
        with table.open(newline="", encoding="utf-8") as stream:
            rows.extend(csv.DictReader(stream))
    write_per_case(stage / PER_IMAGE, rows)


def _bring_files(folds: Sequence[Fold], stage: Path) -> dict[str, Any]:
    """Link, or copy, masks and probabilities into one folder; the grid of each case."""
    grids: dict[str, Any] = {}
    from_folds = [(fold, described(fold.unseen)) for fold in folds]
    listed = {fold.number: _read_json(folder / PREDICTIONS).get("cases") or {} for fold, folder in from_folds}
    probs = all(
        (folder / f"{case}.npz").is_file() for fold, folder in from_folds for case in listed[fold.number]
    )
    for fold, folder in from_folds:
        if len(listed[fold.number]) != len(fold.split.validation):
            raise DataError(
                f"{folder / PREDICTIONS}: expected {len(fold.split.validation)} cases, found "
                f"{len(listed[fold.number])}. Remove {fold.unseen} and run medimg crossval again."
            )
        for case, grid in listed[fold.number].items():
            for name in [f"{case}.nii.gz", *([f"{case}.npz"] if probs else [])]:
                _bring(folder / name, stage / name)
            grids[case] = grid
    return grids


def _bring(source: Path, target: Path) -> None:
    if not source.is_file():
        raise DataError(
            f"{source}: expected the prediction of this case, found no file. Remove {source.parent} and run medimg "
            "crossval again, which predicts this fold anew."
        )
    link_or_copy(source, target)


def _facts(
    folds: Sequence[Fold], common: Description, tta: object, cases: Mapping[str, Any]
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "classes": list(common.classes) if common.classes else None,
        "checkpoint": None,
        "split": common.split,
        "fold": None,
        "part": common.part,
        "folds": [fold.number for fold in folds],
        "num_folds": folds[0].split.folds,
        "tta": tta,
    }
    if common.task:
        facts["task"] = common.task
    else:
        facts |= {"head": common.head, "labels": common.labels, "cases": dict(sorted(cases.items()))}
    facts["crossval"] = [
        {"fold": fold.number, "run": str(fold.run.path), "checkpoint": fold.description().checkpoint}
        for fold in folds
    ]
    return facts


def _same_test(folds: Sequence[Fold]) -> Any:
    """The test-time augmentation of all folds; refuses what one of them alone went through, tested by hand."""
    first = None
    for number, fold in enumerate(folds):
        folder = described(fold.unseen)
        refuse_calibrated(folder)
        found = _read_json(folder / PREDICTIONS).get("tta")
        first = first if number else found
        if found != first:
            raise DataError(
                f"{folder}: its test-time augmentation is {found}, that of {folds[0].run.path} {first}. Remove the "
                f"folder {fold.unseen} that was tested by hand and run medimg crossval again, which tests it "
                "as its config says."
            )
    return first


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(
            json.dumps(without_nan(content), indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )


def _swap(stage: Path, out: Path) -> None:
    """Put a finished folder in the place of the last one; a kill leaves one of them, or none, and never a part.

    Files that others laid into the folder go along; the next gathering sweeps away what a kill left behind.
    """
    if out.is_dir():
        out.replace(out.parent / f".old-{secrets.token_hex(4)}-{out.name}")
    stage.replace(out)
    for left in out.parent.glob(f".old-*-{out.name}"):
        _keep_foreign(left, out)
        shutil.rmtree(left)
    for left in out.parent.glob(f".tmp-*-{out.name}"):
        shutil.rmtree(left, ignore_errors=True)


def _keep_foreign(old: Path, new: Path) -> None:
    """Move what crossval did not write from one folder to the other."""
    try:
        known = _read_json(old / PREDICTIONS).get("cases") or {}
    except (OSError, ValueError):
        known = {}
    written = {
        PREDICTIONS,
        SUMMARY,
        TABLE,
        PER_IMAGE,
        *(f"{case}{end}" for case in known for end in (".nii.gz", ".npz")),
    }
    for path in old.iterdir():
        if path.name not in written and not (new / path.name).exists():
            path.replace(new / path.name)
