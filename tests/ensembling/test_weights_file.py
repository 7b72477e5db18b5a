import json
import math
from dataclasses import replace

import pytest

from medimg.ensembling.weights_file import FoldWeights, SearchedWeights, read_weights, write_weights
from medimg.errors import ConfigError, DataError
from medimg.scoring.bootstrap import Interval

FOUND = SearchedWeights(
    search="greedy",
    method="mean",
    objective="auroc",
    members=("a", "b"),
    weights=(0.75, 0.25),
    folds=(FoldWeights((1.0, 0.0), ("c1",)), FoldWeights((0.5, 0.5), ("c2", "c3"))),
    singles=(0.8, 0.9),
    equal=0.85,
    in_sample=0.95,
    nested=0.86,
    gain=Interval(0.01, -0.02, 0.03, 3, 0),
    split="s1",
)


def test_what_is_written_says_it_all_and_is_read(tmp_path):
    write_weights(tmp_path, FOUND)
    content = json.loads((tmp_path / "weights.json").read_text())
    assert content["scores"] == {
        "best_single": {"member": "b", "value": 0.9},
        "singles": [0.8, 0.9],
        "equal": 0.85,
        "searched_in_sample": 0.95,
        "searched_nested": 0.86,
        "nested_gain_over_equal": {
            "mean": 0.01, "low": -0.02, "high": 0.03, "n": 3, "n_left_out": 0, "level": 0.95,
        },
    }  # fmt: skip
    assert (content["objective"], content["split"], content["n_cases"]) == ("auroc", "s1", 3)
    known = read_weights(tmp_path / "weights.json", ["x", "y"], "mean")
    assert (known.weights, known.members, known.cases) == ((0.75, 0.25), ("a", "b"), {"c1", "c2", "c3"})


def test_unknown_numbers_are_valid_json(tmp_path):
    write_weights(tmp_path, replace(FOUND, gain=Interval(0.01, math.nan, math.nan, 1, 0)))
    text = (tmp_path / "weights.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["scores"]["nested_gain_over_equal"]["low"] is None


def test_the_table_names_what_flatters_and_what_is_honest():
    lines = FOUND.table().splitlines()
    assert lines[1].split()[:4] == ["best", "single", "member", "0.9000"]
    assert "flatters" in lines[3]
    assert "honest" in lines[4]
    assert "+0.0100" in lines[5]
    assert "-0.0200 to +0.0300" in lines[5]
    assert "lower is better" in replace(FOUND, objective="log_loss").table().splitlines()[0]
    assert replace(FOUND, objective="log_loss").best == 0


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.01, 0.02, "better than equal"), (-0.02, -0.01, "worse than equal"), (-0.1, 0.1, "cannot be told")],
)
def test_the_verdict_follows_the_interval(low, high, words):
    assert words in replace(FOUND, gain=Interval(0.0, low, high, 3, 0)).verdict()


def test_other_members_or_another_method_are_refused(tmp_path):
    write_weights(tmp_path, FOUND)
    path = tmp_path / "weights.json"
    with pytest.raises(ConfigError, match="expected its 2 members, a, b, in this order; found 3: x, y, z"):
        read_weights(path, ["x", "y", "z"], "mean")
    with pytest.raises(ConfigError, match="found for --method mean, found --method rank"):
        read_weights(path, ["x", "y"], "rank")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"members": ["a"], "weights": ["x"], "folds": []}'])
def test_a_damaged_file_is_refused(tmp_path, text):
    (tmp_path / "weights.json").write_text(text)
    with pytest.raises(DataError, match=r"cannot be read as weights\.json"):
        read_weights(tmp_path / "weights.json", ["x"], "mean")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_weights(tmp_path / "weights.json", ["x"], "mean")
