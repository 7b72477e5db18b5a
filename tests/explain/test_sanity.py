import numpy as np
import torch
from scipy import stats

from medimg.explain.sanity import randomised, rank_correlation
from medimg.models import TimmClassifier


def test_every_weight_is_another_and_the_original_stays():
    network = TimmClassifier("test_vit", 1, in_channels=1).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    other = randomised(network, seed=1)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    weights = [name for name, value in network.named_parameters() if value.ndim > 1]
    assert weights and not any(torch.equal(other.state_dict()[name], before[name]) for name in weights)
    assert not other.training
    again = randomised(network, seed=1).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in other.state_dict().items())


def test_rank_correlation_is_scipys_and_0_for_a_constant():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 4, 5))
    assert rank_correlation(first, second) == np.round(
        stats.spearmanr(first.ravel(), second.ravel()).statistic, 12
    )
    assert rank_correlation(first, -first) == -1
    assert rank_correlation(first, np.zeros((4, 5))) == 0
