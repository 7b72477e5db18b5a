import pytest
import torch
from torch import nn
from torch.nn import functional

from medimg.inference.channels_last import ChannelsLastNorm, instance_norm

CASES = [(1, 16, 32, 32, 32), (2, 3, 5, 7, 3), (1, 1, 9, 4, 4), (3, 40, 8, 8, 2), (1, 2, 97, 3, 1)]


@pytest.mark.parametrize("shape", CASES)
@pytest.mark.parametrize("affine", [True, False])
def test_equals_torch_in_double(shape, affine):
    volume = 2 * torch.randn(shape) + 3
    weight, bias = (torch.rand(shape[1]) + 0.5, torch.randn(shape[1])) if affine else (None, None)
    expected = functional.instance_norm(
        volume.double(), weight=weight.double() if affine else None, bias=bias.double() if affine else None
    )
    normed = instance_norm(volume, weight, bias)
    assert normed.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(normed.double(), expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [128, 97])
def test_many_voxels_stay_exact(size):
    # One sum over two million float32 numbers is off by 1e-3; folded sums are not.
    volume = 2 * torch.randn(1, 2, size, size, size) + 3
    expected = functional.instance_norm(volume.double())
    assert (instance_norm(volume, None, None).double() - expected).abs().max() < 2e-5


def test_constant_and_faint_channels_stay_finite():
    constant = instance_norm(torch.full((1, 3, 4, 4, 4), 7.0), None, None)
    torch.testing.assert_close(constant, torch.zeros_like(constant), atol=1e-3, rtol=0)
    faint = 1e-6 * torch.randn(1, 3, 8, 8, 8)
    torch.testing.assert_close(
        instance_norm(faint, None, None), functional.instance_norm(faint), atol=1e-6, rtol=1e-4
    )


@pytest.mark.parametrize("training", [False, True])
def test_bfloat16_is_exact_to_its_own_rounding(training):
    torch.manual_seed(0)
    volume = (2 * torch.randn(1, 8, 16, 16, 16) + 3).bfloat16()
    expected = functional.instance_norm(volume.double())
    with torch.set_grad_enabled(training):
        normed = instance_norm(volume, None, None)
    assert normed.dtype == torch.bfloat16
    # One step of bfloat16 between 4 and 8 is 0.031; the values reach just beyond 4.
    assert (normed.double() - expected).abs().max() < 0.03


def test_mode_reaches_modules_and_ends_with_the_block():
    norm = nn.InstanceNorm3d(4, affine=True)
    volume = torch.randn(1, 4, 6, 6, 6)
    with torch.no_grad():
        with ChannelsLastNorm():
            inside = norm(volume)
        outside = norm(volume)
    assert inside.is_contiguous(memory_format=torch.channels_last_3d)
    assert outside.is_contiguous()
    torch.testing.assert_close(inside, outside, atol=1e-5, rtol=1e-5)


def test_mode_leaves_running_statistics_gradients_and_pictures_alone():
    frozen = nn.InstanceNorm3d(4, track_running_stats=True).eval()
    volume = torch.randn(1, 4, 6, 6, 6)
    with ChannelsLastNorm():
        with torch.no_grad():
            torch.testing.assert_close(frozen(volume), volume, atol=1e-4, rtol=1e-4)  # mean 0, variance 1
            assert nn.InstanceNorm2d(4)(volume[..., 0]).is_contiguous()
        leaf = volume.clone().requires_grad_()
        nn.InstanceNorm3d(4)(leaf).square().sum().backward()
    assert leaf.grad is not None
