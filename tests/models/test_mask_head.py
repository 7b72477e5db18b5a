"""A classifier with a mask decoder answers as the classifier alone, and its encoder learns from the masks."""

import pytest
import torch
from torch.testing import assert_close

from medimg.commands.export_network import difference_of, trace, write
from medimg.errors import ConfigError
from medimg.losses import DiceCELoss
from medimg.models import MaskedClassifier, TimmClassifier


def tiny(architecture="test_efficientnet", num_classes=2, **options):
    classifier = TimmClassifier(architecture, num_classes, in_channels=1)
    return MaskedClassifier(classifier, **{"width": 16, **options})


def test_the_decoder_has_the_parameters_of_its_layers():
    with torch.device("meta"):
        network = MaskedClassifier(TimmClassifier("resnet50", 2), 3, width=64)
        alone = TimmClassifier("resnet50", 2)
    lateral = sum(
        64 * channels + 64 for channels in (256, 512, 1024, 2048)
    )  # ResNet-50's maps, He et al. 2015
    decoder = 64 * 64 * 9 + 2 * 64
    total = sum(p.numel() for p in network.parameters())
    assert total == sum(p.numel() for p in alone.parameters()) + lateral + decoder + 4 * 65
    assert (
        sum(p.numel() for p in alone.parameters()) == 25_557_032 - 998 * 2049
    )  # torchvision's ResNet-50, two classes


@pytest.mark.parametrize("architecture", ["test_efficientnet", "test_resnet", "test_convnext"])
@pytest.mark.parametrize("size", [(64, 64), (50, 75)])
def test_its_answers_are_the_classifiers_in_both_ways(architecture, size):
    network = tiny(architecture, mask_classes=2).eval()
    image = torch.randn(2, 1, *size)
    with torch.no_grad():
        features, masks = network.features_and_masks(image)
        assert torch.equal(network(image), network.classifier(image))
        assert_close(network.head(features), network(image))
        assert_close(features, network.features(image))
    assert masks.shape == (2, 3, *size)
    assert features.shape[1] == network.num_features


@pytest.mark.slow
def test_a_swin_hands_out_its_maps_too():
    network = MaskedClassifier(
        TimmClassifier("swin_tiny_patch4_window7_224", 1, in_channels=1), width=8
    ).eval()
    with torch.no_grad():
        features, masks = network.features_and_masks(torch.randn(1, 1, 64, 64))
    assert masks.shape == (1, 2, 64, 64)
    assert features.shape == (1, network.num_features)


def test_a_step_under_bfloat16_reaches_encoder_and_decoder_and_lowers_the_loss():
    torch.manual_seed(0)
    network, image = tiny("test_resnet"), torch.randn(2, 1, 64, 64)
    mask = (image > 0).to(torch.uint8)
    optimizer, losses = torch.optim.AdamW(network.parameters(), lr=0.001), []
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            features, masks = network.features_and_masks(image)
            loss = DiceCELoss()(masks, mask) + network.head(features).float().square().mean()
        losses.append(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        optimizer.step()
    assert losses[1] < losses[0]


def test_images_without_a_mask_move_nothing():
    network, image = tiny().eval(), torch.randn(2, 1, 64, 64)
    mask = torch.full((2, 1, 64, 64), 255, dtype=torch.uint8)
    loss = DiceCELoss()(network.features_and_masks(image)[1], mask)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert not any(p.grad is not None and p.grad.any() for p in network.parameters())
    mask[1] = image[1] > 0
    # An image more without a mask changes no gradient of the one that has it.
    grads = []
    for part in (slice(None), slice(1, 2)):
        network.zero_grad()
        DiceCELoss()(network.features_and_masks(image[part])[1], mask[part]).backward()
        grads.append(network.body.conv_stem.weight.grad.clone())
    assert grads[0].any()
    assert_close(*grads, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "torch-export"])
def test_exported_it_is_the_classifier_without_the_decoder(format, tmp_path):
    network = tiny().eval()
    inputs, path = {"image": torch.randn(2, 1, 64, 64)}, tmp_path / "network.pt2"
    program = trace(network, inputs)
    write(program, path, format)
    assert difference_of(path, format, lambda given: network.classifier(**given), inputs) < 1e-4
    weights = {str(node.target): node for node in program.graph.nodes if node.op == "placeholder"}
    assert weights["p_classifier_body_conv_stem_weight"].users
    assert not weights["p_mask_head_weight"].users


def test_saved_and_loaded_it_gives_the_same(tmp_path):
    first, second = tiny().eval(), tiny().eval()
    torch.save(first.state_dict(), tmp_path / "weights.pth")
    second.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True))
    image = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        for one, other in zip(first.features_and_masks(image), second.features_and_masks(image), strict=True):
            assert torch.equal(one, other)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="vit_tiny_patch16_224 hands out no maps of falling size"):
        MaskedClassifier(TimmClassifier("vit_tiny_patch16_224", 1))
    with pytest.raises(ConfigError, match="width: expected a multiple of 8, found 12"):
        tiny(width=12)
    with pytest.raises(ConfigError, match="mask_classes: expected 1 or more, found 0"):
        tiny(mask_classes=0)
    with pytest.raises(ConfigError, match="takes 1 channels and the images have 3"):
        tiny().features_and_masks(torch.zeros(1, 3, 32, 32))
