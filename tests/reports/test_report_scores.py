import json

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, roc_auc_score

from medimg.errors import DataError
from medimg.reports.blocks import Figures, Table, Text
from medimg.reports.entries import read_entries
from medimg.reports.report_scores import Draws, score_sections
from medimg.reports.run_files import read_run
from medimg.scoring.label_table import label_row, write_label_table
from medimg.scoring.table import write_per_case

DRAWS = Draws(resamples=50)


def run_of(folder, rows, task="binary", **summary):
    write_label_table(folder / "per_case.csv", rows)
    (folder / "predictions.json").write_text(json.dumps({"task": task, "split": "s1"}))
    (folder / "summary.json").write_text(json.dumps(summary))
    (entry,), _ = read_entries([folder])
    return read_run(entry)


@pytest.fixture
def cases():
    generator = np.random.default_rng(0)
    truth = generator.random(80) < 0.4
    return truth, np.clip(0.3 * truth + 0.7 * generator.random(80), 0, 1)


def sections_of(run, **sites):
    return {section.title: section.blocks for section in score_sections(run, DRAWS, sites)}


def tables_of(blocks):
    return [block for block in blocks if isinstance(block, Table)]


def test_scores_and_confusion_of_a_binary_run_are_those_of_scikit_learn(tmp_path, cases):
    truth, prob = cases
    rows = [
        label_row(f"c{n:02}", f"p{n}", ["x"], [p], [t])
        for n, (t, p) in enumerate(zip(truth, prob, strict=True))
    ]
    found = sections_of(run_of(tmp_path, rows, thresholds={"x": 0.4}))
    scores = {row[0]: row[1] for row in tables_of(found["Scores"])[0].rows}
    assert scores["AUROC"].startswith(f"{roc_auc_score(truth, prob):.3f} [")
    assert "called above 0.4" in found["Scores"][0].text
    (table,) = tables_of(found["Right and wrong"])
    counts = [[int(cell.split()[0]) for cell in row[1:]] for row in table.rows]
    assert counts == confusion_matrix(truth, prob > 0.4).tolist()
    assert table.shades[0][1] == pytest.approx(counts[0][0] / sum(counts[0]))
    (plots,) = [block for block in found["Curves"] if isinstance(block, Figures)]
    assert [figure.svg[:4] for figure in plots.figures] == ["<svg"] * 3
    assert "Sites" not in found


def test_labels_without_both_classes_have_no_curve_and_are_named(tmp_path, cases):
    truth, prob = cases
    rows = [
        label_row(f"c{n:02}", f"p{n}", ["x", "rare"], [p, 1 - p], [t, 0])
        for n, (t, p) in enumerate(zip(truth, prob, strict=True))
    ]
    found = sections_of(run_of(tmp_path, rows, task="multilabel"))
    told = [block.text for block in found["Curves"] if isinstance(block, Text)]
    assert told == ["Not drawn: rare, of one class alone or past the first 6."]
    by_label = tables_of(found["Scores"])[1]
    assert by_label.rows[1][:3] == ("rare", "0 of 80", "not defined")


def test_exclusive_classes_have_one_matrix(tmp_path):
    probs = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.5, 0.4, 0.1], [0.1, 0.2, 0.7]]
    rows = [
        label_row(f"c{n}", f"p{n}", "abc", prob, np.eye(3)[true])
        for n, (prob, true) in enumerate(zip(probs, (0, 1, 1, 2), strict=True))
    ]
    (table,) = tables_of(sections_of(run_of(tmp_path, rows, task="multiclass"))["Right and wrong"])
    assert [row[1:] for row in table.rows] == [
        ("1 (100 %)", "0 (0 %)", "0 (0 %)"),
        ("1 (50 %)", "1 (50 %)", "0 (0 %)"),
        ("0 (0 %)", "0 (0 %)", "1 (100 %)"),
    ]


def test_sites_are_scored_apart_and_a_case_without_one_is_refused(tmp_path, cases):
    truth, prob = cases
    rows = [
        label_row(f"c{n:02}", f"p{n}", ["x"], [p], [t])
        for n, (t, p) in enumerate(zip(truth, prob, strict=True))
    ]
    run = run_of(tmp_path, rows)
    sites = {f"p{n}": "north" if n < 30 else "south" for n in range(80)}
    (table,) = tables_of(sections_of(run, **sites)["Sites"])
    assert [row[:2] for row in table.rows] == [("north", "30"), ("south", "50")]
    assert table.rows[0][2].startswith(f"{roc_auc_score(truth[:30], prob[:30]):.3f}")
    del sites["p7"]
    with pytest.raises(DataError, match="--sites: has no row of case c07 or patient p7"):
        sections_of(run, **sites)


def test_volumes_have_a_row_a_class_with_what_was_left_out(tmp_path):
    nan = float("nan")
    rows = [
        {
            "case_id": f"c{n}",
            "patient_id": f"p{n}",
            "dice_ET": d,
            "dice_WT": 0.9,
            "hd95_ET": 3.0,
        }
        for n, d in enumerate((0.5, 0.7, nan))
    ]
    write_per_case(tmp_path / "per_case.csv", rows)
    (entry,), _ = read_entries([tmp_path])
    found = sections_of(read_run(entry), c0="a", c1="b", c2="a")
    (table,) = tables_of(found["Scores"])
    assert table.head == ("class", "Dice", "HD95 mm", "cases left out")
    assert table.rows[0][0] == "ET" and table.rows[0][1].startswith("0.600") and table.rows[0][3] == "1"
    assert table.rows[1][2] == "not measured"
    (sites,) = tables_of(found["Sites"])
    assert [row[:2] for row in sites.rows] == [("a", "2"), ("b", "1")]
