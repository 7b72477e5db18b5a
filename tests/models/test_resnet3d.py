"""3D classifiers: MONAI's parameter counts, any size, weights of MedicalNet, and MONAI's own by class path."""

import copy

import pytest
import torch
import yaml
from monai.networks.nets import DenseNet121, SEResNet50, resnet10, resnet18, resnet34, resnet50
from torch.testing import assert_close

from medimg.commands.export_network import Finest, difference_of, trace, write
from medimg.commands.run import RunCLI
from medimg.commands.trust import set_policy
from medimg.errors import ConfigError
from medimg.models import GatedAttentionPooling, ResNet3D
from medimg.models.resnet3d import PaddedShortcut
from medimg.models.weights import UnavailableWeightsError
from medimg.tasks import ClassificationTask, TrainingOptions
from medimg.tasks.learning_rates import RateOptions

THEIRS = {10: resnet10, 18: resnet18, 34: resnet34, 50: resnet50}
# By hand for a stem of 7^3 on one channel, basic blocks of two 3^3 convolutions, each with its norm.
BY_HAND_18 = (
    343 * 64 + 128
    + 4 * (27 * 64 * 64 + 128)
    + sum(27 * a * 2 * a + 3 * (27 * 4 * a * a) + a * 2 * a + 5 * 4 * a for a in (64, 128, 256))
)  # fmt: skip


def tiny(num_classes=2, depth=10, **options):
    return ResNet3D(depth, num_classes=num_classes, **{"widen": 0.125, **options})


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("depth", THEIRS)
def test_it_has_the_parameters_of_monais_resnets(depth):
    options = {"n_input_channels": 3, "num_classes": 5, "bias_downsample": False}
    with torch.device("meta"):
        ours, theirs = ResNet3D(depth, 3, 5), THEIRS[depth](**options)
        padded, bare = ResNet3D(depth, 3, 5, shortcut="pad"), THEIRS[depth](**options, shortcut_type="A")
    assert count(ours) == count(theirs)
    assert count(padded) == count(bare) < count(ours)
    assert ours.num_features == (2048 if depth == 50 else 512)


def test_resnet_18_has_the_parameters_that_its_paper_describes():
    with torch.device("meta"):
        assert count(ResNet3D(18).body) == BY_HAND_18


@pytest.mark.parametrize("size", [(8, 8, 8), (5, 17, 30)])
@pytest.mark.parametrize(
    "options", [{}, {"in_channels": 4, "stem_stride": 1}, {"depth": 50, "shortcut": "pad"}]
)
def test_any_size_and_any_channels(size, options):
    network = tiny(3, **options).eval()
    image = torch.randn(2, network.in_channels, *size)
    with torch.no_grad():
        features = network.features(image)
        assert features.shape == (2, network.num_features)
        logits = network(image)
    assert logits.shape == (2, 3)
    assert_close(logits, network.head(features))


def test_padded_shortcuts_give_monais_numbers_and_pass_gradients():
    network = tiny(shortcut="pad").eval()
    theirs = resnet10(
        n_input_channels=1, conv1_t_stride=2, widen_factor=0.125, feed_forward=False, shortcut_type="A"
    ).eval()
    theirs.load_state_dict(network.body.state_dict())
    image = torch.randn(1, 1, 12, 12, 12)
    with torch.no_grad():
        assert_close(network.features(image), theirs(image))
    below = torch.randn(1, 2, 4, 4, 4, requires_grad=True)
    PaddedShortcut(4, 2)(below).sum().backward()
    assert below.grad[:, :, ::2, ::2, ::2].eq(1).all()
    assert below.grad.sum() == 16


