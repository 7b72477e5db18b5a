"""The task of a run is built from its own config, and takes no weights but its own."""

from pathlib import Path

import pytest
import torch
import yaml

from medimg.commands.export_source import _build, find_checkpoint, read_trained
from medimg.commands.trust import set_policy
from medimg.errors import CheckpointError, ConfigError

SETTINGS = yaml.safe_load((Path(__file__).parents[1] / "conf" / "classification.yaml").read_text())


@pytest.fixture
def run(tmp_path):
    set_policy([])
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(SETTINGS))
    return tmp_path


def save(run, name="best", **changes):
    task = _build(SETTINGS, run / "config.yaml")
    content = {"state_dict": task.state_dict(), "medimg_classes": ["malignant"], "medimg_task": "binary"}
    torch.save({**content, **changes}, run / "checkpoints" / f"{name}.ckpt")
    return task


def test_a_folder_means_its_best_or_else_its_last_checkpoint(run):
    save(run, "last")
    assert find_checkpoint(run, "best")[0].name == "last.ckpt"
    save(run, "best")
    assert find_checkpoint(run, "best") == (run / "checkpoints" / "best.ckpt", run / "config.yaml")
    assert find_checkpoint(run, "last")[0].name == "last.ckpt"
    assert find_checkpoint(run / "checkpoints" / "last.ckpt", "best")[0].name == "last.ckpt"


def test_the_task_has_the_checkpoints_weights_and_its_own_answer(run):
    expected = save(run).eval()
    trained = read_trained(*find_checkpoint(run, "best"))
    assert not trained.task.training
    image = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(trained.answer({"image": image}), expected(image))


def test_a_checkpoint_without_its_config_is_refused(run):
    save(run)
    (run / "config.yaml").unlink()
    with pytest.raises(CheckpointError, match=r"expected the run's config\.yaml at"):
        find_checkpoint(run / "checkpoints" / "best.ckpt", "best")


def test_weights_of_another_network_or_for_other_labels_are_refused(run):
    save(run, medimg_classes=["benign"])
    with pytest.raises(CheckpointError, match=r"\['benign'\], this config says"):
        read_trained(*find_checkpoint(run, "best"))
    save(run, state_dict={"network.body.conv_stem.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="was made by another configuration than"):
        read_trained(*find_checkpoint(run, "best"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("trainer: {}", "expected the config of a run, found no model"),
        ("model: [", "cannot be read"),
        ("model: {class_path: os.system}", "os.system"),
        (yaml.safe_dump({"model": {"class_path": "torch.nn.Identity"}}), "model"),
    ],
)
def test_a_config_that_is_none_is_refused(content, said, run):
    save(run)
    (run / "config.yaml").write_text(content)
    with pytest.raises(ConfigError, match=said):
        read_trained(*find_checkpoint(run, "best"))
