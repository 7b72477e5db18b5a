"""The scores of several targets as text."""

from collections.abc import Iterator

from medimg.scoring.label_summary import LabelSummary
from medimg.scoring.label_text import LABEL_METRIC_TITLES, aligned, counted, interval_cells
from medimg.scoring.regression import IN_UNIT, VALUE_METRIC_TITLES
from medimg.scoring.table import IntervalRow
from medimg.scoring.targets import TargetScore, TargetSummary

_ONE_LABEL = ("auroc", "average_precision", "accuracy")
_OF_CLASSES = ("auroc", "accuracy", "kappa", "quadratic_kappa")


def format_target_table(summary: TargetSummary, title: str) -> str:
    """Lay a summary out as text, a block of lines a target.

    Args:
        summary: What ``summarise_targets`` gave.
        title: First line; says which cases were scored.

    Returns:
        Lines without a final newline.

    Example:
        >>> from medimg.scoring.targets import Target, summarise_targets, target_row
        >>> target = Target("diameter_mm", "regression", unit="mm")
        >>> rows = [target_row(n, n, [target], [p], [t]) for n, p, t in (("a", 5, 4), ("b", 9, 8))]
        >>> print(format_target_table(summarise_targets(rows, [target], resamples=10), "Fold 0"))
        Fold 0
        2 cases of 2 patients; 95 % interval, patients resampled
        <BLANKLINE>
        target        metric      value           interval      over
        diameter_mm   MAE mm     1.0000   1.0000 to 1.0000   2 cases
        diameter_mm   RMSE mm    1.0000   1.0000 to 1.0000   2 cases
        diameter_mm   R2         0.7500   0.7500 to 0.7500   2 cases
        diameter_mm   Spearman   1.0000   1.0000 to 1.0000   2 cases
    """
    lines = [
        (name, metric, *interval_cells(row), _over(row))
        for target, score in summary["targets"].items()
        for name, metric, row in _rows(target, score)
    ]
    counts = f"{counted(summary['n_cases'], 'case')} of {counted(summary['n_patients'], 'patient')}"
    head = f"{counts}; {100 * summary['level']:g} % interval, patients resampled"
    table = aligned(("target", "metric", "value", "interval", "over"), lines, words=(0, 1, 4))
    return "\n".join([title, head, "", *table])


def _rows(name: str, score: TargetScore) -> Iterator[tuple[str, str, IntervalRow]]:
    """Name, metric and row of each line of one target."""
    labels = score["labels"]
    if labels is not None:
        for metric, row in _of_labels(labels):
            yield name, metric, row
        return
    unit = f" {score['unit']}" if score["unit"] else ""
    for column in next(iter(score["values"].values())):
        for metric, title in VALUE_METRIC_TITLES.items():
            if found := score["values"].get(metric, {}).get(column):
                yield column, title + unit * (metric in IN_UNIT), found


def _of_labels(summary: LabelSummary) -> Iterator[tuple[str, IntervalRow]]:
    if summary["task"] == "binary":
        for metric in _ONE_LABEL:
            [row] = summary["labels"][metric].values()
            yield LABEL_METRIC_TITLES[metric], row
        return
    n, left_out = next((row["n"], row["n_left_out"]) for row in summary["overall"].values())
    for metric in _OF_CLASSES:
        if metric in summary["overall"]:
            yield LABEL_METRIC_TITLES[metric], summary["overall"][metric]
        elif metric in summary["macro"]:
            # Of a mean over classes the cases are told here; the summary counts the classes.
            row = {**summary["macro"][metric], "n": n, "n_left_out": left_out}
            yield f"macro {LABEL_METRIC_TITLES[metric]}", IntervalRow(**row)


def _over(row: IntervalRow) -> str:
    left_out = f", {row['n_left_out']} left out" if row["n_left_out"] else ""
    return counted(row["n"], "case") + left_out
