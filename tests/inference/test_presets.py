from typing import get_args

import pytest
import torch
from monai.inferers.inferer import SimpleInferer

from medimg.errors import ConfigError
from medimg.inference.image_tta import FlipTTA, ScaleTTA
from medimg.inference.presets import Preset, image_preset, mirrors_left_right, volume_preset
from medimg.inference.rot90 import Rot90TTA
from medimg.inference.sliding_window import SlidingWindowInferer
from medimg.inference.tta import MirrorTTA, RotationTTA
from medimg.inference.views import unwrapped, wrappers

IMAGE_VIEWS = {
    "none": 1, "mirror": 2, "flips": 4, "mirror-rot90": 8, "xray": 6, "mammography": 8, "ultrasound": 6, "full": 24,
}  # fmt: skip


@pytest.mark.parametrize("name", get_args(Preset))
def test_a_preset_of_images_makes_so_many_forwards_and_averages_them(name):
    answers = []

    def network(view):
        answers.append(view.square().mean((2, 3)))
        return answers[-1]

    leaf = SimpleInferer()
    tta = image_preset(name, leaf)
    found = tta(torch.rand(2, 1, 20, 20), network)
    assert unwrapped(tta) is leaf
    assert len(answers) == IMAGE_VIEWS[name]
    torch.testing.assert_close(found, torch.stack(answers).mean(0))


@pytest.mark.parametrize("name", get_args(Preset))
def test_presets_for_sided_images_keep_left_and_right_apart(name):
    # A network that looks at the left half alone tells whether a view exchanged the halves.
    image = torch.cat([torch.ones(1, 1, 20, 10), torch.zeros(1, 1, 20, 10)], dim=3)
    exchanged = []

    def network(view):
        half = view.shape[3] // 2
        exchanged.append(bool(view[..., :half].mean() < view[..., half:].mean()))
        return view.mean((2, 3))

    tta = image_preset(name, SimpleInferer())
    tta(image, network)
    assert mirrors_left_right(tta) == any(exchanged) == (name not in ("none", "xray"))


def test_upside_down_and_upright_again_is_mirrored():
    assert not mirrors_left_right(ScaleTTA(FlipTTA(axes=("vertical",))))
    assert not mirrors_left_right(Rot90TTA())
    assert mirrors_left_right(FlipTTA(Rot90TTA(), ("vertical",)))


@pytest.mark.parametrize(
    ("name", "mirrored", "views"),
    [("none", (2,), 1), ("mirror", (2,), 2), ("mirror", (0, 1, 2), 8), ("flips", (2,), 8),
     ("mirror-rot90", (0, 1, 2), 16), ("mirror-rot90", (1,), 8), ("mirror-rot90", (), 4), ("full", (2,), 14)],
)  # fmt: skip
def test_a_preset_of_volumes_makes_so_many_different_forwards(name, mirrored, views):
    seen = []

    def network(tile):
        seen.append(tuple(tile.flatten().tolist()))
        return tile

    tta = volume_preset(name, SlidingWindowInferer((4, 4, 4)), mirror_axes=mirrored, spacing_mm=(2, 1, 1))
    tta(torch.rand(1, 1, 4, 4, 4), network)
    assert len(set(seen)) == len(seen) == views


def test_small_volumes_keep_their_corners_when_turned():
    tta = volume_preset("full", SlidingWindowInferer((8, 16, 16)), mirror_axes=(2,))
    turns, mirrors = wrappers(tta)
    assert isinstance(turns, RotationTTA) and turns.least_size == (8, 16, 16)
    assert isinstance(mirrors, MirrorTTA) and mirrors.axes == (2,)


@pytest.mark.parametrize("name", ["xray", "mammography", "ultrasound"])
def test_presets_of_images_are_refused_for_volumes(name):
    with pytest.raises(ConfigError, match=f"--tta {name} is for images: volumes take none, mirror"):
        volume_preset(name, SlidingWindowInferer((8, 8, 8)))


def test_quarter_turns_are_refused_before_any_data_are_read():
    square, oblong = SlidingWindowInferer((8, 16, 16)), SlidingWindowInferer((8, 16, 8))
    with pytest.raises(ConfigError, match=r"set data\.init_args\.preparation\.spacing_mm"):
        volume_preset("mirror-rot90", square)
    with pytest.raises(ConfigError, match="same along H and W"):
        volume_preset("mirror-rot90", square, spacing_mm=(1.0, 1.0, 2.0))
    with pytest.raises(ConfigError, match=r"the tile \(D, H, W\) = \(8, 16, 8\) is not as high as wide"):
        volume_preset("mirror-rot90", oblong, spacing_mm=(1.0, 1.0, 1.0))
