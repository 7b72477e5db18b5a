import itertools

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform
from torch import nn

from medimg.errors import ConfigError
from medimg.inference.sliding_window import SlidingWindowInferer
from medimg.inference.tta import MirrorTTA, RotationTTA, turned
from medimg.transforms.motion import turn_and_scale


def plain(inputs, network):
    return network(inputs)


def test_tta_of_a_constant_is_the_constant():
    def network(x):
        return torch.full((len(x), 3, *x.shape[2:]), 0.7)

    logits = MirrorTTA(SlidingWindowInferer((8, 8, 8)))(torch.randn(1, 1, 12, 9, 10), network)
    torch.testing.assert_close(logits, torch.full((1, 3, 12, 9, 10), 0.7))


@pytest.mark.parametrize("axes", [(), (0,), (2, 0), (0, 1, 2)])
@torch.no_grad()
def test_equivariant_network_gains_nothing(axes):
    network = nn.Conv3d(1, 2, 3, padding=1)
    network.weight.fill_(0.1)  # symmetric kernels commute with mirroring
    image = torch.randn(1, 1, 12, 9, 10)
    inferer = SlidingWindowInferer((8, 8, 8))
    torch.testing.assert_close(MirrorTTA(inferer, axes)(image, network), inferer(image, network))


@pytest.mark.parametrize("axes", [(1,), (0, 2), (0, 1, 2)])
@torch.no_grad()
def test_equals_the_mean_over_all_mirrorings_written_out(axes):
    network, image = nn.Conv3d(2, 3, 3, padding=1), torch.randn(2, 2, 6, 5, 4)
    views = []
    for signs in itertools.product([False, True], repeat=len(axes)):
        dims = [axis + 2 for axis, sign in zip(axes, signs, strict=True) if sign]
        views.append(network(image.flip(dims)).flip(dims))
    torch.testing.assert_close(MirrorTTA(plain, axes)(image, network), torch.stack(views).mean(0))


def test_network_runs_once_a_mirroring_and_tile():
    calls = []

    def network(x):
        calls.append(x.shape)
        return [x, x[..., ::2]]

    image = torch.randn(1, 1, 8, 8, 12)
    result = MirrorTTA(SlidingWindowInferer((8, 8, 8), sw_batch_size=1), (0, 1))(image, network)
    assert len(calls) == 2 * 4
    torch.testing.assert_close(result, image)


@torch.no_grad()
def test_mirroring_the_volume_mirrors_the_result():
    # Odd tiles at 0, 4, 8 lie symmetrically, so with TTA the whole is equivariant.
    network, image = nn.Conv3d(1, 2, 3, padding=1), torch.randn(1, 1, 13, 9, 17)
    inferer = MirrorTTA(SlidingWindowInferer((9, 9, 9)))
    mirrored = inferer(image.flip([2, 4]), network).flip([2, 4])
    torch.testing.assert_close(mirrored, inferer(image, network), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("axes", [(3,), (-1,), (0, 0), (2, 3, 4)])
def test_axes_out_of_range_are_refused(axes):
    with pytest.raises(ConfigError, match="axes: expected"):
        MirrorTTA(plain, axes)


# ---- small turns --------------------------------------------------------------------------------


@torch.no_grad()
def test_turning_a_constant_is_the_constant_and_keeps_the_size():
    def network(x):
        return torch.full((len(x), 3, *x.shape[2:]), 0.7)

    inferer = RotationTTA(MirrorTTA(SlidingWindowInferer((8, 8, 8)), (2,)), least_size=(8, 16, 8))
    logits = inferer(torch.randn(2, 1, 12, 9, 6), network)
    torch.testing.assert_close(logits, torch.full((2, 3, 12, 9, 6), 0.7))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_turn_is_scipys(axis):
    volume = torch.rand(1, 1, 9, 12, 15)
    matrix = turn_and_scale([20.0 if axis == a else 0.0 for a in range(3)], (1.0,) * 3)
    centre = (np.array(volume.shape[2:]) - 1) / 2
    expected = affine_transform(
        volume[0, 0].numpy(), matrix, centre - np.array(matrix) @ centre, order=1, mode="grid-constant"
    )
    torch.testing.assert_close(turned(volume, matrix)[0, 0], torch.from_numpy(expected), atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_mean_over_turns_written_out():
    network, image = nn.Conv3d(1, 2, 3, padding=1), torch.rand(1, 1, 8, 8, 8)
    total, weight = network(image), torch.ones(1, 1, 8, 8, 8)
    for sign in (1, -1):
        there, back = (turn_and_scale((0, turn * 15, 0), (1, 1, 1)) for turn in (sign, -sign))
        total = total + turned(network(turned(image, there)), back)
        weight = weight + turned(torch.ones(1, 1, 8, 8, 8), back)
    torch.testing.assert_close(RotationTTA(plain, 15, axes=(1,))(image, network), total / weight)


def test_small_volumes_keep_their_corners():
    seen = []

    def network(x):
        seen.append(tuple(x.shape[2:]))
        return x

    image = torch.ones(1, 1, 4, 5, 6)
    RotationTTA(plain, axes=(0,), least_size=(4, 12, 12))(image, network)
    assert seen == [(4, 12, 12)] * 3


@pytest.mark.parametrize(
    ("options", "word"),
    [({"axes": (3,)}, "axes"), ({"axes": (1, 1)}, "axes"), ({"degrees": 0}, "degrees"), ({"degrees": 90}, "degrees"),
     ({"least_size": (0, 1, 1)}, "least_size")],
)  # fmt: skip
def test_turns_that_make_no_sense_are_refused(options, word):
    with pytest.raises(ConfigError, match=word):
        RotationTTA(plain, **options)
