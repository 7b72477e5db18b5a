import numpy as np
import pytest
import SimpleITK as sitk

from medimg.ensembling.staple import MARGIN, staple, staple_labels
from medimg.ensembling.votes import VotePatterns, majority
from medimg.errors import DataError


def noisy_members(seed, members=4, rate=0.03, shape=(6, 12, 12)):
    """A box, and members that each err in more voxels than the one before; shape (M, D, H, W)."""
    rng = np.random.default_rng(seed)
    truth = np.zeros(shape, bool)
    truth[2:5, 3:9, 3:9] = True
    return np.stack([truth ^ (rng.random(shape) < rate * (1 + member)) for member in range(members)])


@pytest.mark.parametrize("members", [2, 3, 5, 8])
@pytest.mark.parametrize("seed", range(3))
def test_the_estimate_is_that_of_simpleitk(seed, members):
    votes = noisy_members(seed, members)
    peer = sitk.STAPLEImageFilter()
    peer.SetForegroundValue(1)
    images = [sitk.GetImageFromArray(vote.astype(np.uint8)) for vote in votes]
    expected = sitk.GetArrayFromImage(peer.Execute(images))
    found = staple(votes.reshape(members, -1).T, np.ones(votes[0].size, int))
    np.testing.assert_allclose(found.probs.reshape(expected.shape), expected, atol=1e-3)
    np.testing.assert_allclose(found.sensitivity, peer.GetSensitivity(), atol=1e-3)
    np.testing.assert_allclose(found.specificity, peer.GetSpecificity(), atol=1e-3)


def test_the_estimate_by_pattern():
    # Probabilities and sensitivities as SimpleITK 2.5.7 gives them for the 100 voxels.
    votes = np.array(
        [[0, 0, 0], [1, 1, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [0, 0, 1], [0, 1, 0], [1, 0, 0]], bool
    )
    counts = np.array([60, 20, 5, 3, 4, 5, 2, 1])
    found = staple(votes, counts)
    expected = [0.00171, 0.99996, 0.99765, 0.98581, 0.97012, 0.08714, 0.36824, 0.55503]
    np.testing.assert_allclose(found.probs, expected, atol=1e-5)
    np.testing.assert_allclose(found.sensitivity, [0.84682, 0.87964, 0.81036], atol=1e-5)
    np.testing.assert_allclose(found.specificity, [0.99246, 0.97896, 0.92875], atol=1e-5)
    by_voxel = staple(np.repeat(votes, counts, axis=0), np.ones(counts.sum(), int))
    np.testing.assert_allclose(by_voxel.sensitivity, found.sensitivity, atol=1e-9)


def test_fifty_members_stay_within_the_range_of_a_float():
    votes = noisy_members(0, members=50, rate=0.005)
    found = staple(votes.reshape(50, -1).T, np.ones(votes[0].size, int))
    assert np.isfinite(found.probs).all()
    truth = noisy_members(0, members=1, rate=0)[0]
    np.testing.assert_array_equal(found.probs.reshape(truth.shape) > 0.5, truth)


@pytest.mark.parametrize("value", [False, True])
def test_members_that_all_say_the_same_are_right(value):
    found = staple(np.full((1, 3), value), np.array([7]))
    assert found.probs.tolist() == [float(value)]


def gather(masks):
    votes = VotePatterns(masks[0].shape)
    for mask in masks:
        votes.add(mask)
    return votes, majority(votes.table, [1 / len(masks)] * len(masks))


def two_labels(seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((8, 16, 16), np.uint8)
    mask[2:6, 3:9, 3:12] = 1
    mask[2:6, 9:13, 3:12] = 4
    wrong = rng.random(mask.shape) < 0.04
    mask[wrong] = rng.choice([0, 1, 4], wrong.sum())
    return mask


def test_labels_are_fused_one_by_one():
    votes, winners = gather([two_labels(seed) for seed in range(5)])
    fused = votes.spread(staple_labels(votes, winners))
    clean = np.zeros((8, 16, 16), np.uint8)
    clean[2:6, 3:9, 3:12] = 1
    clean[2:6, 9:13, 3:12] = 4
    assert (fused != clean).mean() < 0.005
    assert set(np.unique(fused)) == {0, 1, 4}


def test_background_beyond_the_margin_does_not_matter():
    small = [two_labels(seed) for seed in range(3)]
    # The labels touch no border of the larger volumes, so both boxes end at the margin.
    sizes = [[(MARGIN + more,) * 2] * 3 for more in (0, 9)]
    results = []
    for pad in sizes:
        votes, winners = gather([np.pad(mask, pad) for mask in small])
        inner = tuple(slice(low, -high) for low, high in pad)
        results.append(votes.spread(staple_labels(votes, winners))[inner])
    np.testing.assert_array_equal(*results)


def test_an_estimate_that_runs_away_is_refused_with_numbers():
    # Two of five members see a label that the majority does not have.
    with_label = np.zeros((6, 8, 8), np.uint8)
    with_label[2:4, 2:5, 2:5] = 4
    votes, winners = gather([with_label] * 2 + [np.zeros_like(with_label)] * 3)
    with pytest.raises(
        DataError, match=r"ran away for label 4: 18 voxels, where the majority has 0.*majority"
    ):
        staple_labels(votes, winners)


def test_nothing_anywhere_stays_nothing():
    votes, winners = gather([np.zeros((3, 4, 5), np.uint8)] * 3)
    assert not votes.spread(staple_labels(votes, winners)).any()
