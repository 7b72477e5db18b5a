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


def drawn_mask(size=(48, 40)):
    """Large shapes, so that few pixels lie on an outline."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    return (((rows - 20) ** 2 + (columns - 14) ** 2 < 150) | (columns > 33)).astype(np.uint8)


MOVES = {
    "flips": [A.HorizontalFlip(), A.VerticalFlip(), A.Transpose()],
    "turns": [A.RandomRotate90(p=1), A.D4(p=1)],
    "crop": [A.RandomCrop(24, 24)],
    "pad": [A.PadIfNeeded(64, 64)],
    "shift": [A.Affine(translate_px={"x": (-9, 9), "y": (-9, 9)}, p=1)],
}
WARPS = {
    "affine": [A.Affine(scale=(0.8, 1.25), rotate=(-30, 30), shear=(-5, 5), keep_ratio=True, p=1)],
    "zoom": [A.RandomResizedCrop((48, 40), scale=(0.3, 1), p=1)],
    "elastic": [A.ElasticTransform(alpha=30, sigma=6, p=1)],
    "grid": [A.GridDistortion(p=1)],
}


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_mask_moves_as_its_image_does(name, dtype):
    transform, mask = AlbumentationsTransform(MOVES[name]), drawn_mask()
    image = mask[None] * (255 if dtype == np.uint8 else np.float32(1))
    for seed in range(6):
        changed, moved = transform.with_mask(image, mask, seed)
        assert moved.dtype == np.uint8 and moved.shape == changed.shape[1:]
        assert np.array_equal(changed[0], moved * (255 if dtype == np.uint8 else 1))
        assert np.array_equal(changed, transform(image, seed))  # the same choices without a mask


@pytest.mark.parametrize("name", WARPS)
def test_between_the_pixels_only_outlines_differ(name):
    transform, mask = AlbumentationsTransform(WARPS[name]), drawn_mask()
    for seed in range(6):
        changed, moved = transform.with_mask(mask[None] * 255, mask, seed)
        assert set(np.unique(moved)) <= {0, 1}
        assert ((changed[0] > 127) != moved).mean() < 0.02
        # Where the image is the same for two pixels around, the mask agrees.
        inside = np.ones_like(moved, bool)
        for axis in (0, 1):
            for step in (-2, -1, 1, 2):
                inside &= np.roll(changed[0], step, axis) == changed[0]
        assert np.array_equal((changed[0] > 127)[inside], moved[inside] == 1)


def test_brightness_holes_and_noise_leave_the_mask_alone():
    transform = AlbumentationsTransform(
        [
            A.RandomBrightnessContrast(p=1),
            A.GaussNoise(p=1),
            A.CoarseDropout(p=1),
            A.Normalize((0.5,), (0.25,)),
        ]
    )
    _, moved = transform.with_mask(picture(), drawn_mask(), 3)
    assert np.array_equal(moved, drawn_mask())


def test_an_unknown_mask_stays_unknown_and_unknown_pixels_move():
    transform = AlbumentationsTransform([A.PadIfNeeded(64, 64), A.HorizontalFlip(p=1)])
    changed, moved = transform.with_mask(picture(), np.full((48, 40), 255, np.uint8), 0)
    assert np.array_equal(changed, transform(picture(), 0))
    assert moved.shape == (64, 64) and (moved == 255).all()
    part = drawn_mask() * 2
    part[:5] = 255
    _, moved = transform.with_mask(picture(), part, 0)
    assert set(np.unique(moved)) == {0, 2, 255}
    assert (moved == 255).sum() == 5 * 40


def test_a_fault_with_a_mask_says_so():
    with pytest.raises(ConfigError, match=r"RandomCrop cannot take .* \(1, 48, 40\) \(C, H, W\) with a mask"):
        AlbumentationsTransform([A.RandomCrop(64, 64)]).with_mask(picture(), drawn_mask(), 0)
