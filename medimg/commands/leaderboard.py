"""``medimg leaderboard``: all runs in one table."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from medimg.commands.word_lists import WordListParser
from medimg.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medimg.reports.entries import Entry

PARSER = WordListParser
"""``medimg.cli`` reads the words with this parser: runs and metrics are lists."""


def leaderboard(
    runs: list[Path],
    *,
    out: Path | None = None,
    metric: list[str] | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    overwrite: bool = False,
) -> int:
    """Set runs side by side: scores with intervals, what differs between their configs, and paired tests.

    Only runs that scored the same cases with the same truth, by one split, are ranked against each other; each is
    tested against the best of its group by a bootstrap over patients, with Holm's correction.

    Args:
        runs: Runs, cross-validations, ensembles, tables of scores, or folders that hold such at any depth.
        out: Table to write, whose name ends in .csv.
        metric: Metrics to show, the first of which ranks: by default auroc and average_precision, or dice. One label
            or class by its name, such as auroc_mass or dice_ET.
        level: Share of the resampled values inside an interval.
        resamples: Draws of the bootstrap.
        seed: Seed of the draws.
        overwrite: Write over an existing table.
    """
    from medimg.reports.entries import read_entries
    from medimg.reports.leaderboard import format_groups, make_groups, write_groups
    from medimg.reports.paired import kind_of_metric

    if not 0 < level < 1 or resamples < 1:
        raise ConfigError(
            f"--level and --resamples: expected a share in (0, 1) and 1 or more, found {level:g} and {resamples}."
        )
    if out is not None and out.suffix.lower() != ".csv":
        raise ConfigError(f"--out {out}: expected a name that ends in .csv.")
    if out is not None and out.exists() and not overwrite:
        raise ConfigError(f"--out {out}: exists already. Give another --out, or --overwrite.")
    entries, left_out = read_entries(runs)
    for line in left_out:
        sys.stderr.write(f"left out: {line}\n")
    if not entries:
        raise ConfigError(
            "none of the tables holds scores: run `medimg test`, or `medimg score --out`, first."
        )
    metrics = [name for text in metric or [] for name in text.split(",") if name]
    if metrics:
        kind = kind_of_metric(metrics[0])
        left_out = [one.name for one in entries if one.kind != kind]
        entries = [one for one in entries if one.kind == kind]
        if left_out:
            sys.stderr.write(
                f"left out: {len(left_out)} runs that have no {metrics[0]}, such as {left_out[0]}\n"
            )
        if not entries:
            raise ConfigError(f"--metric {metrics[0]}: none of the runs has it; they are of the other kind.")
    groups = make_groups(entries, metrics, level=level, resamples=resamples, seed=seed)
    print(format_groups(groups, level=level))
    if out is not None:
        write_groups(out, groups)
        print(f"written: {out}")
    print(f"next: {_next([line.entry for line in groups[0].lines])}")
    return 0


def _next(entries: Sequence[Entry]) -> str:
    if len(entries) == 1:
        return "medimg leaderboard with more runs of these cases"
    places = [entry.table.parent for entry in entries[:2]]
    places = [place.parent if place.name in ("test", "out_of_fold") else place for place in places]
    return f"medimg ensemble {' '.join(shlex.quote(str(place)) for place in places)} --out DIR"
