import numpy as np
import pytest

from medimg.errors import ConfigError
from medimg.submission.formats import FORMATS
from medimg.submission.relabel import meaning_of, relabelled, value_map


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ({"NCR": 1, "ED": 2, "ET": 4}, "brats2023", {1: 1, 2: 2, 4: 3}),
        ({"NCR": 1, "ED": 2, "ET": 3}, "brats2021", {1: 1, 2: 2, 3: 4}),
        ({"WT": 2, "TC": 1, "ET": 4}, "brats2023", {2: 2, 1: 1, 4: 3}),
        ({"edema": 1, "non-enhancing tumor": 2, "enhancing tumour": 3}, "brats2023", {1: 2, 2: 1, 3: 3}),
        ({"NETC": 1, "SNFH": 2, "ET": 3, "RC": 4}, "brats2024-gli", {1: 1, 2: 2, 3: 3, 4: 4}),
        ({"ET": 1, "NET": 2, "CC": 3, "ED": 4}, "brats2024-ped", {1: 1, 2: 2, 3: 3, 4: 4}),
        ({"liver": 1}, "decathlon", {1: 1}),
        ({"WT": 1, "TC": 2, "ET": 3}, "decathlon", {1: 1, 2: 2, 3: 3}),
        ({}, "brats2023", {}),
    ],
)
def test_values_go_by_the_names_of_the_classes(source, target, expected):
    assert value_map(source, FORMATS[target]) == expected


def test_a_class_that_the_format_lacks_is_named():
    with pytest.raises(ConfigError, match="the masks hold RC, and this format knows NCR, ED, ET"):
        value_map({"ET": 3, "RC": 4}, FORMATS["brats2023"])


@pytest.mark.parametrize("text", ["ET", "ET=", "ET=0", "ET=x", "=3", "a=1,a=2", "a=300"])
def test_labels_that_cannot_be_read(text):
    with pytest.raises(ConfigError, match="--labels: cannot read"):
        meaning_of(text)


def test_swapped_values_do_not_run_into_each_other():
    mask = np.array([[[0, 1, 2, 3]]], np.uint8)
    assert relabelled(mask, {1: 2, 2: 1, 3: 3}).tolist() == [[[0, 2, 1, 3]]]
    assert mask.tolist() == [[[0, 1, 2, 3]]]
    assert relabelled(mask, {1: 1}) is mask
