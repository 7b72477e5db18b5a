import pytest
import torch
from monai.inferers.inferer import SimpleInferer
from torch import nn

from medimg.inference.image_tta import CropTTA, FlipTTA, ScaleTTA
from medimg.inference.rot90 import Rot90TTA
from medimg.inference.sliding_window import SlidingWindowInferer
from medimg.inference.tta import MirrorTTA, RotationTTA
from medimg.inference.views import (
    View,
    describe_tta,
    flip_views,
    mean_of_views,
    plain,
    unwrapped,
    wrappers,
)

# Every augmentation whose views are exact rearrangements of the pixels, and the axes of its input.
EXACT = [
    (FlipTTA(axes=("horizontal",)), 2, 2),
    (FlipTTA(axes=("vertical", "horizontal")), 2, 4),
    (Rot90TTA(), 2, 4),
    (Rot90TTA(turns=(2,)), 2, 2),
    (Rot90TTA(FlipTTA()), 2, 8),
    (FlipTTA(Rot90TTA(turns=(1, 3))), 2, 6),
    (MirrorTTA(SimpleInferer()), 3, 8),
    (Rot90TTA(spacing_mm=(3.0, 1.0, 1.0)), 3, 4),
    (Rot90TTA(MirrorTTA(SimpleInferer(), (0, 2)), spacing_mm=(1, 1, 1)), 3, 16),
    (MirrorTTA(Rot90TTA(spacing_mm=(1, 1, 1)), (0,)), 3, 8),
]
# Those that interpolate or cut.
OTHERS = [
    (ScaleTTA(), 2, 3),
    (ScaleTTA(FlipTTA(), (0.5, 1.5)), 2, 4),
    (CropTTA(), 2, 6),
    (CropTTA(FlipTTA(), crops=9, enlarge=False, whole=False), 2, 18),
    (RotationTTA(SimpleInferer(), axes=(0, 1)), 3, 5),
    (RotationTTA(MirrorTTA(SimpleInferer(), (2,))), 3, 14),
]
MAPS = [*EXACT, *OTHERS[:2], *OTHERS[4:]]


def names(cases):
    return [" ".join(describe_tta(tta)) for tta, _, _ in cases]


def square(axes, channels=1):
    return torch.randn(2, channels, *(6,) * axes)


@pytest.mark.parametrize(("tta", "axes", "views"), EXACT + OTHERS, ids=names(EXACT + OTHERS))
def test_of_a_constant_is_the_constant_after_so_many_forwards(tta, axes, views):
    calls = []

    def network(images):
        calls.append(images.shape)
        return torch.full((len(images), 3), 0.7)

    if axes == 2:
        torch.testing.assert_close(tta(square(2), network), torch.full((2, 3), 0.7))
        assert len(calls) == views
    else:
        answer = tta(
            square(3), lambda tile: network(tile).view(-1, 3, 1, 1, 1).expand(-1, -1, *tile.shape[2:])
        )
        torch.testing.assert_close(answer, torch.full((2, 3, 6, 6, 6), 0.7))
        assert len(calls) == views


@pytest.mark.parametrize(("tta", "axes", "views"), MAPS, ids=names(MAPS))
@torch.no_grad()
def test_of_a_constant_map_is_the_constant(tta, axes, views):
    def network(images):
        return torch.full((len(images), 2, *images.shape[2:]), 0.7)

    torch.testing.assert_close(tta(square(axes), network), torch.full((2, 2, *(6,) * axes), 0.7))


@pytest.mark.parametrize(("tta", "axes", "views"), EXACT, ids=names(EXACT))
@torch.no_grad()
def test_a_network_that_commutes_with_the_views_gains_nothing(tta, axes, views):
    kind = nn.Conv2d if axes == 2 else nn.Conv3d
    network, image = kind(1, 2, 3, padding=1), square(axes)
    network.weight.fill_(0.1)  # the same in all directions
    torch.testing.assert_close(tta(image, network), network(image))

    def mean(image):
        return network(image).flatten(2).mean(2)

    torch.testing.assert_close(tta(image, mean), mean(image))


@pytest.mark.parametrize(("tta", "axes", "views"), EXACT, ids=names(EXACT))
def test_the_way_back_restores_every_pixel(tta, axes, views):
    image = square(axes)
    for one in wrappers(tta):
        for view in one.views(image):
            assert torch.equal(view.back(view.there(image)), image)
            assert torch.equal(view.there(view.back(image)), image)
    torch.testing.assert_close(tta(image, lambda tiles: tiles), image)


@pytest.mark.parametrize(("tta", "axes", "views"), EXACT, ids=names(EXACT))
@torch.no_grad()
def test_maps_are_turned_back(tta, axes, views):
    # Views of one image are a group here: turning the input turns the answer of any network.
    kind = nn.Conv2d if axes == 2 else nn.Conv3d
    network, image = kind(1, 2, 3, padding=1), square(axes)
    if views == 6:
        pytest.skip("turns by 0, 90 and 270 degrees without 180 are no group")
    for one in wrappers(tta):
        for view in one.views(image):
            answer = view.back(tta(view.there(image), network))
            torch.testing.assert_close(answer, tta(image, network), atol=1e-5, rtol=1e-5)


def test_half_precision_is_added_up_in_full():
    answers = iter(torch.tensor([[1.0], [0.00390625]], dtype=torch.bfloat16).split(1))
    mean = mean_of_views(lambda tiles: next(answers), flip_views((-1,)), torch.zeros(1, 1, 2, 2))
    assert mean.item() == (1 + 0.00390625) / 2  # in bfloat16 the sum would be 1


def test_any_views_are_averaged_in_their_order():
    views = [View(lambda tiles, step=step: tiles + step, plain) for step in (0.0, 10.0)]
    assert mean_of_views(lambda tiles: [tiles, tiles[..., :1]], views, torch.zeros(1, 1, 1, 2)).tolist() == [
        [[[5.0, 5.0]]]
    ]


def test_the_plain_view_is_the_input_itself():
    image = square(2)
    for tta in (FlipTTA(), Rot90TTA(), CropTTA(), ScaleTTA(factors=(1.0,))):
        assert next(iter(tta.views(image))).there(image) is image


def test_a_chain_is_described_and_unwrapped():
    window = SlidingWindowInferer((8, 8, 8))
    chain = RotationTTA(MirrorTTA(window, (2,)), degrees=5)
    assert describe_tta(chain) == [
        "RotationTTA(degrees=5, axes=(0, 1, 2), least_size=(1, 1, 1))",
        "MirrorTTA(axes=(2,))",
    ]
    assert unwrapped(chain) is window is unwrapped(window)
    assert describe_tta(window) == []
