import numpy as np
import pytest

from medimg.io.raster import write_png
from medimg.postprocessing.candidates import Volumes, make_candidates, measure, with_foreground


def test_volumes_of_a_mask(tmp_path):
    mask = np.zeros((9, 9), np.uint8)
    mask[0, :4], mask[2, :2], mask[4, 0], mask[8] = 1, 1, 1, 2
    write_png(tmp_path / "a.png", mask)
    found = measure(tmp_path / "a.png", {"a": (1,), "b": (2,), "c": (3,)})
    assert {name: volumes.tolist() for name, volumes in found.parts.items()} == {
        "a": [1, 2],
        "b": [],
        "c": [],
    }
    assert found.whole == {"a": 7, "b": 9, "c": 0}


def test_limits_stand_just_above_quantiles_of_what_is_there():
    parts = np.arange(1.0, 102.0)
    rules = make_candidates({"a": (1,)}, [Volumes({"a": parts}, {"a": 1234.5})])
    limits = [rule.volume_mm3 for rule in rules if rule.rule == "min_volume"]
    assert limits == [26.1, 51.1, 76.1, 91.1]
    assert [rule.volume_mm3 for rule in rules if rule.rule == "replace_small"] == [1240.0]


def test_nothing_is_tried_that_can_change_nothing():
    clean = Volumes({"a": np.array([])}, {"a": 0.0})
    assert [str(rule) for rule in make_candidates({"a": (1,)}, [clean])] == ["fill_holes a", "fill_slices a"]


def test_regions_and_labels_of_brats():
    classes = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}
    one = Volumes({name: np.array([5.0]) for name in classes}, dict.fromkeys(classes, 50.0))
    rules = [str(rule) for rule in make_candidates(classes, [one])]
    assert [rule for rule in rules if rule.startswith("inside")] == [
        "inside TC:WT",
        "inside ET:WT",
        "inside ET:TC",
    ]
    assert [rule for rule in rules if rule.startswith("replace")] == [
        "replace_small WT:0:50.1",
        "replace_small TC:0:50.1",
        "replace_small ET:0:50.1",
        "replace_small ET:1:50.1",
        "replace_small ET:2:50.1",
    ]


@pytest.mark.parametrize(("classes", "added"), [({"a": (1,)}, []), ({"a": (1,), "b": (2,)}, ["a+b"])])
def test_the_whole_foreground_is_tried_as_one(classes, added):
    assert list(with_foreground(classes)) == [*classes, *added]
