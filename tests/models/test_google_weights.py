"""Google's weights go where they belong: by shapes, by a round trip, and as timm's own reader puts them."""

import hashlib
from functools import partial

import numpy as np
import pytest
import torch
from timm.layers import HybridEmbed, StdConv2dSame
from timm.models.resnetv2 import ResNetV2
from timm.models.vision_transformer import VisionTransformer, _load_weights
from torch.testing import assert_close

from medimg.errors import ConfigError
from medimg.models import TransUNet, TransUNetClassifier, TransUNetEncoder
from medimg.models.google_weights import google_names, load_google_weights
from medimg.models.weights import UnavailableWeightsError

TINY = {"width": 128, "depth": 2, "backbone_layers": (2, 1, 1), "backbone_width": 32}


def encoder(in_channels=3, image_size=64, **options):
    return TransUNetEncoder(in_channels, image_size, **{**TINY, "drop_rate": 0.0, **options}).eval()


def arrays_of(network):
    """The published layout, written out here from what the paper's file holds: an oracle of its own."""
    found = {}

    def conv(name, layer):
        found[f"{name}/kernel"] = layer.weight.permute(2, 3, 1, 0)
        if layer.bias is not None:
            found[f"{name}/bias"] = layer.bias

    def group_norm(name, layer):
        found[f"{name}/scale"], found[f"{name}/bias"] = (
            v[None, None, None] for v in (layer.weight, layer.bias)
        )

    def dense(name, layer):
        found[f"{name}/kernel"], found[f"{name}/bias"] = layer.weight.T, layer.bias

    def layer_norm(name, layer):
        found[f"{name}/scale"], found[f"{name}/bias"] = layer.weight, layer.bias

    backbone, transformer = network.backbone, network.transformer
    conv("conv_root", backbone.stem.conv)
    group_norm("gn_root", backbone.stem.norm)
    for b, stage in enumerate(backbone.stages, start=1):
        for u, unit in enumerate(stage.blocks, start=1):
            for n in (1, 2, 3):
                conv(f"block{b}/unit{u}/conv{n}", getattr(unit, f"conv{n}"))
                group_norm(f"block{b}/unit{u}/gn{n}", getattr(unit, f"norm{n}"))
            if unit.downsample is not None:
                conv(f"block{b}/unit{u}/conv_proj", unit.downsample.conv)
                group_norm(f"block{b}/unit{u}/gn_proj", unit.downsample.norm)
    conv("embedding", transformer.projection)
    width = transformer.width
    for i, block in enumerate(transformer.blocks):
        place, attention = (
            f"Transformer/encoderblock_{i}",
            f"Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1",
        )
        layer_norm(f"{place}/LayerNorm_0", block.norm1)
        layer_norm(f"{place}/LayerNorm_2", block.norm2)
        dense(f"{place}/MlpBlock_3/Dense_0", block.mlp.fc1)
        dense(f"{place}/MlpBlock_3/Dense_1", block.mlp.fc2)
        for n, part in enumerate(("query", "key", "value")):
            rows = slice(n * width, (n + 1) * width)
            found[f"{attention}/{part}/kernel"] = block.attn.qkv.weight[rows].T.reshape(
                width, width // 64, 64
            )
            found[f"{attention}/{part}/bias"] = block.attn.qkv.bias[rows].reshape(width // 64, 64)
        found[f"{attention}/out/kernel"] = block.attn.proj.weight.T.reshape(width // 64, 64, width)
        found[f"{attention}/out/bias"] = block.attn.proj.bias
    layer_norm("Transformer/encoder_norm", transformer.norm)
    token = torch.full((1, 1, width), 7.0)  # dropped on loading
    found["cls"] = token
    found["Transformer/posembed_input/pos_embedding"] = torch.cat([token, transformer.positions], 1)
    found["head/kernel"], found["head/bias"] = torch.zeros(width, 10), torch.zeros(10)
    return {name: value.detach().numpy().copy() for name, value in found.items()}


@pytest.fixture
def source():
    """An encoder none of whose values is the one that a layer starts with."""
    torch.manual_seed(3)
    network = encoder()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


@pytest.fixture
def npz(source, tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, **arrays_of(source))
    return path


def test_the_round_trip_gives_equal_maps(source, npz):
    torch.manual_seed(4)
    image, other = torch.randn(1, 3, 64, 64), encoder()
    assert not torch.allclose(other(image)[0], source(image)[0])
    load_google_weights(other, npz)
    assert torch.equal(other(image)[0], source(image)[0])


def test_timms_reader_puts_the_same_arrays_in_the_same_places(source, npz):
    backbone = ResNetV2(
        layers=[2, 1, 1], channels=(128, 256, 512), num_classes=0, global_pool="", stem_chs=32, stem_type="same",
        preact=False, conv_layer=partial(StdConv2dSame, eps=1e-8),
    )  # fmt: skip
    timms = VisionTransformer(
        img_size=64, embed_dim=128, depth=2, num_heads=2, num_classes=0,
        embed_layer=partial(HybridEmbed, backbone=backbone, proj=True), patch_size=1,
    ).eval()  # fmt: skip
    with torch.no_grad():
        _load_weights(timms, str(npz))
    own = encoder()
    load_google_weights(own, npz)
    assert_close(timms.pos_embed[:, 1:], own.transformer.positions)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, found = backbone.forward_features(image), own.backbone.forward_features(image)
        assert_close(found, expected)
        # Blocks on the same tokens: timm's own forward pass has the class token among them.
        tokens = torch.randn(1, 5, 128)
        assert_close(
            own.transformer.norm(own.transformer.blocks[1](tokens)), timms.norm(timms.blocks[1](tokens))
        )


def test_positions_and_the_first_convolution_are_adapted(source, npz):
    other = encoder(1, (32, 96))
    load_google_weights(other, npz)
    assert other.transformer.positions.shape == (1, 2 * 6, 128)
    assert_close(other.backbone.stem.conv.weight, source.backbone.stem.conv.weight.sum(1, keepdim=True))


@pytest.mark.parametrize("build", [TransUNet, TransUNetClassifier])
def test_a_network_starts_from_the_file_that_its_config_names(build, source, npz):
    digest = hashlib.sha256(npz.read_bytes()).hexdigest()
    options = {"in_channels": 3, "num_classes": 2, "image_size": 64, "weights": str(npz), "sha256": digest}
    network = build(**options, **TINY)
    found = network.encoder if build is TransUNet else network.body
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), source.parameters(), strict=True))


