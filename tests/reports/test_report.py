import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

from medimg.reports.blocks import Chapter, Code, Figure, Figures, Report, Section, Table, Text
from medimg.reports.entries import read_entries
from medimg.reports.report import Wishes, make_report, to_card, to_html, to_markdown
from medimg.reports.report_scores import Draws
from medimg.reports.run_files import read_run
from medimg.scoring.label_table import label_row, write_label_table

DRAWS = Draws(resamples=30)


def write_run(folder, seed):
    generator = np.random.default_rng(seed)
    rows = [
        label_row(
            f"anna-{n:02}", f"p{n}", ["<x>"], [float(generator.random() * 0.6 + 0.4 * (n % 2))], [n % 2]
        )
        for n in range(40)
    ]
    write_label_table(folder / "test" / "per_case.csv", rows)
    (folder / "test" / "predictions.json").write_text(json.dumps({"task": "binary", "split": "s"}))
    (folder / "config.yaml").write_text("seed_everything: 1\n")
    return folder


@pytest.fixture
def runs(tmp_path):
    return [write_run(tmp_path / name / "version_0", seed) for seed, name in enumerate("ab")]


class Page(HTMLParser):
    """Tags that are open at the end, every id, every link within the page, and whatever would be fetched."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.fetched, self.alts = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        self.ids += [given["id"]] if "id" in given else []
        for name in ("href", "src", "xlink:href"):
            value = given.get(name)
            if value and value.startswith("#"):
                self.links.append(value[1:])
            elif value and not value.startswith("data:"):
                self.fetched.append(value)
        if tag == "img":
            self.alts.append(given.get("alt"))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()


def test_the_page_of_two_runs_is_whole_and_needs_nothing_else(runs):
    entries, _ = read_entries(runs)
    report = make_report(entries, {}, Wishes(DRAWS))
    assert [chapter.title for chapter in report.chapters] == [
        "Runs side by side",
        "a/version_0",
        "b/version_0",
    ]
    text = to_html(report)
    page = Page(text)
    assert not page.open and not page.fetched
    assert len(page.ids) == len(set(page.ids)), "an id stands twice"
    assert set(page.links) <= set(page.ids)
    assert not re.search(r"url\((?!#)", text) and "<script" not in text
    assert "<x>" not in text and "&lt;x&gt;" in text
    assert "anna" not in text
    headings = [int(level) for level in re.findall(r"<h([1-6])", text)]
    assert headings[0] == 1 and all(b - a <= 1 for a, b in pairwise(headings))


def test_a_single_run_has_sections_right_below_its_name(runs):
    entries, _ = read_entries(runs[:1])
    text = to_html(make_report(entries, {}, Wishes(DRAWS, ids=True)))
    assert "<h3" not in text and text.count("<h2") >= 8
    assert "anna-" in text


def test_markdown_holds_tables_and_says_where_figures_are():
    table = Table("t", ("a", "b"), (("x|y", "1"),))
    blocks = (
        Text("words"),
        table,
        Figures((Figure("curve", "alt", svg="<svg></svg>"),)),
        Code("c", "k: 1\n", "yaml"),
    )
    text = to_markdown(Report("r", "m", (Chapter("c", (Section("s", blocks),)),)))
    assert "| a | b |\n|---|---|\n| x\\|y | 1 |\n" in text
    assert "*Figure in the page: curve*" in text
    assert "```yaml\nk: 1\n```" in text and "\n\n\n" not in text


def test_the_card_names_the_scores_of_the_run(runs):
    (entry,), _ = read_entries(runs[:1])
    text = to_card(read_run(entry), DRAWS)
    assert text.startswith("---\n") and "auroc" in text.lower() and "s" in text
