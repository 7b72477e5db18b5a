"""Batches of volumes, the values on the device, and views that differ by their seeds alone."""

import numpy as np
import pytest
import torch

from medimg.datamodules.image_samples import ImageCase
from medimg.datamodules.samplers import SampleKey
from medimg.datamodules.volume_samples import (
    VolumeDataset,
    augment_volumes,
    collate_volumes,
    scale_volumes,
)
from medimg.transforms import Augment3D, Brightness, RandomSpatial

CASES = [
    ImageCase("a", "pa", ("a",), np.float32([1, np.nan]), 1.0),
    ImageCase("b", "pb", ("b",), np.float32([0, 1]), 0.5),
]


def read(case_id):
    return np.full((1, 2, 3, 4), ord(case_id), np.uint8)


def test_a_training_batch_has_seeds_and_a_scored_one_has_none():
    seen = []
    dataset = VolumeDataset(CASES, read, before=seen.append)
    batch = collate_volumes([dataset[SampleKey(1, 7)], dataset[SampleKey(0, 9)]])
    assert batch["image"].shape == (2, 1, 2, 3, 4)
    assert batch["image"][:, 0, 0, 0, 0].tolist() == [98, 97]
    assert batch["seed"].tolist() == [7, 9]
    assert batch["weight"].tolist() == [0.5, 1.0]
    assert batch["label"][0].tolist() == [0, 1]
    assert batch["label"][1].isnan().tolist() == [False, True]
    assert (batch["case_id"], batch["patient_id"]) == (["b", "a"], ["pb", "pa"])
    assert "seed" not in collate_volumes([dataset[0]])
    assert seen == ["b", "a", "a"]


def test_a_case_without_labels_leaves_none_in_the_batch():
    dataset = VolumeDataset([CASES[0], ImageCase("c", "pc", ("c",), None, 1.0)], read)
    assert "label" not in collate_volumes([dataset[0], dataset[1]])


def test_bytes_go_from_minus_one_to_one_and_halves_stay():
    kept = torch.tensor([0, 51, 255], dtype=torch.uint8)
    torch.testing.assert_close(scale_volumes(kept), torch.tensor([-1.0, -0.6, 1.0]))
    assert kept.tolist() == [0, 51, 255]
    halves = scale_volumes(torch.tensor([0.5], dtype=torch.float16))
    assert (halves.dtype, halves.item()) == (torch.float32, 0.5)


@pytest.fixture
def augment():
    spatial = RandomSpatial(rotation_probability=0, scale_probability=0)
    return Augment3D((4, 4, 4), spatial=spatial, intensity=[Brightness(probability=1.0)])


def test_views_of_a_case_lie_one_after_the_other_and_depend_on_its_seed_alone(augment):
    image = torch.randn(2, 1, 4, 4, 4)
    batch = {"image": image, "seed": torch.tensor([5, 6]), "label": torch.zeros(2, 1)}
    views = augment_volumes(batch, augment, 3)
    assert views["image"].shape == (6, 1, 4, 4, 4)
    assert views["sizes"].tolist() == [3, 3]
    assert views["label"].shape == (2, 1)
    flat = views["image"].flatten(1)
    assert len({tuple(row.tolist()) for row in flat}) == 6

    # A factor and mirrors: sorted magnitudes tell which volume it was.
    def magnitudes(volume):
        ordered = volume.flatten().abs().sort().values
        return ordered / ordered[-1]

    for row in range(6):
        torch.testing.assert_close(magnitudes(flat[row]), magnitudes(image[row // 3]))
    alone = augment_volumes({"image": image[1:], "seed": torch.tensor([6])}, augment, 3)
    assert torch.equal(alone["image"], views["image"][3:])
    assert torch.equal(batch["image"], image)


def test_one_view_is_the_augmentation_by_the_batchs_own_seeds(augment):
    batch = {"image": torch.randn(2, 1, 4, 4, 4), "seed": torch.tensor([5, 6])}
    found = augment_volumes(batch, augment, 1)
    assert torch.equal(found["image"], augment(batch)["image"])
    assert "sizes" not in found
