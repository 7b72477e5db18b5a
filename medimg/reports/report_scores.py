"""The sections of a report that say how good a run is: scores, curves, mistakes, classes and sites."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medimg.errors import DataError
from medimg.figures.page_plots import Line, square_plot
from medimg.records import Task
from medimg.reports.blocks import Block, Figure, Figures, Section, Table, Text, interval
from medimg.reports.entries import Entry
from medimg.reports.run_files import RunFiles
from medimg.scoring.calibration import bin_of, reliability_points
from medimg.scoring.classification import THRESHOLD, precision_recall_points, roc_points
from medimg.scoring.confusion import confusion_matrix, known_classes
from medimg.scoring.curve_bands import precision_recall_band, reliability_band, roc_band
from medimg.scoring.label_bootstrap import PatientDraws
from medimg.scoring.label_scores import guessed_task
from medimg.scoring.label_summary import LabelSummary
from medimg.scoring.label_table import LabelArrays, summarise_labels
from medimg.scoring.label_text import LABEL_METRIC_TITLES
from medimg.scoring.ranking import FloatArray
from medimg.scoring.table import CASE_COLUMN, METRIC_TITLES, PATIENT_COLUMN, IntervalRow, summarise

_BANDS = 200  # resamples of a band: its edges are drawn, not read
_MOST_CURVES = 6  # more lines in one plot are a tangle
_MOST_BANDS = 3
_LEAST = 5  # cases in a bin of the reliability curve
_MOST_CLASSES = 20  # of a confusion matrix that can be read


@dataclass(frozen=True, slots=True)
class Draws:
    """How intervals are made.

    Attributes:
        level: Share of the resampled values inside.
        resamples: Draws of the bootstrap over patients.
        seed: Seed of the draws.
    """

    level: float = 0.95
    resamples: int = 1000
    seed: int = 0


def score_sections(run: RunFiles, draws: Draws, sites: Mapping[str, str]) -> list[Section]:
    """Scores of a run as sections.

    Args:
        run: The run.
        draws: How intervals are made.
        sites: Site by case or patient; empty: there is no section of sites.

    Raises:
        DataError: If the table cannot be scored.
    """
    entry = run.entry
    places = _sites(entry, sites)
    if entry.kind == "volumes":
        return [_volume_scores(entry, draws), *_volume_sites(entry, draws, places)]
    arrays = entry.arrays()
    task = entry.task or guessed_task(arrays)
    told = run.summary.get("thresholds")
    thresholds = told if isinstance(told, dict) and set(told) <= set(arrays.labels) else {}
    summary = _labels(entry, task, draws, thresholds)
    blocks: list[Block] = [
        Text(
            f"{summary['n_cases']:,} cases of {summary['n_patients']:,} patients; {100 * draws.level:g} % intervals by "
            f"{draws.resamples:,} resamples of patients. Sensitivity is read at a specificity of "
            f"{summary['specificity']:g}; labels are called above "
            f"{', '.join(sorted({f'{t:g}' for t in summary['thresholds'].values()})) or 'the other classes'}."
        ),
        _together(summary),
    ]
    if len(arrays.labels) > 1:
        blocks.append(_by_label(summary))
    return [
        Section("Scores", tuple(blocks)),
        Section("Curves", tuple(_curves(arrays, draws))),
        Section("Right and wrong", tuple(_confusions(arrays, task, thresholds))),
        *_label_sites(entry, task, draws, places, thresholds),
    ]


def _labels(entry: Entry, task: Task, draws: Draws, thresholds: Mapping[str, float]) -> LabelSummary:
    return summarise_labels(
        entry.rows, task, level=draws.level, resamples=draws.resamples, seed=draws.seed, thresholds=thresholds
    )


def _cell(row: IntervalRow) -> str:
    return interval(row["mean"], row["low"], row["high"])


def _together(summary: LabelSummary) -> Table:
    """The one number of each metric."""
    rows = []
    for metric, title in LABEL_METRIC_TITLES.items():
        if metric in summary["overall"]:
            rows.append((title, _cell(summary["overall"][metric]), "all classes together"))
        elif summary["task"] == "binary" and metric in summary["labels"]:
            (only,) = summary["labels"][metric].values()
            rows.append((title, _cell(only), f"{only['n']:,} cases"))
        elif metric in summary["macro"]:
            row = summary["macro"][metric]
            left = f", {row['n_left_out']} undefined and left out" if row["n_left_out"] else ""
            rows.append((title, _cell(row), f"mean over {row['n']} labels{left}"))
    return Table("All labels", ("metric", "value and interval", "over"), tuple(rows))


def _by_label(summary: LabelSummary) -> Table:
    metrics = [name for name in LABEL_METRIC_TITLES if name in summary["labels"]]
    rows = []
    for name, count in summary["counts"].items():
        cells = (_cell(summary["labels"][metric][name]) for metric in metrics)
        rows.append((name, f"{count['n_positive']:,} of {count['n']:,}", *cells))
    head = ("label", "positive", *(LABEL_METRIC_TITLES[name] for name in metrics))
    return Table("Label by label", head, tuple(rows))


def _curves(arrays: LabelArrays, draws: Draws) -> list[Block]:
    """ROC, precision and recall, reliability; bands where few labels leave room for them."""
    lines: dict[str, list[Line]] = {"roc": [], "pr": [], "reliability": []}
    left_out = []
    few = len(arrays.labels) <= _MOST_BANDS
    for column, name in enumerate(arrays.labels):
        known = ~np.isnan(arrays.truth[:, column])
        positive, prob = arrays.truth[known, column] == 1, arrays.prob[known, column]
        if positive.all() or not positive.any() or len(lines["roc"]) == _MOST_CURVES:
            left_out.append(name)
            continue
        target = positive.astype(np.float64)
        patients = [one for one, kept in zip(arrays.patient_ids, known, strict=True) if kept]
        resamples = PatientDraws(patients, resamples=min(draws.resamples, _BANDS), seed=draws.seed)
        mean, share, count = reliability_points(target, prob)
        seen = count >= _LEAST
        bins = bin_of(mean[seen])
        lines["roc"].append(Line(name, *roc_points(target, prob)))
        lines["pr"].append(Line(name, *precision_recall_points(target, prob)))
        lines["reliability"].append(Line(name, mean[seen], share[seen], dots=count[seen] / count.max()))
        if few:
            bands = {"roc": roc_band, "pr": precision_recall_band, "reliability": reliability_band}
            for kind, band in bands.items():
                found = band(positive, prob, resamples, draws.level)
                low, high, x = found.low, found.high, found.x
                if kind == "reliability":  # where its points are
                    low, high, x = found.low[bins], found.high[bins], mean[seen]
                lines[kind][-1] = replace(lines[kind][-1], low=low, high=high, band_x=x)
    if not lines["roc"]:
        return [Text("No label has both positive and negative cases, so that there are no curves.")]
    shade = f" The shade is where {100 * draws.level:g} % of resampled patients lie." if few else ""
    named = ", ".join(line.name for line in lines["roc"])
    plots = (
        Figure(
            f"Receiver operating characteristic.{shade}", f"ROC curve of {named}; the areas stand in the table.",
            square_plot(lines["roc"], x_name="1 - specificity", y_name="sensitivity", diagonal=True),
        ),
        Figure(
            f"Precision and recall.{shade}", f"Precision-recall curve of {named}; see the table for the areas.",
            square_plot(lines["pr"], x_name="recall", y_name="precision", steps=True),
        ),
        Figure(
            f"Reliability; bins of {_LEAST} cases or more, larger dots for more cases.{shade}",
            f"Share of positives against mean probability of {named}.",
            square_plot(lines["reliability"], x_name="mean probability", y_name="share of positives", diagonal=True),
        ),
    )  # fmt: skip
    rest = [Text(f"Not drawn: {', '.join(left_out)}, of one class alone or past the first {_MOST_CURVES}.")]
    return [Figures(plots), *(rest if left_out else [])]


def _confusions(arrays: LabelArrays, task: Task, thresholds: Mapping[str, float]) -> list[Block]:
    if task == "multiclass":
        if len(arrays.labels) > _MOST_CLASSES:
            return [Text(f"{len(arrays.labels)} classes are too many for a matrix that can be read.")]
        known, index = known_classes(arrays.target)
        matrix = confusion_matrix(index, arrays.prob[known].argmax(axis=1), len(arrays.labels))
        return [_matrix("Confusion of all classes", matrix, arrays.labels)]
    tables: list[Block] = []
    for column, name in enumerate(arrays.labels[:_MOST_CLASSES]):
        known = ~np.isnan(arrays.truth[:, column])
        if known.any():
            cut = float(thresholds.get(name, THRESHOLD))
            called = (arrays.prob[known, column] > cut).astype(int)
            matrix = confusion_matrix(arrays.truth[known, column].astype(int), called, 2)
            tables.append(_matrix(f"{name}, called above {cut:g}", matrix, (f"not {name}", name)))
    return tables


def _matrix(caption: str, matrix: FloatArray, names: Sequence[str]) -> Table:
    size = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, size, out=np.zeros_like(matrix, dtype=np.float64), where=size > 0)
    rows, shades = [], []
    for name, counts, parts in zip(names, matrix, shares, strict=True):
        cells = (f"{n:,.0f} ({100 * part:.0f} %)" for n, part in zip(counts, parts, strict=True))
        rows.append((f"is {name}", *cells))
        shades.append((0.0, *(float(part) for part in parts)))
    head = ("", *(f"called {name}" for name in names))
    return Table(f"{caption}: cases, and share of the row", head, tuple(rows), tuple(shades))


def _volume_scores(entry: Entry, draws: Draws) -> Section:
    summary = summarise(entry.rows, level=draws.level, resamples=draws.resamples, seed=draws.seed)
    metrics = summary["metrics"]
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    rows = []
    for name in names:
        cells = [_cell(values[name]) if name in values else "not measured" for values in metrics.values()]
        left = max((values[name]["n_left_out"] for values in metrics.values() if name in values), default=0)
        rows.append((name, *cells, str(left)))
    head = ("class", *(METRIC_TITLES[metric] for metric in metrics), "cases left out")
    told = Text(
        f"{summary['n_cases']:,} cases of {summary['n_patients']:,} patients; {100 * draws.level:g} % intervals by "
        f"{draws.resamples:,} resamples of patients. Mean Dice over classes: {_cell(summary['mean_dice'])}."
    )
    return Section("Scores", (told, Table("Class by class", head, tuple(rows))))


def _sites(entry: Entry, sites: Mapping[str, str]) -> dict[str, list[int]]:
    """Positions of the cases of each site."""
    found: dict[str, list[int]] = {}
    for position, row in enumerate(entry.rows if sites else ()):
        case, patient = str(row[CASE_COLUMN]), str(row.get(PATIENT_COLUMN) or "")
        site = sites.get(case, sites.get(patient))
        if site is None:
            raise DataError(
                f"--sites: has no row of case {case} or patient {patient}, which {entry.table} scores."
            )
        found.setdefault(site, []).append(position)
    return dict(sorted(found.items()))


def _part(entry: Entry, positions: Sequence[int]) -> Entry:
    return replace(entry, rows=tuple(entry.rows[position] for position in positions))


def _volume_sites(entry: Entry, draws: Draws, places: Mapping[str, Sequence[int]]) -> list[Section]:
    rows = []
    for site, positions in places.items():
        own = summarise(
            _part(entry, positions).rows, level=draws.level, resamples=draws.resamples, seed=draws.seed
        )
        rows.append((site, f"{len(positions):,}", _cell(own["mean_dice"])))
    table = Table("Site by site", ("site", "cases", "mean Dice over classes"), tuple(rows))
    return [Section("Sites", (table,))] if rows else []


def _label_sites(
    entry: Entry,
    task: Task,
    draws: Draws,
    places: Mapping[str, Sequence[int]],
    thresholds: Mapping[str, float],
) -> list[Section]:
    shown = ("auroc", "average_precision", "accuracy")
    rows = []
    for site, positions in places.items():
        own = _labels(_part(entry, positions), task, draws, thresholds)
        cells = []
        for metric in shown:
            row = own["overall"].get(metric) or own["macro"].get(metric)
            cells.append("not measured" if row is None else _cell(row))
        rows.append((site, f"{len(positions):,}", *cells))
    head = ("site", "cases", *(LABEL_METRIC_TITLES[metric] for metric in shown))
    return [Section("Sites", (Table("Site by site", head, tuple(rows)),))] if rows else []
