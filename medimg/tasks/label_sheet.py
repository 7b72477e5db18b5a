"""The rows of classified cases, gathered over processes and written as files."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medimg.errors import DataError
from medimg.io.files import atomic_write
from medimg.records import Task
from medimg.runs import from_here
from medimg.scoring.label_summary import LabelSummary
from medimg.scoring.label_table import (
    label_arrays,
    read_label_table,
    summarise_labels,
    write_label_table,
)
from medimg.scoring.label_text import format_label_table
from medimg.scoring.table import Row, deduplicate, without_nan
from medimg.scoring.thresholds import max_f1_threshold, youden_threshold
from medimg.tasks.score_sheet import gathered

logger = logging.getLogger(__name__)

PER_CASE = "per_case.csv"


class LabelSheet:
    """Collects one row a case; the numbers that are printed are computed from the rows that are written."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Add the row of one case."""
        self._rows.append(row)

    def write(self, folder: Path) -> list[Row] | None:
        """Gather the rows of all processes and write them as ``per_case.csv``.

        Args:
            folder: Where the file goes.

        Returns:
            The rows, each case once, on the first process; ``None`` on the others.
        """
        rows = gathered(self._rows)
        self._rows = []
        if rows is None:
            return None
        rows = deduplicate(rows)
        write_label_table(folder / PER_CASE, rows)
        return rows

    def finish(
        self,
        folder: Path,
        title: str,
        task: Task,
        *,
        settings: Mapping[str, Any],
        resamples: int,
        thresholds: Mapping[str, float] | None = None,
    ) -> LabelSummary | None:
        """Write ``per_case.csv`` and ``summary.json`` and show the table.

        Args:
            folder: Where the files go.
            title: Which cases these are.
            task: What kind of labels they have.
            settings: What the numbers depend on, kept in the summary.
            resamples: Draws of the bootstrap over patients.
            thresholds: Thresholds chosen on validation, for a second set of calls beside those at 0.5.

        Returns:
            The summary at 0.5 on the first process, ``None`` on the others.
        """
        rows = self.write(folder)
        if rows is None:
            return None
        summary = summarise_labels(rows, task, resamples=resamples)
        content: dict[str, Any] = {"title": title, "settings": dict(settings), **summary}
        text = format_label_table(summary, title)
        if thresholds and task != "multiclass":
            chosen = summarise_labels(rows, task, resamples=resamples, thresholds=thresholds)
            content["at_validation_thresholds"] = {
                key: chosen[key] for key in ("thresholds", "labels", "macro")
            }
            text += "\n\n" + format_label_table(chosen, f"{title}, called at thresholds chosen on validation")
        with atomic_write(folder / "summary.json") as temporary:
            temporary.write_text(json.dumps(without_nan(content), indent=2, allow_nan=False) + "\n")
        logger.info("\n%s\n\nrow by row: %s", text, from_here(folder / PER_CASE))
        return summary


def validation_thresholds(
    path: Path, labels: Sequence[str], rule: Literal["youden", "f1"]
) -> dict[str, float]:
    """Choose a threshold for each label on the validation cases of a run.

    Args:
        path: ``per_case.csv`` that ``validate`` wrote; a missing file gives no thresholds.
        labels: Labels that are scored.
        rule: ``youden``: sensitivity plus specificity is highest; ``f1``: F1 is highest.

    Returns:
        Threshold of each label that has cases with and without it.
    """
    if not path.is_file():
        return {}
    table = label_arrays(read_label_table(path))
    choose = youden_threshold if rule == "youden" else max_f1_threshold
    found = {}
    for column, name in enumerate(table.labels):
        if name not in labels:
            continue
        target = table.target[:, column]
        hard = np.where(np.isnan(target), np.nan, target >= 0.5)
        try:
            found[name] = choose(hard, table.prob[:, column])
        except DataError:
            continue  # a label without both classes keeps 0.5
    return found
