import csv
from pathlib import Path

import numpy as np
import pytest

from medimg.reports.entries import Entry
from medimg.reports.leaderboard import WIDTH, format_groups, make_groups, write_groups
from medimg.scoring.label_table import label_row


def run(name, noise, *, n=80, split="s1", settings=None, seed=0):
    """A classification whose scores tell the truth the better the less noise there is."""
    rng = np.random.default_rng(5)
    target = rng.integers(0, 2, n)
    score = target + np.random.default_rng(seed).normal(0, noise, n)
    prob = 1 / (1 + np.exp(0.5 - score))
    rows = [label_row(f"c{k:03d}", f"p{k // 2}", ["x"], [prob[k]], [target[k]]) for k in range(n)]
    return Entry(name, Path(name) / "per_case.csv", tuple(rows), "labels", split, "binary", settings or {})


def volumes(name, dice, split=None):
    rows = [
        {"case_id": f"v{k}", "patient_id": f"v{k}", "dice_a": d, "hd95_a": 10 * (1 - d)}
        for k, d in enumerate(dice)
    ]
    return Entry(name, Path(name) / "per_case.csv", tuple(rows), "volumes", split)


def test_runs_are_ranked_and_tested_against_the_best():
    (group,) = make_groups([run("poor", 3), run("good", 0.4), run("same", 0.4)], resamples=500)
    assert [line.entry.name for line in group.lines] == ["good", "same", "poor"]
    best, same, poor = group.lines
    assert best.difference is None
    assert (same.difference.value, same.difference.p) == (0.0, 1.0)
    assert poor.difference.high < 0
    assert poor.difference.p == pytest.approx(2 / 501)
    assert poor.difference.p_holm == pytest.approx(4 / 501)  # of two comparisons
    assert poor.scores["auroc"][0] - best.scores["auroc"][0] == pytest.approx(poor.difference.value)


def test_other_cases_and_other_splits_are_never_ranked_together():
    entries = [
        run("a", 1),
        run("b", 2),
        run("fewer", 1, n=60),
        run("dealt anew", 1, split="s2"),
        volumes("v", [0.5, 0.7]),
    ]
    groups = make_groups(entries, resamples=50)
    assert [[line.entry.name for line in group.lines] for group in groups] == [
        ["a", "b"],
        ["dealt anew"],
        ["fewer"],
        ["v"],
    ]
    assert "Runs of two groups scored other cases" in format_groups(groups)


def test_a_run_of_no_known_split_joins_where_there_is_no_doubt():
    (group,) = make_groups([run("a", 1), run("elsewhere", 2, split=None)], resamples=20)
    assert group.split == "s1" and len(group.lines) == 2
    groups = make_groups(
        [run("a", 1), run("b", 1, split="s2"), run("elsewhere", 2, split=None)], resamples=20
    )
    assert sorted(str(group.split) for group in groups) == ["None", "s1", "s2"]
    (group,) = make_groups([run("a", 1, split=None), run("b", 2, split=None)], resamples=20)
    assert group.split is None and len(group.lines) == 2


def test_lower_distances_are_better():
    (group,) = make_groups(
        [volumes("far", [0.2, 0.3]), volumes("near", [0.9, 0.8])], ["hd95_a", "dice"], resamples=20
    )
    assert [line.entry.name for line in group.lines] == ["near", "far"]
    assert group.lines[1].difference.value == pytest.approx(6)


def test_the_text_fits_the_page_and_tells_what_differs():
    long = "a/very/long/name/of/an/experiment/that/goes/on/version_12"
    settings = {
        "model.lr": 0.1,
        "model.network": "ConvNeXt",
        "data.image.size": "[224, 224]",
        "x" * 30: "y" * 60,
    }
    groups = make_groups(
        [run(long, 1, settings=settings), run("b", 2, settings={"model.lr": 0.2})], resamples=50
    )
    text = format_groups(groups)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert (
        "...experiment/that/goes/on/version_12"[-30:] in text
        and "model.lr=0.1" in text
        and "model.lr=0.2" in text
    )
    assert "Group 1: 2 runs on the same 80 cases of 40 patients, split s1" in text


def test_the_table_holds_every_number_and_setting(tmp_path):
    entries = [run("a", 0.5, settings={"lr": 1}), run("b", 2, settings={"lr": 2}), volumes("v", [0.5, 0.7])]
    write_groups(tmp_path / "board.csv", make_groups(entries, resamples=50))
    with (tmp_path / "board.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["group"], row["rank"], row["run"], row["config lr"]) for row in rows] == [
        ("1", "1", "a", "1"),
        ("1", "2", "b", "2"),
        ("2", "1", "v", ""),
    ]
    assert float(rows[1]["auroc"]) - float(rows[0]["auroc"]) == pytest.approx(
        float(rows[1]["difference"]), abs=1e-5
    )
    assert rows[0]["p"] == "" and 0 < float(rows[1]["p"]) <= float(rows[1]["p holm"]) <= 1
    assert (rows[2]["dice"], rows[2]["auroc"], rows[2]["metric"]) == ("0.6", "", "dice")
    assert list(rows[0])[-1] == "config lr"


def test_means_over_other_cases_are_not_compared():
    """One of the two left a case out, as another rule for empty masks does."""
    groups = make_groups(
        [volumes("a", [0.5, 0.7, 0.6]), volumes("b", [0.5, 0.7, float("nan")])], resamples=50
    )
    assert [len(group.lines) for group in groups] == [1, 1]


def test_classes_that_exclude_each_other_are_called_alike_whether_or_not_a_file_says_so():
    probs = [[0.4, 0.35, 0.25], [0.3, 0.3, 0.4], [0.2, 0.6, 0.2]]
    rows = tuple(
        label_row(f"c{n}", f"p{n}", list("xyz"), prob, np.eye(3)[n % 3]) for n, prob in enumerate(probs)
    )
    entries = [
        Entry(name, Path(name) / "per_case.csv", rows, "labels", "s1", task)
        for name, task in (("stated", "multiclass"), ("not stated", None))
    ]
    (group,) = make_groups(entries, ["accuracy"], resamples=50)
    assert group.lines[0].scores == group.lines[1].scores
    assert group.lines[0].scores["accuracy"][0] == pytest.approx(1 / 3)
