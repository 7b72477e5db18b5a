"""The sections of a report that say how a run came about: data, training, machine, settings, words for a paper."""

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from medimg.errors import DataError
from medimg.figures.page_plots import history_plot
from medimg.figures.thumbnails import picture_uri
from medimg.io.raster import read_raster
from medimg.reports.blocks import NOT_MEASURED, Block, Code, Figure, Figures, Section, Table, Text, number
from medimg.reports.methods import bibtex, methods_paragraph
from medimg.reports.run_files import RunFiles

_MOST_CURVES = 5
_MOST_EXPLANATIONS = 6
_PARTS = {
    "test": "the cases of its test",
    "validate": "its validation cases: the epoch may have been chosen on them, which flatters",
    "out_of_fold": "all cases, each by the fold that was not trained on it",
    "table": "the cases of the table",
}
# A folder of the person who made the run tells who that was.
_SEPARATOR = re.compile(r"[\\/]")
_WHOLE_PATH = re.compile(r"^(/|~|[A-Za-z]:[\\/])")


def data_section(run: RunFiles) -> Section:
    """What was scored, by which split, and the hashes by which both are known again."""
    entry = run.entry
    data = run.config.get("data")
    module = str(data.get("class_path", "")).rpartition(".")[2] if isinstance(data, Mapping) else ""
    part = _PARTS["validate" if run.part == "test" and run.split.get("test") == [] else run.part]
    rows = [
        ("data module", module or "not told by the run"),
        ("scored", f"{len(entry.rows):,} cases of {len(set(entry.patients)):,} patients, {part}"),
        ("hash of the cases and their truth", entry.scored()[:12]),
        ("hash of the split", entry.split or str(run.split.get("split") or "not told by the run")),
    ]
    if run.folds > 1:
        rows.append(("folds", f"{run.folds} trained"))
    elif "fold" in run.split:
        held = len(run.split.get("validation", []))
        rows.append(
            ("fold", f"{run.split['fold']} of {run.split.get('folds', '?')}, {held:,} cases held out")
        )
    if run.split.get("leaky"):
        rows.append(
            ("leaky patients", f"{len(run.split['leaky'])} stand on both sides of the published split")
        )
    return Section("Data and split", (Table("What was scored", ("", ""), tuple(rows)),))


def training_section(run: RunFiles) -> Section:
    """Curves of losses and validation scores, time and energy."""
    blocks: list[Block] = []
    figures = []
    losses = {name: run.history[name] for name in ("train/loss_epoch", "val/loss") if name in run.history}
    if losses:
        shown = {name.removesuffix("_epoch"): curve for name, curve in losses.items()}
        figures.append(_curve(shown, "loss", run.folds))
    scores = [name for name in run.history if name.startswith("val/") and name != "val/loss"]
    scores = [name for name in scores if "labels_in_mean" not in name][:_MOST_CURVES]
    if scores:
        figures.append(_curve({name: run.history[name] for name in scores}, "score", run.folds))
    if figures:
        blocks.append(Figures(tuple(figures)))
    else:
        blocks.append(
            Text(f"Curves of the training: {NOT_MEASURED}; there is no metrics.csv beside the run.")
        )
    if run.fold_scores:
        head = tuple(run.fold_scores[0])
        cells = tuple(tuple(_cell(row[name] or "") for name in head) for row in run.fold_scores)
        blocks.append(Table("Fold by fold", head, cells))
    blocks.append(Table("Cost", ("", ""), cost_of(run)))
    return Section("Training", tuple(blocks))


def _curve(curves: Mapping[str, Any], y_name: str, folds: int) -> Figure:
    what = f"{y_name} by epoch" + (f", {folds} folds" if folds > 1 else "")
    alt = f"{what.capitalize()}: {', '.join(curves)}."
    return Figure(what.capitalize() + ".", alt, history_plot(curves, y_name=y_name))


def _cell(text: str) -> str:
    try:
        return text if text.lstrip("-").isdigit() else number(float(text))
    except ValueError:
        return text


def cost_of(run: RunFiles) -> tuple[tuple[str, str], ...]:
    """Time, steps and energy of the training, of all folds together."""
    seconds = [float(record["seconds"]) for record in run.records if "seconds" in record]
    energy = [record.get("joules") for record in run.records]
    whole = len(run.records) == max(run.folds, 1)
    told = f"{sum(seconds) / 60:.1f} minutes of fitting" if seconds and whole else NOT_MEASURED
    known = [value for value in energy if value is not None]
    drawn = f"{sum(known) / 3.6e6:.3g} kWh of the GPUs" if known and len(known) == run.folds else NOT_MEASURED
    steps = sum(int(record.get("steps", 0)) for record in run.records)
    return (("time", told), ("steps", f"{steps:,}" if steps and whole else NOT_MEASURED), ("energy", drawn))


