"""The scores of a classification test as text."""

import math
from collections.abc import Mapping, Sequence

from medimg.scoring.label_summary import LabelSummary
from medimg.scoring.table import IntervalRow

LABEL_METRIC_TITLES: Mapping[str, str] = {
    "auroc": "AUROC",
    "average_precision": "AP",
    "sensitivity": "sensitivity",
    "f1": "F1",
    "accuracy": "ACC",
    "balanced_accuracy": "balanced ACC",
    "kappa": "kappa",
    "quadratic_kappa": "quadratic kappa",
    "ece": "ECE",
    "brier": "Brier",
    "pf1": "pF1",
}
"""What each metric is called in print."""

_WITH_INTERVAL = ("auroc", "average_precision")  # of single labels; all intervals stand in the summary
_DIGITS = 4
_SHORT = {"sensitivity": "sens.", "balanced_accuracy": "bal. ACC"}  # where a column has to be narrow


def format_label_table(summary: LabelSummary, title: str) -> str:
    """Lay a summary out as text: first the scores over all labels, then label by label.

    Args:
        summary: What ``summarise_labels`` gave.
        title: First line; says which cases were scored.

    Returns:
        Lines without a final newline. A binary task has one block.

    Example:
        >>> from medimg.scoring.label_table import label_row, summarise_labels
        >>> rows = [label_row(name, name, ["mass"], [prob], [truth])
        ...         for name, prob, truth in [("a", 0.9, 1), ("b", 0.6, 0), ("c", 0.2, 0)]]
        >>> summary = summarise_labels(rows, "binary", resamples=10)
        >>> for line in format_label_table(summary, "Fold 0").splitlines()[:3]:
        ...     print(line)
        Fold 0
        3 cases of 3 patients; 95 % interval, patients resampled; mass is called above 0.5
        mass: 1 positive and 2 negative
    """
    counts = f"{counted(summary['n_cases'], 'case')} of {counted(summary['n_patients'], 'patient')}"
    head = [title, f"{counts}; {100 * summary['level']:g} % interval, patients resampled; {_calls(summary)}"]
    if summary["task"] == "binary":
        [(name, count)] = summary["counts"].items()
        unknown = f", {count['n_left_out']} left out as unknown" if count["n_left_out"] else ""
        negative = count["n"] - count["n_positive"]
        head.append(f"{name}: {count['n_positive']} positive and {negative} negative{unknown}")
        return "\n".join([*head, "", *_overall(summary)])
    return "\n".join([*head, "", *_overall(summary), "", *_by_label(summary)])


def _calls(summary: LabelSummary) -> str:
    if not summary["thresholds"]:
        return "the most probable class is called"
    cuts = summary["thresholds"]
    if len(cuts) == 1:
        [(name, cut)] = cuts.items()
        return f"{name} is called above {cut:.4g}"
    if len(set(cuts.values())) == 1:
        return f"a label is called above {next(iter(cuts.values())):.4g}"
    return "labels are called above " + ", ".join(f"{cut:.4g} ({name})" for name, cut in cuts.items())


def _overall(summary: LabelSummary) -> list[str]:
    """Scores over all labels: means of labels, or, for one label and for classes together, of cases."""
    lines = []
    for metric, title in LABEL_METRIC_TITLES.items():
        if metric == "sensitivity":
            title = f"{title} at {summary['specificity']:g} specificity"
        if metric in summary["overall"]:
            row = summary["overall"][metric]
            lines.append((title, *interval_cells(row), _cases(row)))
        elif metric in summary["macro"]:
            row = summary["macro"][metric]
            if summary["task"] == "binary":
                [row] = summary["labels"][metric].values()
                lines.append((title, *interval_cells(row), _cases(row)))
            else:
                lines.append((title, *interval_cells(row), _labels(row, summary)))
    return aligned(("metric", "value", "interval", "over"), lines, words=(0, 3))


def _cases(row: IntervalRow) -> str:
    left_out = f", {row['n_left_out']} left out" if row["n_left_out"] else ""
    return counted(row["n"], "case") + left_out


def _labels(row: IntervalRow, summary: LabelSummary) -> str:
    nouns = "classes" if summary["task"] == "multiclass" else "labels"
    left_out = f", {row['n_left_out']} undefined" if row["n_left_out"] else ""
    return f"{row['n']} of {row['n'] + row['n_left_out']} {nouns}{left_out}"


def _by_label(summary: LabelSummary) -> list[str]:
    noun = "class" if summary["task"] == "multiclass" else "label"
    shown = [
        name
        for name in ("sensitivity", "f1", "accuracy", "balanced_accuracy", "ece")
        if name in summary["labels"]
    ]
    header = [noun, "cases", "positive", "unknown"]
    for metric in _WITH_INTERVAL:
        header += [LABEL_METRIC_TITLES[metric], "interval"]
    header += [_SHORT.get(metric, LABEL_METRIC_TITLES[metric]) for metric in shown]
    lines = []
    for name, count in summary["counts"].items():
        line = [name, *(str(number) for number in (count["n"], count["n_positive"], count["n_left_out"]))]
        for metric in _WITH_INTERVAL:
            line += interval_cells(summary["labels"][metric][name])
        line += [_number(summary["labels"][metric][name]["mean"]) for metric in shown]
        lines.append(tuple(line))
    return aligned(tuple(header), lines, words=(0,), gap=2)


def interval_cells(row: IntervalRow) -> tuple[str, str]:
    """Value and interval, a dash for what is undefined."""
    if math.isnan(row["mean"]):
        return "-", "-"
    if math.isnan(row["low"]):
        return _number(row["mean"]), "-"
    return _number(row["mean"]), f"{_number(row['low'])} to {_number(row['high'])}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.{_DIGITS}f}"


def aligned(
    header: tuple[str, ...], lines: Sequence[tuple[str, ...]], words: Sequence[int], gap: int = 3
) -> list[str]:
    """Columns of words to the left, of numbers to the right; lines without trailing blanks.

    Args:
        header: Heads of the columns.
        lines: Cells of each line.
        words: Columns that hold words.
        gap: Blanks between columns.
    """
    widths = [max(len(line[column]) for line in [header, *lines]) for column in range(len(header))]
    return [
        (gap * " ")
        .join(
            cell.ljust(width) if column in words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        .rstrip()
        for line in [header, *lines]
    ]


def counted(n: int, noun: str) -> str:
    """A number with its noun.

    Example:
        >>> counted(1, "case"), counted(2, "case")
        ('1 case', '2 cases')
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
