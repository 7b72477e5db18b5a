"""Named test-time augmentations, as ``--tta`` takes them.

| preset | images | views | volumes | views |
|---|---|---|---|---|
| none | as they are | 1 | the inferer alone | 1 |
| mirror | left and right | 2 | the axes mirrored in training | 2 to 8 |
| flips | left and right, up and down | 4 | all three axes | 8 |
| mirror-rot90 | the eight symmetries of the square | 8 | mirrored as in training, quarter turns in plane | 4 to 16 |
| xray | three sizes, and the middle enlarged | 6 | | |
| mammography | flips at two sizes | 8 | | |
| ultrasound | left and right, at three sizes | 6 | | |
| full | the eight symmetries at three sizes | 24 | mirrored as in training, turned by 10 degrees | 14 to 56 |

``none`` and ``xray`` keep left and right apart.
"""

from collections.abc import Sequence
from typing import Literal

from monai.inferers.inferer import Inferer

from medimg.errors import ConfigError
from medimg.inference.image_tta import CropTTA, FlipTTA, ScaleTTA
from medimg.inference.rot90 import Rot90TTA
from medimg.inference.tta import MirrorTTA, RotationTTA
from medimg.inference.views import wrappers

Preset = Literal["none", "mirror", "flips", "mirror-rot90", "xray", "mammography", "ultrasound", "full"]


def image_preset(name: Preset, inferer: Inferer) -> Inferer:
    """The test-time augmentation of images (B, C, H, W) by this name.

    Args:
        name: Its name.
        inferer: What is wrapped.

    Example:
        >>> from monai.inferers.inferer import SimpleInferer
        >>> from medimg.inference.views import describe_tta
        >>> describe_tta(image_preset("flips", SimpleInferer()))
        ["FlipTTA(axes=('horizontal', 'vertical'))"]
    """
    match name:
        case "none":
            return inferer
        case "mirror":
            return FlipTTA(inferer)
        case "flips":
            return FlipTTA(inferer, ("horizontal", "vertical"))
        case "mirror-rot90":
            return Rot90TTA(FlipTTA(inferer))
        case "xray":
            return ScaleTTA(CropTTA(inferer, crops=1))
        case "mammography":
            return ScaleTTA(image_preset("flips", inferer), (1.0, 1.15))
        case "ultrasound":
            return ScaleTTA(FlipTTA(inferer))
        case "full":
            return ScaleTTA(image_preset("mirror-rot90", inferer))


def volume_preset(
    name: Preset,
    inferer: Inferer,
    *,
    mirror_axes: Sequence[int] = (0, 1, 2),
    spacing_mm: Sequence[float] | None = None,
) -> Inferer:
    """The test-time augmentation of volumes (B, C, D, H, W) by this name.

    Args:
        name: Its name.
        inferer: What is wrapped, a sliding window most often.
        mirror_axes: Axes (0 for D, 1 for H, 2 for W) that were mirrored in training.
        spacing_mm: Spacing (D, H, W) of the prepared grid, which quarter turns need.

    Raises:
        ConfigError: If the preset is for images, or the volumes cannot be turned by 90 degrees.

    Example:
        >>> from monai.inferers.inferer import SimpleInferer
        >>> from medimg.inference.views import describe_tta
        >>> describe_tta(volume_preset("mirror", SimpleInferer(), mirror_axes=(2,)))
        ['MirrorTTA(axes=(2,))']
    """
    match name:
        case "none":
            return inferer
        case "mirror":
            return MirrorTTA(inferer, mirror_axes)
        case "flips":
            return MirrorTTA(inferer)
        case "mirror-rot90":
            if spacing_mm is None:
                raise ConfigError(
                    "--tta mirror-rot90: set data.init_args.preparation.spacing_mm. Only on a common grid is it known "
                    "that pixels are square in plane; --tta mirror works without."
                )
            # A quarter turn of a volume mirrored along W is one mirrored along H.
            axes = [axis for axis in mirror_axes if axis != 1 or 2 not in mirror_axes]
            return Rot90TTA(MirrorTTA(_square(inferer), axes), spacing_mm=spacing_mm)
        case "full":
            size = getattr(inferer, "roi_size", (1, 1, 1))
            return RotationTTA(MirrorTTA(inferer, mirror_axes), degrees=10, least_size=size)
        case "xray" | "mammography" | "ultrasound":
            raise ConfigError(
                f"--tta {name} is for images: volumes take none, mirror, flips, mirror-rot90 or full."
            )


def _square(inferer: Inferer) -> Inferer:
    """The inferer, if its tiles can be turned in plane: told before any data are read."""
    size = getattr(inferer, "roi_size", None)
    if size is not None and size[1] != size[2]:
        raise ConfigError(
            f"--tta mirror-rot90: the tile (D, H, W) = {tuple(size)} is not as high as wide; turned, it would not fit "
            "the network. Take --tta mirror or full, or train with square tiles."
        )
    return inferer


def mirrors_left_right(inferer: Inferer) -> bool:
    """Whether one of the views of an image has left and right exchanged.

    Example:
        >>> mirrors_left_right(FlipTTA(axes=("vertical",)))
        False
        >>> mirrors_left_right(Rot90TTA(FlipTTA(axes=("vertical",))))
        True
    """
    chain = list(wrappers(inferer))
    flips = {axis for one in chain if isinstance(one, FlipTTA) for axis in one.axes}
    # Upside down and turned back upright, an image is mirrored.
    return "horizontal" in flips or bool(
        flips and any(isinstance(one, Rot90TTA) and one.turns for one in chain)
    )
