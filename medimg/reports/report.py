"""A report of scored runs: its chapters, and the page, the Markdown and the model card made from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import count
from pathlib import Path

import jinja2
from markupsafe import Markup

from medimg import __version__
from medimg.figures.page_plots import unique_ids
from medimg.reports.blocks import Chapter, Report, Section, Table, Text, interval
from medimg.reports.entries import Entry
from medimg.reports.leaderboard import Group, make_groups
from medimg.reports.model_card import model_card
from medimg.reports.report_cases import Pictures, case_names, case_section
from medimg.reports.report_run import (
    agreement_section,
    cost_of,
    data_section,
    explain_section,
    machine_section,
    method_section,
    training_section,
)
from medimg.reports.report_scores import Draws, score_sections
from medimg.reports.run_files import RunFiles, read_run
from medimg.scoring.label_bootstrap import PatientDraws, interval_of

EXPLAIN = "explain"


@dataclass(frozen=True)
class Wishes:
    """What a report shows.

    Attributes:
        draws: How intervals are made.
        sites: Site by case or patient.
        ids: Whether the cases' own names may be told.
        explain: Output of ``medimg explain``; ``None``: a folder of that name in the run, where there is one.
        agreement: Output of ``medimg agreement``.
    """

    draws: Draws = field(default_factory=Draws)
    sites: Mapping[str, str] = field(default_factory=dict)
    ids: bool = False
    explain: Path | None = None
    agreement: Path | None = None


def make_report(entries: Sequence[Entry], pictures: Mapping[Path, Pictures], wishes: Wishes) -> Report:
    """Gather all chapters.

    Args:
        entries: The runs.
        pictures: Where the images of each run are, by its table.
        wishes: What is shown.

    Raises:
        DataError: If a file beside a run cannot be read.
    """
    chapters = []
    if len(entries) > 1:
        chapters.append(_side_by_side(entries, wishes.draws))
    for entry in entries:
        run = read_run(entry)
        found = pictures.get(entry.table, Pictures(why_none="the run does not say where its images are"))
        chapters.append(Chapter(entry.name, tuple(_sections(run, found, wishes))))
    title = entries[0].name if len(entries) == 1 else f"{len(entries)} runs"
    return Report(title, f"medimg {__version__}, {date.today().isoformat()}", tuple(chapters))


def _sections(run: RunFiles, pictures: Pictures, wishes: Wishes) -> list[Section]:
    folder = wishes.explain or run.folder / EXPLAIN
    explained = explain_section(folder, case_names(run.entry, ids=wishes.ids))
    nothing = Section("What the answers rest on", (Text("Not looked at: medimg explain was not run."),))
    return [
        data_section(run),
        *score_sections(run, wishes.draws, wishes.sites),
        case_section(run, pictures, ids=wishes.ids),
        explained or nothing,
        *([agreement_section(wishes.agreement)] if wishes.agreement is not None else []),
        training_section(run),
        machine_section(run),
        method_section(run),
    ]


def _side_by_side(entries: Sequence[Entry], draws: Draws) -> Chapter:
    groups = make_groups(entries, level=draws.level, resamples=draws.resamples, seed=draws.seed)
    blocks: list[Table | Text] = [_group(group) for group in groups]
    if len(groups) > 1:
        told = "Runs of two tables scored other cases, or by another split: their scores say nothing of each other."
        blocks.append(Text(told))
    return Chapter("Runs side by side", (Section("Leaderboard", tuple(blocks)),))


def _group(group: Group) -> Table:
    metrics = list(group.lines[0].scores)
    rows = []
    for line in group.lines:
        gap = line.difference
        less = "best" if gap is None else interval(gap.value, gap.low, gap.high)
        p = "" if gap is None else f"{gap.p_holm:.3f}"
        rows.append((line.entry.name, *(interval(*line.scores[name]) for name in metrics), less, p))
    head = ("run", *metrics, f"{group.metric} less the best", "p after Holm")
    cases = f"{len(group.lines[0].entry.rows):,} cases of {group.n_patients:,} patients"
    return Table(f"{cases}, split {group.split or 'not known'}", head, tuple(rows))


def to_html(report: Report) -> str:
    """The report as one self-contained page.

    Args:
        report: The report.
    """
    numbers = count()
    environment = _environment(autoescape=True)
    # The drawings are ours; only their names have to differ within the page.
    environment.filters["drawing"] = lambda svg: Markup(unique_ids(svg, f"f{next(numbers)}-"))
    environment.filters["kind"] = lambda block: type(block).__name__
    return environment.get_template("report.html.j2").render(report=report)


def to_markdown(report: Report) -> str:
    """The report as Markdown, with the captions of its figures in their place.

    Args:
        report: The report.
    """
    environment = _environment(autoescape=False)
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.filters["cell"] = lambda text: text.replace("|", "\\|").replace("\n", " ")
    return environment.get_template("report.md.j2").render(report=report)


def _environment(*, autoescape: bool) -> jinja2.Environment:
    loader = jinja2.PackageLoader("medimg.reports", "templates")
    return jinja2.Environment(
        loader=loader,
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def to_card(run: RunFiles, draws: Draws) -> str:
    """The model card of one run.

    Args:
        run: The run.
        draws: How intervals are made.
    """
    from medimg.reports.paired import DEFAULTS, resampled

    entry = run.entry
    patients = PatientDraws(entry.patients, resamples=draws.resamples, seed=draws.seed)
    found = resampled(entry, DEFAULTS[entry.kind], patients)
    scores = {
        name: dict(zip(("mean", "low", "high"), interval_of(values, draws.level), strict=True))
        for name, values in found.items()
    }
    facts = {
        row[0]: row[1] for block in data_section(run).blocks if isinstance(block, Table) for row in block.rows
    }
    return model_card(entry.name, run.config, scores, facts, dict(cost_of(run)))
