"""What lies in the folder of a scored run, read for a report; what is not there stays empty."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from medimg.ensembling.members import OUT_OF_FOLD
from medimg.errors import DataError
from medimg.reports.entries import Entry
from medimg.runs import CONFIG, RECORD, read_record

CROSSVAL_CONFIG = "crossval.yaml"
HISTORY = "metrics.csv"
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class RunFiles:
    """One scored run.

    Attributes:
        entry: Its table of cases.
        folder: Run, cross-validation, or whatever folder holds the table.
        config: Its settings; empty where nothing says them.
        config_text: The file.
        part: What the table holds: ``test``, ``validate``, ``out_of_fold`` or ``table``.
        split: ``split.json`` of the run, or of the first fold.
        records: ``record.json`` of the run, or of each fold that has one.
        folds: Number of folds trained; 1 for a run.
        summary: ``summary.json`` beside the table.
        history: Epochs and values of each run or fold, by metric.
        fold_scores: Rows of ``crossval.csv``.
    """

    entry: Entry
    folder: Path
    config: Mapping[str, Any]
    config_text: str
    part: str
    split: Mapping[str, Any]
    records: tuple[Mapping[str, Any], ...]
    folds: int
    summary: Mapping[str, Any]
    history: Mapping[str, tuple[Curve, ...]]
    fold_scores: tuple[Mapping[str, str], ...] = field(default=())


def read_run(entry: Entry) -> RunFiles:
    """Read what lies beside a table of scored cases.

    Args:
        entry: The table, see :func:`medimg.reports.entries.read_entries`.

    Raises:
        DataError: If a file that is there cannot be read.
    """
    place = entry.table.parent
    part = place.name if place.name in ("test", "validate", OUT_OF_FOLD) else "table"
    folder = place if part == "table" else place.parent
    runs = _fold_runs(folder) if part == OUT_OF_FOLD else [folder]
    config = next((p for p in (folder / CROSSVAL_CONFIG, folder / CONFIG) if p.is_file()), None)
    text = "" if config is None else _text(config)
    content = yaml.safe_load(text) if text else {}
    records = tuple(record for run in runs if (record := read_record(run / RECORD)))
    return RunFiles(
        entry=entry,
        folder=folder,
        config=content if isinstance(content, dict) else {},
        config_text=text,
        part=part,
        split=_json(runs[0] / "split.json") if runs else {},
        records=records,
        folds=len(runs),
        summary=_json(place / "summary.json"),
        history=_histories([run / HISTORY for run in runs]),
        fold_scores=_rows(folder / "crossval.csv") if part == OUT_OF_FOLD else (),
    )


def _fold_runs(folder: Path) -> list[Path]:
    """The newest run of each fold."""
    newest: dict[str, tuple[int, Path]] = {}
    for path in folder.glob("fold_*/version_*"):
        number = int(path.name.removeprefix("version_")) if path.name[8:].isdigit() else -1
        if (path / CONFIG).is_file():
            newest[path.parent.name] = max(newest.get(path.parent.name, (-1, path)), (number, path))
    return [path for _, (_, path) in sorted(newest.items())]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}). Mend the file, or leave the run out.") from error


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(_text(path))
    except ValueError as error:
        raise DataError(
            f"{path}: expected JSON, found {error}. Mend the file, or leave the run out."
        ) from error
    return content if isinstance(content, dict) else {}


def _rows(path: Path) -> tuple[Mapping[str, str], ...]:
    if not path.is_file():
        return ()
    with path.open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


def _histories(paths: Sequence[Path]) -> dict[str, tuple[Curve, ...]]:
    """What each run logged once an epoch, by metric."""
    found: dict[str, list[Curve]] = {}
    for path in paths:
        points: dict[str, dict[float, float]] = {}
        for row in _rows(path):
            epoch = row.get("epoch")
            if not epoch:
                continue
            for name, text in row.items():
                if name is not None and text and name not in ("epoch", "step"):
                    points.setdefault(name, {})[float(epoch)] = float(text)
        for name, curve in points.items():
            epochs = np.array(sorted(curve))
            found.setdefault(name, []).append((epochs, np.array([curve[epoch] for epoch in epochs])))
    return {name: tuple(curves) for name, curves in found.items()}
