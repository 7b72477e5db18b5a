"""TransUNet: the paper's parameter counts, any size that fits, and a small one that trains."""

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from timm import create_model
from torch.testing import assert_close

from medimg.cli import main
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


# ---- volumes, slice by slice, by the config that is shipped ----------------------------------------

CONFIG = Path(__file__).parents[2] / "configs" / "transunet.yaml"
SHORT = {
    "trainer.accelerator": "cpu", "trainer.max_epochs": "1", "trainer.check_val_every_n_epoch": "1",
    "data.patches.batches_per_epoch": "2", "data.split.num_folds": "2",
}  # fmt: skip


def fit_and_predict(root, source, tmp_path, **settings):
    """Train a moment on a Decathlon task, and the label map predicted for a volume beside it."""
    words = [word for name, value in {**SHORT, **settings}.items() for word in (f"--{name}", value)]
    assert main(["fit", "--config", str(CONFIG), "--data.root", str(root), *words]) == 0
    (run,) = (tmp_path / "lightning_logs").glob("*/version_0")
    assert any("val/dice" in line for line in (run / "metrics.csv").read_text().splitlines()[:1])
    words = ["predict", "--config", str(run / "config.yaml"), "--ckpt_path", "last"]
    assert main([*words, "--data.predict_root", str(source)]) == 0
    (mask,) = (run / "predict").glob("*.nii.gz")
    return nib.load(mask)


def assert_on_grid(found, source, values):
    image = nib.load(source)
    assert found.shape == image.shape[:3]
    np.testing.assert_array_equal(found.affine, image.affine)
    np.testing.assert_array_equal(found.header.get_zooms(), image.header.get_zooms()[:3])
    assert set(np.unique(np.asarray(found.dataobj))) <= values


@pytest.mark.slow
def test_predict_gives_a_volume_back_on_the_oblique_grid_of_its_source(
    tmp_path, monkeypatch, write_decathlon, write_volume
):
    monkeypatch.chdir(tmp_path)
    root = write_decathlon(tmp_path / "Task", cases=4, labels=("Anterior", "Posterior"), shape=(10, 40, 36))
    (source,) = (root / "imagesTs").glob("*.nii.gz")
    (tmp_path / "new").mkdir()
    copy = tmp_path / "new" / source.name
    copy.write_bytes(source.read_bytes())
    assert nib.load(source).header.get_zooms() != (1.0, 1.0, 1.0)  # so that the prepared grid is another
    found = fit_and_predict(root, tmp_path / "new", tmp_path)
    assert_on_grid(found, copy, {0, 1, 2})


def write_slabs(ct, folder, labels, slabs):
    """Cut the part of a CT that has a mask into slabs of slices: a Decathlon task of one patient."""
    image, mask = nib.load(ct / "example_ct.nii.gz"), nib.load(ct / "example_seg.nii.gz")
    step = mask.shape[2] // slabs
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    cases = []
    for number in range(slabs):
        part = slice(number * step, (number + 1) * step)
        values = np.asarray(mask.slicer[:, :, part].dataobj)
        classes = sum((values == value) * np.uint8(n) for n, value in enumerate(labels.values(), start=1))
        name = f"slab_{number}.nii.gz"
        nib.save(image.slicer[:, :, part], folder / "imagesTr" / name)
        nib.save(nib.Nifti1Image(classes, mask.slicer[:, :, part].affine), folder / "labelsTr" / name)
        cases.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    names = {str(n): name for n, name in enumerate(["background", *labels])}
    content = {"name": "CT", "modality": {"0": "CT"}, "labels": names, "training": cases, "test": []}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


@pytest.mark.real
def test_it_trains_on_slices_of_a_real_ct_and_predicts_the_whole_scan(tmp_path, monkeypatch):
    ct = Path(os.environ["MEDIMG_REAL_DATA"]) / "ct"
    monkeypatch.chdir(tmp_path)
    root = write_slabs(ct, tmp_path / "Task", {"liver": 5, "spleen": 1, "aorta": 52}, slabs=5)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "example_ct.nii.gz").write_bytes((ct / "example_ct.nii.gz").read_bytes())
    network = "model.network.init_args.network.init_args"
    found = fit_and_predict(
        root, tmp_path / "new", tmp_path,
        **{
            "model.classes": "[liver, spleen, aorta]", f"{network}.num_classes": "4",
            f"{network}.image_size": "[112, 128]", "data.patches.size": "[6, 112, 128]",
            "model.inferer.init_args.roi_size": "[6, 112, 128]",
            "model.final_inferer.init_args.inferer.init_args.roi_size": "[6, 112, 128]",
            "data.preparation.spacing_mm": "[3, 3, 3]", "data.preparation.normalization": "[ct]",
            "data.preparation.window_hu": "[-160, 240]", "data.preparation.mean_std": "[40, 100]",
        },
    )  # fmt: skip
    assert_on_grid(found, ct / "example_ct.nii.gz", {0, 1, 2, 3})
