import pytest
import torch
from torch import nn

from medimg.errors import ConfigError
from medimg.explain.layers import captured, find_layer, named_layer, token_grid
from medimg.models import ResNet3D, TimmClassifier, TransUNet, TransUNetClassifier

SMALL = {"image_size": 32, "width": 64, "depth": 1, "backbone_layers": (1, 1, 1), "backbone_width": 32}


@pytest.mark.parametrize(
    ("network", "shape", "which", "name", "grid"),
    [
        (TimmClassifier("test_efficientnet", 1, in_channels=1), (1, 1, 64, 64), "last", "body.bn2", (2, 2)),
        (TimmClassifier("test_vit", 1, in_channels=1), (1, 1, 64, 48), "last", "body.blocks.5.norm1", (4, 3)),
        (TransUNetClassifier(1, in_channels=1, **SMALL), (1, 1, 32, 48), "last", "body.transformer", (2, 3)),
        (ResNet3D(10, 1, 1, widen=0.125), (1, 1, 32, 64, 64), "last", "body.layer4", (1, 2, 2)),
        (
            TransUNet(1, 2, decoder_channels=(16, 16, 16, 16, 16), **SMALL),
            (1, 1, 32, 32),
            "deepest",
            "decoder.first",
            (2, 2),
        ),
    ],
)
def test_the_last_map_is_found_and_reshaped(network, shape, which, name, grid):
    network.eval()
    image = torch.zeros(shape)
    layer = find_layer(network, lambda: network(image), which=which)
    assert layer.name == name
    with captured(layer.module) as outputs:
        network(image)
    assert layer.as_map(outputs[-1], shape[2:]).shape[2:] == grid


def test_maps_with_channels_last_are_turned_round():
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Identity())
    network.output_fmt = "NHWC"
    layer = named_layer(network, "1")
    assert layer.as_map(torch.zeros(2, 4, 5, 3), (4, 5)).shape == (2, 3, 4, 5)


def test_tokens_go_back_to_their_places():
    assert token_grid(14 * 7, (448, 224)) == (14, 7)
    assert token_grid(2 * 3 * 4, (20, 30, 40)) == (2, 3, 4)
    with pytest.raises(ConfigError, match="a token for each place"):
        token_grid(0, (8, 8))


def test_a_wrong_name_is_answered_with_the_nearest():
    network = TimmClassifier("test_efficientnet", 1)
    with pytest.raises(ConfigError, match=r"no such layer; the nearest are .*body\.bn2"):
        named_layer(network, "body.bn3")


def test_a_network_without_maps_and_a_layer_without_places_are_refused():
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with pytest.raises(ConfigError, match="none of its layers gives a map"):
        find_layer(network, lambda: network(torch.zeros(1, 1, 4, 4)))
    with pytest.raises(ConfigError, match=r"--layer 1: gives \(1, 2\), which is no map"):
        named_layer(network, "1").as_map(torch.zeros(1, 2), (4, 4))
