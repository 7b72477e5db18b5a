"""The rows of scored studies and of their slices, gathered over processes and written as files."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medimg.io.files import atomic_write
from medimg.records import Task
from medimg.runs import from_here
from medimg.scoring.bootstrap import Interval
from medimg.scoring.embolism import EXAM_LABELS, EXAM_WEIGHT, IMAGE_LABEL, embolism_losses
from medimg.scoring.label_summary import LabelSummary
from medimg.scoring.label_table import PROB_PREFIX, label_arrays, summarise_labels, write_label_table
from medimg.scoring.label_text import format_label_table
from medimg.scoring.ratio_bootstrap import ratio_interval
from medimg.scoring.table import CASE_COLUMN, Row, deduplicate, without_nan
from medimg.tasks.label_sheet import LabelSheet, Thresholds
from medimg.tasks.score_sheet import gathered

logger = logging.getLogger(__name__)

PER_IMAGE = "per_image.csv"
IMAGE_SUMMARY = "image_summary.json"
STUDY_COLUMN = "study"


class StudySheet(LabelSheet):
    """Collects a row a study and a row a slice; the tables are ``per_case.csv`` and ``per_image.csv``.

    A calibration is one of the studies' labels; slices are written as the network says.
    """

    def __init__(self) -> None:
        super().__init__()
        self._image_rows: list[Row] = []
        self._written: tuple[list[Row], list[Row]] = [], []

    def add_image(self, row: Row) -> None:
        """Add the row of one slice, which names its study in the column ``study``."""
        self._image_rows.append(row)

    def write(self, folder: Path) -> list[Row] | None:
        """Gather the rows of all processes and write both tables, each study and each slice once.

        Args:
            folder: Where the files go.

        Returns:
            The studies' rows on the first process; ``None`` on the others.
        """
        rows = super().write(folder)
        images = gathered(self._image_rows)
        self._image_rows = []
        if rows is None or images is None:
            return None
        images = deduplicate(images)
        write_label_table(folder / PER_IMAGE, images)
        self._written = rows, images
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
        """Write tables and summaries, and show the scores of studies, then those of slices.

        Slices are resampled with their patient. ``image_summary.json`` also holds the weighted log loss of RSNA's
        pulmonary embolism challenge where all its labels are scored. Arguments and result as for ``LabelSheet``.
        """
        summary = super().finish(
            folder,
            title,
            task,
            settings=settings,
            resamples=resamples,
            thresholds=thresholds,
            ordinal=ordinal,
        )
        if summary is None:
            return None
        (studies, images), self._written = self._written, ([], [])
        names = [name for name in images[0] if name.startswith(PROB_PREFIX)]
        scored = summarise_labels(images, "binary" if len(names) == 1 else "multilabel", resamples=resamples)
        content: dict[str, Any] = {"title": f"slices, {title}", "settings": dict(settings), **scored}
        text = format_label_table(scored, f"slices, {title}")
        loss = embolism_interval(studies, images, resamples=resamples)
        if loss is not None:
            content["weighted_log_loss"] = {
                "mean": loss.mean,
                "low": loss.low,
                "high": loss.high,
                "n": loss.n,
            }
            text += (
                f"\n\nweighted log loss of RSNA's embolism challenge, lower is better: {loss.mean:.4f} "
                f"({loss.low:.4f} to {loss.high:.4f}), {loss.n} studies"
            )
        with atomic_write(folder / IMAGE_SUMMARY) as temporary:
            temporary.write_text(json.dumps(without_nan(content), indent=2, allow_nan=False) + "\n")
        logger.info("\n%s\n\nslice by slice: %s", text, from_here(folder / PER_IMAGE))
        return summary


def embolism_interval(studies: Sequence[Row], images: Sequence[Row], *, resamples: int) -> Interval | None:
    """The weighted log loss of RSNA's pulmonary embolism challenge, with an interval over patients.

    Args:
        studies: Rows of studies with the nine labels.
        images: Rows of their slices, each with its study.
        resamples: Draws of the bootstrap.

    Returns:
        Loss and interval; ``None`` if a label of the challenge is missing or not known everywhere.
    """
    exams, slices = label_arrays(studies), label_arrays(images)
    if not set(EXAM_LABELS) <= set(exams.labels) or IMAGE_LABEL not in slices.labels:
        return None
    order, column = [exams.labels.index(name) for name in EXAM_LABELS], slices.labels.index(IMAGE_LABEL)
    target, image_target = exams.truth[:, order], slices.truth[:, column]
    if np.isnan(target).any() or np.isnan(image_target).any():
        return None
    place = {case_id: number for number, case_id in enumerate(exams.case_ids)}
    study_of = {str(row[CASE_COLUMN]): str(row[STUDY_COLUMN]) for row in images}
    exam = np.array([place[study_of[name]] for name in slices.case_ids], np.intp)
    labels, image_loss, weight = embolism_losses(
        target, exams.prob[:, order], image_target, slices.prob[:, column], exam
    )
    sums = (labels + image_loss, np.full(len(labels), EXAM_WEIGHT) + weight)
    return ratio_interval([sums], groups=exams.patient_ids, resamples=resamples)
