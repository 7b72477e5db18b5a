"""Views of one case differ, keep its size and never mirror organs that have a side."""

import albumentations as A
import numpy as np
import pytest
import torch

from medimg.transforms import AlbumentationsTransform, VolumeViews
from medimg.transforms.views import ZoomCrop

PRESETS = ["xray_views", "ultrasound_views", "ct_views", "mri_views"]


@pytest.fixture
def picture():
    """Smooth and lopsided, so that mirroring is seen."""
    rows, columns = np.mgrid[0:48, 0:40]
    return (40 + 3 * columns + rows).astype(np.uint8)[None]  # (1, H, W)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("preset", PRESETS)
def test_views_differ_by_seed_and_keep_the_size(preset, channels, picture):
    views, image = AlbumentationsTransform(preset=preset), np.repeat(picture, channels, 0)
    first, again, second = views(image, 1), views(image, 1), views(image, 2)
    assert first.shape == image.shape
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - second).mean() > 1
    np.testing.assert_array_equal(views.evaluate(image), image)


@pytest.mark.parametrize("preset", PRESETS)
def test_views_take_sixteen_bits_as_floats(preset, picture):
    image = picture.astype(np.float32) / 255
    view = AlbumentationsTransform(preset=preset)(image, 3)
    assert view.dtype == np.float32
    assert 0 <= view.min() <= view.max() <= 1


@pytest.mark.parametrize(("preset", "mirrors"), list(zip(PRESETS, [False, True, False, True], strict=True)))
def test_only_what_has_no_side_is_mirrored(preset, mirrors, picture):
    views = AlbumentationsTransform(preset=preset)
    assert views.mirrors_left_right == mirrors
    rising = [views(picture, seed)[0].astype(float).mean(0) for seed in range(40)]
    falls = sum(line[-8:].mean() < line[:8].mean() for line in rising)
    assert (5 < falls < 35) if mirrors else falls == 0


def test_the_crop_shows_a_part_at_the_whole_size():
    image = np.mgrid[0:60, 0:90][1].astype(np.float32)[..., None] / 89  # the column as grey
    crop = A.Compose([ZoomCrop(scale=(0.25, 0.25), ratio=(1.4, 1.6))])
    for seed in range(10):
        crop.set_random_seed(seed)
        shown = crop(image=image)["image"]
        assert shown.shape[:2] == (60, 90)
        # A quarter of the area at the image's own proportions: half of its width.
        assert np.ptp(shown) == pytest.approx(0.5, abs=0.05)


def test_the_crop_takes_the_mask_along():
    image = (np.indices((40, 40)).sum(0) > 40).astype(np.uint8)
    crop = A.Compose([ZoomCrop()])
    for seed in range(5):
        crop.set_random_seed(seed)
        both = crop(image=image * 255, mask=image)
        assert (
            np.mean((both["image"] > 127) != (both["mask"] > 0)) < 0.05
        )  # but at the edge, where the image is blurred


@pytest.mark.parametrize("modality", ["ct", "mri"])
def test_volumes_get_views_too(modality):
    views = VolumeViews((8, 12, 12), modality, mirror_axes=(0,))
    image = torch.rand(1, 2, 8, 12, 12).repeat(2, 1, 1, 1, 1)
    batch = {"image": image, "seed": torch.tensor([1, 2])}
    made = views(batch)["image"]
    assert made.shape == image.shape
    assert made.isfinite().all()
    assert (made[0] - made[1]).abs().mean() > 0.05
    torch.testing.assert_close(views(batch)["image"], made)


def test_volumes_of_ct_change_less_in_value():
    still = {"scale_range": (1.0, 1.0), "rotation_deg": 0.0}
    spread = {}
    for modality in ("ct", "mri"):
        views = VolumeViews((8, 8, 8), modality, **still)
        image = torch.linspace(0, 1, 512).view(1, 1, 8, 8, 8).expand(60, -1, -1, -1, -1)
        made = views({"image": image, "seed": torch.arange(60)})["image"]
        spread[modality] = float(made.mean((1, 2, 3, 4)).std())
    assert spread["ct"] < 0.7 * spread["mri"]
