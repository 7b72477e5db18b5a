"""Mixtures of images carry mixtures of labels, and unknown labels stay unknown."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from medimg.tasks.mixing import mix_images


def batch(n=6, k=2):
    # Image i is filled with i and its label with i / 10, so that shares can be read off the mixture.
    values = torch.arange(n, dtype=torch.float32)
    return values.view(-1, 1, 1, 1).expand(n, 1, 16, 16).clone(), (values / 10)[:, None].repeat(1, k), values


@pytest.mark.parametrize("alphas", [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
@pytest.mark.parametrize("seed", range(6))
def test_labels_are_mixed_as_the_pixels_are(alphas, seed):
    image, target, weight = batch()
    mixed = mix_images(image, target, weight, mixup_alpha=alphas[0], cutmix_alpha=alphas[1], seed=seed)
    shares = mixed[0].mean((1, 2, 3))  # of pixels, exactly
    assert_close(mixed[1], (shares / 10)[:, None].repeat(1, 2), rtol=1e-4, atol=1e-5)
    assert_close(mixed[2], shares, rtol=1e-4, atol=1e-5)
    assert_close(image, batch()[0])  # the batch itself is left alone


def test_a_seed_fixes_the_mixture():
    first, again, other = (
        mix_images(*batch(), mixup_alpha=0.4, cutmix_alpha=1.0, seed=seed)[0] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_an_unknown_label_spreads_to_its_mixtures():
    image, target, weight = batch()
    target[0, 1] = torch.nan
    mixed = mix_images(image, target, weight, mixup_alpha=0.4, cutmix_alpha=0, seed=3)[1]
    assert not mixed[:, 0].isnan().any()
    assert 1 <= int(mixed[:, 1].isnan().sum()) <= 2


def test_cutmix_pastes_a_box():
    image, target, weight = batch()
    mixed = mix_images(image, target, weight, mixup_alpha=0, cutmix_alpha=1.0, seed=0)[0]
    for own, found in zip(range(6), mixed, strict=True):
        foreign = (found[0] != own).numpy()
        rows, columns = np.flatnonzero(foreign.any(1)), np.flatnonzero(foreign.any(0))
        assert foreign.sum() == len(rows) * len(columns)


def test_nothing_asked_for_changes_nothing():
    image, target, weight = batch()
    assert mix_images(image, target, weight, mixup_alpha=0, cutmix_alpha=0, seed=0)[0] is image
