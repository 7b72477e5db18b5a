from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from medimg.errors import ConfigError
from medimg.reports.entries import Entry
from medimg.reports.paired import better, differences, holm_adjusted, p_value, resampled
from medimg.scoring.bootstrap import class_mean_interval
from medimg.scoring.label_bootstrap import PatientDraws, interval_of
from medimg.scoring.label_table import label_row

NAN = float("nan")


def labels(prob, target, names=("x",), task="binary", patients=None):
    rows = [
        label_row(
            f"c{n:03d}", patients[n] if patients else f"p{n}", names, np.atleast_1d(p), np.atleast_1d(t)
        )
        for n, (p, t) in enumerate(zip(prob, target, strict=True))
    ]
    return Entry("run", Path("per_case.csv"), tuple(rows), "labels", task=task)


def volumes(columns, patients):
    names = list(columns)
    rows = [
        {"case_id": f"c{n}", "patient_id": patient, **{name: float(columns[name][n]) for name in names}}
        for n, patient in enumerate(patients)
    ]
    return Entry("run", Path("per_case.csv"), tuple(rows), "volumes")


def draws_of(entry, resamples=200):
    return PatientDraws(entry.patients, resamples=resamples, seed=0)


def test_scores_of_labels_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, (60, 2)).astype(float)
    target[:9, 1] = NAN
    prob = rng.random((60, 2))
    entry = labels(prob, target, ("a", "b"), "multilabel")
    found = resampled(entry, ["auroc", "auroc_b", "average_precision"], draws_of(entry))
    each = [roc_auc_score(target[:, 0], prob[:, 0]), roc_auc_score(target[9:, 1], prob[9:, 1])]
    precision = [
        average_precision_score(target[:, 0], prob[:, 0]),
        average_precision_score(target[9:, 1], prob[9:, 1]),
    ]
    assert found["auroc"][0] == pytest.approx(np.mean(each))
    assert found["auroc_b"][0] == pytest.approx(each[1])
    assert found["average_precision"][0] == pytest.approx(np.mean(precision))
    assert found["auroc"].shape == (201,)


def test_exclusive_classes_have_scores_together():
    prob = np.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7]])
    entry = labels(prob, np.eye(3)[[0, 1, 1, 2]], "abc", "multiclass")
    assert resampled(entry, ["accuracy"], draws_of(entry))["accuracy"][0] == 0.75


def test_a_label_of_one_side_takes_no_part():
    entry = labels([[0.9, 0.1], [0.2, 0.1]], [[1, 0], [0, 0]], ("a", "b"), "multilabel")
    assert resampled(entry, ["auroc"], draws_of(entry))["auroc"][0] == 1.0


def test_scores_of_volumes_are_those_of_the_table_with_its_interval():
    rng = np.random.default_rng(1)
    columns = {"dice_a": rng.random(40), "dice_b": rng.random(40), "hd95_a": rng.random(40)}
    columns["dice_b"][:5] = NAN
    patients = [f"p{n // 2}" for n in range(40)]
    entry = volumes(columns, patients)
    found = resampled(entry, ["dice", "dice_b", "hd95_a"], draws_of(entry, 4000))
    table = np.column_stack([columns["dice_a"], columns["dice_b"]])
    expected = class_mean_interval(table, groups=patients, resamples=4000)
    value, low, high = interval_of(found["dice"], 0.95)
    assert value == pytest.approx(expected.mean)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.01)
    assert found["dice_b"][0] == pytest.approx(np.nanmean(columns["dice_b"]))


def test_a_metric_that_a_run_does_not_have_is_named():
    entry = labels([0.1, 0.9], [0, 1])
    with pytest.raises(ConfigError, match="--metric dice: expected one of auroc, auroc_x"):
        resampled(entry, ["dice"], draws_of(entry))


def test_differences_are_taken_resample_by_resample():
    rng = np.random.default_rng(2)
    base = rng.normal(0.8, 0.05, 1001)  # moves with the patients drawn, as all runs do
    best, close, worse = base, base - 0.001 + rng.normal(0, 0.01, 1001), base - 0.03
    best[0], close[0], worse[0] = 0.8, 0.799, 0.77
    none, one, other = differences([best, close, worse], 0, 0.95)
    assert none is None
    assert other.value == pytest.approx(-0.03)
    # The interval of the difference is far narrower than that of the scores.
    assert (other.low, other.high) == pytest.approx((-0.03, -0.03))
    assert other.p == pytest.approx(2 / 1001) and other.p_holm == pytest.approx(4 / 1001)
    assert one.p > 0.5 and one.low < 0 < one.high


def test_p_is_of_both_sides_and_never_0():
    drawn = np.r_[np.full(990, -1.0), np.full(9, 1.0)]
    assert p_value(drawn) == pytest.approx(2 * 10 / 1000)
    assert p_value(-drawn) == p_value(drawn)
    assert p_value(np.full(999, 1.0)) == pytest.approx(2 / 1000)
    assert p_value(np.zeros(99)) == 1
    assert np.isnan(p_value(np.array([NAN])))


def test_p_holds_its_level_where_nothing_differs():
    rng = np.random.default_rng(3)
    found = []
    for trial in range(120):
        gaps = rng.normal(size=80)
        draws = PatientDraws([str(n) for n in range(80)], resamples=200, seed=trial)
        times = np.concatenate(list(draws.chunks()), axis=1)
        found.append(p_value((gaps @ times / 80)[1:]))
    # 5 % of 120 are 6; more than 14 would be less likely than 1 in 500.
    assert sum(p < 0.05 for p in found) <= 14
    assert np.mean(found) == pytest.approx(0.5, abs=0.1)


def test_holm_by_hand():
    # 0.005 x 4; 0.01 x 3; 0.03 x 2; 0.04 x 1, which may not fall below the one before.
    assert holm_adjusted([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm_adjusted([0.6, 0.7]) == [1.0, 1.0]
    found = holm_adjusted([NAN, 0.02])
    assert np.isnan(found[0]) and found[1] == 0.02
    assert holm_adjusted([]) == []


def test_which_way_is_better():
    assert better("dice_a", 0.9, 0.8) and not better("dice_a", NAN, 0.8) and better("brier", 0.1, 0.2)
