from math import prod

import pytest
import torch
from monai.networks.nets.dynunet import DynUNet

from medimg.preparation.topology import feature_values, memory_bytes, topology, weights


def build(network, in_channels=1, out_channels=3):
    return DynUNet(
        3,
        in_channels,
        out_channels,
        network.kernels,
        network.strides,
        network.strides[1:],
        filters=network.filters,
        deep_supervision=True,
        deep_supr_num=len(network.filters) - 2,
    )


# Patch, strides and kernels that nnU-Net publishes: BraTS, hippocampus, prostate (3.6 x 0.625 mm), ACDC.
def test_published_networks():
    brats = topology((1, 1, 1), (128, 128, 128))
    assert brats.strides == ((1, 1, 1), *[(2, 2, 2)] * 5)
    assert brats.filters == (32, 64, 128, 256, 320, 320)
    hippocampus = topology((1, 1, 1), (36, 50, 35))
    assert hippocampus.patch == (40, 56, 40)
    assert hippocampus.strides == ((1, 1, 1), *[(2, 2, 2)] * 3)
    prostate = topology((3.6, 0.625, 0.625), (20, 320, 256))
    assert prostate.patch == (20, 320, 256)
    assert prostate.strides[1:] == ((1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2))
    assert prostate.kernels == ((1, 3, 3), (1, 3, 3), *[(3, 3, 3)] * 5)


@pytest.mark.parametrize(
    ("spacing", "patch"),
    [
        ((1, 1, 1), (128, 128, 128)),
        ((5, 0.7, 0.7), (14, 190, 200)),
        ((0.7, 5, 0.7), (200, 9, 33)),
        ((1, 1, 1), (1, 100, 120)),
        ((1, 1, 1), (8, 8, 8)),
        ((1, 1, 1), (3, 4, 5)),
        ((1, 1, 5), (1, 8, 8)),
        ((1, 1, 1), (1, 1, 1)),
        ((10, 1, 1), (2, 9, 300)),
    ],
)
def test_every_patch_gets_a_network_that_can_be_built(spacing, patch):
    network = topology(spacing, patch)
    assert len(network.strides) >= 3
    assert all(n >= wanted for n, wanted in zip(network.patch, patch, strict=True))
    assert all(n % unit == 0 for n, unit in zip(network.patch, network.divisor, strict=True))
    for n, wanted, unit in zip(network.level_sizes[-1], network.patch, network.divisor, strict=True):
        assert n * unit == wanted
        assert unit == 1 or n >= 4
    build(network)


def test_axes_one_voxel_long_get_flat_kernels():
    network = topology((1, 1, 1), (1, 64, 64))
    assert {kernel[0] for kernel in network.kernels} == {1}
    assert {stride[0] for stride in network.strides} == {1}


@pytest.mark.parametrize("patch", [(16, 24, 16), (8, 32, 32)])
def test_values_and_weights_are_counted_as_the_network_makes_them(patch):
    network = topology((3 if patch[0] == 8 else 1, 1, 1), patch)
    module = build(network, in_channels=2)
    values = 0

    def count(layer, inputs, output):
        nonlocal values
        values += output.numel()

    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv3d | torch.nn.ConvTranspose3d):
            layer.register_forward_hook(count)
    with torch.no_grad():
        module.train()(torch.zeros(1, 2, *network.patch))
    # The network leaves out the head of the coarsest but one level's neighbour, which is tiny.
    assert feature_values(network, 3) == pytest.approx(values, rel=0.001)
    convolutions = sum(p.numel() for p in module.parameters() if p.ndim == 5)
    assert weights(network, 2, 3) == pytest.approx(convolutions, rel=0.001)


def test_memory_grows_with_batch_and_patch():
    small, large = topology((1, 1, 1), (64, 64, 64)), topology((1, 1, 1), (128, 128, 128))
    assert memory_bytes(small, 2, 1, 3) < memory_bytes(small, 3, 1, 3) < memory_bytes(large, 3, 1, 3)
    gained = memory_bytes(large, 3, 1, 3) - memory_bytes(large, 2, 1, 3)
    assert gained == 6 * feature_values(large, 3)
    assert gained > 6 * prod(large.patch) * 5 * 32
