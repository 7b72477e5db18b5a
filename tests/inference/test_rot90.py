import numpy as np
import pytest
import torch

from medimg.errors import ConfigError
from medimg.inference.image_tta import FlipTTA
from medimg.inference.rot90 import Rot90TTA
from medimg.inference.sliding_window import SlidingWindowInferer


def test_turns_are_numpy_s_in_plane():
    seen, image = [], torch.rand(1, 1, 2, 3, 3)

    def network(tile):
        seen.append(tile[0, 0].numpy())
        return tile

    Rot90TTA(spacing_mm=(4.0, 0.7, 0.7))(image, network)
    for turns, tile in enumerate(seen):
        np.testing.assert_array_equal(tile, np.rot90(image[0, 0].numpy(), turns, axes=(1, 2)))


def test_with_one_flip_the_eight_symmetries_are_seen_once_each():
    seen = []

    def network(view):
        seen.append(tuple(view.flatten().tolist()))
        return view.mean((2, 3))

    Rot90TTA(FlipTTA(axes=("vertical",)))(torch.arange(9.0).view(1, 1, 3, 3), network)
    assert len(set(seen)) == len(seen) == 8


def test_images_need_not_be_square():
    sizes = []

    def network(view):
        sizes.append(tuple(view.shape[2:]))
        return view

    image = torch.rand(1, 1, 4, 6)
    assert torch.equal(Rot90TTA()(image, network), image)
    assert sizes == [(4, 6), (6, 4), (4, 6), (6, 4)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"turns": (0,)}, "turns: expected different quarter turns"),
        ({"turns": (1, 1)}, "turns: expected different quarter turns"),
        ({"spacing_mm": (1.0, 1.0, 0.8)}, r"same along H and W, found \(1.0, 1.0, 0.8\).*stretched"),
        ({"spacing_mm": (1.0, 1.0)}, "same along H and W"),
    ],
)
def test_turns_that_would_stretch_the_anatomy_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        Rot90TTA(**options)


def test_a_spacing_that_differs_by_rounding_is_the_same():
    assert Rot90TTA(spacing_mm=(5.0, 0.7001, 0.7)).spacing_mm == (5.0, 0.7001, 0.7)


def test_volumes_of_unknown_spacing_and_tiles_that_are_not_square_are_refused():
    volume = torch.rand(1, 1, 8, 8, 8)
    with pytest.raises(ConfigError, match="volumes need spacing_mm"):
        Rot90TTA()(volume, lambda tile: tile)
    oblong = Rot90TTA(SlidingWindowInferer((8, 8, 4)), spacing_mm=(1, 1, 1))
    with pytest.raises(ConfigError, match=r"tiles as high as wide, found \(D, H, W\) = \(8, 8, 4\)"):
        oblong(volume, lambda tile: tile)
    thick = Rot90TTA(SlidingWindowInferer((4, 8, 8)), spacing_mm=(5, 1, 1))
    torch.testing.assert_close(thick(volume, lambda tile: tile), volume)
