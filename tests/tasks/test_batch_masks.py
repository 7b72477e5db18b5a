"""Masks of a batch are refused before a loss stumbles over them."""

import pytest
import torch

from medimg import keys
from medimg.errors import ConfigError, DataError
from medimg.tasks.batch_masks import checked_masks


def batch(values, names=("a", "b")):
    mask = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    mask[1, 0, 0, : len(values)] = torch.tensor(values, dtype=torch.uint8)
    return {keys.MASK: mask, keys.CASE_ID: list(names)}


def test_known_values_and_unknown_pixels_pass():
    given = batch([1, 2, 255])
    assert checked_masks(given, channels=3) is given[keys.MASK]


@pytest.mark.parametrize(
    ("names", "who"), [(("a", "b"), "the mask of b"), (("study",), "the mask of an image of study")]
)
def test_another_value_is_named_with_its_case(names, who):
    with pytest.raises(DataError, match=f"{who} holds the value 7, and the network has 3 channels"):
        checked_masks(batch([2, 7], names), channels=3)


def test_data_without_masks_are_told_how_to_give_them():
    with pytest.raises(ConfigError, match=r"set data\.init_args\.batch\.masks to true"):
        checked_masks({keys.CASE_ID: ["a"]}, channels=2)