def test_every_tensor_of_the_paper_has_its_place():
    with torch.device("meta"):
        network = TransUNetEncoder()
    names = [name for key in network.state_dict() for name in google_names(key)]
    assert len(names) == len(set(names))
    # 53 convolutions and norms of the ResNet without its last stage, 12 blocks of 16 arrays, and the rest.
    assert sum(name.startswith("block") for name in names) == 3 * (3 * 16 + 3)
    assert sum("encoderblock_" in name for name in names) == 12 * 16
    with pytest.raises(KeyError):
        google_names("decoder.first.0.weight")


def test_what_does_not_fit_is_refused_and_changes_nothing(source, npz, tmp_path):
    other = encoder(depth=3)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(
        ConfigError, match=r"missing \(Transformer/encoderblock_2/LayerNorm_0/scale.*default width"
    ):
        load_google_weights(other, npz)
    with pytest.raises(ConfigError, match=r"of another shape \(conv_root/kernel \(32, 3, 7, 7\) for \(64,"):
        load_google_weights(encoder(backbone_width=64), npz)
    with pytest.raises(ConfigError, match="has the sha256"):
        load_google_weights(other, npz, sha256="00")
    with pytest.raises(UnavailableWeightsError, match="no file"):
        load_google_weights(other, tmp_path / "absent.npz")
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


@pytest.mark.parametrize("content", [b"no archive", b"PK\x03\x04 torn"])
def test_a_file_that_is_no_archive_is_refused(content, tmp_path):
    path = tmp_path / "weights.npz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"no \.npz archive"):
        load_google_weights(encoder(), path)


def test_pickled_objects_are_never_opened(tmp_path):
    np.savez(tmp_path / "weights.npz", conv_root=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ConfigError, match="arrays alone"):
        load_google_weights(encoder(), tmp_path / "weights.npz")
