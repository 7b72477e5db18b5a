"""Draws that are the same on any number of processes, and that go on where a run was stopped."""

import itertools

import numpy as np
import pytest

from medimg.datamodules.image_samples import draw_weights
from medimg.datamodules.samplers import CaseSampler, ImageSampler, PatchSampler


def draws(sampler, epochs=1):
    found = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        found += list(sampler)
    return found


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_sequence_of_one(world):
    whole = list(PatchSampler(5, 12, seed=3))
    parts = [list(PatchSampler(5, 12, seed=3, rank=rank, world=world)) for rank in range(world)]
    assert [parts[n % world][n // world] for n in range(12)] == whole
    assert [len(PatchSampler(5, 12, seed=3, rank=rank, world=world)) for rank in range(world)] == [
        12 // world
    ] * world


def test_seed_and_epoch_decide_the_sequence():
    sampler = PatchSampler(5, 20, seed=1)
    first = list(sampler)
    assert list(sampler) == first == list(PatchSampler(5, 20, seed=1))
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert list(PatchSampler(5, 20, seed=2)) != first
    assert len({key.seed for key in first}) == 20


def test_no_case_comes_again_before_all_have_come():
    drawn = [key.case for key in PatchSampler(5, 15, seed=0)]
    assert all(sorted(drawn[start : start + 5]) == list(range(5)) for start in (0, 5, 10))


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_every_case_is_scored_exactly_once(world):
    parts = [CaseSampler(7, rank=rank, world=world) for rank in range(world)]
    assert sorted(case for part in parts for case in part) == list(range(7))
    assert [len(part) for part in parts] == [len(list(part)) for part in parts]


def test_without_balance_every_case_once_in_an_epoch():
    sampler = ImageSampler(50, weights=None, seed=3)
    assert sorted(key.case for key in sampler) == list(range(50))
    first, second = ([key.case for key in draws(sampler, 1)], [key.case for key in draws(sampler, 2)[50:]])
    assert first != second
    assert len({key.seed for key in draws(sampler, 4)}) == 200


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("balanced", [False, True])
def test_processes_share_one_sequence(world, balanced):
    weights = draw_weights(np.float32([[1]] * 10 + [[0]] * 50), 1.0) if balanced else None
    whole = draws(ImageSampler(60, weights=weights, seed=3))
    parts = [
        draws(ImageSampler(60, weights=weights, seed=3, rank=rank, world=world)) for rank in range(world)
    ]
    assert list(itertools.chain.from_iterable(zip(*parts, strict=True))) == whole


@pytest.mark.parametrize("world", [1, 2])
def test_a_pass_that_leaves_out_what_was_seen_ends_as_the_whole_one(world):
    for make in (
        lambda **place: PatchSampler(5, 12, seed=3, **place),
        lambda **place: ImageSampler(12, weights=None, seed=3, **place),
    ):
        for rank in range(world):
            sampler = make(rank=rank, world=world)
            whole = list(sampler)
            sampler.skip = 4
            assert list(sampler) == whole[4:]
            assert list(sampler) == whole  # once only


def test_a_rare_class_is_drawn_as_often_as_a_frequent_one():
    labels = np.float32([[1]] * 5 + [[0]] * 95)
    cases = [key.case for key in draws(ImageSampler(100, weights=draw_weights(labels, 1.0), seed=0), 10)]
    assert abs(sum(case < 5 for case in cases) - 500) <= 10
    counts = np.bincount(cases, minlength=100)
    assert counts[:5].min() >= 90  # evenly within the class
    half = draw_weights(labels, 0.5)
    assert half[:5].sum() == pytest.approx(np.sqrt(5) / (np.sqrt(5) + np.sqrt(95)))


def test_patches_are_drawn_in_the_share_of_their_case():
    sampler = PatchSampler(4, 100, seed=0, weights=np.array([1.0, 1.0, 1.0, 0.25]))
    counts = np.bincount([key.case for key in sampler], minlength=4)
    np.testing.assert_allclose(counts, np.array([4, 4, 4, 1]) * 100 / 13, atol=1)
    parts = [
        list(PatchSampler(4, 100, seed=0, rank=r, world=2, weights=np.array([4.0, 4, 4, 1]))) for r in (0, 1)
    ]
    assert sorted(key.seed for part in parts for key in part) == sorted(key.seed for key in sampler)
