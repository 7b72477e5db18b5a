"""``medimg report``: a page, Markdown and a model card of runs."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from medimg.commands.word_lists import WordListParser
from medimg.errors import ConfigError, DataError

PARSER = WordListParser
"""``medimg.cli`` reads the words with this parser: runs are a list."""


def report(
    runs: list[Path],
    *,
    out: Path = Path("report.html"),
    markdown: Path | None = None,
    card: Path | None = None,
    data: Path | None = None,
    sites: Path | None = None,
    explain: Path | None = None,
    agreement: Path | None = None,
    ids: bool = False,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    overwrite: bool = False,
) -> int:
    """Write a page of runs: data, scores with intervals, curves, cases, cost, settings, a methods paragraph.

    The page is one file that needs neither network nor script. It tells no folder outside the run and, without
    --ids, no name of a case or patient. What the run does not know is said to be missing.

    Args:
        runs: Runs, cross-validations, ensembles, tables of scores, or folders that hold such at any depth.
        out: Page to write, whose name ends in .html.
        markdown: The same as Markdown, without the figures.
        card: Model card in the form of Hugging Face; of one run.
        data: Folder of the data set, for pictures of cases, if not where the run's config says.
        sites: Table with the columns site and case_id or patient_id, for scores site by site.
        explain: Output of `medimg explain`, if not the folder explain in the run.
        agreement: Output of `medimg agreement`, to be shown.
        ids: Tell the names of cases; they may identify patients.
        level: Share of the resampled values inside an interval.
        resamples: Draws of the bootstrap over patients.
        seed: Seed of the draws.
        overwrite: Write over existing files.
    """
    from medimg.commands.report_pictures import find_pictures
    from medimg.io.files import atomic_write
    from medimg.reports.entries import read_entries
    from medimg.reports.report import Wishes, make_report, to_card, to_html, to_markdown
    from medimg.reports.report_scores import Draws
    from medimg.reports.run_files import read_run

    _check(out, markdown, card, overwrite=overwrite)
    if not 0 < level < 1 or resamples < 1:
        found = f"{level:g} and {resamples}"
        raise ConfigError(
            f"--level and --resamples: expected a share in (0, 1) and 1 or more, found {found}."
        )
    entries, left_out = read_entries(runs)
    for line in left_out:
        sys.stderr.write(f"left out: {line}\n")
    if not entries:
        raise ConfigError(
            "none of the tables holds scores: run `medimg test`, or `medimg score --out`, first."
        )
    if card is not None and len(entries) != 1:
        raise ConfigError(f"--card: is of one run, found {len(entries)}. Name one run, or leave it away.")
    draws = Draws(level, resamples, seed)
    wishes = Wishes(draws, _read_sites(sites), ids, explain, agreement)
    pictures = {entry.table: find_pictures(entry, data) for entry in entries}
    made = make_report(entries, pictures, wishes)
    texts = {out: to_html(made)}
    if markdown is not None:
        texts[markdown] = to_markdown(made)
    if card is not None:
        texts[card] = to_card(read_run(entries[0]), draws)
    for path, text in texts.items():
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(f"written: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    print(f"next: open {out} in a browser")
    return 0


def _check(out: Path, markdown: Path | None, card: Path | None, *, overwrite: bool) -> None:
    for name, path, suffixes in (
        ("out", out, (".html", ".htm")),
        ("markdown", markdown, (".md",)),
        ("card", card, (".md",)),
    ):
        if path is None:
            continue
        if path.suffix.lower() not in suffixes:
            raise ConfigError(f"--{name} {path}: expected a name that ends in {suffixes[0]}.")
        if path.exists() and not overwrite:
            raise ConfigError(f"--{name} {path}: exists already. Give another --{name}, or --overwrite.")
    if markdown is not None and markdown == card:
        raise ConfigError(f"--markdown and --card: both are {card}. Give each a file of its own.")


def _read_sites(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    key = next((name for name in ("case_id", "patient_id") if rows and name in rows[0]), None)
    if key is None or "site" not in rows[0]:
        found = ", ".join(rows[0]) if rows else "no rows"
        raise DataError(
            f"--sites {path}: expected the columns site and case_id or patient_id, found {found}."
        )
    return {row[key]: row["site"] for row in rows}
