"""The scores of several targets, written and shown."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medimg.io.files import atomic_write
from medimg.runs import from_here
from medimg.scoring.table import Row, without_nan
from medimg.scoring.target_text import format_target_table
from medimg.scoring.targets import Target, TargetSummary, summarise_targets
from medimg.tasks.label_sheet import PER_CASE, SUMMARY

logger = logging.getLogger(__name__)


def report_targets(
    folder: Path,
    title: str,
    rows: Sequence[Row],
    targets: Sequence[Target],
    *,
    settings: Mapping[str, Any],
    constants: Mapping[str, float],
    resamples: int,
) -> TargetSummary:
    """Write ``summary.json`` of a table and show it.

    Args:
        folder: Where ``per_case.csv`` was written.
        title: Which cases these are.
        rows: The rows that were written.
        targets: What their columns are.
        settings: What the numbers depend on, kept in the summary.
        constants: Mean of the training cases, by column of numbers.
        resamples: Draws of the bootstrap over patients.
    """
    summary = summarise_targets(rows, targets, constants=constants, resamples=resamples)
    content = {"title": title, "settings": {**settings, "training_means": dict(constants)}, **summary}
    with atomic_write(folder / SUMMARY) as temporary:
        temporary.write_text(json.dumps(without_nan(content), indent=2, allow_nan=False) + "\n")
    text = format_target_table(summary, title)
    logger.info("\n%s\n\nrow by row: %s", text, from_here(folder / PER_CASE))
    return summary
