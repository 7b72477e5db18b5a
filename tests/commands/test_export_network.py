"""Every network of the house is traced for any batch, written, and gives the numbers that it gave."""

import pytest
import torch
from monai.networks.nets import DynUNet
from torch import nn
from torch.testing import assert_close

from medimg.commands.export_network import Finest, OneCase, difference_of, largest_difference, trace, write
from medimg.errors import ConfigError
from medimg.models import (
    EfficientNetTransUNet,
    GatedAttentionPooling,
    MaxPooling,
    MeanPooling,
    NoisyOrPooling,
    Pooling,
    SliceWise,
    TimmClassifier,
    TransUNet,
    TransUNetClassifier,
)

TINY = {"width": 64, "depth": 1, "backbone_layers": (1, 1, 1), "backbone_width": 32}


def transunet(channels):
    return TransUNet(channels, 2, (16, 32), decoder_channels=(16, 16, 16, 16, 16), **TINY)


NETWORKS = {
    "transunet": (lambda: transunet(1), (1, 16, 32)),
    "slices": (lambda: SliceWise(transunet(3), 1), (1, 3, 16, 32)),
    "classifier": (lambda: TransUNetClassifier(2, image_size=32, **TINY), (3, 32, 32)),
    "hybrid": (
        lambda: EfficientNetTransUNet("test_efficientnet", 2, image_size=32, width=64, depth=1),
        (3, 48, 32),
    ),
    "timm": (lambda: TimmClassifier("test_efficientnet", 2), (3, 32, 32)),
    "unet": (lambda: DynUNet(3, 1, 2, [3, 3, 3], [1, 2, 1], [2, 1], filters=[4, 8, 8]), (1, 8, 8, 8)),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "torch-export"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_answers_from_its_file(name, format, tmp_path):
    build, shape = NETWORKS[name]
    torch.manual_seed(0)
    network, inputs = Finest(build()).eval(), {"image": torch.randn(2, *shape)}
    path = tmp_path / f"network{'.onnx' if format == 'onnx' else '.pt2'}"
    write(trace(network, inputs), path, format)
    assert difference_of(path, format, lambda given: network(**given), inputs) <= 1e-4


class Linear(nn.Module):
    """Features and head of images, as poolings want them."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)

    def features(self, image):
        return image.flatten(1)

    def forward(self, image):
        return self.head(self.features(image))


@pytest.mark.parametrize(
    "pooling",
    [MeanPooling(), MaxPooling(), NoisyOrPooling(), GatedAttentionPooling(4)],
    ids=lambda p: type(p).__name__,
)
def test_one_case_is_pooled_as_in_training(pooling):
    network, images = Linear(), torch.randn(5, 1, 2, 2) * 3
    sizes = torch.tensor([5])
    if pooling.over == "features":
        expected = network.head(pooling(network.features(images), sizes))
    else:
        expected = pooling(network(images), sizes)
    assert_close(OneCase(network, pooling)(images), expected)


def test_a_pooling_of_another_kind_is_refused():
    with pytest.raises(ConfigError, match=r"expected a pooling out of MeanPooling.*found Pooling"):
        OneCase(Linear(), Pooling())


class Undecided(nn.Module):
    def forward(self, image):
        return image if image.sum() > 0 else -image


def test_what_cannot_be_traced_says_so():
    with pytest.raises(ConfigError, match="cannot trace Undecided for batches of any size"):
        trace(Undecided(), {"image": torch.ones(2, 1)})


def test_the_finest_of_several_levels_is_the_answer():
    levels = nn.Module()
    levels.forward = lambda image: [image, image[..., ::2]]
    assert Finest(levels)(torch.ones(1, 2, 4)).shape == (1, 2, 4)


@pytest.mark.parametrize(
    ("found", "expected", "difference"),
    [
        ([1.0, 2.0], [1.0, 2.5], 0.2),  # relative where the answer exceeds 1
        ([0.0], [0.5], 0.5),
        ([float("nan")], [0.5], float("inf")),
        ([0.5], [float("nan")], float("inf")),
        ([1.0, 1.0], [1.0], float("inf")),
    ],
)
def test_the_difference_is_the_largest_and_no_hole_passes(found, expected, difference):
    assert largest_difference(torch.tensor(found), torch.tensor(expected)) == pytest.approx(difference)