def test_a_step_under_bfloat16_reaches_every_parameter_and_lowers_the_loss():
    torch.manual_seed(0)
    network = tiny()
    image, label = torch.randn(4, 1, 32, 32, 32), torch.tensor([0, 1, 0, 1])
    optimizer, losses = torch.optim.SGD(network.parameters(), lr=0.05), []
    for _ in range(2):
        optimizer.zero_grad()
        # Without oneDNN, whose bf16 gradients are now and then no numbers where a map has one or two voxels.
        with torch.backends.mkldnn.flags(enabled=False), torch.autocast("cpu", torch.bfloat16):
            losses.append(torch.nn.functional.cross_entropy(network(image).float(), label))
            losses[-1].backward()
        wrong = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
        assert not wrong
        optimizer.step()
    assert losses[1] < losses[0]


def test_saved_and_loaded_it_gives_the_same_logits(tmp_path):
    first, second = tiny().eval(), tiny().eval()
    torch.save(first.state_dict(), tmp_path / "weights.pth")
    second.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True))
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        assert torch.equal(first(image), second(image))


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "torch-export"])
@pytest.mark.parametrize("shortcut", ["conv", "pad"])
def test_exported_it_gives_the_same(format, shortcut, tmp_path):
    network = tiny(shortcut=shortcut).eval()
    inputs, path = {"image": torch.randn(2, 1, 16, 16, 16)}, tmp_path / "network"
    write(trace(network, inputs), path, format)
    assert difference_of(path, format, lambda given: network(**given), inputs) < 1e-4


# ---- initial weights -------------------------------------------------------------------------------


def test_weights_in_the_form_of_medicalnet_are_read(tmp_path):
    source = resnet18(
        n_input_channels=1, conv1_t_stride=2, widen_factor=0.125, feed_forward=False, shortcut_type="A"
    )
    tensors = {f"module.{name}": value for name, value in source.state_dict().items()}
    path = tmp_path / "resnet_18_23dataset.pth"
    torch.save({"state_dict": tensors}, path)
    network = tiny(depth=18, shortcut="pad", weights=str(path))
    assert all(torch.equal(value, network.body.state_dict()[k]) for k, value in source.state_dict().items())
    more = tiny(depth=18, shortcut="pad", weights=str(path), in_channels=4)
    # Four equal channels answer as one.
    image = torch.randn(1, 1, 9, 9, 9)
    with torch.no_grad():
        assert_close(more.eval().features(image.expand(-1, 4, -1, -1, -1)), network.eval().features(image))
    with pytest.raises(ConfigError, match="has shortcuts without parameters: set shortcut: pad"):
        tiny(depth=18, weights=str(path))
    with pytest.raises(ConfigError, match="does not fit this network"):
        tiny(depth=34, shortcut="pad", weights=str(path))
    with pytest.raises(ConfigError, match=r"has the sha256 .*expected 00"):
        tiny(depth=18, shortcut="pad", weights=str(path), sha256="00")


def test_an_encoder_of_ones_own_is_read_without_its_head(tmp_path):
    source = tiny(5)
    torch.save(source.state_dict(), tmp_path / "whole.pth")
    network = tiny(2, weights=str(tmp_path / "whole.pth"))
    assert_close(network.body.state_dict(), source.body.state_dict())


def test_weights_that_are_not_there_are_an_error_of_the_first_use_unless_a_checkpoint_comes(tmp_path):
    network = tiny(weights=str(tmp_path / "absent.pth"))
    with pytest.raises(UnavailableWeightsError, match="there is no file"):
        network(torch.zeros(1, 1, 8, 8, 8))
    network.load_state_dict(tiny().state_dict())
    network.check_available()


def test_what_does_not_fit_is_refused_with_what_to_set():
    with pytest.raises(ConfigError, match="depth: ResNet3D has 10, 18, 34, 50 layers, found 20"):
        ResNet3D(20)
    with pytest.raises(ConfigError, match="sha256 belongs to a file"):
        tiny(sha256="00")
    with pytest.raises(ConfigError, match=r"takes volumes \(B, C, D, H, W\), found \(1, 1, 8, 8\)"):
        tiny()(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ConfigError, match="takes 1 channels and the volumes have 2: set in_channels"):
        tiny()(torch.zeros(1, 2, 8, 8, 8))


# ---- in a task ---------------------------------------------------------------------------------------


