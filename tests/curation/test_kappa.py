import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from medimg.curation.kappa import CohenKappa, FleissKappa, cohen_kappa, fleiss_kappa

# Fleiss 1971, table 1: diagnoses of 30 patients by six psychiatrists each: depression, personality disorder,
# schizophrenia, neurosis, other.
FLEISS_1971 = """00060 03003 01401 00006 03030 20400 00402 20310 20040 00006 10050 11040 03300 10050 02031 00501 30012
51000 02040 10203 00006 01050 02013 20040 10041 05010 40002 02040 10500 00006"""


def test_the_worked_example_of_fleiss():
    counts = [[int(number) for number in row] for row in FLEISS_1971.split()]
    assert np.sum(counts, axis=0).tolist() == [26, 26, 30, 55, 43]
    table = FleissKappa.of_counts(counts)
    agreement, kappa = table.figures(np.ones((30, 1)))
    assert agreement[0] == pytest.approx(0.5556, abs=1e-4)  # the paper: P = .5556, kappa = .430
    assert kappa[0] == pytest.approx(0.430, abs=5e-4)
    values = np.array([np.repeat(np.arange(5), row) for row in counts], float)
    assert FleissKappa(values).figures(np.ones((30, 1)))[1][0] == pytest.approx(float(kappa[0]))


def test_an_example_of_fourteen_raters():
    # Ten subjects and fourteen raters, a common textbook table whose kappa is .210.
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss_kappa(counts) == pytest.approx(0.210, abs=5e-4)


def test_lone_readings_take_no_part_and_one_value_is_no_kappa():
    assert fleiss_kappa([[2, 0], [0, 2], [1, 0], [0, 0]]) == 1.0
    assert np.isnan(fleiss_kappa([[3, 0], [3, 0]]))
    assert np.isnan(fleiss_kappa([[1, 0], [0, 1]]))


@pytest.mark.parametrize("weighting", ["none", "linear", "quadratic"])
@pytest.mark.parametrize("seed", range(4))
def test_cohen_is_that_of_scikit_learn(weighting, seed):
    rng = np.random.default_rng(seed)
    first = rng.integers(1, 6, size=80)
    second = np.clip(first + rng.integers(-1, 2, size=80), 1, 5)
    expected = cohen_kappa_score(
        first, second, labels=range(1, 6), weights=None if weighting == "none" else weighting
    )
    assert cohen_kappa(first, second, weighting=weighting) == pytest.approx(expected)


def test_missing_readings_are_left_out():
    nan = float("nan")
    assert cohen_kappa([0, 0, 1, 1, nan, 0], [0, 1, 1, 1, 1, nan]) == pytest.approx(0.5)
    assert np.isnan(cohen_kappa([1, 1], [1, 1]))
    assert np.isnan(cohen_kappa([nan], [1]))
    assert cohen_kappa([1, 1], [1, 0]) == 0.0  # as scikit-learn has it


def test_weights_are_repeated_cases():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 3, size=(2, 20)).astype(float)
    times = rng.integers(0, 4, size=20)
    table = CohenKappa(first, second)
    matrices = table.matrices(times[:, None].astype(float))
    assert table.kappa(matrices, "linear")[0] == pytest.approx(
        cohen_kappa(np.repeat(first, times), np.repeat(second, times), weighting="linear")
    )
    assert table.agreement(matrices)[0] == pytest.approx(
        np.mean(np.repeat(first, times) == np.repeat(second, times))
    )
