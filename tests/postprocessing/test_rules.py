import json

import numpy as np
import pytest

from medimg.errors import DataError
from medimg.postprocessing.components import drop_small, fill_holes, keep_largest
from medimg.postprocessing.rules import KINDS, Rule, apply_rules, read_rules, write_rules

RULES = (
    Rule("inside", "TC", (1, 3), other=(1, 2, 3), other_name="WT"),
    Rule("keep_largest", "WT", (1, 2, 3), connectivity=6),
    Rule("min_volume", "ET", (3,), 12.5),
    Rule("replace_small", "ET", (3,), 200.0, (1,), "NCR"),
    Rule("fill_holes", "WT", (1, 2, 3)),
    Rule("fill_slices", "2", (2,)),
)


def test_every_kind_is_written_read_and_named(tmp_path):
    write_rules(tmp_path / "rules.json", RULES, {"cases": 3})
    assert read_rules(tmp_path / "rules.json") == RULES
    assert json.loads((tmp_path / "rules.json").read_text())["search"] == {"cases": 3}
    assert tuple(rule.rule for rule in RULES) == KINDS
    assert [str(rule) for rule in RULES] == [
        "inside TC:WT",
        "keep_largest WT",
        "min_volume ET=12.5",
        "replace_small ET:NCR:200",
        "fill_holes WT",
        "fill_slices 2",
    ]


def test_rules_apply_in_their_order_and_only_where_there_is_something():
    rng = np.random.default_rng(0)
    mask = np.zeros((20, 21, 22), np.uint8)
    mask[4:15, 5:16, 6:17] = rng.choice([0, 1, 1, 1], (11, 11, 11))
    rules = [
        Rule("fill_holes", "1", (1,)),
        Rule("min_volume", "1", (1,), 6.0),
        Rule("keep_largest", "1", (1,)),
    ]
    by_hand = keep_largest(drop_small(fill_holes(mask, [1]), [1], min_volume_mm3=6, voxel_mm3=2), [1])
    np.testing.assert_array_equal(apply_rules(mask, rules, voxel_mm3=2.0), by_hand)
    assert not apply_rules(np.zeros((3, 3), np.uint8), rules, voxel_mm3=1.0).any()


def test_holes_stay_open_at_the_border_of_the_volume():
    mask = np.ones((5, 5), np.uint8)
    mask[2, 2] = mask[0, 2] = 0
    assert apply_rules(mask, [Rule("fill_holes", "1", (1,))], voxel_mm3=1.0).sum() == 24


def test_every_rule_of_the_list_runs_on_volumes_and_pictures():
    rng = np.random.default_rng(1)
    for shape in ((9, 10, 11), (30, 31)):
        mask = rng.choice(np.array([0, 0, 0, 1, 2, 3], np.int16), shape)
        mended = apply_rules(mask, RULES, voxel_mm3=1.0)
        assert (mended.shape, mended.dtype) == (mask.shape, mask.dtype)
        assert (mended != mask).any()


def test_a_label_that_the_mask_cannot_hold_is_refused():
    rule = Rule("replace_small", "a", (1,), 9.0, (300,), "b")
    with pytest.raises(DataError, match="the mask holds labels up to 255 only"):
        apply_rules(np.ones((2, 2), np.uint8), [rule], voxel_mm3=1.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rule": "shrink", "name": "a", "values": (1,)}, "a rule of inside, keep_largest"),
        ({"rule": "keep_largest", "name": "a", "values": ()}, "label values of at least 1"),
        ({"rule": "keep_largest", "name": "a", "values": (0,)}, "label values of at least 1"),
        (
            {"rule": "keep_largest", "name": "a", "values": (1,), "connectivity": 8},
            "connectivity 6, 18 or 26",
        ),
        ({"rule": "keep_largest", "name": "a", "values": (1,), "volume_mm3": 3.0}, "no volume expected"),
        ({"rule": "min_volume", "name": "a", "values": (1,)}, "a volume above 0 expected"),
        (
            {"rule": "min_volume", "name": "a", "values": (1,), "volume_mm3": -1.0},
            "a volume above 0 expected",
        ),
        ({"rule": "inside", "name": "a", "values": (1,)}, "another class expected"),
        ({"rule": "inside", "name": "a", "values": (1, 2), "other": (1,)}, "no label beside those of a"),
        (
            {"rule": "replace_small", "name": "a", "values": (1,), "volume_mm3": 3.0, "other": (1,)},
            "one other label value",
        ),
    ],
)
def test_rules_that_mean_nothing_are_refused(fields, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        Rule(**fields)
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
    (tmp_path / "rules.json").write_text(json.dumps({"rules": [plain]}))
    with pytest.raises(DataError, match=f"rule 1 cannot be used: .*{message}"):
        read_rules(tmp_path / "rules.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as rules"),
        ("[]", "found no such list"),
        ('{"rules": [{"rule": "keep_largest", "values": [1]}]}', "rule 1 cannot be used: lacks 'name'"),
        ('{"rules": [3]}', "rule 1 cannot be used"),
        ('{"rules": [{"rule": "keep_largest", "name": "a", "values": [1.5]}]}', "whole label values"),
    ],
)
def test_files_that_hold_no_rules_are_refused(text, message, tmp_path):
    (tmp_path / "rules.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_rules(tmp_path / "rules.json")
    with pytest.raises(DataError, match=r"none\.json: cannot be read as rules"):
        read_rules(tmp_path / "none.json")
