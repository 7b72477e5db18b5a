"""Augmentation depends on the seed alone, keeps values in range, and refuses what it would clip."""

import os

import albumentations as A
import numpy as np
import pytest

from medimg.errors import ConfigError
from medimg.transforms.image2d import AlbumentationsTransform, preset_transforms

PRESETS = ["none", "xray", "mammography", "ultrasound"]


def picture(channels=1, dtype=np.uint8, size=(48, 40)):
    image = np.random.default_rng(0).integers(0, 256, (channels, *size), dtype=np.uint8)
    return image if dtype == np.uint8 else (image / 255).astype(dtype)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_seed_fixes_a_sample_and_nothing_else_does(preset, channels, dtype):
    image = picture(channels, dtype)
    transform = AlbumentationsTransform(preset=preset)
    first = transform(image, 2**61 + 5)
    np.random.seed(9)  # noqa: NPY002  (the global state must not matter)
    transform(image, 1)
    assert np.array_equal(transform(image, 2**61 + 5), first)
    assert first.dtype == dtype
    assert first.shape == image.shape
    others = [transform(image, seed) for seed in range(8)]
    assert any(not np.array_equal(first, other) for other in others) == (preset != "none")
    assert all(other.min() >= 0 and other.max() <= (255 if dtype == np.uint8 else 1) for other in others)


@pytest.mark.parametrize(
    "image",
    [
        picture().astype(np.uint16) * 16,
        picture().astype(np.float32) * 4 - 1000,
        np.full((1, 4, 4), np.nan, np.float32),
    ],
)
def test_values_that_would_be_clipped_ask_for_a_window(image):
    with pytest.raises(ConfigError, match=r"image\.window"):
        AlbumentationsTransform(preset="xray")(image, 0)


def test_the_list_of_the_handbook_runs():
    transform = AlbumentationsTransform(
        [
            A.ToTensorV2(),
            A.Normalize((0.5,), (0.25,)),
            A.RandomRotate90(), A.HorizontalFlip(), A.VerticalFlip(), A.ElasticTransform(),
            A.RandomResizedCrop((32, 24)), A.RandomBrightnessContrast(), A.CLAHE(), A.GridDistortion(),
            A.GaussNoise(), A.CoarseDropout(),
        ]
    )  # fmt: skip
    for seed in range(5):
        out = transform(picture(), seed)
        assert out.shape == (1, 32, 24)
        assert out.dtype == np.float32
        assert out.min() >= -2.001 and out.max() <= 2.001
    # Validation is normalised too, and nothing else happens to it.
    assert transform.normalises
    expected = (picture() / 255 - 0.5) / 0.25
    np.testing.assert_allclose(transform.evaluate(picture()), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("transforms", "mirrors"),
    [
        ([A.HorizontalFlip()], True),
        ([A.OneOf([A.Transpose(), A.Blur()])], True),
        ([A.VerticalFlip(), A.RandomRotate90()], False),
    ],
)
def test_mirroring_is_known(transforms, mirrors):
    assert AlbumentationsTransform(transforms).mirrors_left_right == mirrors
    assert AlbumentationsTransform(transforms, preset="ultrasound").mirrors_left_right


def test_radiographs_are_not_mirrored_by_their_preset():
    assert not AlbumentationsTransform(preset="xray").mirrors_left_right
    assert len(preset_transforms("xray")) == 4


def test_what_a_transform_cannot_take_is_named():
    with pytest.raises(
        ConfigError, match=r"RandomCrop cannot take an image of uint8 and shape \(1, 48, 40\)"
    ):
        AlbumentationsTransform([A.RandomCrop(64, 64)])(picture(), 0)
    with pytest.raises(ConfigError, match="found str"):
        AlbumentationsTransform(["HorizontalFlip"])


def test_no_network_is_asked_at_import():
    assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"
