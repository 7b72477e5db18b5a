"""Test-time augmentation by quarter turns in plane, of images and of volumes."""

import math
from collections.abc import Sequence
from functools import partial

import torch
from monai.inferers.inferer import Inferer
from torch import Tensor

from medimg.errors import ConfigError
from medimg.inference.views import PLAIN, View, ViewTTA

_SAME_SPACING = 0.01  # a pixel 1 % longer than wide is square to a network


class Rot90TTA(ViewTTA):
    """Average over the image, or each slice (H, W) of a volume's tiles, and its quarter turns.

    Around a :class:`FlipTTA` of one axis all eight symmetries of the square are seen.

    Args:
        inferer: What is wrapped; ``None`` is the network alone.
        turns: Quarter turns besides none: 1, 2, 3.
        spacing_mm: Spacing (D, H, W) of the prepared grid, which volumes need: turned, a pixel that is no square
            is another anatomy. Images are taken to have square pixels.

    Raises:
        ConfigError: If a turn is none of these or named twice, or the spacing differs in plane.

    Example:
        >>> Rot90TTA()(torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]]), lambda image: image[..., 0, 0])
        tensor([[4.]])
    """

    def __init__(
        self,
        inferer: Inferer | None = None,
        turns: Sequence[int] = (1, 2, 3),
        spacing_mm: Sequence[float] | None = None,
    ) -> None:
        super().__init__(inferer)
        if not set(turns) <= {1, 2, 3} or len(set(turns)) != len(turns):
            raise ConfigError(f"turns: expected different quarter turns out of 1, 2, 3, found {list(turns)}.")
        self.turns = tuple(turns)
        self.spacing_mm = None if spacing_mm is None else tuple(spacing_mm)
        if self.spacing_mm is not None:
            _check_spacing(self.spacing_mm)

    def views(self, images: Tensor) -> list[View]:
        """The input and its turns.

        Raises:
            ConfigError: If these are volumes of unknown spacing, or tiles that are not square in plane.
        """
        if images.ndim == 5:
            self._check_tile(tuple(images.shape[2:]))
        turn = partial(torch.rot90, dims=(-2, -1))
        return [PLAIN, *(View(partial(turn, k=k), partial(turn, k=-k)) for k in self.turns)]

    def _check_tile(self, size: tuple[int, ...]) -> None:
        if self.spacing_mm is None:
            raise ConfigError(
                "Rot90TTA: volumes need spacing_mm, the spacing (D, H, W) of the prepared grid "
                "(data.init_args.preparation.spacing_mm): pixels that are not square must not be turned."
            )
        if size[1] != size[2]:
            raise ConfigError(
                f"Rot90TTA: expected tiles as high as wide, found (D, H, W) = {size}: turned, they would not fit "
                "the network. Take MirrorTTA and RotationTTA, or train with square tiles."
            )


def _check_spacing(spacing_mm: Sequence[float]) -> None:
    if len(spacing_mm) != 3 or not math.isclose(spacing_mm[1], spacing_mm[2], rel_tol=_SAME_SPACING):
        raise ConfigError(
            f"spacing_mm: expected a spacing (D, H, W) that is the same along H and W, found {tuple(spacing_mm)}: "
            "turned by 90 degrees, the anatomy would be stretched. Take MirrorTTA and RotationTTA."
        )
