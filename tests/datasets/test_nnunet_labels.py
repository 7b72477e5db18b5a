from pathlib import Path

import pytest

from medimg.datasets.nnunet_labels import plan_labels
from medimg.errors import DataError

PATH = Path("dataset.json")


def test_plain_classes_keep_the_order_of_the_file():
    plan = plan_labels(PATH, {"background": 0, "b": 2, "a": 1, "ignore": 3}, None)
    assert list(plan.labels.items()) == [("b", 2), ("a", 1)]
    assert plan.ignore == 3
    assert not plan.regions


def test_values_of_regions_are_all_labels():
    plan = plan_labels(PATH, {"background": 0, "whole": [1, 2, 3], "core": [2, 3]}, [1, 2])
    assert dict(plan.labels) == {"label_1": 1, "label_2": 2, "label_3": 3}
    assert dict(plan.region_labels) == {"whole": 1, "core": 2}


@pytest.mark.parametrize(
    ("labels", "order", "said"),
    [
        ({}, None, "expected labels"),
        ({"background": 1}, None, "must have the value 0"),
        ({"background": 0, "a": "1"}, None, "must be a number"),
        ({"background": 0, "a": []}, [1], "must be a number"),
        ({"background": 0, "a": True}, None, "must be a number"),
        ({"background": 0, "a": 1, "b": 1}, None, "share a value"),
        ({"background": 0, "a": 2, "ignore": 1}, None, "highest"),
        ({"background": 0, "a": [1, 2], "ignore": 2}, [1], "another label"),
        ({"background": 0, "a": [1, 2], "b": 2}, None, "regions_class_order must list 2"),
        ({"background": 0, "a": [1, 2], "b": 2}, [1], "regions_class_order must list 2"),
        ({"background": 0, "a": [1, 2], "b": 2}, [1, "x"], "regions_class_order must list 2"),
    ],
)
def test_what_cannot_be_meant_is_refused(labels, order, said):
    with pytest.raises(DataError, match=said):
        plan_labels(PATH, labels, order)
