"""The rows of scored cases, gathered over processes and written as files."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import distributed

from medimg.runs import from_here
from medimg.scoring.table import (
    Row,
    Summary,
    deduplicate,
    format_table,
    summarise,
    write_per_case,
    write_summary,
)

logger = logging.getLogger(__name__)


class ScoreSheet:
    """Collects one row a case; the numbers that are printed are computed from the rows that are written."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Add the row of one case."""
        self._rows.append(row)

    def finish(self, folder: Path, title: str, settings: Mapping[str, Any]) -> Summary | None:
        """Gather all rows, write ``per_case.csv`` and ``summary.json`` and show the table.

        Args:
            folder: Where the files go.
            title: Which cases these are.
            settings: What the numbers depend on, kept in the summary.

        Returns:
            The summary on the first process, ``None`` on the others.
        """
        rows = gathered(self._rows)
        self._rows = []
        if rows is None:
            return None
        rows = deduplicate(rows)
        write_per_case(folder / "per_case.csv", rows)
        summary = summarise(rows)
        write_summary(folder / "summary.json", summary, title=title, settings=settings)
        logger.info(
            "\n%s\n\nrow by row: %s", format_table(summary, title), from_here(folder / "per_case.csv")
        )
        return summary


def gathered(rows: list[Row]) -> list[Row] | None:
    """The rows of all processes on the first one, ``None`` on the others."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return rows
    parts: list[list[Row]] = [[] for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(parts, rows)
    return [row for part in parts for row in part] if distributed.get_rank() == 0 else None
