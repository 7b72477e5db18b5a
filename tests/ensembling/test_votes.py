import numpy as np
import pytest

from medimg.ensembling import votes as votes_module
from medimg.ensembling.votes import VotePatterns, majority


def gather(masks):
    votes = VotePatterns(masks[0].shape)
    for mask in masks:
        votes.add(mask)
    return votes


def plain_majority(masks, weights):
    """Voxel by voxel, label by label."""
    result = np.zeros(masks[0].shape, np.int16)
    for label in np.unique(masks):
        share = sum(weight * (mask == label) for mask, weight in zip(masks, weights, strict=True))
        result[share > 0.5 + 1e-9] = label
    return result


@pytest.mark.parametrize("counted", [1 << 22, 1], ids=["counted", "sorted"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_patterns_keep_every_vote(monkeypatch, counted, dtype):
    monkeypatch.setattr(votes_module, "_COUNTED", counted)
    rng = np.random.default_rng(0)
    masks = [
        rng.integers(0, 5, (4, 5, 6)).astype(dtype) * (300 if dtype == np.int16 else 1) for _ in range(6)
    ]
    votes = gather(masks)
    for number, mask in enumerate(masks):
        np.testing.assert_array_equal(votes.table[:, number][votes.ids], mask)
    assert votes.labels() == [int(value) for value in np.unique(masks) if value]


def test_negative_labels_are_labels():
    votes = gather([np.array([[[-1, 0, 3]]], np.int16), np.array([[[2, 2, 2]]], np.int16)])
    assert votes.table[votes.ids.ravel()].tolist() == [[-1, 2], [0, 2], [3, 2]]


@pytest.mark.parametrize("weights", [[1 / 5] * 5, [0.6, 0.1, 0.1, 0.1, 0.1], [0.5, 0.5, 0, 0, 0]])
def test_majority_is_that_of_a_plain_count(weights):
    rng = np.random.default_rng(1)
    masks = [rng.integers(0, 3, (5, 6, 7)).astype(np.uint8) for _ in range(5)]
    votes = gather(masks)
    found = votes.spread(majority(votes.table, weights))
    np.testing.assert_array_equal(found, plain_majority(masks, weights))


def test_half_is_not_more_than_half():
    table = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 2, 2], [0, 0, 0, 2]], np.int16)
    assert majority(table, [0.25] * 4).tolist() == [0, 1, 0, 0]
    # 0.1 + 0.2 is not exactly 0.3 in floats, and still only half of 0.6.
    weights = np.array([0.1, 0.2, 0.3]) / 0.6
    assert majority(np.array([[1, 1, 0], [0, 0, 1]], np.int16), weights).tolist() == [0, 0]
