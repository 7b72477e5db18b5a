"""Predictions of a classification turned into the rows that a competition asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medimg.datasets.image_table import Table, read_table
from medimg.ensembling.calibration_file import Calibration, refuse_calibrated
from medimg.ensembling.members import TABLE, Part, find_member
from medimg.errors import ConfigError, DataError
from medimg.scoring.label_table import PROB_PREFIX
from medimg.scoring.table import CASE_COLUMN
from medimg.submission.faults import Faults
from medimg.submission.formats import TableFormat
from medimg.submission.ids import IdMap, check_ids, padded
from medimg.submission.sheet import Asked, Sheet, probabilities

Join = Literal["mean", "max"]
IMAGE_TABLE = "per_image.csv"
"""Lies beside ``per_case.csv``: a row an image, where a competition asks for studies and for their images."""
ALL = ""
"""Name under which a threshold holds for all labels."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How probabilities become answers.

    Attributes:
        names: What the cases are called by the organisers; ``None``: as they are here.
        join: How several cases of one id become one.
        labels: Our label for a column of the submission, where they are called differently.
        calibration: Applied to the probabilities of each case.
        thresholds: Probability by label above which the answer is 1, else 0; empty writes probabilities.
    """

    names: IdMap | None = None
    join: Join | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    calibration: Calibration | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Answers:
    """A table of predictions: names of the N rows, of the K labels, and values of shape (N, K)."""

    path: Path
    names: tuple[str, ...]
    labels: tuple[str, ...]
    values: NDArray[np.float64]
    finished: bool = False  # the columns are the submission's own


def read_answers(
    paths: Sequence[Path], layout: TableFormat, asked: Asked, recipe: Recipe, faults: Faults, *, part: Part
) -> Sheet:
    """Read the predictions and bring them into the rows and columns of the sample.

    Args:
        paths: ``per_case.csv`` tables, folders or runs that hold one, or tables with the sample's own columns.
            Together they give all rows.
        layout: What the competition asks for.
        asked: The sample.
        recipe: How probabilities become answers.
        faults: Takes the faults of cases and values.
        part: Predictions of a run folder to take.

    Returns:
        All rows, not yet compared with the sample.

    Raises:
        ConfigError: If a threshold or a calibration does not fit the labels.
        DataError: If a table cannot be read, or its labels are not those of the competition.
    """
    parts = []
    if recipe.calibration is not None and len(paths) > 1:
        raise ConfigError(
            "--calibration is of one table. Calibrate several tables before they are put together."
        )
    for path in _with_images(paths, layout, part=part):
        answers = _read(path, layout, asked, recipe, faults, part=part)
        answers = _called(_joined(_named(answers, layout, recipe, faults), recipe.join, faults), recipe)
        parts.append(_rows(answers, layout, asked, recipe))
    ids = tuple(name for names, _ in parts for name in names)
    return Sheet(asked.header, ids, np.concatenate([values for _, values in parts]))


def _with_images(paths: Sequence[Path], layout: TableFormat, *, part: Part) -> list[Path]:
    """The tables, and behind those of studies those of their images."""
    found = []
    for path in paths:
        found.append(path)
        if layout.image_label and path.is_dir():
            images = find_member(path, part=part).folder / IMAGE_TABLE
            found += [images] if images.is_file() and images not in paths else []
    return found


def _read(
    path: Path, layout: TableFormat, asked: Asked, recipe: Recipe, faults: Faults, *, part: Part
) -> _Answers:
    file = path if path.is_file() else find_member(path, part=part).table
    if file is None:
        raise DataError(f"{path}: expected a {TABLE} of a classification with {PROB_PREFIX}<label> columns.")
    table = read_table(file)
    labels = [name.removeprefix(PROB_PREFIX) for name in table.header if name.startswith(PROB_PREFIX)]
    finished = table.has(*asked.header)
    if not finished and not (table.has(CASE_COLUMN) and labels):
        raise DataError(
            f"{file}: expected {CASE_COLUMN} and {PROB_PREFIX}<label> columns, or {', '.join(asked.header)} as in "
            f"the sample; found {', '.join(table.header)}."
        )
    if finished:
        answers = _cells(table, asked.header[0], asked.header[1:], asked.header[1:], faults)
        if recipe.calibration is not None:
            raise ConfigError(
                f"--calibration: {file} has the sample's own columns. Give the {TABLE} instead."
            )
        return replace(answers, finished=True)
    answers = _cells(table, CASE_COLUMN, [PROB_PREFIX + name for name in labels], labels, faults)
    return answers if recipe.calibration is None else _calibrated(answers, recipe.calibration)


def _calibrated(answers: _Answers, calibration: Calibration) -> _Answers:
    refuse_calibrated(answers.path.parent)
    good = ((answers.values >= 0) & (answers.values <= 1)).all(axis=1)  # the others are faults already
    values = answers.values.copy()
    try:
        values[good] = calibration.apply(values[good], answers.labels)
    except DataError as error:
        raise DataError(f"{answers.path}: {error}") from error
    return replace(answers, values=values)


def _cells(table: Table, ids: str, columns: Sequence[str], labels: Sequence[str], faults: Faults) -> _Answers:
    names = tuple(fields[0] for _, fields in table.select([ids]))
    values = probabilities(table, names, columns, faults)
    check_ids(names, (), faults, what=f"cases of {table.path}")
    first = {name: row for row, name in reversed(list(enumerate(names)))}
    kept = sorted(first.values())  # a doubled case is a fault once, and not again wherever it goes
    return _Answers(table.path, tuple(names[row] for row in kept), tuple(labels), values[kept])


def _named(answers: _Answers, layout: TableFormat, recipe: Recipe, faults: Faults) -> _Answers:
    names = list(answers.names) if recipe.names is None else recipe.names.apply(answers.names, faults)
    return replace(answers, names=tuple(padded(name, layout.digits) for name in names))


def _joined(answers: _Answers, join: Join | None, faults: Faults) -> _Answers:
    """One row an id, where several cases have the same one."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(answers.names):
        rows.setdefault(name, []).append(row)
    if len(rows) == len(answers.names):
        return answers
    if join is None:
        for name, places in rows.items():
            if len(places) > 1:
                faults.add("ids of several cases (--join mean or max makes one of them)", name)
    combine = np.max if join == "max" else np.mean
    values = np.array([combine(answers.values[places], axis=0) for places in rows.values()])
    return replace(answers, names=tuple(rows), values=values)


