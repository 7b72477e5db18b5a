"""Test-time augmentation of images: flips, sizes and crops, as inferers that wrap an inferer."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal

from monai.inferers.inferer import Inferer
from torch import Tensor
from torch.nn import functional

from medimg.errors import ConfigError
from medimg.inference.views import PLAIN, View, ViewTTA, flip_views

Axis = Literal["horizontal", "vertical"]
_DIMS = {"horizontal": -1, "vertical": -2}


class FlipTTA(ViewTTA):
    """Average over the image and its mirrorings; two axes make four views.

    Args:
        inferer: What is wrapped, such as another augmentation; ``None`` is the network alone.
        axes: ``horizontal`` exchanges left and right, ``vertical`` top and bottom. As mirrored in training.

    Raises:
        ConfigError: If an axis is neither, or named twice.

    Example:
        >>> import torch
        >>> FlipTTA()(torch.tensor([[[[1.0, 3.0]]]]), lambda image: image[..., 0].flatten(1))
        tensor([[2.]])
    """

    def __init__(self, inferer: Inferer | None = None, axes: Sequence[Axis] = ("horizontal",)) -> None:
        super().__init__(inferer)
        if not set(axes) <= set(_DIMS) or len(set(axes)) != len(axes):
            raise ConfigError(f"axes: expected horizontal, vertical or both, found {list(axes)}.")
        self.axes = tuple(axes)

    def views(self, images: Tensor) -> list[View]:
        """The image and every combination of its mirrorings."""
        return flip_views([_DIMS[axis] for axis in self.axes])


class ScaleTTA(ViewTTA):
    """Average over the image at several sizes, for networks that take any size.

    Args:
        inferer: What is wrapped; ``None`` is the network alone.
        factors: Height and width are multiplied by each and rounded; 1 is the image as it is.
        multiple_of: Heights and widths are rounded to a multiple of this, for networks that need one.

    Raises:
        ConfigError: If a factor is not above 0 or named twice, there is none, or ``multiple_of`` is below 1.

    Example:
        >>> import torch
        >>> ScaleTTA(factors=(1.0, 1.5))(torch.ones(1, 1, 8, 8), lambda image: image.sum((2, 3)))
        tensor([[104.]])
    """

    def __init__(
        self,
        inferer: Inferer | None = None,
        factors: Sequence[float] = (0.9, 1.0, 1.1),
        multiple_of: int = 1,
    ) -> None:
        super().__init__(inferer)
        if not factors or min(factors) <= 0 or len(set(factors)) != len(factors):
            raise ConfigError(f"factors: expected different numbers above 0, found {list(factors)}.")
        if multiple_of < 1:
            raise ConfigError(f"multiple_of: expected a whole number above 0, found {multiple_of}.")
        self.factors, self.multiple_of = tuple(factors), multiple_of

    def views(self, images: Tensor) -> Iterable[View]:
        """The image at each size; maps are brought back to the image's own."""
        _expect_images(self, images)
        height, width = images.shape[-2:]
        for factor in self.factors:
            size = (self._rounded(factor * height), self._rounded(factor * width))
            yield PLAIN if factor == 1 else View(resized_to(size), resized_to((height, width)))

    def _rounded(self, length: float) -> int:
        return max(1, round(length / self.multiple_of)) * self.multiple_of


class CropTTA(ViewTTA):
    """Average over crops of the image, and the whole of it, for networks that say one thing of an image.

    Args:
        inferer: What is wrapped; ``None`` is the network alone.
        share: Height and width of a crop as a share of the image's, in (0, 1).
        crops: 1 is the centre, 5 the corners and the centre, and 4, 9, 16, ... are spread evenly in rows.
        enlarge: Bring crops to the size of the image, as random resized crops in training do.
        whole: The whole image is one of the views.

    Raises:
        ConfigError: If the share or the number of crops is none of these.

    Example:
        >>> import torch
        >>> image = torch.arange(16.0).view(1, 1, 4, 4)
        >>> corner = lambda view: view[..., 0, 0]
        >>> CropTTA(share=0.5, crops=4, enlarge=False, whole=False)(image, corner)  # 0, 2, 8 and 10
        tensor([[5.]])
    """

    def __init__(
        self,
        inferer: Inferer | None = None,
        share: float = 0.875,
        crops: int = 5,
        enlarge: bool = True,
        whole: bool = True,
    ) -> None:
        super().__init__(inferer)
        if not 0 < share < 1:
            raise ConfigError(f"share: expected a share of the image in (0, 1), found {share}.")
        if crops != 5 and (crops < 1 or math.isqrt(crops) ** 2 != crops):
            raise ConfigError(f"crops: expected 1, 5, or a square such as 4 and 9, found {crops}.")
        self.share, self.crops, self.enlarge, self.whole = share, crops, enlarge, whole

    def views(self, images: Tensor) -> Iterable[View]:
        """The whole image, then the crops."""
        _expect_images(self, images)
        height, width = images.shape[-2:]
        size = (max(1, round(self.share * height)), max(1, round(self.share * width)))
        if self.whole:
            yield PLAIN
        for top, left in crop_corners(self.crops, height - size[0], width - size[1]):
            box = (slice(top, top + size[0]), slice(left, left + size[1]))
            yield View(partial(_crop, box=box, size=(height, width) if self.enlarge else size), _no_way_back)


def crop_corners(crops: int, top: int, left: int) -> list[tuple[int, int]]:
    """First pixel (H, W) of each crop.

    Args:
        crops: Number of crops, as :class:`CropTTA` takes it.
        top: The lowest crop's first row.
        left: The rightmost crop's first column.

    Example:
        >>> crop_corners(5, 32, 32)
        [(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)]
        >>> crop_corners(1, 32, 32)
        [(16, 16)]
    """
    middle = (top // 2, left // 2)
    if crops == 1:
        return [middle]
    side = math.isqrt(crops)
    rows, columns = ([round(step * last / (side - 1)) for step in range(side)] for last in (top, left))
    return [(row, column) for row in rows for column in columns] + [middle] * (crops == 5)


def resized_to(size: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    """Resizing to (H, W) by linear interpolation that smooths what it shrinks."""
    return partial(functional.interpolate, size=size, mode="bilinear", antialias=True)


def _crop(images: Tensor, box: tuple[slice, slice], size: tuple[int, int]) -> Tensor:
    crop = images[..., *box]
    return crop if crop.shape[-2:] == size else resized_to(size)(crop)


def _no_way_back(answer: Tensor) -> Tensor:
    raise ConfigError(
        f"CropTTA: expected one row of labels (B, K) of an image, found a map {tuple(answer.shape)}. For maps name "
        "a sliding window, whose tiles overlap."
    )


def _expect_images(inferer: ViewTTA, images: Tensor) -> None:
    if images.ndim != 4:
        raise ConfigError(
            f"{type(inferer).__name__}: expected images (B, C, H, W), found {tuple(images.shape)}. Volumes take "
            "MirrorTTA, RotationTTA and Rot90TTA."
        )
