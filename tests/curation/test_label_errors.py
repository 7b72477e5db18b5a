import csv

import numpy as np
import pytest

from medimg.curation.label_errors import confident_joint, find_suspects, write_suspects
from medimg.errors import DataError
from medimg.scoring.label_table import label_arrays, label_row


def test_the_joint_by_hand():
    given = [0, 0, 0, 1, 1, 2]
    probs = np.array(
        [[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.3, 0.5, 0.2], [0.2, 0.2, 0.6]]
    )
    found = confident_joint(given, probs)
    np.testing.assert_allclose(found.thresholds, [0.5, 0.6, 0.6])
    assert found.classes.tolist() == [0, 0, 1, 1, -1, 2]
    np.testing.assert_array_equal(found.counts, [[2, 1, 0], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(found.estimate, [[2, 1, 0], [0, 2, 0], [0, 0, 1]])


def noisy(task, seed=0, n=1500, rate=0.05, classes=3):
    """Out-of-fold rows of a good network, and which labels were turned."""
    rng = np.random.default_rng(seed)
    names = ["mass"] if task == "binary" else [f"c{place}" for place in range(classes)]
    rows, wrong = [], set()
    for case in range(n):
        turned = rng.random() < rate
        if task == "multiclass":
            true = rng.integers(classes)
            probs = np.exp(1.3 * rng.normal(size=classes) + 4 * np.eye(classes)[true])
            probs /= probs.sum()
            given = (true + 1 + rng.integers(classes - 1)) % classes if turned else true
            target = np.eye(classes)[given]
        else:
            truth = rng.integers(2, size=len(names))
            probs = 1 / (1 + np.exp(-(rng.normal(size=len(names)) * 1.2 + 6 * (truth - 0.5))))
            target = truth.copy()
            target[0] ^= turned  # only the first label is noisy
        rows.append(label_row(f"n{case:04d}", f"p{case}", names, probs, target))
        if turned:
            wrong.add(f"n{case:04d}")
    return label_arrays(rows), wrong


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_turned_labels_come_first(task):
    table, wrong = noisy(task)
    suspects, estimate = find_suspects(table, task)
    first = [one for one in suspects if one.label in ("", "mass", "c0")][: len(wrong) // 2]
    assert np.mean([one.case_id in wrong for one in first]) > 0.95
    found = {one.case_id for one in suspects} & wrong
    assert len(found) > 0.7 * len(wrong)
    of_noisy = {"binary": "mass", "multiclass": "", "multilabel": "c0"}[task]
    assert estimate[of_noisy] == pytest.approx(len(wrong), rel=0.4)
    margins = [one.margin for one in suspects]
    assert margins == sorted(margins)

    if task == "multilabel":
        assert estimate["c1"] < 0.5 * estimate["c0"]


@pytest.mark.parametrize("known", [True, False])
def test_one_picture_under_two_labels_comes_first_where_copies_are_known(known):
    """Its probability lies between the classes, so that the predictions alone raise no suspicion."""
    table, wrong = noisy("binary", rate=0.0, n=600)
    del wrong
    prob = 0.5
    rows = [
        label_row(case, patient, table.labels, p, t)
        for case, patient, p, t in zip(
            table.case_ids, table.patient_ids, table.prob, table.target, strict=True
        )
    ]
    rows += [
        label_row("twin a", "t", table.labels, [prob], [0]),
        label_row("twin b", "t", table.labels, [prob], [1]),
    ]
    suspects, _ = find_suspects(label_arrays(rows), "binary", [{"twin a", "twin b"}] if known else ())
    first = {one.case_id: one.copy_of for one in suspects[:2]}
    assert (first == {"twin a": "twin b", "twin b": "twin a"}) is known


def test_unknown_and_soft_labels():
    probs = [0.1, 0.2, 0.9, 0.8, 0.95, 0.99]
    truth = [0, 0.2, 1, 0.7, 0, -1]
    rows = [
        label_row(f"{n}", "p", ["x"], [p], [t]) for n, (p, t) in enumerate(zip(probs, truth, strict=True))
    ]
    suspects, _ = find_suspects(label_arrays(rows), "binary")
    assert [(one.case_id, one.given, one.suggested) for one in suspects] == [("4", "no x", "x")]


def test_labels_that_cannot_be_judged(tmp_path):
    rows = [label_row(f"{n}", "p", ["x"], [0.5], [1]) for n in range(3)]
    with pytest.raises(DataError, match="expected a label with present and absent cases, found none among x"):
        find_suspects(label_arrays(rows), "binary")
    rows = [label_row(f"{n}", "p", ["x", "y"], [0.5, 0.5], [1, 0]) for n in range(3)]
    with pytest.raises(DataError, match=r"cases of each of the 2 classes, found \[3, 0\]"):
        find_suspects(label_arrays(rows), "multiclass")
    with pytest.raises(DataError, match=r"labels \(N,\) and probabilities"):
        confident_joint([0, 1], np.zeros((3, 2)))


def test_the_table(tmp_path):
    table, _ = noisy("multiclass", n=200, rate=0.1)
    suspects, _ = find_suspects(table, "multiclass")
    write_suspects(tmp_path / "s.csv", suspects)
    with (tmp_path / "s.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["case_id"] for row in rows] == [one.case_id for one in suspects]
    assert (rows[0]["rank"], rows[0]["suggested"][0]) == ("1", "c")
