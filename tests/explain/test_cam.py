import pytest
import torch
from torch import nn

from medimg.errors import ConfigError
from medimg.explain.cam import CAMS, cam, gradcam, hirescam
from medimg.explain.layers import find_layer, named_layer
from medimg.models import SliceWise

SCALE = 5000  # of the answer: beside such gradients the library's epsilon of 1e-6 in Grad-CAM++ is nothing


class Pooled(nn.Module):
    """Convolutions at full size, a mean, a linear head: small enough to work out by hand."""

    def __init__(self, channels=1, convolution=nn.Conv2d):
        super().__init__()
        self.body = nn.Sequential(convolution(channels, 4, 3, padding=1), nn.ReLU())
        self.side = convolution(channels, 4, 1)
        self.head = nn.Linear(4, 3)

    def forward(self, image):
        found = self.body(image)
        self.side(image)  # takes no part in the answer
        return SCALE * self.head(found.flatten(2).mean(2))


def test_before_a_linear_head_every_place_gets_its_exact_share():
    torch.manual_seed(0)
    network, image = Pooled().eval(), torch.randn(1, 1, 8, 9)
    layer = named_layer(network, "body")
    found = cam(lambda x: network(x)[:, 1], image, 2, layer, hirescam)
    total = network(image)[0, 1] - SCALE * network.head.bias[1]
    assert found.shape == (1, 8, 9)
    assert found.sum().item() == pytest.approx(total.item(), rel=1e-4)
    # With one gradient for all places Grad-CAM is the same.
    assert torch.allclose(found, cam(lambda x: network(x)[:, 1], image, 2, layer, gradcam), atol=1e-3)


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "hirescam"])
def test_the_maps_are_those_of_grad_cam(method):
    library = pytest.importorskip("pytorch_grad_cam")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    torch.manual_seed(1)
    network = nn.Sequential(Pooled(2), nn.ReLU(), nn.Linear(3, 2)).eval()
    image = torch.randn(1, 2, 12, 10)
    theirs = {
        "gradcam": library.GradCAM,
        "gradcam++": library.GradCAMPlusPlus,
        "hirescam": library.HiResCAM,
    }[method]
    with theirs(model=network, target_layers=[network[0].body]) as tool:
        expected = tool(input_tensor=image, targets=[targets.ClassifierOutputTarget(1)])[0]
    found = cam(lambda x: network(x)[:, 1], image, 2, named_layer(network, "0.body"), CAMS[method])
    found = found[0].clamp(min=0)
    found = (found - found.min()) / (found.max() - found.min() + 1e-12)
    assert found.max() > 0.5
    assert torch.allclose(found, torch.from_numpy(expected), atol=2e-3)


def test_images_of_a_group_and_slices_of_a_volume_have_a_map_each():
    torch.manual_seed(0)
    network = Pooled().eval()
    group = torch.randn(1, 3, 1, 8, 8)
    found = cam(
        lambda x: network(x.flatten(0, 1))[:, 0].sum()[None], group, 2, named_layer(network, "body"), gradcam
    )
    alone = cam(lambda x: network(x)[:, 0], group[:, 1], 2, named_layer(network, "body"), gradcam)
    assert found.shape == (3, 8, 8)
    assert torch.allclose(found[1], alone[0], atol=1e-3)
    slices = SliceWise(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))).eval()
    volume = torch.randn(1, 1, 5, 8, 8)
    layer = named_layer(slices, "network.1")
    assert cam(lambda x: slices(x)[:, 1].flatten(1).sum(1), volume, 3, layer, hirescam).shape == (1, 5, 8, 8)


def test_volumes_and_frozen_networks():
    network = Pooled(1, nn.Conv3d).eval().requires_grad_(False)
    volume = torch.randn(1, 1, 4, 6, 8)
    layer = find_layer(network, lambda: network(volume))
    assert layer.name == "side"  # the last that ran, though nobody uses it
    with pytest.raises(ConfigError, match="--layer side: takes no part in the answer"):
        cam(lambda x: network(x)[:, 0], volume, 3, layer, gradcam)
    found = cam(lambda x: network(x)[:, 0], volume, 3, named_layer(network, "body"), gradcam)
    assert found.shape == (1, 4, 6, 8)
