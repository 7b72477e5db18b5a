import numpy as np
import pytest
from sklearn.metrics import roc_curve

from medimg.scoring.curve_bands import GRID, precision_recall_band, reliability_band, roc_band
from medimg.scoring.label_bootstrap import PatientDraws


@pytest.fixture
def cases():
    generator = np.random.default_rng(0)
    positive = generator.random(300) < 0.3
    prob = np.round(np.clip(0.35 * positive + generator.random(300) * 0.65, 0, 1), 2)  # with ties
    return positive, prob


def test_a_resample_of_everyone_once_is_the_curve_itself(cases):
    """With level 0 the band is the median of the resamples; one patient makes each resample the sample itself."""
    positive, prob = cases
    draws = PatientDraws(["all"] * len(prob), resamples=3, seed=0)
    band = roc_band(positive, prob, draws)
    fpr, tpr, _ = roc_curve(positive, prob, drop_intermediate=False)
    last = np.append(np.diff(fpr) > 0, True)
    np.testing.assert_allclose(band.low, np.interp(GRID, fpr[last], tpr[last]), atol=1e-12)
    np.testing.assert_array_equal(band.low, band.high)
    band = precision_recall_band(positive, prob, draws)
    order = np.argsort(-prob, kind="stable")
    hits = np.cumsum(positive[order])
    for at, recall in ((10, 0.1), (50, 0.5), (100, 1.0)):
        cut = prob[order][np.searchsorted(hits, recall * positive.sum() - 1e-9)]
        called = prob >= cut
        assert band.low[at] == pytest.approx(positive[called].mean())


def test_the_band_holds_the_curve_and_narrows_with_more_cases(cases):
    positive, prob = cases
    patients = [str(n) for n in range(len(prob))]
    few = roc_band(positive, prob, PatientDraws(patients, resamples=200, seed=1))
    fpr, tpr, _ = roc_curve(positive, prob)
    curve = np.interp(GRID, fpr, tpr)[1:]
    assert ((few.low[1:] - 0.02 <= curve) & (curve <= few.high[1:] + 0.02)).all()
    many = [f"{n}" for n in range(4 * len(prob))]
    wide = roc_band(np.tile(positive, 4), np.tile(prob, 4), PatientDraws(many, resamples=200, seed=1))
    assert (wide.high - wide.low).mean() < 0.7 * (few.high - few.low).mean()


def test_reliability_is_the_share_in_each_bin_and_unknown_where_there_is_none():
    positive = np.array([True, False, True, True])
    prob = np.array([0.11, 0.12, 0.94, 0.95])
    band = reliability_band(positive, prob, PatientDraws(["one"] * 4, resamples=2, seed=0))
    shares = {round(float(x), 3): float(low) for x, low in zip(band.x, band.low, strict=True) if low == low}
    assert sorted(shares.values()) == [0.5, 1.0]
    assert np.isnan(band.low).sum() == len(band.x) - 2


def test_a_label_of_one_class_has_no_band():
    draws = PatientDraws(list("ab"), resamples=5, seed=0)
    for band in (roc_band, precision_recall_band):
        assert np.isnan(band(np.array([True, True]), np.array([0.2, 0.4]), draws).low).all()
