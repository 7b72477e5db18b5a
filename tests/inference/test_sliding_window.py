from itertools import pairwise

import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import nn
from torch.nn import functional

from medimg.errors import ConfigError, DataError
from medimg.inference.sliding_window import SlidingWindowInferer, tile_starts


class Local(nn.Module):
    """Two convolutions and an instance norm, so the result depends on where a tile lies."""

    def __init__(self, norm=True):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv3d(2, 8, 3, padding=1)
        self.norm = nn.InstanceNorm3d(8, affine=True) if norm else nn.Identity()
        self.last = nn.Conv3d(8, 3, 1)
        self.tiles = []

    def forward(self, x):
        self.tiles.append(len(x))
        return self.last(functional.leaky_relu(self.norm(self.first(x)), inplace=True))


def volume(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def naive(inputs, network, roi, sigma_scale):
    """Every tile's logits times its weight, voxel sums in float64, with no short cut."""
    total, weights = 0, 0
    axis = [torch.exp(-(((torch.arange(n) - n // 2) / (n * sigma_scale)) ** 2) / 2).double() for n in roi]
    weight = torch.einsum("d,h,w->dhw", *axis)
    shape = inputs.shape[2:]
    for d in tile_starts(shape[0], roi[0], 0.5):
        for h in tile_starts(shape[1], roi[1], 0.5):
            for w in tile_starts(shape[2], roi[2], 0.5):
                place = (..., slice(d, d + roi[0]), slice(h, h + roi[1]), slice(w, w + roi[2]))
                logits = network(inputs[place])
                whole, mass = torch.zeros(1, logits.shape[1], *shape).double(), torch.zeros(shape).double()
                whole[place] = logits.double() * weight
                mass[place] = weight
                total, weights = total + whole, weights + mass
    return (total / weights).float()


def test_tile_starts_spread_evenly_and_end_flush():
    assert tile_starts(110, 64, 0.5) == [0, 23, 46]
    assert tile_starts(64, 64, 0.5) == [0]
    assert tile_starts(10, 4, 0.0) == [0, 3, 6]
    for size in range(8, 60):
        starts = tile_starts(size, 8, 0.5)
        assert starts[0] == 0
        assert starts[-1] == size - 8
        assert all(b - a <= 4 for a, b in pairwise(starts))


@pytest.mark.parametrize("mode", ["gaussian", "constant"])
@pytest.mark.parametrize("shape", [(16, 16, 16), (17, 9, 23), (3, 8, 30), (1, 1, 1)])
def test_constant_network_gives_the_constant(mode, shape):
    def network(x):
        return torch.tensor([1.5, -2.0]).view(1, 2, 1, 1, 1).expand(len(x), 2, *x.shape[2:])

    logits = SlidingWindowInferer((8, 8, 8), mode=mode)(torch.randn(2, 1, *shape), network)
    assert logits.shape == (2, 2, *shape)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits[:, 0], torch.full((2, *shape), 1.5))
    torch.testing.assert_close(logits[:, 1], torch.full((2, *shape), -2.0))


@pytest.mark.parametrize("shape", [(16, 16, 16), (17, 12, 23)])
@torch.no_grad()
def test_equals_a_naive_sum_of_tiles(shape):
    network = Local()
    logits = SlidingWindowInferer((8, 8, 12))(volume(1, 2, *shape[:2], max(shape[2], 12)), network)
    expected = naive(volume(1, 2, *shape[:2], max(shape[2], 12)), network, (8, 8, 12), 0.125)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("mode", "sigma"), [("gaussian", 0.5), ("constant", 0.125)])
@torch.no_grad()
def test_equals_monai_where_both_cut_alike(mode, sigma):
    # Odd tiles, where both centre the weights alike, every 3 voxels in both: 21 = 9 + 4 * 3. A wide
    # Gaussian, since MONAI lifts weights to 1e-3.
    image, network = volume(2, 2, 21, 15, 18), Local()
    expected = sliding_window_inference(
        image, (9, 9, 9), 2, network, overlap=2 / 3, mode=mode, sigma_scale=sigma
    )
    logits = SlidingWindowInferer((9, 9, 9), 2 / 3, mode=mode, sigma_scale=sigma)(image, network)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_is_near_monai_with_the_usual_gaussian():
    image, network = volume(1, 2, 33, 25, 17), Local()
    expected = sliding_window_inference(image, (17, 17, 17), 2, network, overlap=9 / 17, mode="gaussian")
    logits = SlidingWindowInferer((17, 17, 17), 9 / 17)(image, network)
    inside = (..., slice(4, -4), slice(4, -4), slice(4, -4))  # MONAI lifts the small weights near the border
    assert (logits - expected)[inside].abs().max() < 0.1 * expected.std()


@torch.no_grad()
def test_one_tile_is_the_plain_forward():
    image, network = volume(1, 2, 10, 12, 8), Local()
    logits = SlidingWindowInferer((10, 12, 8))(image, network)
    torch.testing.assert_close(logits, network(image), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_smaller_than_the_window_is_padded_on_both_sides_and_cropped_back():
    image, network = volume(1, 2, 5, 12, 7), Local()
    logits = SlidingWindowInferer((8, 8, 8))(image, network)
    padded = functional.pad(image, (0, 1, 0, 0, 1, 2))
    expected = SlidingWindowInferer((8, 8, 8))(padded, network)[:, :, 1:6, :, :7]
    torch.testing.assert_close(logits, expected)


@torch.no_grad()
def test_tiles_in_batches_equal_one_at_a_time_across_cases():
    image, network = volume(2, 2, 13, 11, 17), Local()
    one = SlidingWindowInferer((8, 8, 8), sw_batch_size=1)(image, network)
    network.tiles.clear()
    many = SlidingWindowInferer((8, 8, 8), sw_batch_size=5)(image, network)
    assert max(network.tiles) == 5
    torch.testing.assert_close(one, many, atol=1e-5, rtol=1e-5)
    alone = SlidingWindowInferer((8, 8, 8))(image[1:], network)
    torch.testing.assert_close(many[1:], alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_layout_changes_nothing_but_speed():
    image, network = volume(1, 2, 13, 11, 17), Local()
    plain = SlidingWindowInferer((8, 8, 8), channels_last=False)(image, network)
    last = SlidingWindowInferer((8, 8, 8), channels_last=True)(image, network)
    torch.testing.assert_close(plain, last, atol=1e-5, rtol=1e-5)


def test_takes_the_first_of_several_outputs():
    def network(x):
        return [x + 1, functional.avg_pool3d(x, 2)]

    image = volume(1, 1, 9, 9, 9)
    torch.testing.assert_close(SlidingWindowInferer((8, 8, 8))(image, network), image + 1)


def test_works_under_autocast_and_sums_in_float32():
    image, network = volume(1, 2, 12, 12, 12), Local()
    expected = SlidingWindowInferer((8, 8, 8))(image, network)
    with torch.autocast("cpu", torch.bfloat16):
        logits = SlidingWindowInferer((8, 8, 8))(image, network)
    assert logits.dtype == torch.float32
    assert 0 < (logits - expected).abs().max() < 0.1


def test_keeps_no_gradient_and_leaves_the_input_alone():
    image = volume(1, 1, 9, 9, 9).requires_grad_()
    before = image.detach().clone()
    assert not SlidingWindowInferer((8, 8, 8))(image, lambda x: x).requires_grad
    assert torch.equal(image, before)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"roi_size": (8, 8)}, "roi_size"),
        ({"roi_size": (8, 8, 0)}, "roi_size"),
        ({"roi_size": (8, 8, 8), "overlap": 1.0}, "overlap"),
        ({"roi_size": (8, 8, 8), "sw_batch_size": 0}, "sw_batch_size"),
        ({"roi_size": (8, 8, 8), "mode": "hann"}, "mode"),
        ({"roi_size": (8, 8, 8), "sigma_scale": 0.0}, "sigma_scale"),
        ({"roi_size": (8, 8, 8), "accumulate_on": "gpu"}, "accumulate_on"),
    ],
)
def test_wrong_arguments_are_named(arguments, word):
    with pytest.raises(ConfigError, match=word):
        SlidingWindowInferer(**arguments)


def test_wrong_shapes_are_named():
    inferer = SlidingWindowInferer((8, 8, 8))
    with pytest.raises(DataError, match=r"\(B, C, D, H, W\)"):
        inferer(torch.zeros(1, 8, 8, 8), lambda x: x)
    with pytest.raises(ConfigError, match="roi_size"):
        inferer(torch.zeros(1, 1, 8, 8, 8), lambda x: x[..., ::2])
    with pytest.raises(DataError, match="empty batch"):
        inferer(torch.zeros(0, 1, 8, 8, 8), lambda x: x)


@pytest.mark.gpu
@pytest.mark.parametrize(("where", "kind"), [("auto", "cuda"), ("same", "cuda"), ("cpu", "cpu")])
def test_sum_stands_where_it_was_asked_for(where, kind):
    image, network = volume(1, 2, 20, 20, 20), Local()
    expected = SlidingWindowInferer((8, 8, 8))(image, network)
    logits = SlidingWindowInferer((8, 8, 8), accumulate_on=where)(image.cuda(), network.cuda())
    assert logits.device.type == kind
    torch.testing.assert_close(logits.cpu(), expected, atol=5e-3, rtol=5e-3)
