import pytest

from medimg.errors import ConfigError
from medimg.postprocessing.rule_words import parse_rules, values_of
from medimg.postprocessing.rules import Rule

CLASSES = {"NCR": (1,), "ED": (2,), "ET": (3,), "WT": (1, 2, 3), "TC": (1, 3)}


def test_the_options_are_read_in_the_order_in_which_they_apply():
    words = {
        "fill_holes": "WT",
        "replace_small": "ET:NCR:200,ED:0:5",
        "min_volume": "ET=50, 2+NCR=7.5",
        "keep_largest": "WT",
        "inside": "TC:WT",
        "fill_slices": None,
    }
    assert parse_rules(words, CLASSES, connectivity=18) == (
        Rule("inside", "TC", (1, 3), None, (1, 2, 3), "WT", 18),
        Rule("keep_largest", "WT", (1, 2, 3), connectivity=18),
        Rule("min_volume", "ET", (3,), 50.0, connectivity=18),
        Rule("min_volume", "2+NCR", (1, 2), 7.5, connectivity=18),
        Rule("replace_small", "ET", (3,), 200.0, (1,), "NCR", 18),
        Rule("replace_small", "ED", (2,), 5.0, (0,), "0", 18),
        Rule("fill_holes", "WT", (1, 2, 3), connectivity=18),
    )
    assert parse_rules({}, {}) == ()


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("keep_largest", "liver", "there is no class 'liver'; known are NCR, ED"),
        ("keep_largest", "0", "there is no class '0'"),
        ("min_volume", "ET", "'' is no volume above 0 mm3. Expected NAME=MM3, such as ET=50"),
        ("min_volume", "ET=-3", "'-3' is no volume"),
        ("min_volume", "ET=nan", "'nan' is no volume"),
        ("replace_small", "ET:NCR", "cannot be read. Expected FROM:TO:MM3"),
        ("replace_small", "ET:WT:5", "one other label value"),
        ("replace_small", "ET::5", "another class expected"),
        ("inside", "WT", "cannot be read. Expected INNER:OUTER"),
        ("inside", "WT:TC", "TC holds no label beside those of WT"),
    ],
)
def test_words_that_cannot_be_meant_are_refused_by_option(kind, text, message):
    with pytest.raises(ConfigError, match=f"^--{kind} {text}: .*{message}"):
        parse_rules({kind: text}, CLASSES)


def test_without_any_class_the_option_that_names_them_is_shown():
    with pytest.raises(ValueError, match="no class has a name; name them with --labels"):
        values_of("ET", {})
