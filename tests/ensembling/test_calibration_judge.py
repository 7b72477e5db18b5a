from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss, f1_score, log_loss

from medimg.ensembling.calibration_judge import FOLDS, judge, reliability
from medimg.ensembling.unseen import UnseenTable
from medimg.errors import DataError
from medimg.scoring.label_table import LabelArrays
from medimg.scoring.nested import deal_folds
from medimg.scoring.thresholds import ThresholdRule

LABELS = ("a", "b", "never")


def unseen(n=300, seed=0) -> UnseenTable:
    """Patients of two cases; a model that is too sure; a label that nobody has."""
    rng = np.random.default_rng(seed)
    z = rng.normal(-0.5, 1.5, (n, 3))
    target = (rng.random((n, 3)) < expit(z)).astype(float)
    target[:, 2], target[::7, 0] = 0, np.nan
    patients = tuple(f"p{i // 2}" for i in range(n))
    table = LabelArrays(tuple(f"c{i:03d}" for i in range(n)), patients, LABELS, target, expit(3 * z))
    return UnseenTable(table, "multilabel", None, Path("run"))


def test_an_overconfident_table_is_mended():
    found = unseen()
    judged = judge(found, "temperature")
    assert set(judged.maps) == {"a", "b"} and list(judged.reasons) == ["never"]
    for name in ("a", "b"):
        assert judged.maps[name].temperature == pytest.approx(3, rel=0.35)
    before, after, honest = (
        reliability("multilabel", LABELS, found.truth, prob)
        for prob in (found.table.prob, judged.inside, judged.outside)
    )
    for name in ("a", "b", "mean"):
        assert all(after[name][at] < before[name][at] for at in range(3))
        assert all(honest[name][at] < before[name][at] for at in range(3))
        assert honest[name][2] > after[name][2]  # the fit flatters itself
    assert np.isnan(before["never"]).all()
    assert before["mean"] == pytest.approx(np.mean([before["a"], before["b"]], axis=0))


def test_figures_are_scikit_learns():
    found = unseen()
    figures = reliability("multilabel", LABELS, found.truth, found.table.prob)
    truth, prob = found.truth[:, 1], found.table.prob[:, 1]
    assert figures["b"][1:] == pytest.approx((brier_score_loss(truth, prob), log_loss(truth, prob)))
    hot = np.eye(3)[np.arange(6) % 3]
    shares = np.random.default_rng(0).dirichlet(np.ones(3), 6)
    assert reliability("multiclass", "xyz", hot, shares)["all classes"][2] == pytest.approx(
        log_loss(hot.argmax(1), shares)
    )


def test_no_case_has_a_part_in_the_map_that_it_is_judged_by():
    """Fold by fold it equals scikit-learn fitted without the fold's patients."""
    found = unseen()
    judged = judge(found, "isotonic", ThresholdRule("f1"))
    fold = deal_folds(found.table.patient_ids, folds=FOLDS)
    truth, prob = found.truth[:, 1], found.table.prob[:, 1]
    expected, called = np.empty(len(truth)), np.empty(len(truth))
    for number in range(FOLDS):
        rest, held = fold != number, fold == number
        bound = 1 / (rest.sum() + 2)
        peer = IsotonicRegression(y_min=bound, y_max=1 - bound, out_of_bounds="clip").fit(
            prob[rest], truth[rest]
        )
        expected[held] = peer.predict(prob[held])
        fitted = peer.predict(prob[rest])
        best = max(np.unique(fitted), key=lambda cut: f1_score(truth[rest], fitted >= cut))
        called[held] = expected[held] >= best
    np.testing.assert_allclose(judged.outside[:, 1], expected, atol=1e-9)
    assert (judged.called_outside[:, 1] == called).mean() > 0.97  # cuts lie between levels, not on them
    assert np.isnan(judged.called_outside[:, 2]).all()
    assert set(judged.thresholds) == {"a", "b"}
    np.testing.assert_array_equal(judged.called_inside[:, 0], judged.inside[:, 0] > judged.thresholds["a"])


def test_the_order_of_cases_changes_nothing():
    found = unseen(n=80)
    table = found.table
    turned = LabelArrays(
        table.case_ids[::-1], table.patient_ids[::-1], LABELS, table.target[::-1], table.prob[::-1]
    )
    first = judge(found, "platt").outside
    np.testing.assert_allclose(
        judge(UnseenTable(turned, "multilabel", None, None), "platt").outside[::-1], first, atol=1e-9
    )


def test_a_single_patient_or_nothing_to_learn_is_refused():
    found = unseen(n=2)
    with pytest.raises(DataError, match="needs two patients or more, found 1"):
        judge(found, "platt")
    table = unseen(n=40).table
    alike = LabelArrays(table.case_ids, table.patient_ids, LABELS, np.zeros((40, 3)), table.prob)
    with pytest.raises(
        DataError, match=r"no label can be calibrated with these cases\.\n  a: cases with and without"
    ):
        judge(UnseenTable(alike, "multilabel", None, None), "platt")
