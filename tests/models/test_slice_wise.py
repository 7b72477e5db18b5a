"""A network for images sees the slices of a volume, and its answers stand where the slices stood."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from medimg.errors import ConfigError
from medimg.inference.sliding_window import SlidingWindowInferer
from medimg.models import SliceWise
from medimg.tasks import SegmentationTask


def test_every_slice_is_answered_as_if_alone():
    network = nn.Conv2d(2, 3, 3, padding=1)
    volume = torch.randn(2, 2, 4, 6, 5)
    logits = SliceWise(network)(volume)
    expected = torch.stack([network(volume[:, :, d]) for d in range(4)], 2)
    assert_close(logits, expected)


def test_neighbours_stand_beside_each_slice_and_the_last_one_is_repeated():
    volume = torch.arange(3.0).view(1, 1, 3, 1, 1)
    stacked = SliceWise(nn.Identity(), neighbours=1).stacked(volume)[0, :, :, 0, 0]
    assert stacked.tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 2]]  # before, at and behind


def test_channels_of_neighbours_come_slice_by_slice():
    volume = torch.tensor([[[1.0, 2.0], [10.0, 20.0]]]).view(1, 2, 2, 1, 1)
    stacked = SliceWise(nn.Identity(), neighbours=1).stacked(volume)
    assert stacked[0, :, 0, 0, 0].tolist() == [1, 10, 1, 10, 2, 20]


@pytest.mark.parametrize("depth", [1, 2, 7])
@pytest.mark.parametrize("neighbours", [0, 1, 3])
def test_any_depth_keeps_its_shape(depth, neighbours):
    network = SliceWise(nn.Conv2d(2 * neighbours + 1, 2, 1), neighbours)
    assert network(torch.randn(2, 1, depth, 4, 3)).shape == (2, 2, depth, 4, 3)


def test_gradients_reach_the_network_and_weights_keep_their_names():
    network = SliceWise(nn.Conv2d(1, 1, 1))
    network(torch.ones(1, 1, 2, 2, 2)).sum().backward()
    assert network.network.weight.grad.item() == 8
    assert set(network.state_dict()) == {"network.weight", "network.bias"}


def test_tiles_give_what_the_whole_volume_gives():
    """Slices know nothing of each other, so that tiles along D change nothing."""
    network = SliceWise(nn.Conv2d(1, 2, 1))
    volume = torch.randn(1, 1, 11, 8, 8)
    inferer = SlidingWindowInferer(roi_size=(4, 8, 8), overlap=0)
    assert_close(inferer(volume, network), network(volume))


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_segmentation_trains_on_it(channels_last, monkeypatch):
    task = SegmentationTask(SliceWise(nn.Conv2d(1, 3, 1)), classes=["a", "b"], channels_last=channels_last)
    monkeypatch.setattr(task, "log", lambda *args, **options: None)
    batch = {"image": torch.randn(2, 1, 3, 4, 4), "mask": torch.randint(0, 3, (2, 1, 3, 4, 4)).byte()}
    task.training_step(batch, 0).backward()
    assert task.network.network.weight.grad.abs().sum() > 0


class Twice(nn.Module):
    def forward(self, image):
        return [image, image]


@pytest.mark.parametrize(("network", "said"), [(nn.MaxPool2d(2), r"\(1, 1, 2, 2\)"), (Twice(), "list")])
def test_a_network_that_changes_the_size_or_answers_twice_is_refused(network, said):
    network = network if isinstance(network, Twice) else nn.Sequential(network)
    with pytest.raises(ConfigError, match=f"of the slices' size.*found {said}.*deep supervision off"):
        SliceWise(network)(torch.zeros(1, 1, 1, 4, 4))


def test_images_and_negative_neighbours_are_refused():
    with pytest.raises(ConfigError, match=r"takes volumes \(B, C, D, H, W\), found \(1, 1, 4, 4\)"):
        SliceWise(nn.Identity())(torch.zeros(1, 1, 4, 4))
    with pytest.raises(ConfigError, match="neighbours: expected 0 or more slices, found -1"):
        SliceWise(nn.Identity(), -1)
