"""TransUNet: the paper's parameter counts, any size that fits, and a small one that trains."""

import pytest
import torch
from timm import create_model
from torch.testing import assert_close

from medimg.errors import ConfigError
from medimg.models import SliceWise, TransUNet, TransUNetClassifier, TransUNetEncoder
from medimg.models.weights import UnavailableWeightsError
from medimg.tasks.learning_rates import RateOptions, grouped_optimizer

TINY = {"width": 64, "depth": 1, "backbone_layers": (1, 1, 1), "backbone_width": 32}
DECODER = (32, 32, 16, 16, 16)


def tiny(in_channels=1, num_classes=3, image_size=(32, 48), **options):
    return TransUNet(in_channels, num_classes, image_size, **{**TINY, "decoder_channels": DECODER, **options})


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_default_has_the_parameters_of_the_paper_part_by_part():
    with torch.device("meta"):
        network = TransUNet()
    encoder = network.encoder
    assert count(network) == 105_277_081
    assert count(encoder.backbone) == 11_894_848
    assert count(encoder.transformer.projection) == 787_200
    assert encoder.transformer.positions.numel() == 150_528
    assert count(encoder.transformer.blocks) + count(encoder.transformer.norm) == 85_056_000
    assert count(network.decoder) == 7_387_200
    assert count(network.head) == 1_305


def test_the_encoder_is_timms_hybrid_without_class_token():
    with torch.device("meta"):
        ours, timms = TransUNetEncoder(), create_model("vit_base_r50_s16_224", num_classes=0)
    assert count(timms) == 97_890_112
    assert count(ours) == count(timms) - 2 * 768  # the class token and its position


@pytest.mark.parametrize("size", [(16, 16), (32, 48), (80, 64)])
@pytest.mark.parametrize("channels", [1, 4])
def test_logits_have_the_size_of_the_image(size, channels):
    network = tiny(channels, 2, size).eval()
    with torch.no_grad():
        assert network(torch.randn(1, channels, *size)).shape == (1, 2, *size)


def test_the_maps_on_the_way_are_those_of_strides_8_4_and_2():
    encoder = TransUNetEncoder(1, 64, **TINY)
    last, skips = encoder(torch.randn(1, 1, 64, 64))
    assert last.shape == (1, 64, 4, 4)
    assert [tuple(skip.shape[1:]) for skip in skips] == [(256, 8, 8), (128, 16, 16), (32, 32, 32)]
    assert [skip.shape[1] for skip in skips] == list(encoder.skip_channels)


def test_the_map_is_that_of_timms_own_forward_pass():
    encoder = TransUNetEncoder(1, 32, **TINY).eval()
    image = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        expected = encoder.transformer(encoder.backbone.forward_features(image))
        assert_close(encoder(image)[0], expected)


def test_another_size_than_that_of_the_positions_is_taken_too():
    network = tiny(image_size=(32, 48)).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 1, 64, 32)).shape == (1, 3, 64, 32)


@pytest.mark.parametrize(
    ("size", "near"), [((60, 49), r"\[64, 48\]"), ((224, 230), r"\[224, 224\]"), ((3, 32), r"\[16, 32\]")]
)
def test_a_size_that_does_not_fit_names_the_nearest(size, near):
    with pytest.raises(ConfigError, match=f"image_size: .*multiples of 16.*the nearest is {near}"):
        tiny(image_size=size)
    with pytest.raises(ConfigError, match=f"image: .*the nearest is {near}"):
        tiny()(torch.zeros(1, 1, *size))


def test_what_does_not_fit_is_refused_with_what_to_set(tmp_path):
    with pytest.raises(ConfigError, match="takes 1 channels and the images have 3: set in_channels"):
        tiny()(torch.zeros(1, 3, 32, 48))
    with pytest.raises(ConfigError, match="backbone_width: expected a multiple of 32, found 24"):
        tiny(backbone_width=24)
    with pytest.raises(ConfigError, match="sha256 belongs to a file"):
        tiny(sha256="00")
    absent = tiny(weights=str(tmp_path / "absent.npz"))
    with pytest.raises(UnavailableWeightsError, match="there is no file"):
        absent(torch.zeros(1, 1, 32, 48))
    absent.load_state_dict(tiny().state_dict())  # a checkpoint stands in for them
    absent.check_available()


def one_step(network, image, target):
    """Loss before and after a step of SGD, under bfloat16."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    losses = []
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            losses.append(torch.nn.functional.cross_entropy(network(image).float(), target))
        optimizer.zero_grad()
        losses[-1].backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        optimizer.step()
    return losses


@pytest.mark.slow
def test_a_step_under_bfloat16_reaches_every_parameter_and_lowers_the_loss():
    torch.manual_seed(0)
    network = tiny(drop_rate=0.0)
    image = torch.randn(2, 1, 32, 48)
    first, second = one_step(network, image, (image[:, 0] > 0).long())
    assert second < first


def test_saved_and_loaded_it_gives_the_same_logits(tmp_path):
    first, second = tiny().eval(), tiny().eval()
    torch.save(first.state_dict(), tmp_path / "weights.pth")
    second.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True))
    image = torch.randn(1, 1, 32, 48)
    with torch.no_grad():
        assert torch.equal(first(image), second(image))


# ---- the classifier ------------------------------------------------------------------------------


def test_the_classifier_is_the_encoder_and_one_layer():
    with torch.device("meta"):
        network = TransUNetClassifier(5)
    assert count(network) == 105_277_081 - 7_387_200 - 1_305 + 5 * 769


@pytest.mark.slow
def test_the_classifier_joins_features_and_head_and_trains():
    torch.manual_seed(0)
    network = TransUNetClassifier(2, in_channels=1, image_size=32, drop_rate=0.0, **TINY)
    image = torch.randn(4, 1, 32, 32)
    features = network.features(image)
    assert features.shape == (4, network.num_features)
    assert_close(network(image), network.head(features))
    first, second = one_step(network, image, torch.tensor([0, 1, 0, 1]))
    assert second < first


def test_layers_learn_at_rates_that_fall_towards_the_image():
    network = TransUNetClassifier(1, in_channels=1, image_size=32, **{**TINY, "depth": 2})
    rates = RateOptions(layer_decay=0.5)
    optimizer = grouped_optimizer(
        lambda params: torch.optim.SGD(params, lr=1.0), network, rates, network.parameters()
    )
    rate_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    places = (
        network.body.backbone.stem.conv.weight,
        network.body.backbone.stages[0].blocks[0].conv1.weight,
        network.body.backbone.stages[2].blocks[0].conv1.weight,
        network.body.transformer.projection.weight,
        network.body.transformer.blocks[0].attn.qkv.weight,
        network.body.transformer.blocks[1].attn.qkv.weight,
        network.head_module.weight,
    )
    found = [rate_of[id(place)] for place in places]
    assert found == sorted(found)
    assert len(set(found)) == len(found)
    assert found[-1] == 1.0
    assert set(rate_of) == {id(p) for p in network.parameters()}


def test_it_trains_on_volumes_slice_by_slice():
    network = SliceWise(tiny(3), neighbours=1)
    assert network(torch.randn(1, 1, 2, 32, 48)).shape == (1, 3, 2, 32, 48)
