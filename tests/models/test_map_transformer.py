"""Tokens of a map: positions for any size, and blocks as in ViT."""

import pytest
import torch
from torch.testing import assert_close

from medimg.errors import ConfigError
from medimg.models.map_transformer import MapTransformer


@pytest.mark.parametrize("size", [(2, 3), (4, 6), (1, 1), (5, 2)])
def test_a_map_of_any_size_keeps_it(size):
    network = MapTransformer(8, (2, 3), width=64, depth=1).eval()
    assert network(torch.randn(2, 8, *size)).shape == (2, 64, *size)


def test_positions_are_those_of_the_grid_and_smooth_beyond_it():
    network = MapTransformer(8, (2, 3), width=64, depth=1)
    assert network.positions_of(2, 3) is network.positions
    with torch.no_grad():
        network.positions.fill_(0.25)
    assert_close(network.positions_of(4, 4), torch.full((1, 16, 64), 0.25))


def test_without_positions_the_order_of_places_does_not_matter():
    network = MapTransformer(8, (2, 3), width=64, depth=2).eval()
    image = torch.randn(1, 8, 2, 3)
    mirrored = lambda: network(image.flip(3)).flip(3)  # noqa: E731
    assert not torch.allclose(mirrored(), network(image), atol=1e-4)
    with torch.no_grad():
        network.positions.zero_()
    assert_close(mirrored(), network(image), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("width", "near"), [(100, 128), (10, 64), (0, 64)])
def test_a_width_that_heads_cannot_share_names_the_nearest(width, near):
    with pytest.raises(ConfigError, match=f"multiple of 64.*found {width}: take {near}"):
        MapTransformer(8, (2, 2), width=width, depth=1)
