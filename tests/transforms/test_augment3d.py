import pytest
import torch

from medimg.errors import ConfigError
from medimg.transforms.augment3d import Augment3D, NNUNetAugmentation, thick_axis
from medimg.transforms.intensity import (
    Brightness,
    Contrast,
    Gamma,
    GaussianBlur,
    GaussianNoise,
    IntensityTransform,
    LowResolution,
)
from medimg.transforms.spatial import RandomSpatial


def make_batch(
    size: tuple[int, int, int] = (21, 24, 19), samples: int = 3, channels: int = 2, classes: int = 1
) -> dict[str, object]:
    generator = torch.Generator().manual_seed(11)
    return {
        "image": torch.randn((samples, channels, *size), generator=generator),
        "mask": torch.randint(0, 3, (samples, classes, *size), generator=generator, dtype=torch.uint8),
        "seed": torch.arange(100, 100 + samples),
        "case_id": [f"case{i}" for i in range(samples)],
    }


def never(patch_size: tuple[int, int, int] | None = None) -> Augment3D:
    still = RandomSpatial(rotation_probability=0, scale_probability=0, mirror_probability=0)
    intensity: list[IntensityTransform] = [
        kind(probability=0.0)
        for kind in (GaussianNoise, GaussianBlur, Brightness, Contrast, LowResolution, Gamma)
    ]
    return Augment3D(patch_size, spatial=still, intensity=intensity)


def always(patch_size: tuple[int, int, int] | None = None, elastic: float = 0.0) -> Augment3D:
    spatial = RandomSpatial(rotation_probability=1, scale_probability=1, elastic_probability=elastic)
    kinds = (GaussianNoise, GaussianBlur, Brightness, Contrast, LowResolution, Gamma)
    return Augment3D(patch_size, spatial=spatial, intensity=[kind(probability=1.0) for kind in kinds])


def test_nothing_drawn_is_the_identity() -> None:
    batch = make_batch()
    result = never()(batch)
    assert torch.equal(result["image"], batch["image"])
    assert torch.equal(result["mask"], batch["mask"])
    assert result["case_id"] is batch["case_id"]


def test_nothing_drawn_is_the_centre_crop() -> None:
    batch = make_batch((20, 24, 18))
    result = never((10, 12, 8))(batch)
    assert torch.equal(result["image"], batch["image"][:, :, 5:15, 6:18, 5:13])
    assert torch.equal(result["mask"], batch["mask"][:, :, 5:15, 6:18, 5:13])


def test_a_volume_smaller_than_the_patch_is_padded_with_zeros() -> None:
    batch = make_batch((6, 24, 18))
    result = never((10, 12, 8))(batch)
    assert torch.equal(result["image"][:, :, 2:8], batch["image"][:, :, :, 6:18, 5:13])
    assert result["image"][:, :, :2].abs().max() == 0
    assert result["mask"][:, :, 8:].max() == 0


@pytest.mark.parametrize("elastic", [0.0, 1.0])
def test_same_seed_same_bytes_and_the_rest_of_the_batch_does_not_matter(elastic: float) -> None:
    batch = make_batch(samples=4)
    augment = always((16, 16, 16), elastic)
    whole, again = augment(batch), augment(batch)
    assert torch.equal(whole["image"], again["image"])
    for index in range(4):
        alone = augment({key: batch[key][index : index + 1] for key in ("image", "mask", "seed")})
        assert torch.equal(alone["image"][0], whole["image"][index])
        assert torch.equal(alone["mask"][0], whole["mask"][index])


def test_global_random_state_is_neither_used_nor_moved() -> None:
    batch = make_batch()
    torch.manual_seed(0)
    first = always()(batch)["image"]
    state = torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(always()(batch)["image"], first)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)


def test_another_seed_gives_another_patch() -> None:
    batch = make_batch(samples=1)
    first = always()(batch)["image"]
    batch["seed"] = torch.tensor([101])
    assert not torch.allclose(always()(batch)["image"], first)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("augment", [always(), always((16, 17, 18), 1.0), never()])
def test_inputs_are_left_alone(augment: Augment3D, dtype: torch.dtype) -> None:
    batch = make_batch()
    batch["image"] = batch["image"].to(dtype)
    kept = {key: batch[key].clone() for key in ("image", "mask", "seed")}
    result = augment(batch)
    result["image"].add_(1)
    result["mask"].add_(1)
    for key, value in kept.items():
        assert torch.equal(batch[key], value)
    assert result["image"].dtype is torch.float32


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64, torch.float32])
def test_masks_keep_their_dtype_and_their_labels(dtype: torch.dtype) -> None:
    batch = make_batch(classes=2)
    batch["mask"] = batch["mask"].to(dtype) * 2
    result = NNUNetAugmentation((15, 15, 13))(batch)["mask"]
    assert result.shape == (3, 2, 15, 15, 13)
    assert result.dtype is dtype
    assert set(result.unique().tolist()) <= {0, 2, 4}


def test_intensity_leaves_the_mask_alone() -> None:
    batch = make_batch()
    augment = always()
    augment.spatial = RandomSpatial(rotation_probability=0, scale_probability=0, mirror_axes=())
    result = augment(batch)
    assert torch.equal(result["mask"], batch["mask"])
    assert not torch.allclose(result["image"], batch["image"])


