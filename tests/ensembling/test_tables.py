import math

import numpy as np
import pytest
from scipy.stats import gmean, rankdata

from medimg.ensembling.tables import MemberTable, fuse_tables, read_member_table
from medimg.errors import ConfigError, DataError
from medimg.scoring.label_table import label_row, write_label_table

LABELS = ("x", "y")


def table(name, probs, labels=LABELS, targets=None, patients=None):
    cases = [f"c{number:03d}" for number in range(len(probs))]
    rows = {
        case: label_row(
            case, (patients or {}).get(case, ""), labels, prob, None if targets is None else targets[n]
        )
        for n, (case, prob) in enumerate(zip(cases, probs, strict=True))
    }
    return MemberTable(name, rows, tuple(labels))


def values(fused):
    return np.array([[row[f"prob_{label}"] for label in fused.labels] for row in fused.rows])


@pytest.fixture
def probs():
    return np.random.default_rng(0).integers(1, 20, (3, 30, 2)) / 20  # ties on purpose


def test_mean_and_geometric_mean_of_labels(probs):
    tables = [table(name, one) for name, one in zip("ABC", probs, strict=True)]
    weights = [0.5, 0.25, 0.25]
    np.testing.assert_allclose(
        values(fuse_tables(tables, weights, "mean")), np.average(probs, axis=0, weights=weights)
    )
    geometric = fuse_tables(tables, weights, "geometric", task="multilabel")
    np.testing.assert_allclose(
        values(geometric), gmean(probs, axis=0, weights=np.array(weights)[:, None, None])
    )


def test_ranks_are_averaged_label_by_label(probs):
    tables = [table(name, one) for name, one in zip("ABC", probs, strict=True)]
    ranks = [rankdata(one, "average", axis=0) / 30 for one in probs]
    found = values(fuse_tables(tables, [1 / 3] * 3, "rank"))
    np.testing.assert_allclose(found, np.mean(ranks, axis=0))


@pytest.mark.parametrize("task", ["multiclass", None])
def test_exclusive_classes_add_up_to_one_again(task):
    tables = [table("A", [[0.2, 0.8]]), table("B", [[0.8, 0.2]])]
    found = values(fuse_tables(tables, [0.75, 0.25], "geometric", task=task))
    np.testing.assert_allclose(found, [[1 / 3, 2 / 3]])


def test_opposite_certainties_do_not_vanish():
    tables = [table("A", [[0.0, 1.0]]), table("B", [[1.0, 0.0]])]
    np.testing.assert_allclose(values(fuse_tables(tables, [0.5, 0.5], "geometric")), [[0.5, 0.5]])


def test_columns_are_found_by_name_and_rows_by_case():
    one = table("A", [[0.1, 0.2], [0.3, 0.4]])
    other = MemberTable(
        "B", dict(reversed(table("B", [[0.2, 0.1], [0.4, 0.3]], ("y", "x")).rows.items())), ("y", "x")
    )
    found = fuse_tables([one, other], [0.5, 0.5], "mean")
    np.testing.assert_allclose(values(found), [[0.1, 0.2], [0.3, 0.4]])


def test_targets_and_patients_are_kept_where_members_agree():
    targets = [[1, math.nan], [0, 1]]
    with_truth = table("A", [[0.1, 0.2]] * 2, targets=targets, patients={"c000": "p"})
    again = table("B", [[0.3, 0.4]] * 2, targets=targets)
    without = table("C", [[0.5, 0.6]] * 2)
    found = fuse_tables([with_truth, again, without], [1 / 3] * 3, "mean")
    assert not found.warnings
    assert list(found.rows[0]) == ["case_id", "patient_id", "target_x", "prob_x", "target_y", "prob_y"]
    assert [row["target_x"] for row in found.rows] == [1, 0]
    assert math.isnan(found.rows[0]["target_y"])
    assert [row["patient_id"] for row in found.rows] == ["p", ""]


def test_targets_that_differ_are_left_out_with_a_word():
    tables = [table(name, [[0.1, 0.2]], targets=[[1, truth]]) for name, truth in (("A", 0), ("B", 1))]
    found = fuse_tables(tables, [0.5, 0.5], "mean")
    assert "A and B differ in target_y of case c000" in found.warnings[0]
    assert list(found.rows[0]) == ["case_id", "patient_id", "prob_x", "prob_y"]


def test_members_that_do_not_fit_are_refused():
    one = table("A", [[0.1, 0.2]])
    with pytest.raises(DataError, match=r"the same prob_<label> columns.*x, y in A and x, z in B"):
        fuse_tables([one, table("B", [[0.1, 0.2]], ("x", "z"))], [0.5, 0.5], "mean")
    with pytest.raises(DataError, match="A lacks 1 of 2: c001"):
        fuse_tables([one, table("B", [[0.1, 0.2]] * 2)], [0.5, 0.5], "mean")
    of_p, of_q = (table(name, [[0.1, 0.2]], patients={"c000": name}) for name in "PQ")
    with pytest.raises(DataError, match="case c000: expected the same patient in all members, found P, Q"):
        fuse_tables([of_p, of_q], [0.5, 0.5], "mean")
    with pytest.raises(ConfigError, match="majority combines masks"):
        fuse_tables([one, one], [0.5, 0.5], "majority")


def test_a_written_table_is_read(tmp_path):
    expected = table("A", [[0.1, 0.2], [0.3, 0.4]])
    write_label_table(tmp_path / "per_case.csv", list(expected.rows.values()))
    assert read_member_table("A", tmp_path / "per_case.csv") == expected


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a,0.5\na,0.5\n", "expected one row a case, found several of a"),
        ("a,nan\n", r"case a: expected a probability in \[0, 1\] in column prob_x, found nan"),
        ("a,\n", "found nan"),
        ("a,1.2\n", "found 1.2"),
        ("a,-0.1\n", "found -0.1"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, lines, message):
    path = tmp_path / "per_case.csv"
    path.write_text("case_id,prob_x\n" + lines)
    with pytest.raises(DataError, match=message):
        read_member_table("A", path)


def test_unknown_targets_are_nan_in_every_spelling_and_odd_ones_are_refused(tmp_path):
    path = tmp_path / "per_case.csv"
    path.write_text("case_id,target_x,prob_x\na,-1,0.5\nb,,0.5\nc,nan,0.5\nd,0.3,0.5\n")
    found = [row["target_x"] for row in read_member_table("A", path).rows.values()]
    np.testing.assert_array_equal(found, [math.nan, math.nan, math.nan, 0.3])
    for odd in ("2", "-0.5", "inf"):
        path.write_text(f"case_id,target_x,prob_x\na,{odd},0.5\n")
        with pytest.raises(DataError, match=f"case a: expected 1, 0, a share between.*target_x, found {odd}"):
            read_member_table("A", path)
