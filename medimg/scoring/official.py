"""What an official score consists of, and its text and JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medimg.io.files import atomic_write
from medimg.scoring.bootstrap import Interval
from medimg.scoring.table import PATIENT_COLUMN, IntervalRow, Row, without_nan

LEVEL = 0.95  # share of the resampled values inside the intervals


@dataclass(frozen=True, slots=True)
class Figure:
    """One number and what it is the number of.

    Attributes:
        name: What it is called in print.
        row: Value, interval, and how many it was made of.
        unit: What ``n`` counts, in the plural.
    """

    name: str
    row: IntervalRow
    unit: str


@dataclass(frozen=True, slots=True)
class OfficialScore:
    """The score of one file of predictions.

    Attributes:
        title: What the score is.
        figures: The score first, then what it is made of.
        unit: What a row of ``rows`` is, in the plural.
        rows: One row a case, of which the score was computed.
        n_patients: Number of patients that the interval resamples.
        n_answers: Rows of the file of predictions in the score.
        broken: By rule, the cases that break it; empty where there are no rules.
    """

    title: str
    figures: tuple[Figure, ...]
    unit: str
    rows: Sequence[Row]
    n_patients: int
    n_answers: int
    broken: Mapping[str, Sequence[str]] = field(default_factory=dict)


def figure(name: str, interval: Interval, unit: str) -> Figure:
    """Make a figure out of an interval.

    Example:
        >>> figure("Dice", Interval(0.5, 0.4, 0.6, 3, 0), "slices").row["n"]
        3
    """
    return Figure(name, IntervalRow(**asdict(interval)), unit)  # type: ignore[typeddict-item]


def format_official(score: OfficialScore, names: str) -> str:
    """Lay a score out as text.

    Args:
        score: The score.
        names: Which files were compared.

    Returns:
        Lines without a final newline.

    Example:
        >>> one = OfficialScore("HuBMAP: mean Dice", (figure("Dice", Interval(0.5, 0.5, 0.5, 1, 0), "images"),),
        ...                     "images", [{"case_id": "a", "patient_id": "p", "dice": 0.5}], 1, 1)
        >>> print(format_official(one, "a.csv"))
        HuBMAP: mean Dice, a.csv
        1 images of 1 patients, 1 rows of predictions
        95 % interval, patients resampled
        <BLANKLINE>
        score    value           interval   over
        Dice    0.5000   0.5000 to 0.5000   1 images
    """
    lines = [("score", "value", "interval", "over"), *(_line(one) for one in score.figures)]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    table = [
        f"{name.ljust(widths[0])}   {value.rjust(widths[1])}   {interval.rjust(widths[2])}   {over}"
        for name, value, interval, over in lines
    ]
    named = any(row.get(PATIENT_COLUMN) for row in score.rows)
    of = f" of {score.n_patients:,} patients" if named else ", patients not known"
    resampled = "patients" if named else score.unit
    head = f"{len(score.rows):,} {score.unit}{of}, {score.n_answers:,} rows of predictions"
    level = f"{100 * LEVEL:g} % interval, {resampled} resampled"
    return "\n".join([f"{score.title}, {names}", head, level, "", *table, *_rules(score)])


def _line(one: Figure) -> tuple[str, str, str, str]:
    left_out = f", {one.row['n_left_out']:,} left out" if one.row["n_left_out"] else ""
    over = f"{one.row['n']:,} {one.unit}{left_out}"
    if math.isnan(one.row["mean"]):
        return one.name, "-", "-", over
    interval = "-" if math.isnan(one.row["low"]) else f"{one.row['low']:.4f} to {one.row['high']:.4f}"
    return one.name, f"{one.row['mean']:.4f}", interval, over


def _rules(score: OfficialScore) -> list[str]:
    """How many cases break which rule."""
    if not score.broken:
        return []
    cases = {case for cases in score.broken.values() for case in cases}
    lines = ["", f"consistency: {len(cases):,} of {len(score.rows):,} {score.unit} break a rule"]
    for rule, broken in score.broken.items():
        shown = f" (such as {broken[0]})" if broken else ""
        lines.append(f"  {len(broken):>6,}  {rule}{shown}")
    return lines


def write_official(path: Path, score: OfficialScore, settings: Mapping[str, Any]) -> None:
    """Write a score as JSON, without its rows; what is not defined is ``null``.

    Args:
        path: File to write, whole or not at all.
        score: The score.
        settings: What it depends on, plain values only.
    """
    content = {
        "title": score.title,
        "settings": dict(settings),
        "score": score.figures[0].row,
        "parts": {one.name.strip(): one.row for one in score.figures[1:]},
        "n_cases": len(score.rows),
        "n_patients": score.n_patients,
        "n_rows": score.n_answers,
        "level": LEVEL,
        "broken_rules": {rule: len(cases) for rule, cases in score.broken.items()},
    }
    write_json(path, content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain values as JSON, whole or not at all; NaN becomes ``null``.

    Args:
        path: File to write.
        content: The values.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(
            json.dumps(without_nan(content), indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )
