import math

import pytest

from medimg.ensembling.weights import normalised_weights, read_weight_words
from medimg.errors import ConfigError


def test_weights_add_up_to_one():
    assert normalised_weights([2, 1, 1], 3) == (0.5, 0.25, 0.25)
    assert normalised_weights([0, 3], 2) == (0.0, 1.0)
    assert math.fsum(normalised_weights(None, 7)) == pytest.approx(1)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 1], "expected one number for each of the 3 members, found 2: 1 1"),
        ([1, 1, 1, 1], "found 4"),
        ([], "found 0"),
        ([1, -1, 1], "at least 0, found 1 -1 1"),
        ([1, math.nan, 1], "finite"),
        ([1, math.inf, 1], "finite"),
        ([0, 0, 0], "positive finite sum"),
        ([1e308, 1e308, 1e308], "positive finite sum"),
    ],
)
def test_weights_that_say_nothing_are_refused(weights, message):
    with pytest.raises(ConfigError, match=message):
        normalised_weights(weights, 3)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (None, None),
        (["equal"], None),
        (["greedy"], "greedy"),
        (["simplex"], "simplex"),
        (["2", "0.5"], [2, 0.5]),
        ([1, 2.0], [1, 2]),
    ],
)
def test_words_are_numbers_or_a_search(words, expected):
    assert read_weight_words(words) == expected


@pytest.mark.parametrize("words", [["gredy"], ["greedy", "1"], ["1", "run_a"]])
def test_other_words_are_refused(words):
    with pytest.raises(
        ConfigError, match=f"expected equal, greedy, simplex, or one number.*found {' '.join(words)}"
    ):
        read_weight_words(words)
