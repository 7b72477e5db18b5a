"""The scored runs below some folders: their tables, and what is known of how they came about."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from medimg.ensembling.description import PREDICTIONS, read_description
from medimg.ensembling.members import OUT_OF_FOLD, TABLE
from medimg.errors import DataError
from medimg.records import Task
from medimg.runs import CONFIG
from medimg.scoring.label_table import PROB_PREFIX, TARGET_PREFIX, LabelArrays, label_arrays
from medimg.scoring.table import CASE_COLUMN, METRIC_TITLES, PATIENT_COLUMN, Row, deduplicate, read_per_case

Kind = Literal["labels", "volumes"]

# Where a run was computed, what it wrote and what it showed say nothing of the method.
_PASSED_OVER = (
    *("experiment", "logs", "out", "ckpt_path", "data.root", "data.store", "data.cache", "data.num_workers"),
    *(
        "data.predict_root",
        "trainer.accelerator",
        "trainer.devices",
        "trainer.default_root_dir",
        "trainer.logger",
    ),
    *("trainer.enable_", "trainer.log_every", "trainer.callbacks.LearningRateMonitor"),
    *("trainer.callbacks.SamplePictures", "trainer.callbacks.LabelCurves"),
)


@contextmanager
def _naming(table: Path) -> Iterator[None]:
    """Say in which of many tables a fault stands."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{table}: {error}") from error


@dataclass(frozen=True)
class Entry:
    """One line of a leaderboard.

    Attributes:
        name: What it is called.
        table: Its ``per_case.csv``.
        rows: The rows, sorted by case.
        kind: Whether these are classifications or scores of volumes.
        split: Hash of the split; ``None`` if nothing says it.
        task: Kind of the labels of a classification.
        settings: Settings by their dotted names.
    """

    name: str
    table: Path
    rows: tuple[Row, ...]
    kind: Kind
    split: str | None = None
    task: Task | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def patients(self) -> list[str]:
        """Patient of each case; a case without one is its own."""
        return [str(row.get(PATIENT_COLUMN) or row[CASE_COLUMN]) for row in self.rows]

    def arrays(self) -> LabelArrays:
        """Targets and probabilities of a classification."""
        with _naming(self.table):
            return label_arrays(self.rows)

    def scored(self) -> str:
        """Hash of what was scored: cases, patients and truth, or the classes of volumes and where they are defined."""
        told: list[Any] = [[row[CASE_COLUMN] for row in self.rows], self.patients]
        if self.kind == "labels":
            arrays = self.arrays()
            order = np.argsort(arrays.labels)
            told += [sorted(arrays.labels), np.nan_to_num(arrays.target[:, order], nan=-1).tolist()]
        else:
            # What one rule for empty masks leaves out and another does not makes means of other cases.
            classes = sorted(name for name in self.rows[0] if name.startswith("dice_"))
            told += [classes, [[math.isnan(float(row[name])) for name in classes] for row in self.rows]]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def find_tables(path: Path) -> list[Path]:
    """Tables of scored cases at or below a path.

    Of a run it is that of its test, or else of its validation; of a cross-validation that of all cases out of fold,
    in place of its folds; any other folder is searched at any depth.

    Args:
        path: Run, cross-validation, ensemble, folder that holds such, or ``per_case.csv``.
    """
    if path.is_file():
        return [path]
    if (path / OUT_OF_FOLD / TABLE).is_file():
        return [path / OUT_OF_FOLD / TABLE]
    if (path / CONFIG).is_file():
        places = [path / verb / TABLE for verb in ("test", "validate")]
        return [place for place in places if place.is_file()][:1]
    if (path / TABLE).is_file():
        return [path / TABLE]
    folders = (
        sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
        if path.is_dir()
        else []
    )
    return [table for folder in folders for table in find_tables(folder)]


def read_entries(paths: Sequence[Path]) -> tuple[list[Entry], list[str]]:
    """Read all scored runs.

    Args:
        paths: See `find_tables`.

    Returns:
        The runs, each once, and a line for each table that holds no scores.

    Raises:
        DataError: If there is nothing at a path, or a table cannot be read.
    """
    tables: dict[Path, Path] = {}
    for path in paths:
        found = find_tables(path)
        if not found:
            raise DataError(
                f"{path}: no {TABLE} of scored cases at any depth. Score runs with `medimg test`, masks with "
                "`medimg score --out`, or gather folds with `medimg crossval`."
            )
        for table in found:
            tables.setdefault(table.resolve(), table)
    names = _names(list(tables.values()))
    entries, left_out = [], []
    for name, table in zip(names, tables.values(), strict=True):
        lines = read_per_case(table)
        with _naming(table):
            rows = deduplicate(lines)
        kind = _kind(rows[0])
        if kind is None:
            left_out.append(f"{table}: holds neither targets beside probabilities nor scores of masks")
        else:
            entries.append(_entry(name, table, rows, kind))
    return entries, left_out


