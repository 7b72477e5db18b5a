"""Rows as vectors: standardised by the training cases, missing and unknown values told apart."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch.testing import assert_close

from medimg.errors import ConfigError, DataError
from medimg.models import TableEncoder

NAN = float("nan")


def make(**options):
    torch.manual_seed(0)
    return TableEncoder(["age", "marker"], {"sex": ["F", "M"]}, **options).eval()


def test_numbers_are_standardised_as_by_scikit_learn_and_missing_ones_left_out():
    rng = np.random.default_rng(0)
    table = rng.normal([50, -3], [10, 0.5], (40, 2))
    table[::7, 1] = np.nan
    encoder = make()
    encoder.fit(torch.from_numpy(table))
    reference = StandardScaler().fit(table)
    assert_close(encoder.mean, torch.from_numpy(reference.mean_).float())
    assert_close(encoder.spread, torch.from_numpy(reference.scale_).float())


def test_a_constant_column_stays_finite_and_statistics_travel_with_the_weights():
    encoder = make()
    encoder.fit(torch.tensor([[4.0, 1.0], [4.0, 3.0]]))
    assert encoder.spread.tolist() == [1.0, 1.0]
    other = make()
    other.load_state_dict(encoder.state_dict())
    row, codes = torch.tensor([[4.0, NAN]]), torch.tensor([[2]])
    assert_close(other.features(row, codes), encoder.features(row, codes))
    assert encoder.mean.tolist() == [4.0, 2.0]


def test_a_missing_number_is_none_of_the_known_ones_and_unknown_categories_share_an_answer():
    encoder = make()
    encoder.fit(torch.tensor([[40.0, 0.0], [60.0, 2.0]]))
    one = torch.tensor([[2]])
    with torch.no_grad():
        mean = encoder.features(torch.tensor([[50.0, 1.0]]), one)
        missing = encoder.features(torch.tensor([[50.0, NAN]]), one)
        # The learned value starts at the mean, so the flag alone tells the two apart.
        assert (mean - missing).abs().max() > 1e-3
        row = torch.tensor([[50.0, 1.0]])
        answers = [encoder.features(row, torch.tensor([[code]])) for code in range(4)]
    for a in range(4):
        for b in range(a):
            assert (answers[a] - answers[b]).abs().max() > 1e-3
    assert_close(encoder.features(row), answers[0])  # no codes: all missing


def test_parameters_are_those_of_two_layers_and_the_embeddings():
    encoder = make(width=16, embedding=5)
    inputs = 2 * 2 + 5
    assert sum(p.numel() for p in encoder.parameters()) == (inputs + 1) * 16 + 17 * 16 + 4 * 5 + 2
    assert encoder.features(torch.zeros(3, 2)).shape == (3, encoder.num_features) == (3, 16)


def test_what_cannot_be_used_is_refused():
    with pytest.raises(ConfigError, match="one column or more, each once, found age, age"):
        TableEncoder(["age"], {"age": ["x"]})
    with pytest.raises(ConfigError, match="found none"):
        TableEncoder()
    with pytest.raises(DataError, match=r"no training case has a value of marker: .* Remove the column"):
        make().fit(torch.tensor([[4.0, NAN]]))
    with pytest.raises(ConfigError, match="takes 2 numbers and 1 categories, and the data give 3 and 1"):
        make().features(torch.zeros(2, 3))