def _called(answers: _Answers, recipe: Recipe) -> _Answers:
    """Probabilities, or 1 above the threshold of the label and 0 up to it."""
    if not recipe.thresholds:
        return answers
    cuts = [recipe.thresholds.get(name, recipe.thresholds.get(ALL)) for name in answers.labels]
    without = [name for name, cut in zip(answers.labels, cuts, strict=True) if cut is None]
    if without:
        raise ConfigError(
            f"--thresholds: none for {', '.join(without)} of {answers.path}. Give NAME=VALUE for each label, or one "
            "number for all."
        )
    called = (answers.values > np.array(cuts, np.float64)).astype(np.float64)
    return replace(answers, values=np.where(np.isnan(answers.values), np.nan, called))


def _rows(
    answers: _Answers, layout: TableFormat, asked: Asked, recipe: Recipe
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Ids and values in the columns of the submission."""
    if answers.finished:
        return answers.names, answers.values
    if not layout.labels:
        return answers.names, _columns(answers, asked.header[1:], recipe)
    wanted = [recipe.labels.get(name, name) for name in layout.labels]
    if set(wanted) <= set(answers.labels):
        values = _columns(answers, layout.labels, recipe)
        ids = tuple(f"{name}_{label}" for name in answers.names for label in layout.labels)
        return ids, values.reshape(-1, 1)  # (N * K, 1), label by label as the ids
    if layout.image_label:
        return answers.names, _columns(answers, (layout.image_label,), recipe)
    return answers.names, _columns(answers, layout.labels, recipe)  # names what is missing


def _columns(answers: _Answers, columns: Sequence[str], recipe: Recipe) -> NDArray[np.float64]:
    """Values of some columns, shape (N, K); a single label answers a single column whatever it is called."""
    wanted = [recipe.labels.get(name, name) for name in columns]
    if len(wanted) == len(answers.labels) == 1 and not recipe.labels:
        return answers.values
    missing = [name for name in wanted if name not in answers.labels]
    if missing:
        raise DataError(
            f"{answers.path}: expected {', '.join(PROB_PREFIX + name for name in missing)}, found "
            f"{', '.join(PROB_PREFIX + name for name in answers.labels)}. Say which label is meant with "
            f"--labels {columns[wanted.index(missing[0])]!r}=LABEL."
        )
    return answers.values[:, [answers.labels.index(name) for name in wanted]]