def _entry(name: str, table: Path, rows: Sequence[Row], kind: Kind) -> Entry:
    folder = table.parent
    # Masks of a test stand in a folder of their own, and their description with them.
    said = read_description(folder if (folder / PREDICTIONS).is_file() else folder / "masks")
    task = said.task if said.task in ("binary", "multiclass", "multilabel") else None
    settings = dict(_settings(folder))
    return Entry(name, table, tuple(rows), kind, said.split, task, settings)  # type: ignore[arg-type]


def _kind(row: Row) -> Kind | None:
    if any(name.startswith(PROB_PREFIX) for name in row):
        return "labels" if any(name.startswith(TARGET_PREFIX) for name in row) else None
    return "volumes" if any(name.partition("_")[0] in METRIC_TITLES for name in row) else None


def _settings(folder: Path) -> Iterator[tuple[str, Any]]:
    """Settings of the run that wrote into a folder, of the first fold, or of an ensemble."""
    places = [
        folder / CONFIG,
        folder.parent / CONFIG,
        *sorted(folder.parent.glob(f"fold_*/version_*/{CONFIG}")),
    ]
    config = next((place for place in places if place.is_file()), None)
    if config is not None:
        try:
            content = yaml.safe_load(config.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise DataError(
                f"{config}: cannot be read ({error}). Mend the file, or leave the run out."
            ) from error
        gathered = folder.name == OUT_OF_FOLD  # all folds, whatever the first one's number
        for name, value in flat(content):
            if not name.startswith(_PASSED_OVER) and not (gathered and name == "data.fold"):
                yield name, value
    path = folder / PREDICTIONS
    if config is None and path.is_file():
        made = json.loads(path.read_text(encoding="utf-8")).get("ensemble")
        for name, value in flat(made) if made else ():
            if not name.endswith("checkpoint"):
                yield f"ensemble.{name}", value


def flat(content: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by dotted names, without the words that only the parser needs; parts of a list by their class.

    Example:
        >>> dict(flat({"model": {"class_path": "a.B", "init_args": {"lr": 0.1, "sizes": [1, 2]}}}))
        {'model': 'B', 'model.lr': 0.1, 'model.sizes': '[1, 2]'}
    """
    if isinstance(content, Mapping) and content:
        for key, value in content.items():
            if key == "class_path":
                yield name, _last(value)
            else:
                yield from flat(value, name if key == "init_args" else f"{name}.{key}".lstrip("."))
    elif isinstance(content, list) and any(isinstance(value, Mapping) for value in content):
        seen: list[str] = []
        for number, value in enumerate(content):
            part = (
                _last(value["class_path"])
                if isinstance(value, Mapping) and "class_path" in value
                else str(number)
            )
            seen.append(part)
            yield from flat(value, f"{name}.{part}{seen.count(part) if part in seen[:-1] else ''}")
    elif isinstance(content, list | dict):
        yield name, json.dumps(content, default=str)
    elif content is not None:
        yield name, content


def _last(class_path: object) -> str:
    return str(class_path).rpartition(".")[2]


def differing(entries: Sequence[Entry]) -> list[dict[str, str]]:
    """Settings that are not the same in all runs that have a config, by run; of ensembles all.

    What stands below a part that differs, or that a run does not have, follows from that and is left out.

    Example:
        >>> one, other = (Entry(n, Path(), (), "labels", settings={"lr": n, "wd": 0}) for n in "ab")
        >>> differing([one, other])
        [{'lr': 'a'}, {'lr': 'b'}]
    """
    # An ensemble has members in place of a config, and would differ from every run in every setting.
    stated = [entry.settings for entry in entries if entry.settings and not _of_ensemble(entry)]
    found = {name: {str(one[name]) for one in stated if name in one} for one in stated for name in one}
    kept = {name for name in found if _tells(name, found, stated)}
    return [
        {name: str(value) for name, value in entry.settings.items() if name in kept or _of_ensemble(entry)}
        for entry in entries
    ]


def _of_ensemble(entry: Entry) -> bool:
    return any(name.startswith("ensemble.") for name in entry.settings)


def _tells(name: str, found: Mapping[str, set[str]], stated: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a setting differs by itself."""
    parts = name.split(".")
    above = [part for end in range(1, len(parts)) if (part := ".".join(parts[:end])) in found]
    if any(len(found[part]) > 1 for part in above):
        return False
    if len(found[name]) > 1:
        return True
    lacking = [one for one in stated if name not in one]
    return any(all(part in one for part in above) for one in lacking)


def _names(tables: Sequence[Path]) -> list[str]:
    """Names without the folders that all have in common, and without what every run has."""
    parts = [list(table.absolute().parent.parts) for table in tables]
    parts = [one[:-1] if one[-1] in ("test", OUT_OF_FOLD) else one for one in parts]
    shared = 0
    while len(parts) > 1 and all(len(one) > shared + 1 and one[shared] == parts[0][shared] for one in parts):
        shared += 1
    return ["/".join(one[shared:] if len(parts) > 1 else one[-2:]) for one in parts]
