"""Runs set side by side: ranked among those that scored the same cases, as text and as a table."""

import csv
import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medimg.io.files import atomic_write
from medimg.reports.entries import Entry, differing
from medimg.reports.paired import DEFAULTS, Difference, better, differences, resampled
from medimg.scoring.label_bootstrap import PatientDraws, interval_of

WIDTH = 100
_NAME = 33


@dataclass(frozen=True, slots=True)
class Line:
    """One run of a group.

    Attributes:
        entry: The run.
        scores: Value and interval by metric, the ranking one first.
        difference: How far it is from the best run in the ranking metric; ``None`` for the best.
        settings: Settings in which the runs of the group differ.
    """

    entry: Entry
    scores: dict[str, tuple[float, float, float]]
    difference: Difference | None
    settings: dict[str, str]


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that scored the same cases, of one split, the best one first.

    Attributes:
        lines: The runs.
        metric: What ranks them.
        n_patients: Number of patients.
        split: Hash of their split; ``None`` if none of them says it.
    """

    lines: tuple[Line, ...]
    metric: str
    n_patients: int
    split: str | None


def make_groups(
    entries: Sequence[Entry],
    metrics: Sequence[str] = (),
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> list[Group]:
    """Rank the runs among those that scored the same cases with the same truth, by one split.

    A run whose split is not known, such as masks from elsewhere, joins the runs of its cases if those have one split.

    Args:
        entries: The runs.
        metrics: Metrics to show, the first of which ranks; by default AUROC and average precision, or Dice.
        level: Share of the resampled values inside an interval.
        resamples: Draws of the bootstrap over patients.
        seed: Seed of the draws, the same for all runs.

    Returns:
        The groups, that with the most runs first.

    Raises:
        ConfigError: If a run does not have a metric.
    """
    by_cases: dict[str, list[Entry]] = {}
    for entry in entries:
        by_cases.setdefault(entry.scored(), []).append(entry)
    groups = []
    for alike in by_cases.values():
        splits = sorted({entry.split for entry in alike if entry.split is not None})
        home = splits[0] if len(splits) == 1 else None
        for split in [*splits, *([None] if home is None else [])]:
            own = [entry for entry in alike if (entry.split or home) == split]
            if own:
                groups.append(_ranked(own, metrics or DEFAULTS[own[0].kind], split, level, resamples, seed))
    return sorted(groups, key=lambda group: (-len(group.lines), group.lines[0].entry.name))


def _ranked(
    entries: Sequence[Entry],
    metrics: Sequence[str],
    split: str | None,
    level: float,
    resamples: int,
    seed: int,
) -> Group:
    draws = PatientDraws(entries[0].patients, resamples=resamples, seed=seed)
    values = [resampled(entry, metrics, draws) for entry in entries]
    first = [one[metrics[0]] for one in values]
    best = 0
    for number in range(1, len(entries)):
        if better(metrics[0], first[number][0], first[best][0]):
            best = number
    gaps = differences(first, best, level)
    settings = differing(entries)
    lines = [
        Line(entry, {name: interval_of(one[name], level) for name in metrics}, gap, own)
        for entry, one, gap, own in zip(entries, values, gaps, settings, strict=True)
    ]
    order = sorted(range(len(lines)), key=lambda n: _sinking(metrics[0], float(first[n][0])))
    return Group(tuple(lines[n] for n in order), metrics[0], draws.n_patients, split)


def _sinking(metric: str, value: float) -> float:
    """Sorts the best first, and NaN last."""
    if math.isnan(value):
        return math.inf
    return value if better(metric, 0, 1) else -value


def format_groups(groups: Sequence[Group], *, level: float = 0.95) -> str:
    """Lay the groups out as text of at most 100 columns.

    Args:
        groups: What `make_groups` gave.
        level: Share of the resampled values inside an interval.
    """
    text = []
    for number, group in enumerate(groups, 1):
        entry = group.lines[0].entry
        runs = f"{len(group.lines)} run{'s' * (len(group.lines) > 1)}"
        split = f"split {group.split}" if group.split else "split not known"
        text += [
            f"Group {number}: {runs} on the same {len(entry.rows)} cases of {group.n_patients} patients, {split}",
            *textwrap.wrap(
                f"{group.metric}, {100 * level:g} % intervals, patients resampled; p of the difference from the best, "
                "after Holm",
                WIDTH,
            ),
            "",
            _row("", "run", "score", "interval", "less best", "interval", "p"),
        ]
        for rank, line in enumerate(group.lines, 1):
            text += [_main(rank, line, group.metric), *_details(line, group.metric)]
        text.append("")
    if len(groups) > 1:
        text += [
            "Runs of two groups scored other cases, or by another split: their scores say nothing of each other."
        ]
    return "\n".join(text).rstrip()


def _main(rank: int, line: Line, metric: str) -> str:
    value, low, high = line.scores[metric]
    name = line.entry.name
    name = name if len(name) <= _NAME else f"...{name[3 - _NAME :]}"
    gap = line.difference
    if gap is None:
        return _row(str(rank), name, _number(value), _between(low, high), "best", "", "")
    p = "-" if math.isnan(gap.p_holm) else f"{gap.p_holm:.3f}"
    return _row(
        str(rank),
        name,
        _number(value),
        _between(low, high),
        _number(gap.value),
        _between(gap.low, gap.high),
        p,
    )


def _row(rank: str, name: str, value: str, interval: str, gap: str, gap_interval: str, p: str) -> str:
    return f"{rank:>3} {name:<{_NAME}} {value:>8} {interval:>16} {gap:>9} {gap_interval:>18} {p:>6}".rstrip()


def _details(line: Line, metric: str) -> list[str]:
    """Further scores, and the settings in which the run differs from the others, wrapped."""
    parts = [
        f"{name} {_number(value)} ({_between(low, high)})"
        for name, (value, low, high) in line.scores.items()
        if name != metric
    ]
    parts += [f"{name}={value}" for name, value in line.settings.items()]
    return textwrap.wrap("; ".join(parts), WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def _between(low: float, high: float) -> str:
    digits = 3 if max(abs(low), abs(high)) < 10 else 2
    return "-" if math.isnan(low) else f"{low:.{digits}f} to {high:.{digits}f}"


def write_groups(path: Path, groups: Sequence[Group]) -> None:
    """Write the groups as one CSV, a row a run, a column for each setting in which runs of a group differ.

    Args:
        path: File to write, whole or not at all.
        groups: What `make_groups` gave.

    Raises:
        ResourceError: If the file cannot be written.
    """
    rows = list(_rows(groups))
    columns = list(dict.fromkeys(name for row in rows for name in row))
    # Settings come last, and all numbers before them.
    columns.sort(key=lambda name: name.startswith("config "))
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _rows(groups: Sequence[Group]) -> Iterator[dict[str, object]]:
    for number, group in enumerate(groups, 1):
        for rank, line in enumerate(group.lines, 1):
            row: dict[str, object] = {"group": number, "rank": rank, "run": line.entry.name}
            row |= {
                "cases": len(line.entry.rows),
                "patients": group.n_patients,
                "split": line.entry.split or "",
            }
            row["metric"] = group.metric
            for name, (value, low, high) in line.scores.items():
                row |= {name: _plain(value), f"{name} low": _plain(low), f"{name} high": _plain(high)}
            gap = line.difference
            if gap is not None:
                found = {"difference": gap.value, "difference low": gap.low, "difference high": gap.high}
                row |= {name: _plain(v) for name, v in (found | {"p": gap.p, "p holm": gap.p_holm}).items()}
            yield (
                row
                | {f"config {name}": value for name, value in line.settings.items()}
                | {"table": str(line.entry.table)}
            )


def _plain(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
