import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform

from medimg.errors import ConfigError
from medimg.transforms.randomness import SampleRandom
from medimg.transforms.spatial import RandomSpatial, initial_patch_size


def blob(size: tuple[int, int, int]) -> torch.Tensor:
    """A lopsided smooth body, so that every wrong axis or sign shows."""
    d, h, w = torch.meshgrid(*(torch.arange(n) - (n - 1) / 2 for n in size), indexing="ij")
    body = torch.exp(-((d / 4) ** 2) - ((h - 1) / 3.5) ** 2 - ((w + 1) / 3) ** 2 - d * h / 40)
    return body[None]


def run(
    spatial: RandomSpatial,
    image: torch.Tensor,
    mask: torch.Tensor | None,
    patch: tuple[int, int, int],
    seed: int = 5,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    out = torch.full((image.shape[0], *patch), float("nan"))
    mask_out = None if mask is None else mask.new_full((mask.shape[0], *patch), 77)
    spatial(image, mask, SampleRandom(seed), out, mask_out)
    return out, mask_out


@pytest.mark.parametrize("patch", [(20, 22, 18), (15, 17, 13), (20, 17, 14)])
@pytest.mark.parametrize("mirror", [0.0, 1.0])
@pytest.mark.parametrize("turn", [0.0, 1.0])
def test_against_scipy(patch: tuple[int, int, int], mirror: float, turn: float) -> None:
    size = (30, 32, 26)
    spatial = RandomSpatial(rotation_probability=turn, scale_probability=1, mirror_probability=mirror)
    image = blob(size)
    matrix = np.array(spatial.draw(patch, SampleRandom(5)).matrix)
    assert abs(abs(np.linalg.det(matrix)) ** (1 / 3) - 1) > 0.02
    if mirror:
        matrix = -matrix
    start = [(n - p) // 2 for n, p in zip(size, patch, strict=True)]
    offset = np.array([s + (p - 1) / 2 for s, p in zip(start, patch, strict=True)])
    offset = offset - matrix @ np.array([(p - 1) / 2 for p in patch])
    expected = affine_transform(image[0].numpy(), matrix, offset, output_shape=patch, order=1)
    found = run(spatial, image, None, patch)[0][0].numpy()
    assert np.abs(found - expected).max() < 1e-4


@pytest.mark.parametrize("frozen_axis", [None, 0, 1, 2])
@pytest.mark.parametrize("elastic", [0.0, 1.0])
@pytest.mark.parametrize("turn", [0.0, 1.0])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_mask_follows_image(frozen_axis: int | None, elastic: float, turn: float, mode: str) -> None:
    spatial = RandomSpatial(
        rotation_probability=turn,
        scale_probability=1,
        elastic_probability=elastic,
        elastic_magnitude=(0.4, 0.5),
        frozen_axis=frozen_axis,
        mask_mode=mode,
    )
    mask = (blob((26, 27, 28)) > 0.3).to(torch.uint8)
    image, moved = run(spatial, mask.half(), mask, (18, 20, 17))
    assert moved is not None
    if mode == "linear":
        clear = (image - 0.5).abs() > 1e-5
        assert torch.equal(moved.bool()[clear], (image > 0.5)[clear])
    else:  # where the eight neighbours agree, so must the nearest
        assert moved[image > 0.999].min() == 1
        assert moved[image < 0.001].max() == 0
    assert 0.01 < moved.float().mean() < 0.5


def test_linear_labels_are_the_largest_share() -> None:
    generator = torch.Generator().manual_seed(2)
    mask = torch.randint(0, 7, (1, 16, 17, 18), generator=generator, dtype=torch.int16) * 100
    spatial = RandomSpatial(rotation_probability=1, scale_probability=1)
    shares = run(
        spatial, torch.cat([mask == value for value in range(0, 700, 100)]).float(), None, (12, 12, 12)
    )[0]
    shares[0] += 1 - shares.sum(0)  # outside is background
    found = run(spatial, mask, mask, (12, 12, 12))[1]
    assert found is not None
    top = shares.topk(2, dim=0)
    clear = top.values[0] - top.values[1] > 1e-4
    assert clear.float().mean() > 0.9
    assert torch.equal(found[0][clear], (top.indices[0] * 100).to(torch.int16)[clear])


def test_region_channels_are_moved_apart() -> None:
    whole = blob((20, 20, 20)) > 0.2
    core = blob((20, 20, 20)) > 0.6
    spatial = RandomSpatial(rotation_probability=1, scale_probability=1)
    both = torch.cat([whole, core]).to(torch.uint8)
    moved = run(spatial, both.float(), both, (17, 18, 19))[1]
    assert moved is not None
    assert torch.equal(moved[1:], run(spatial, both.float(), both[1:], (17, 18, 19))[1])
    assert (moved[1] <= moved[0]).all()


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1, 2)])
def test_mirror_twice_is_the_identity(axes: tuple[int, ...]) -> None:
    spatial = RandomSpatial(
        rotation_probability=0, scale_probability=0, mirror_axes=axes, mirror_probability=1
    )
    image = torch.randn(2, 7, 8, 9)
    mask = torch.randint(0, 4, (1, 7, 8, 9), dtype=torch.uint8)
    once, mask_once = run(spatial, image, mask, (7, 8, 9))
    assert torch.equal(once, image.flip([axis + 1 for axis in axes]))
    assert mask_once is not None
    twice, mask_twice = run(spatial, once, mask_once, (7, 8, 9))
    assert torch.equal(twice, image)
    assert mask_twice is not None
    assert torch.equal(mask_twice, mask)


