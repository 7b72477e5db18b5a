"""Draws that are fair, the same on any number of processes and workers, and groups that stay whole."""

import albumentations as A
import numpy as np
import pytest
import torch

from medimg.datamodules.image_samples import (
    BatchOptions,
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


def dataset(grouped=True, masks=None, transform=None, reader=read, **batch):
    return ImageDataset(
        image_cases(records(), ("x", "y"), grouped=grouped),
        reader,
        OPTIONS,
        transform=transform,
        batch=BatchOptions(grouped=grouped, **batch),
        masks=masks,
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
    assert batch["image_id"] == ["a1", "a2", "b1"]
    expected = torch.tensor([[1.0, NAN], [0.0, NAN], [0.0, 1.0]])
    torch.testing.assert_close(batch["image_label"], expected, equal_nan=True)
    mixed = collate_images([data[0], data[2]], grouped=True)
    assert "label" not in mixed and "image_label" not in mixed
    assert mixed["image_id"] == ["a1", "a2", "c1"]


def test_single_images_carry_no_names_of_images():
    batch = collate_images([dataset(grouped=False)[0]], grouped=False)
    assert not {"image_id", "image_label", "sizes", "mask"} & batch.keys()


def stack():
    return [Record(f"s{n}", "p", (), labels={"x": float(n)}, group="study") for n in range(5)]


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        (None, "01234"),
        ([4.0, -3.0, 2.5, 0.0, 1.0], "13420"),
        ([NAN] * 5, "01234"),
        ([NAN, 7.0, NAN, -1.0, 7.0], "31402"),  # those without a place come last, equals by id
    ],
)
def test_the_images_of_a_group_come_by_their_place(positions, expected):
    (case,) = image_cases(stack()[::-1], ("x",), grouped=True, positions=positions and positions[::-1])
    assert case.images == tuple(f"s{n}" for n in expected)
    assert case.image_labels[:, 0].tolist() == [float(n) for n in expected]


def test_consecutive_images_are_drawn_from_any_start():
    (case,) = image_cases(stack(), ("x",), grouped=True)
    data = ImageDataset(
        [case], read, OPTIONS, batch=BatchOptions(grouped=True, max_images=3, consecutive=True)
    )
    drawn = {tuple(data[SampleKey(0, seed)]["image_id"]) for seed in range(40)}
    assert drawn == {("s0", "s1", "s2"), ("s1", "s2", "s3"), ("s2", "s3", "s4")}
    sample = data[SampleKey(0, 3)]
    assert [f"s{int(value)}" for value in sample["image_label"][:, 0]] == sample["image_id"]
    assert len(data[0]["image"]) == 5


def test_neighbours_are_changed_as_one():
    (case,) = image_cases(stack(), ("x",), grouped=True)
    for consecutive in (True, False):
        batch = BatchOptions(grouped=True, max_images=4, consecutive=consecutive)
        chosen, seeds = ImageDataset([case], read, OPTIONS, batch=batch)._drawn(5, 7)
        assert len(chosen) == len(seeds) == 4
        assert len(set(seeds[:, 0].tolist())) == (1 if consecutive else 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_images": 0}, r"batch\.max_images: expected 1 or more, found 0"),
        ({"consecutive": True}, r"batch\.consecutive: how many .* Set data\.init_args\.batch\.max_images"),
        ({"views": 0}, r"batch\.views: expected 1 or more, found 0"),
        ({"views": 2, "grouped": True}, "2 views are of single images, and grouped is true"),
    ],
)
def test_a_batch_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        BatchOptions(**options)


def test_views_differ_and_depend_on_the_seed_alone():
    reads = []

    def counted(name):
        reads.append(name)
        return read(name)

    transform = AlbumentationsTransform(preset="ultrasound_views")
    data = dataset(grouped=False, transform=transform, reader=counted, views=2)
    samples = [data[SampleKey(case, seed=case + 5)] for case in (0, 1)]
    assert reads == ["a1", "a2"]  # each is read once, whatever the number of views
    batch = collate_images(samples, grouped=True)
    assert batch["image"].shape == (4, 1, 12, 12)
    assert batch["sizes"].tolist() == [2, 2]
    assert batch["label"].shape == (2, 2)
    assert not torch.equal(batch["image"][0], batch["image"][1])
    assert torch.equal(data[SampleKey(0, seed=5)]["image"], batch["image"][:2])
    assert not torch.equal(data[SampleKey(0, seed=6)]["image"], batch["image"][:2])
    assert data[0]["image"].shape == (1, 1, 12, 12)  # scored once


def test_one_view_is_drawn_as_it_always_was():
    data = dataset(grouped=False, transform=AlbumentationsTransform(preset="xray"))
    seed = int(np.random.default_rng(77).integers(2**32, size=1)[0])
    expected = AlbumentationsTransform(preset="xray")(read("a1"), seed)
    assert np.array_equal(data[SampleKey(0, 77)]["image"][0], expected)


def test_masks_travel_with_their_images():
    def mask(name):
        return (read(name)[0] > 127).astype(np.uint8)

    data = dataset(
        masks=mask, transform=AlbumentationsTransform([A.HorizontalFlip(p=0.5), A.RandomRotate90(p=1)])
    )
    batch = collate_images([data[SampleKey(0, 4)], data[SampleKey(1, 5)]], grouped=True)
    assert batch["mask"].shape == (3, 1, 12, 12) and batch["mask"].dtype == torch.uint8
    assert torch.equal(batch["mask"], (batch["image"] > 127).to(torch.uint8))
    assert torch.equal(data[0]["mask"][1, 0], torch.from_numpy(mask("a2")))


def test_a_mask_is_cropped_to_the_middle_as_its_image_is():
    large = ImageOptions(size=(8, 8), stored_size=(12, 12), channels=1, mean=(0.5,), std=(0.5,))
    cases = image_cases(records(), ("x",), grouped=False)
    data = ImageDataset(cases, read, large, masks=lambda name: read(name)[0])
    assert torch.equal(data[0]["mask"], data[0]["image"])
    assert data[0]["mask"].shape == (1, 1, 8, 8)


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