def test_a_batch_without_a_mask() -> None:
    batch = make_batch()
    with_mask = NNUNetAugmentation()(batch)
    del batch["mask"]
    result = NNUNetAugmentation()(batch)
    assert "mask" not in result
    assert torch.equal(result["image"], with_mask["image"])


def test_the_window_of_a_seed_gives_the_patch_of_the_whole() -> None:
    size, patch = (65, 65, 65), (24, 24, 24)
    augment = NNUNetAugmentation(patch, mirror_axes=(0, 2))
    # Covering every draw, so that the window is never cut.
    augment.spatial.rotation_deg = (12.0, 12.0, 12.0)
    augment.spatial.scale_range = (0.7, 1.1)
    batch = make_batch(size, samples=40)
    whole = augment(batch)
    moved = 0
    for index, seed in enumerate(batch["seed"].tolist()):
        window = augment.window(seed)
        assert all(p <= w <= 39 for p, w in zip(patch, window, strict=True))
        moved += window != patch
        cut = tuple(slice((s - w) // 2, (s - w) // 2 + w) for s, w in zip(size, window, strict=True))
        part = {
            key: batch[key][index : index + 1][(slice(None), slice(None), *cut)] for key in ("image", "mask")
        }
        # Drawn for the small window, so channels that are noisy draw the same noise.
        result = augment({**part, "seed": torch.tensor([seed])})
        assert torch.allclose(result["image"][0], whole["image"][index], atol=1e-3)
        assert (result["mask"][0] == whole["mask"][index]).float().mean() > 0.999
    assert 5 < moved < 30  # 1 - 0.8 * 0.8 of 40, less those that are only enlarged


def test_samples_of_different_sizes_come_as_lists() -> None:
    augment = NNUNetAugmentation((12, 12, 12))
    batch = make_batch((21, 21, 21), samples=12)
    stacked = augment(batch)
    sides = [21 if index % 2 else 23 for index in range(12)]  # a margin of zeros moves no centre

    def padded(volumes: torch.Tensor) -> list[torch.Tensor]:
        return [torch.nn.functional.pad(v, [(n - 21) // 2] * 6) for v, n in zip(volumes, sides, strict=True)]

    listed = augment({**batch, "image": padded(batch["image"]), "mask": padded(batch["mask"])})
    assert torch.allclose(listed["image"], stacked["image"], atol=1e-3)
    assert (listed["mask"] == stacked["mask"]).float().mean() > 0.999


def test_the_list_has_the_order_and_the_probabilities_of_nnunet() -> None:
    augment = NNUNetAugmentation((32, 32, 32))
    found = [(type(t), t.probability, getattr(t, "invert", None)) for t in augment.intensity]
    assert found == [
        (GaussianNoise, 0.1, None),
        (GaussianBlur, 0.2, None),
        (Brightness, 0.15, None),
        (Contrast, 0.15, None),
        (LowResolution, 0.25, None),
        (Gamma, 0.1, True),
        (Gamma, 0.3, False),
    ]
    assert augment.spatial.rotation_probability == augment.spatial.scale_probability == 0.2
    assert augment.spatial.elastic_probability == 0.0
    assert augment.spatial.rotation_deg == (30.0, 30.0, 30.0)


@pytest.mark.parametrize(("patch", "axis"), [((8, 32, 32), 0), ((32, 32, 8), 2), ((16, 32, 32), None)])
def test_thick_slices_are_turned_within_themselves(patch: tuple[int, int, int], axis: int | None) -> None:
    assert thick_axis(patch) == axis
    augment = NNUNetAugmentation(patch)
    assert augment.spatial.frozen_axis == axis
    assert augment.spatial.rotation_deg[0] == (30.0 if axis is None else 180.0)
    if axis is not None:
        assert augment.initial_patch_size is not None
        assert augment.initial_patch_size[axis] == patch[axis]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": torch.zeros(3, 4, 4, 4)}, "must be"),
        ({"seed": torch.zeros(2, dtype=torch.int64)}, "one a sample"),
        ({"mask": torch.zeros(3, 1, 4, 4, 4)}, "do not lie on"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        never()({**make_batch(), **change})


def test_missing_seed_and_bad_sizes_are_refused() -> None:
    batch = make_batch()
    del batch["seed"]
    with pytest.raises(ValueError, match="no 'seed'"):
        never()(batch)
    with pytest.raises(ConfigError, match="three sizes"):
        NNUNetAugmentation((32, 32))
    with pytest.raises(ConfigError, match="patch_size"):
        never().window(3)


@pytest.mark.gpu
def test_a_gpu_takes_the_same_decisions() -> None:
    augment = always((16, 17, 18), elastic=0.0)
    augment.intensity = augment.intensity[1:]  # noise comes from the device's own generator
    batch = make_batch()
    on_gpu = {key: value.cuda() if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
    result, expected = augment(on_gpu), augment(batch)
    assert result["image"].is_cuda
    assert torch.allclose(result["image"].cpu(), expected["image"], atol=1e-2)
    assert (result["mask"].cpu() == expected["mask"]).float().mean() > 0.999
    again = always((16, 17, 18), elastic=1.0)
    assert torch.equal(again(on_gpu)["image"], again(on_gpu)["image"])
