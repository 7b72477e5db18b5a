import itertools

import pytest
import torch
from torch import nn

from medimg.errors import ConfigError
from medimg.inference.sliding_window import SlidingWindowInferer
from medimg.inference.tta import MirrorTTA


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
