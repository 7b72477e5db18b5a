"""What the checks of volumes and of 2D images share: the verdict on a case, and the written table."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Protocol

from medimg.io.files import atomic_write

Verdict = Literal["ok", "warn", "refuse"]


class Judged(Protocol):
    """A finding: something about a case that a person should know."""

    @property
    def verdict(self) -> Verdict:
        """``warn`` for what can be used, ``refuse`` for what cannot."""

    @property
    def text(self) -> str:
        """What was found and what to do."""


def worst_verdict(findings: Iterable[Judged]) -> Verdict:
    """The verdict on a case with these findings, ``"ok"`` if there is none.

    Args:
        findings: Everything that was found in the case.

    Example:
        >>> worst_verdict([])
        'ok'
    """
    verdicts = {finding.verdict for finding in findings}
    return "refuse" if "refuse" in verdicts else "warn" if "warn" in verdicts else "ok"


def findings_cell(findings: Iterable[Judged]) -> str:
    """All findings of a case in one cell of a table.

    Args:
        findings: Findings in the order of the text.
    """
    return "; ".join(f"{finding.verdict}: {finding.text}" for finding in findings)


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV with a header.

    Args:
        path: File to write, whole or not at all.
        columns: Names of the columns.
        rows: A row a case, as many cells as columns.

    Raises:
        ResourceError: If the file cannot be written.
    """
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
