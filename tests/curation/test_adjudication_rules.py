import numpy as np
import pytest

from medimg.curation.adjudication_rules import parse_rule
from medimg.errors import ConfigError


@pytest.mark.parametrize("text", ["", "dice<2", "dice", "distance<1", "kappa<0.5", "differs and lesion"])
def test_what_is_no_rule_is_refused(text):
    with pytest.raises(ConfigError, match="--rule: expected differs"):
        parse_rule(text)


def test_labels():
    nan, rule = float("nan"), parse_rule("distance > 1")
    assert [rule.of_labels(*pair) for pair in ((1, 2), (1, 3), (nan, 1), (nan, nan))] == [
        "",
        "distance 2 > 1",
        "one answer only",
        "",
    ]
    assert [parse_rule("differs").of_labels(*pair) for pair in ((1, 2), (2, 2))] == ["differs", ""]


def test_masks():
    first, second = np.zeros((2, 4, 9, 9), np.int16)
    first[0, 0:2, 0:6], second[0, 0:2, 0:4] = 1, 1  # Dice 16 / 20
    assert parse_rule("dice<0.8").of_masks(first, second, {"a": 1}) == []
    assert parse_rule("dice<0.81 or differs").of_masks(first, second, {"a": 1, "b": 2}) == [
        "a: differs, Dice 0.800",
        "a: Dice 0.800 < 0.81",
    ]
    assert parse_rule("lesion").of_masks(first, second, {"a": 1}) == []
    second[3, 8, 8] = 1
    first[3, 0, 8], first[2, 1, 7] = 1, 1  # one lesion by its corner
    assert parse_rule("lesion").of_masks(first, second, {"a": 1}) == ["a: 2 lesions that only one has"]
