"""An encoder survives its file, and finds its place in networks of other kinds."""

import pytest
import torch
from monai.networks.nets import DynUNet
from safetensors.torch import load_file

from medimg.errors import ConfigError
from medimg.models import ResNet3D, SliceWise, SMPSegmenter, TimmClassifier
from medimg.models.encoder_file import (
    encoder_facts,
    encoder_tensors,
    hashed_names,
    put_encoder,
    seen_names,
    write_encoder,
)
from medimg.models.weights import read_weights


def scrambled(network):
    """Other weights than any initialisation gives, batch norm's statistics among them."""
    generator = torch.Generator().manual_seed(7)
    state = network.state_dict()
    for value in state.values():
        if value.is_floating_point():
            value.add_(0.05 * torch.rand(value.shape, generator=generator))
    return network.eval()


def written(network, path, **facts):
    write_encoder(path, encoder_tensors(network, network.state_dict()), facts)
    return path


@pytest.mark.parametrize("architecture", ["test_resnet", "test_efficientnet", "test_vit"])
def test_a_classifier_starts_from_the_file(architecture, tmp_path):
    encoder = scrambled(TimmClassifier(architecture, 0, in_channels=1))
    path = written(
        encoder.to(memory_format=torch.channels_last), tmp_path / "encoder.safetensors", method="SimCLR"
    )
    image = torch.rand(2, 1, 32, 32)
    for outputs in (0, 1, 3):
        loaded = TimmClassifier(architecture, outputs, in_channels=1, weights=str(path)).eval()
        torch.testing.assert_close(loaded.features(image), encoder.features(image), rtol=1e-4, atol=1e-4)
        assert loaded.pretraining == {"method": "SimCLR"}
    assert [name.name for name in tmp_path.iterdir()] == ["encoder.safetensors"]


def test_the_head_stays_out_of_the_file(tmp_path):
    network = TimmClassifier("test_resnet", 2, in_channels=1)
    kept = load_file(written(network, tmp_path / "encoder.safetensors"))
    assert set(kept) == set(network.body.state_dict()) - {"fc.weight", "fc.bias"}


def test_a_volumes_encoder_goes_into_another_network_of_its_kind(tmp_path):
    encoder = scrambled(ResNet3D(10, 1, 1, stem_stride=1, widen=0.125))
    path = written(encoder, tmp_path / "encoder.safetensors", method="MoCo v2")
    loaded = ResNet3D(10, 1, 4, stem_stride=1, widen=0.125, weights=str(path)).eval()
    image = torch.rand(1, 1, 16, 16, 16)
    torch.testing.assert_close(loaded.features(image), encoder.features(image))


def test_segmentation_networks_take_it_into_their_encoder(tmp_path):
    encoder = scrambled(TimmClassifier("test_resnet", 0, in_channels=1))
    path = written(encoder, tmp_path / "encoder.safetensors")
    by_option = SMPSegmenter(
        "Unet", "test_resnet", 2, in_channels=1, depth=4, decoder_channels=[8] * 4, weights=str(path)
    )
    found = SMPSegmenter("Unet", "test_resnet", 2, in_channels=1, depth=4, decoder_channels=[8] * 4)
    sliced = SliceWise(found)
    assert put_encoder(sliced, read_weights(path), str(path)) == "network.body.encoder.model"
    for name, value in by_option.body.encoder.state_dict().items():
        torch.testing.assert_close(found.body.encoder.state_dict()[name], value)
    first = next(name for name in encoder.body.state_dict() if name.endswith("weight"))
    torch.testing.assert_close(found.body.encoder.model.state_dict()[first], encoder.body.state_dict()[first])


def test_what_cannot_take_it_says_why(tmp_path):
    path = written(TimmClassifier("test_resnet", 0, in_channels=1), tmp_path / "encoder.safetensors")
    network = DynUNet(
        2, 1, 2, kernel_size=[3] * 3, strides=[1, 2, 2], upsample_kernel_size=[2] * 2, filters=[4] * 3
    )
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ConfigError, match=r"fits no part of DynUNet: at best 0 of its \d+ tensors"):
        put_encoder(network, read_weights(path), str(path))
    torch.testing.assert_close(network.state_dict(), before)
    with pytest.raises(ConfigError, match="does not fit this network"):
        TimmClassifier("test_efficientnet", 0, in_channels=1, weights=str(path))


def test_a_checkpoint_serves_as_well(tmp_path):
    encoder = scrambled(TimmClassifier("test_resnet", 0, in_channels=1))
    state = {f"network.{name}": value for name, value in encoder.state_dict().items()}
    torch.save({"state_dict": {**state, "projection.layers.0.weight": torch.ones(2)}}, tmp_path / "best.ckpt")
    loaded = TimmClassifier("test_resnet", 1, in_channels=1, weights=str(tmp_path / "best.ckpt")).eval()
    image = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(loaded.features(image), encoder.features(image))
    assert loaded.pretraining == {}


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(b"half a file")
    with pytest.raises(ConfigError, match="cannot be read"):
        encoder_facts(path)
    assert encoder_facts(tmp_path / "none.safetensors") == {}


def test_what_it_saw_is_known_again_without_names():
    facts = {"cases": hashed_names("busi", ["a", "b"]), "patients": hashed_names("busi", ["p1"])}
    assert "a" not in str(facts["cases"][0]) or len(facts["cases"][0]) == 12
    assert seen_names(facts, "busi", ["a", "c", "p1"]) == ["a", "p1"]
    assert seen_names(facts, "other set", ["a", "p1"]) == []
