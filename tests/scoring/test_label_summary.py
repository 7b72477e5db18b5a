import numpy as np
import pytest

from medimg.scoring.label_summary import count_labels, label_rows, macro_row, overall_rows

NAN = np.nan


def test_cases_are_counted_label_by_label():
    known = np.array([[True, True], [True, False], [True, True]])
    positive = np.array([[True, False], [False, False], [True, True]])
    assert count_labels(["mass", "nodule"], positive, known) == {
        "mass": {"n": 3, "n_positive": 2, "n_left_out": 0},
        "nodule": {"n": 2, "n_positive": 1, "n_left_out": 1},
    }


def test_each_label_keeps_its_own_interval_and_counts():
    counts = {
        "mass": {"n": 3, "n_positive": 2, "n_left_out": 0},
        "nodule": {"n": 2, "n_positive": 1, "n_left_out": 1},
    }
    values = np.array([[0.5, 0.0, 0.5, 1.0], [NAN, 0.25, NAN, 0.75]])
    rows = label_rows({"auroc": values}, counts, 0.5)
    assert rows["auroc"]["mass"] == {"mean": 0.5, "low": 0.25, "high": 0.75, "n": 3, "n_left_out": 0}
    undefined = rows["auroc"]["nodule"]
    assert np.isnan([undefined["mean"], undefined["low"], undefined["high"]]).all()
    assert (undefined["n"], undefined["n_left_out"]) == (2, 1)


def test_scores_over_all_classes_count_cases():
    rows = overall_rows({"kappa": np.array([0.25, 0.0, 1.0])}, np.array([True, False, True]), 0.5)
    assert rows == {"kappa": {"mean": 0.25, "low": 0.25, "high": 0.75, "n": 2, "n_left_out": 1}}
    assert overall_rows({}, np.array([True]), 0.5) == {}


def test_the_mean_over_labels_leaves_out_the_undefined_one_in_each_resample():
    values = np.array([[0.5, 0.25, NAN, NAN], [1.0, 0.75, 1.0, NAN], [NAN, 0.0, 0.0, 0.0]])
    row = macro_row(values, 0.5)
    # Resamples: 0.5 of both, 1.0 of the second alone, none.
    assert (row["mean"], row["n"], row["n_left_out"]) == (0.75, 2, 1)
    assert (row["low"], row["high"]) == pytest.approx((0.625, 0.875))


def test_no_defined_label_has_no_mean():
    row = macro_row(np.full((3, 5), NAN), 0.95)
    assert np.isnan([row["mean"], row["low"], row["high"]]).all()
    assert (row["n"], row["n_left_out"]) == (0, 3)
