import numpy as np
import pytest
import torch
from torch import nn

from medimg.commands.explain_task import check_task, image_weights, subjects_of
from medimg.errors import ConfigError
from medimg.explain import Settings
from medimg.inference.sliding_window import SlidingWindowInferer
from medimg.models import GatedAttentionPooling, TimmClassifier
from medimg.tasks import ClassificationTask, MultiTargetTask, SegmentationTask


class Bright(nn.Module):
    """Two maps: how bright a voxel is, and below it a bottleneck of half the size that the answer passes."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.AvgPool3d(2), nn.Upsample(scale_factor=2)

    def forward(self, image):
        bright = self.up(self.down(image)) - 0.5
        return torch.cat([-bright, bright], 1)


def test_a_region_is_explained_tile_by_tile():
    task = SegmentationTask(
        Bright(), classes=["lesion"], inferer=SlidingWindowInferer(roi_size=(8, 8, 8))
    ).eval()
    image = torch.zeros(1, 1, 12, 16, 16)
    image[..., 4:8, 10:14, 2:6] = 3
    (subject,) = subjects_of(task, image, None, None)
    assert subject.label == "lesion" and subject.region.sum() == 64 and subject.probability > 0.9
    found = subject.explain(task, Settings("hirescam"))
    assert found.layer == "down" and found.heat.shape == (1, 12, 16, 16)
    assert subject.region[np.unravel_index(found.heat[0].argmax(), (12, 16, 16))]
    assert found.heat[0][~subject.region].sum() < found.heat.sum() / 2
    without = torch.where(torch.from_numpy(subject.region), 0.0, image)
    assert subject.probs(torch.cat([image, without])).tolist() == pytest.approx(
        [subject.probability, torch.tensor(-1.0).sigmoid().item()], abs=1e-3
    )


def test_no_region_no_explanation_and_labels_choose():
    task = SegmentationTask(
        Bright(), classes=["lesion"], inferer=SlidingWindowInferer(roi_size=(8, 8, 8))
    ).eval()
    assert subjects_of(task, torch.zeros(1, 1, 8, 8, 8), None, None) == []
    torch.manual_seed(0)
    network = TimmClassifier("test_efficientnet", 3, in_channels=1)
    several = ClassificationTask(network, task="multilabel", classes=["a", "b", "c"]).eval()
    image = torch.randn(1, 1, 32, 32)
    probs = several.probabilities(several(image))[0].tolist()
    expected = [n for n, p in zip("abc", probs, strict=True) if p > 0.5 or p == max(probs)]
    assert [one.label for one in subjects_of(several, image, None, None)] == expected
    assert [one.label for one in subjects_of(several, image, None, ["c", "a"])] == ["a", "c"]


def test_weights_of_a_group_are_those_of_its_pooling():
    torch.manual_seed(0)
    network = TimmClassifier("test_efficientnet", 1, in_channels=1)
    pooling = GatedAttentionPooling(network.num_features, hidden=4)
    task = ClassificationTask(network, task="binary", classes=["a"], pooling=pooling).eval()
    image = torch.randn(3, 1, 32, 32)
    weights = image_weights(task, image)
    assert sum(weights) == pytest.approx(1, abs=1e-5)
    logits = task(image, torch.tensor([3]))
    joined = (network.features(image) * torch.tensor(weights)[:, None]).sum(0, keepdim=True)
    assert torch.allclose(logits, network.head(joined), atol=1e-5)
    (subject,) = subjects_of(task, image, 3, None)
    assert subject.case.shape == (1, 3, 1, 32, 32)
    assert subject.explain(task, Settings("gradcam")).heat.shape == (3, 32, 32)
    assert image_weights(ClassificationTask(network, task="binary", classes=["a"]), image) is None


def test_other_tasks_are_refused():
    task = MultiTargetTask.__new__(MultiTargetTask)
    with pytest.raises(ConfigError, match="MultiTargetTask has no labels or regions to explain"):
        check_task(task, None)