def test_mirrored_crop_of_a_short_volume_keeps_the_padding_in_place() -> None:
    spatial = RandomSpatial(rotation_probability=0, scale_probability=0, mirror_probability=1)
    image = torch.randn(1, 5, 9, 6)
    padded = torch.zeros(1, 8, 6, 6)
    padded[:, 2:7] = image[:, :, 1:7]  # the odd voxel of padding comes first, as in a plain crop
    assert torch.equal(run(spatial, image, None, (8, 6, 6))[0], padded.flip(1, 2, 3))


def test_a_mirrored_turn_is_the_turn_mirrored() -> None:
    image = torch.randn(1, 20, 21, 22)
    for frozen_axis in (None, 0, 2):
        plain = RandomSpatial(rotation_probability=1, mirror_probability=0, frozen_axis=frozen_axis)
        mirrored = RandomSpatial(rotation_probability=1, mirror_probability=1, frozen_axis=frozen_axis)
        expected = run(plain, image, None, (14, 13, 12))[0].flip(1, 2, 3)
        assert torch.allclose(run(mirrored, image, None, (14, 13, 12))[0], expected, atol=1e-4)


def test_a_scale_above_one_makes_objects_smaller() -> None:
    body = (blob((30, 30, 30)) > 0.4).to(torch.uint8)
    spatial = RandomSpatial(rotation_probability=0, scale_probability=1, scale_range=(1.4, 1.4))
    moved = run(spatial, body.float(), body, (30, 30, 30))[1]
    assert moved is not None
    assert moved.sum().item() == pytest.approx(body.sum().item() / 1.4**3, rel=0.15)


@pytest.mark.parametrize("frozen_axis", [0, 1, 2])
def test_a_frozen_axis_keeps_its_slices(frozen_axis: int) -> None:
    # Each slice along the frozen axis is constant: nothing may leak from one into another.
    size = [16, 16, 16]
    size[frozen_axis] = 8
    levels = torch.arange(1.0, 9.0).view([-1 if axis == frozen_axis else 1 for axis in range(3)])
    image = levels.expand(size)[None]
    spatial = RandomSpatial(
        rotation_probability=1, rotation_deg=180, scale_probability=1, mirror_axes=(), frozen_axis=frozen_axis
    )
    patch = [6, 6, 6]
    patch[frozen_axis] = 8
    found = run(spatial, image, None, (patch[0], patch[1], patch[2]))[0]
    assert torch.allclose(found, levels.expand(patch)[None], atol=1e-4)


def test_frozen_axis_equals_the_turn_in_three_dimensions() -> None:
    image = blob((12, 24, 25))
    flat = RandomSpatial(rotation_probability=1, scale_probability=0, mirror_probability=0, frozen_axis=0)
    motion = flat.draw((12, 18, 18), SampleRandom(9))
    assert motion.matrix is not None
    assert motion.matrix[0] == (1.0, 0.0, 0.0)
    matrix = np.array(motion.matrix)
    offset = np.array([5.5, 11.5, 11.5]) - matrix @ np.array([5.5, 8.5, 8.5])
    expected = affine_transform(image[0].numpy(), matrix, offset, output_shape=(12, 18, 18), order=1)
    assert np.abs(run(flat, image, None, (12, 18, 18), seed=9)[0][0].numpy() - expected).max() < 1e-4