def machine_section(run: RunFiles) -> Section:
    """Devices and versions that the run wrote down."""
    if not run.records:
        return Section(
            "Machine and versions", (Text("The run's folder does not say on what it was trained."),)
        )
    record = run.records[0]
    told = {name: "not told" if value is None else str(value) for name, value in record.items()}
    counted = "threads" if told.get("device") == "CPU" else "devices"
    rows = [
        ("device", f"{told.get('device', 'not told')}, {told.get(counted, 'unknown')} {counted}"),
        *(
            (shown, told.get(name, "not told"))
            for shown, name in (
                ("precision", "precision"),
                ("system", "system"),
                ("Python", "python"),
                ("medimg", "medimg"),
            )
        ),
        *((name, str(version)) for name, version in dict(record.get("packages", {})).items()),
    ]
    if len({json.dumps([one.get("packages"), one.get("device")]) for one in run.records}) > 1:
        rows.append(
            ("folds", "were trained with different versions or devices; these are those of the first")
        )
    return Section("Machine and versions", (Table("What it was trained on", ("", ""), tuple(rows)),))


def explain_section(folder: Path, names: Mapping[str, str]) -> Section | None:
    """Some pictures of ``medimg explain``; ``None`` if the folder has none of these cases.

    Args:
        folder: Output of ``medimg explain``.
        names: What each case is called in the report.

    Raises:
        DataError: If its table lacks what is needed.
    """
    table = folder / "table.csv"
    if not table.is_file():
        return None
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if rows and not {"case_id", "label", "method", "picture"} <= set(rows[0]):
        raise DataError(
            f"{table}: expected what `medimg explain` writes, found the columns {', '.join(rows[0])}."
        )
    figures = []
    for row in [row for row in rows if row["case_id"] in names][:_MOST_EXPLANATIONS]:
        pixels = read_raster(folder / row["picture"])
        told = f"{names[row['case_id']]}: {row['label']}, {row['method']}"
        picture = pixels.transpose(1, 2, 0) if len(pixels) > 1 else pixels[0]
        figures.append(Figure(told, f"Heat map of {told}", uri=picture_uri(picture), wide=True))  # type: ignore[arg-type]
    return Section("What the answers rest on", (Figures(tuple(figures)),)) if figures else None


def agreement_section(folder: Path) -> Section:
    """The table that ``medimg agreement`` wrote.

    Args:
        folder: Its output.

    Raises:
        DataError: If there is no such table.
    """
    path = folder / "agreement.csv" if folder.is_dir() else folder
    if not path.is_file():
        raise DataError(
            f"--agreement {folder}: expected the output of `medimg agreement`, found no agreement.csv."
        )
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if not rows:
        raise DataError(f"{path}: is empty.")
    cells = tuple(tuple(_cell(text) for text in row) for row in rows[1:])
    return Section("Agreement of readers", (Table("Readers of the data", tuple(rows[0]), cells),))


def method_section(run: RunFiles) -> Section:
    """The methods paragraph, references and settings, to be copied."""
    if not run.config:
        return Section(
            "Methods and settings", (Text("No config lies beside the table, so that nothing is known."),)
        )
    told: tuple[Block, ...] = (
        (Text(methods_paragraph(run.config)), Code("BibTeX", bibtex(run.config), "bibtex"))
        if "model" in run.config
        else (Text("The config names no network, so that no methods paragraph is made from it."),)
    )
    settings = yaml.safe_dump(without_folders(run.config), sort_keys=False, allow_unicode=True)
    return Section("Methods and settings", (*told, Code("Config", settings, "yaml")))


def without_folders(value: Any) -> Any:
    """Settings in which of each whole path the last name is left.

    Example:
        >>> without_folders({"root": "/home/anna/BUSI", "lr": 0.1})
        {'root': '.../BUSI', 'lr': 0.1}
    """
    if isinstance(value, Mapping):
        return {key: without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_folders(inner) for inner in value]
    if isinstance(value, str) and _WHOLE_PATH.match(value):
        return ".../" + _SEPARATOR.split(value.rstrip("/"))[-1]
    return value
