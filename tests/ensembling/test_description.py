import json
from dataclasses import replace

import pytest

from medimg.ensembling.description import (
    ChannelScheme,
    Description,
    agreed_description,
    channel_scheme,
    read_description,
)
from medimg.errors import ConfigError, DataError

SOFTMAX = Description(("a", "b"), "softmax", {"a": 1, "b": 4}, split="s1", checkpoint="best.ckpt")


def test_reads_what_the_writer_of_predictions_wrote(tmp_path):
    facts = {"classes": ["a", "b"], "checkpoint": "best.ckpt", "split": "s1", "head": "softmax"}
    facts |= {"labels": {"a": 1, "b": 4}, "cases": {"c": {"shape": [1, 2, 3]}}}
    facts |= {"fold": 3, "part": "predict", "in_split": 0}
    (tmp_path / "predictions.json").write_text(json.dumps(facts))
    assert read_description(tmp_path) == replace(SOFTMAX, fold=3, part="predict", in_split=0)


def test_a_folder_without_a_description_says_nothing(tmp_path):
    assert read_description(tmp_path) == Description()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[1]", "expected names and values, found list"),
        ('{"classes": "ab"}', "expected a list of names as classes"),
        ('{"labels": {"a": "1"}}', "whole number for each of the labels"),
        ('{"labels": {"a": true}}', "whole number for each of the labels"),
        ('{"head": 1}', "expected a word as head"),
        ('{"fold": "1"}', "expected a whole number as fold"),
        ('{"part": 1}', "expected a word as part"),
    ],
)
def test_a_damaged_description_is_refused(tmp_path, text, message):
    (tmp_path / "predictions.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_description(tmp_path)


def test_members_that_say_nothing_do_not_disagree():
    common = agreed_description(["A", "B"], [Description(), SOFTMAX], "probabilities")
    assert common == replace(SOFTMAX, checkpoint=None)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("probabilities", {"classes": ("b", "a")}),
        ("probabilities", {"head": "sigmoid"}),
        ("probabilities", {"labels": {"a": 1, "b": 3}}),
        ("probabilities", {"labels": {"b": 4, "a": 1}}),
        ("masks", {"classes": ("a", "c")}),
        ("masks", {"labels": {"a": 1, "b": 3}}),
        ("table", {"classes": ("a",)}),
    ],
)
def test_members_that_mean_something_else_are_refused(kind, change):
    with pytest.raises(
        DataError, match=f"expected the same {next(iter(change))} in all members.* in A .* in B"
    ):
        agreed_description(["A", "B"], [SOFTMAX, replace(SOFTMAX, **change)], kind)


def test_several_targets_at_once_are_not_combined():
    several = Description(classes=("a", "size_mm"), task="targets")
    with pytest.raises(DataError, match="B: predicts several targets at once, numbers among them"):
        agreed_description(["A", "B"], [Description(task="binary"), several], "table")


def test_masks_meet_whatever_head_and_order_of_channels_they_come_from():
    other = replace(SOFTMAX, classes=("b", "a"), labels={"b": 4, "a": 1}, head="sigmoid")
    common = agreed_description(["A", "B"], [SOFTMAX, other], "masks")
    assert common.labels == {"a": 1, "b": 4}
    assert common.head is None


def test_members_of_two_splits_are_refused_unless_asked_for():
    two = [SOFTMAX, replace(SOFTMAX, split="s2")]
    with pytest.raises(DataError, match="two splits: A has split s1, B s2"):
        agreed_description(["A", "B"], two, "masks")
    assert agreed_description(["A", "B"], two, "masks", mixed_splits=True).split is None


def folds(*changes):
    return [replace(SOFTMAX, **change) for change in changes]


@pytest.mark.parametrize(
    "safe",
    [
        ({"fold": 0, "part": "test"}, {"fold": 1, "part": "test"}),
        ({"fold": 0, "part": "predict", "in_split": 0}, {"fold": 1, "part": "predict", "in_split": 0}),
        ({"fold": 0, "part": "predict", "in_split": 0}, {"part": "test"}),
        ({"fold": 0, "part": "validation"}, {"fold": 0, "part": "validation"}),
        ({"part": "validation"}, {"part": "validation"}),  # out of fold, both
        ({"fold": 0}, {"fold": 0, "part": "predict", "in_split": 9}),
        ({"fold": 0, "part": "predict", "in_split": 9}, {"split": None}),
    ],
)
def test_folds_meet_on_cases_that_none_of_them_was_trained_on(safe):
    common = agreed_description(["A", "B"], folds(*safe), "masks")
    assert common.split == "s1"
    assert common.fold in (None, 0)


@pytest.mark.parametrize(
    ("unsafe", "said"),
    [
        (
            ({"fold": 0, "part": "test"}, {"fold": 1, "part": "predict", "in_split": 9}),
            "B predicts 9 cases of the split",
        ),
        (
            ({"fold": 0, "part": "validation"}, {"fold": 1, "part": "validation"}),
            "A predicts validation cases",
        ),
        (({"part": "test"}, {"fold": 1, "part": "predict"}), "B predicts cases of which nothing says"),
        (({"fold": 0}, {"fold": 1}), "A predicts cases of which nothing says"),
        (
            ({"part": "validation"}, {"fold": 1, "part": "predict", "in_split": 9}),
            r"\(several, 1\) of the split s1",
        ),
    ],
)
def test_folds_that_may_have_seen_each_others_cases_are_refused_unless_asked_for(unsafe, said):
    with pytest.raises(DataError, match=f"members of different folds.*{said}"):
        agreed_description(["A", "B"], folds(*unsafe), "masks")
    assert agreed_description(["A", "B"], folds(*unsafe), "masks", mixed_splits=True).split == "s1"


def test_the_scheme_follows_the_classes():
    assert channel_scheme(Description()) == ChannelScheme("softmax", None)
    assert channel_scheme(Description(classes=("a", "b"))).values == (0, 1, 2)
    assert channel_scheme(SOFTMAX).values == (0, 1, 4)
    regions = Description(("ET", "WT", "TC"), "sigmoid", {"WT": 2, "TC": 1, "ET": 3})
    assert channel_scheme(regions) == ChannelScheme("sigmoid", (3, 2, 1), (1, 2, 0))


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (Description(head="relu"), "found 'relu'"),
        (Description(("a",), "softmax", {"b": 1}), "a label for each of the classes"),
        (Description(("a",), "sigmoid"), "need classes and labels"),
    ],
)
def test_a_scheme_that_cannot_be_written_is_refused(description, message):
    with pytest.raises(ConfigError, match=message):
        channel_scheme(description)


@pytest.mark.parametrize(
    ("members", "part", "in_split"),
    [
        (({"part": "validation"}, {"part": "validation"}), "validation", None),
        (
            ({"part": "validation"}, {"part": None}),
            None,
            None,
        ),  # one member's word does not hold for the other
        (({"part": None, "split": None}, {"part": "validation"}), None, None),
        (({"part": "validation"}, {"part": "test"}), "test", None),
        (({"part": "predict", "in_split": 0}, {"part": None, "split": None}), "predict", None),
        (({"part": "predict", "in_split": 0}, {"part": "predict", "in_split": 0}), "predict", 0),
        (({"part": None}, {"part": "predict", "in_split": 9}), "predict", 9),
    ],
)
def test_cases_are_unseen_only_if_all_members_say_so(members, part, in_split):
    common = agreed_description(["A", "B"], folds(*members), "masks")
    assert (common.part, common.in_split) == (part, in_split)
