"""The rows of classified cases, gathered over processes and written as files."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medimg.ensembling.calibration_file import Calibration
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
SUMMARY = "summary.json"


@dataclass(frozen=True)
class Thresholds:
    """Thresholds that were chosen on validation.

    Attributes:
        values: Threshold of each label.
        cases: The cases they were chosen on.
        checkpoint: Whose probabilities they were chosen for.
    """

    values: Mapping[str, float]
    cases: frozenset[str]
    checkpoint: str

    def fault(self, rows: Sequence[Row], checkpoint: object) -> str:
        """Why these thresholds say nothing of these rows; empty if they do."""
        if not self.cases.isdisjoint(str(row["case_id"]) for row in rows):
            return "no thresholds of validation: the cases scored here are those they would be chosen on"
        if Path(self.checkpoint).name != Path(str(checkpoint)).name:
            return (
                f"no thresholds of validation: they were chosen for {Path(self.checkpoint).name}; run `medimg "
                "validate` with this checkpoint first"
            )
        return ""


class LabelSheet:
    """Collects one row a case; the numbers that are printed are computed from the rows that are written.

    Attributes:
        calibration: What the probabilities go through before they are written, if there is one.
    """

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self.calibration: Calibration | None = None

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
        if self.calibration is not None:
            rows = self.calibration.calibrate_rows(rows)
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
        thresholds: Thresholds | None = None,
        ordinal: bool = False,
    ) -> LabelSummary | None:
        """Write ``per_case.csv`` and ``summary.json`` and show the table.

        Args:
            folder: Where the files go.
            title: Which cases these are.
            task: What kind of labels they have.
            settings: What the numbers depend on, kept in the summary.
            resamples: Draws of the bootstrap over patients.
            thresholds: Thresholds chosen on validation, for a second set of calls beside those at 0.5; of calibrated
                probabilities those of the calibration take their place.
            ordinal: Exclusive classes are grades in order: kappa is then quadratic.

        Returns:
            The summary at 0.5 on the first process, ``None`` on the others.
        """
        rows = self.write(folder)
        if rows is None:
            return None
        summary = summarise_labels(rows, task, resamples=resamples, ordinal=ordinal)
        content: dict[str, Any] = {"title": title, "settings": dict(settings), **summary}
        text = format_label_table(summary, title)
        if self.calibration is not None:
            content["settings"]["calibration"] = self.calibration.digest
            if self.calibration.thresholds:
                chosen = summarise_labels(
                    rows, task, resamples=resamples, thresholds=self.calibration.thresholds
                )
                content["at_calibration_thresholds"] = {
                    key: chosen[key] for key in ("thresholds", "labels", "macro")
                }
                text += "\n\n" + format_label_table(
                    chosen, f"{title}, called at the calibration's thresholds"
                )
        elif thresholds is None or not thresholds.values or task == "multiclass":
            pass
        elif fault := thresholds.fault(rows, settings.get("checkpoint")):
            text += f"\n\n{fault}"
        else:
            chosen = summarise_labels(rows, task, resamples=resamples, thresholds=thresholds.values)
            content["at_validation_thresholds"] = {
                key: chosen[key] for key in ("thresholds", "labels", "macro")
            }
            text += "\n\n" + format_label_table(chosen, f"{title}, called at thresholds chosen on validation")
        with atomic_write(folder / SUMMARY) as temporary:
            temporary.write_text(json.dumps(without_nan(content), indent=2, allow_nan=False) + "\n")
        logger.info("\n%s\n\nrow by row: %s", text, from_here(folder / PER_CASE))
        return summary


def validation_thresholds(
    folder: Path, labels: Sequence[str], rule: Literal["youden", "f1"]
) -> Thresholds | None:
    """Choose a threshold for each label on the validation cases of a run.

    Args:
        folder: Folder that ``validate`` wrote.
        labels: Labels that are scored.
        rule: ``youden``: sensitivity plus specificity is highest; ``f1``: F1 is highest.

    Returns:
        Thresholds of the labels that have cases with and without them; ``None`` if there was no validation.
    """
    if not ((folder / PER_CASE).is_file() and (folder / SUMMARY).is_file()):
        return None
    table = label_arrays(read_label_table(folder / PER_CASE))
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
    settings = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["settings"]
    return Thresholds(found, frozenset(table.case_ids), settings["checkpoint"])