def test_a_task_teaches_the_body_more_slowly_and_a_pooling_joins_its_features(monkeypatch):
    network = tiny(1)
    rates = TrainingOptions(rates=RateOptions(backbone_lr_scale=0.1))
    task = ClassificationTask(
        network, task="binary", classes=["sick"], training=rates,
        optimizer=lambda params: torch.optim.SGD(params, lr=1.0),
    )  # fmt: skip
    monkeypatch.setattr(task, "log", lambda *args, **options: None)
    batch = {"image": torch.randn(2, 1, 8, 8, 8), "label": torch.ones(2, 1), "weight": torch.ones(2)}
    task.training_step(batch, 0).backward()
    groups = task.optimizer(task.parameters()).param_groups
    rate_of = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert rate_of[id(network.head_module.weight)] == 1.0
    assert rate_of[id(network.body.conv1.weight)] == pytest.approx(0.1)
    pooling = GatedAttentionPooling(network.num_features)
    joined = pooling(network.features(torch.randn(3, 1, 8, 8, 8)), torch.tensor([1, 2]))
    assert network.head(joined).shape == (2, 1)


NETS = "monai.networks.nets"
BY_CLASS_PATH = {
    f"{NETS}.DenseNet121": {"spatial_dims": 3, "in_channels": 2, "out_channels": 1},
    f"{NETS}.SEResNet50": {"spatial_dims": 3, "in_channels": 2, "num_classes": 1},
    f"{NETS}.ResNet": {
        "block": "basic", "layers": [1, 1, 1, 1], "block_inplanes": [64, 128, 256, 512], "n_input_channels": 2,
        "num_classes": 1,
    },
    "medimg.models.ResNet3D": {"depth": 10, "in_channels": 2, "num_classes": 1},
}  # fmt: skip
COUNTS = {
    f"{NETS}.DenseNet121": lambda: count(DenseNet121(spatial_dims=3, in_channels=2, out_channels=1)),
    f"{NETS}.SEResNet50": lambda: count(SEResNet50(spatial_dims=3, in_channels=2, num_classes=1)),
    f"{NETS}.ResNet": lambda: count(resnet10(n_input_channels=2, num_classes=1)),
    "medimg.models.ResNet3D": lambda: count(
        resnet10(n_input_channels=2, num_classes=1, bias_downsample=False)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_CLASS_PATH, ids=lambda name: name.rpartition(".")[2])
def test_a_3d_classifier_is_named_by_its_class_path_and_trains(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overlay = tmp_path / "network.yaml"
    task = {
        "class_path": "medimg.tasks.ClassificationTask",
        "init_args": {
            "task": "binary", "classes": ["sick"],
            "network": {"class_path": name, "init_args": BY_CLASS_PATH[name]},
        },
    }  # fmt: skip
    dataset = {"class_path": "medimg.datasets.MedMNIST", "init_args": {"name": "nodulemnist3d"}}
    data = {"class_path": "medimg.datamodules.LabelledVolumeDataModule", "init_args": {"dataset": dataset}}
    overlay.write_text(yaml.safe_dump({"experiment": "x", "model": task, "data": data}))
    set_policy([])
    task = RunCLI("fit", ["--config", str(overlay)], [overlay]).model
    assert count(task.network) == COUNTS[name]()
    monkeypatch.setattr(task, "log", lambda *args, **options: None)
    batch = {"image": torch.randn(2, 2, 32, 32, 32), "label": torch.eye(2)[:, :1], "weight": torch.ones(2)}
    with torch.backends.mkldnn.flags(enabled=False), torch.autocast("cpu", torch.bfloat16):
        task.training_step(batch, 0).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in task.network.parameters())
    network, again = task.network.eval(), copy.deepcopy(task.network).eval()
    again.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(network(batch["image"]), again(batch["image"]))
    inputs, path = {"image": batch["image"]}, tmp_path / "network.pt2"
    write(trace(Finest(network).eval(), inputs), path, "torch-export")
    assert difference_of(path, "torch-export", lambda given: network(given["image"]), inputs) < 1e-4
