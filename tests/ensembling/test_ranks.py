import numpy as np
import pytest
from scipy.stats import rankdata

from medimg.ensembling.ranks import percentile_ranks


@pytest.mark.parametrize("levels", [2, 5, 1000])
@pytest.mark.parametrize("number", [1, 2, 7, 200])
def test_ranks_are_those_of_scipy(levels, number):
    values = np.random.default_rng(number).integers(0, levels, number) / levels
    np.testing.assert_allclose(percentile_ranks(values), rankdata(values, "average") / number)


def test_all_cases_alike_share_the_middle():
    assert percentile_ranks([0.3, 0.3, 0.3]).tolist() == [2 / 3] * 3


def test_a_scale_does_not_matter():
    values = np.random.default_rng(0).random(50)
    np.testing.assert_array_equal(percentile_ranks(values), percentile_ranks(values**9))
