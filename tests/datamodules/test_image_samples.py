"""Draws that are fair, the same on any number of processes and workers, and groups that stay whole."""

import numpy as np
import pytest
import torch

from medimg.datamodules.image_samples import (
    ImageDataset,
    collate_images,
    draw_weights,
    image_cases,
    scale_images,
)
from medimg.datamodules.samplers import ImageSampler, SampleKey
from medimg.errors import ConfigError, DataError
from medimg.preparation.image_pixels import ImageOptions
from medimg.records import Record
from medimg.transforms.image2d import AlbumentationsTransform

NAN = float("nan")
OPTIONS = ImageOptions(size=(12, 12), channels=1, mean=(0.5,), std=(0.5,))


def test_exclusive_classes_are_evened_out():
    labels = np.eye(3, dtype=np.float32)[[0] * 70 + [1] * 20 + [2] * 10]
    weights = draw_weights(labels, 1.0)
    np.testing.assert_allclose(labels.T @ weights, 1 / 3)


def test_several_labels_are_drawn_by_their_rarest():
    labels = np.float32([[1, 0], [1, 0], [1, 1], [0, 0], [NAN, 0]])
    weights = draw_weights(labels, 1.0)
    assert weights.argmax() == 2
    assert weights.min() > 0
    assert weights.sum() == pytest.approx(1)


def records():
    return [
        Record("a1", "p1", (), labels={"x": 1.0, "y": NAN}, group="a", weight=2.0),
        Record("a2", "p1", (), labels={"x": 0.0, "y": NAN}, group="a", weight=4.0),
        Record("b1", "p2", (), labels={"x": 0.0, "y": 1.0}),
        Record("c1", "p3", ()),
    ]


def test_a_group_is_one_case():
    a, b, c = image_cases(records(), ("x", "y"), grouped=True)
    assert (a.case_id, a.patient_id, a.images, a.weight) == ("a", "p1", ("a1", "a2"), 3.0)
    assert a.label[0] == 1 and np.isnan(a.label[1])  # any image has it; unknown in all
    assert b.case_id == "b1" and b.label.tolist() == [0, 1]
    assert c.label is None
    assert len(image_cases(records(), ("x", "y"), grouped=False)) == 4


def test_a_group_of_two_patients_is_refused():
    mixed = [*records(), Record("a3", "p9", (), group="a")]
    with pytest.raises(DataError, match="group a holds images of several patients: p1, p9"):
        image_cases(mixed, ("x",), grouped=True)


def read(name):
    return np.random.default_rng(sum(name.encode())).integers(0, 256, (1, 12, 12), dtype=np.uint8)


def dataset(grouped=True, **options):
    return ImageDataset(
        image_cases(records(), ("x", "y"), grouped=grouped), read, OPTIONS, grouped=grouped, **options
    )


def test_a_batch_of_groups():
    data = dataset()
    batch = collate_images([data[0], data[1]], grouped=True)
    assert batch["image"].shape == (3, 1, 12, 12)
    assert batch["sizes"].tolist() == [2, 1]
    assert batch["case_id"] == ["a", "b1"]
    assert torch.equal(batch["image"][1, 0], torch.from_numpy(read("a2")[0]))
    assert batch["label"].shape == (2, 2)
    assert batch["weight"].tolist() == [3.0, 1.0]
    assert "label" not in collate_images([data[0], data[2]], grouped=True)


def test_training_leaves_out_images_by_chance_and_scoring_none():
    data = dataset(max_images=1)
    drawn = {data[SampleKey(0, seed)]["image"].numpy().tobytes() for seed in range(20)}
    assert drawn == {read("a1").tobytes(), read("a2").tobytes()}
    assert len(data[0]["image"]) == 2


def test_the_same_samples_with_and_without_workers():
    data = dataset(grouped=False, transform=AlbumentationsTransform(preset="ultrasound"))

    def run(workers):
        loader = torch.utils.data.DataLoader(
            data, batch_size=2, sampler=ImageSampler(3, weights=None, seed=1), num_workers=workers,
            collate_fn=lambda samples: collate_images(samples, grouped=False),
        )  # fmt: skip
        return torch.cat([batch["image"] for batch in loader])

    alone = run(0)
    assert torch.equal(alone, run(2))
    assert not torch.equal(alone[0], torch.from_numpy(read("a1")))


def test_sixteen_bits_become_fractions():
    data = ImageDataset(
        image_cases(records(), ("x",), grouped=False),
        lambda name: np.full((1, 12, 12), 65535, np.uint16),
        OPTIONS,
        transform=AlbumentationsTransform(),
    )
    assert data[0]["image"].dtype == torch.float32
    assert data[0]["image"].max() == 1


def test_a_crop_must_give_the_size():
    import albumentations as A

    large = ImageOptions(size=(8, 8), stored_size=(12, 12), channels=1, mean=(0.5,), std=(0.5,))
    cases = image_cases(records(), ("x",), grouped=False)
    fine = ImageDataset(cases, read, large, transform=AlbumentationsTransform([A.RandomCrop(8, 8)]))
    assert fine[SampleKey(0, 1)]["image"].shape == (1, 1, 8, 8)
    assert torch.equal(fine[0]["image"][0], torch.from_numpy(read("a1")[:, 2:10, 2:10]))  # the middle
    with pytest.raises(ConfigError, match=r"gives images of \(12, 12\) and .*size is \(8, 8\)"):
        ImageDataset(cases, read, large)[SampleKey(0, 1)]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_scaling_normalises_each_channel_and_leaves_its_input(dtype):
    image = torch.randint(0, 256, (2, 3, 4, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    given = image if dtype == torch.uint8 else image.float() / 255
    before = given.clone()
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
    expected = (image.double() / 255 - mean.double().view(3, 1, 1)) / std.double().view(3, 1, 1)
    torch.testing.assert_close(
        scale_images(given, mean.tolist(), std.tolist()).double(), expected, rtol=0, atol=1e-6
    )
    assert torch.equal(given, before)
