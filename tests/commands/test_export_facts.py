"""Shapes are those of training, and what the config does not tell is asked for."""

from pathlib import Path

import pytest
import torch
from torch import nn

from medimg.commands.export_facts import describe, example, input_shape
from medimg.commands.export_source import Trained
from medimg.errors import ConfigError
from medimg.models import SliceWise
from medimg.tasks import SegmentationTask


def trained(network, data, classes=("a",), checkpoint=Path("best.ckpt")):
    task = SegmentationTask(network, classes=classes).eval()
    return Trained(task, {"data": {"init_args": data}}, checkpoint)


PATCHES = {"patches": {"size": [4, 8, 6]}}


@pytest.mark.parametrize(
    ("network", "data", "shape"),
    [
        (nn.Conv3d(2, 2, 1), PATCHES, [2, 4, 8, 6]),
        (SliceWise(nn.Conv2d(6, 2, 1), neighbours=1), PATCHES, [2, 4, 8, 6]),
        (nn.Conv2d(1, 2, 1), {"image": {"size": [32, 24], "channels": 3}}, [3, 32, 24]),
    ],
)
def test_the_shape_is_that_of_training(network, data, shape):
    assert input_shape(trained(network, data)) == shape


def test_a_size_that_the_config_does_not_tell_is_asked_for():
    with pytest.raises(ConfigError, match=r"--shape: the run's config tells no size.*Give --shape C H W"):
        input_shape(trained(nn.Conv2d(1, 2, 1), {}))


class Pair(nn.Module):
    """Logits from an image and a table."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(3, 2)

    def forward(self, image, table):
        return self.line(table) + image.mean((1, 2, 3))[:, None]

    def example_inputs(self):
        return {"image": torch.randn(2, 1, 4, 4), "table": torch.randn(2, 3)}


def test_a_network_of_several_inputs_names_them_itself(tmp_path):
    (tmp_path / "best.ckpt").write_bytes(b"weights")
    source = trained(Pair(), {}, checkpoint=tmp_path / "best.ckpt")
    assert input_shape(source) == []
    module, inputs = example(source, [])
    assert module is source.network
    facts = describe(source, Path("a.onnx"), "onnx", inputs, None, 1e-4)
    assert facts["inputs"]["table"] == {"shape": ["batch", 3], "dtype": "float32"}
    assert facts["output"]["shape"] == ["batch", 2]
    assert facts["classes"] == ["background", "a"]


class Study(nn.Module):
    """Logits of a study from its slices."""

    def forward(self, image):
        return image.mean((0, 2, 3))[None]


def test_images_with_one_answer_are_told_from_a_batch(tmp_path):
    (tmp_path / "best.ckpt").write_bytes(b"weights")
    source = trained(Study(), {}, checkpoint=tmp_path / "best.ckpt")
    facts = describe(source, Path("a.onnx"), "onnx", {"image": torch.zeros(2, 3, 4, 4)}, None, 1e-4)
    assert facts["inputs"]["image"]["shape"] == ["images of one case", 3, 4, 4]
    assert facts["output"]["shape"] == [1, 3]