def test_elastic_moves_by_no_more_than_asked_and_does_not_fold() -> None:
    # An image that holds its own coordinate shows where each voxel came from.
    ramp = torch.arange(40.0).view(40, 1, 1).expand(40, 40, 40)
    coordinates = torch.stack([ramp, ramp.permute(1, 0, 2), ramp.permute(1, 2, 0)])
    spatial = RandomSpatial(
        rotation_probability=0,
        scale_probability=0,
        elastic_probability=1,
        elastic_sigma=(0.1, 0.1),
        elastic_magnitude=(0.5, 0.5),
        mirror_probability=0,
    )
    found = run(spatial, coordinates, None, (24, 24, 24))[0]
    shift = found - coordinates[:, 8:32, 8:32, 8:32]
    largest = shift.abs().flatten(1).amax(1)
    assert torch.allclose(largest, torch.full((3,), 0.1 * 24 * 0.5), atol=1e-3)
    assert abs(shift.mean()) < 0.05
    for axis in range(3):
        assert found[axis].diff(dim=axis).min() > 0


@pytest.mark.parametrize(
    ("patch", "degrees", "expected"),
    [((128, 128, 128), 30.0, (205, 205, 205)), ((64, 64, 64), 0.0, (75, 75, 75))],
)
def test_initial_patch_size(
    patch: tuple[int, int, int], degrees: float, expected: tuple[int, int, int]
) -> None:
    assert initial_patch_size(patch, degrees) == expected


def test_initial_patch_size_holds_a_turn_about_one_axis() -> None:
    patch = (20, 40, 30)
    large = initial_patch_size(patch, 25, (1.0, 1.0))
    for axis in range(3):
        degrees = [0.0, 0.0, 0.0]
        degrees[axis] = 25.0
        spatial = RandomSpatial(
            rotation_probability=1, rotation_deg=degrees, scale_probability=0, mirror_probability=0
        )
        ones = torch.ones(1, *(n + 2 for n in large))
        assert run(spatial, ones, None, patch)[0].min() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    "arguments",
    [
        {"scale_range": (0.0, 1.0)},
        {"mirror_axes": (3,)},
        {"mask_mode": "cubic"},
        {"rotation_deg": (10.0, 10.0)},
        {"elastic_sigma": (0.2, 0.1)},
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        RandomSpatial(**arguments)


@pytest.mark.parametrize("turn", [0.0, 1.0])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_labels_far_from_the_centre_are_found(turn: float, mode: str) -> None:
    # Labels are read only where they can reach: compare with a body that fills the source.
    for seed in range(12):
        small = torch.zeros(1, 30, 30, 30, dtype=torch.uint8)
        small[0, 4:9, 20:26, 8:14] = 2
        full = small.clone()
        full[0, ::29, ::29, ::29] = 1  # the corners stretch the box to the whole
        spatial = RandomSpatial(
            rotation_probability=turn, scale_probability=1, elastic_probability=turn, mask_mode=mode
        )
        found = run(spatial, small.float(), small, (26, 26, 26), seed)[1]
        expected = run(spatial, full.float(), full, (26, 26, 26), seed)[1]
        assert found is not None
        assert expected is not None
        assert torch.equal(found == 2, expected == 2)
        assert (found == 2).sum() > 20


@pytest.mark.parametrize("frozen_axis", [None, 1])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_labels_in_the_margin_are_left_out(frozen_axis: int | None, mode: str) -> None:
    mask = torch.zeros(1, 40, 40, 40, dtype=torch.uint8)
    mask[0, :3, :3, :3] = 4
    for turn in (0.0, 1.0):
        spatial = RandomSpatial(
            rotation_probability=turn, scale_probability=1, frozen_axis=frozen_axis, mask_mode=mode
        )
        found = run(spatial, mask.float(), mask, (12, 12, 12))[1]
        assert found is not None
        assert found.max() == 0
