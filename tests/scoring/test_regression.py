import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from medimg.scoring.label_bootstrap import PatientDraws
from medimg.scoring.regression import resample_values, value_scores

NAN = float("nan")


def cases(n=60, seed=0):
    """Values with ties, some unknown; three cases a patient."""
    rng = np.random.default_rng(seed)
    target = rng.normal(1000, 3, n).round()  # far from 0: sums of squares would lose the spread
    pred = target + rng.normal(0, 2, n).round()
    target[:4] = NAN
    return [f"p{number // 3}" for number in range(n)], target, pred


def expected(target, pred):
    known = ~np.isnan(target)
    t, p = target[known], pred[known]
    return {
        "mae": metrics.mean_absolute_error(t, p),
        "rmse": metrics.root_mean_squared_error(t, p),
        "r2": metrics.r2_score(t, p),
        "spearman": stats.spearmanr(t, p).statistic,
    }


def test_scores_are_those_of_the_libraries():
    _, target, pred = cases()
    assert value_scores(target, pred) == pytest.approx(expected(target, pred), rel=1e-9)


def test_a_resample_scores_as_its_cases_written_out():
    patients, target, pred = cases()
    draws = PatientDraws(patients, resamples=20, seed=3)
    found = resample_values(draws, target, pred, constant=1001.0)
    times = np.concatenate(list(PatientDraws(patients, resamples=20, seed=3).chunks()), axis=1)
    assert found["mae_of_mean"][0] == pytest.approx(np.nanmean(abs(target - 1001)))
    for column in range(21):
        repeated = np.repeat(np.arange(len(target)), times[draws.patient, column].astype(int))
        wanted = expected(target[repeated], pred[repeated])
        assert {name: found[name][column] for name in wanted} == pytest.approx(wanted, rel=1e-8)


@pytest.mark.parametrize(
    ("target", "pred", "defined"),
    [
        ([0.1, 0.1, 0.1, NAN], [1.0, 2.0, 3.0, 4.0], {"mae", "rmse"}),  # 3 x 0.1 is not 0.3
        ([1.0, 2.0, 4.0], [0.1, 0.1, 0.1], {"mae", "rmse", "r2"}),
        ([3.0], [2.0], {"mae", "rmse"}),
        ([NAN, NAN], [1.0, 2.0], set()),
        ([], [], set()),
    ],
)
def test_what_is_constant_or_unknown_is_undefined(target, pred, defined):
    assert {name for name, value in value_scores(target, pred).items() if not np.isnan(value)} == defined


def test_a_case_without_prediction_is_refused():
    with pytest.raises(ValueError, match="a prediction for each case expected, found 1 times NaN"):
        value_scores([1.0, 2.0], [NAN, 2.0])
