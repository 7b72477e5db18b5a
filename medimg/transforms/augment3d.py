"""Batched 3D augmentation on whatever device the batch is on."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medimg.errors import ConfigError
from medimg.keys import IMAGE, MASK, SEED
from medimg.transforms.intensity import (
    Brightness,
    Contrast,
    Gamma,
    GaussianBlur,
    GaussianNoise,
    IntensityTransform,
    LowResolution,
)
from medimg.transforms.randomness import SampleRandom
from medimg.transforms.spatial import RandomSpatial, initial_patch_size

# A patch more than three times as long as it is thick has slices too far apart to turn between them.
_THICK = 3.0


class Augment3D(nn.Module):
    """Moves, crops and recolours a batch of volumes, each sample by its own seed.

    Decisions are drawn sample by sample on the CPU (microseconds) and only the channels that are
    drawn are touched, so a batch costs what its chosen changes cost, on a CPU core and on a GPU.

    Args:
        patch_size: Size (D, H, W) of the result, cropped about the centre of what comes in;
            ``None`` keeps the size that comes in. Data modules fill it in.
        spatial: Moves image and mask; always first, as it makes the private copy.
        intensity: Changes of the image, in their order.

    Example:
        >>> still = RandomSpatial(rotation_probability=0, scale_probability=0, mirror_axes=())
        >>> augment = Augment3D((2, 2, 2), spatial=still, intensity=[Brightness(probability=1.0)])
        >>> batch = {"image": torch.ones(1, 1, 4, 4, 4), "seed": torch.tensor([3])}
        >>> augment(batch)["image"].shape
        torch.Size([1, 1, 2, 2, 2])
    """

    def __init__(
        self,
        patch_size: Sequence[int] | None = None,
        *,
        spatial: RandomSpatial,
        intensity: Sequence[IntensityTransform] = (),
    ) -> None:
        super().__init__()
        self.spatial = spatial
        self.intensity = nn.ModuleList(intensity)
        self.patch_size = None if patch_size is None else _three(patch_size)

    @property
    def initial_patch_size(self) -> tuple[int, int, int] | None:
        """Size (D, H, W) to read so that few zeros come in; ``None`` without a patch size."""
        if self.patch_size is None:
            return None
        if self.spatial.rotation_probability == 0.0 and self.spatial.scale_probability == 0.0:
            return self.patch_size
        return initial_patch_size(
            self.patch_size, self.spatial.rotation_deg, frozen_axis=self.spatial.frozen_axis
        )

    def window(self, seed: int) -> tuple[int, int, int]:
        """Size (D, H, W) that the sample of a seed will read, at most ``initial_patch_size``.

        Two samples of three are only cropped. A reader that asks first reads a quarter of the
        voxels for them and gets the same patch, as the window lies about the same centre.

        Args:
            seed: The sample's entry in ``batch["seed"]``.

        Raises:
            ConfigError: If the augmentation has no patch size.
        """
        if self.patch_size is None:
            raise ConfigError("window needs an augmentation with a patch_size: set patch_size=(D, H, W)")
        motion = self.spatial.draw(self.patch_size, SampleRandom(seed))
        largest = self.initial_patch_size if motion.resamples else None
        if largest is None:
            return self.patch_size
        reach = motion.reach(self.patch_size)
        sizes = [
            # An even margin keeps the centre where it is.
            size + 2 * min(max(0, math.ceil(far - size / 2)), max(0, most - size) // 2)
            for size, far, most in zip(self.patch_size, reach, largest, strict=True)
        ]
        return sizes[0], sizes[1], sizes[2]

    @torch.no_grad()
    def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Augment a batch; the batch that comes in is left as it was.

        Args:
            batch: ``image`` (B, C, D', H', W') of a float dtype, ``seed`` (B,) int64, and perhaps
                ``mask`` (B, K, D', H', W') of label values or regions; each may be a list of B tensors
                of different sizes, as ``window`` allows. Other keys pass through.

        Returns:
            The batch with ``image`` (B, C, D, H, W) float32 and ``mask`` of its old dtype.

        Raises:
            ValueError: If a key is missing or shapes do not fit.
        """
        image, mask = _checked(batch)
        patch = self.patch_size or tuple(image[0].shape[1:])
        first = image[0]
        out = torch.empty((len(image), len(first), *patch), dtype=torch.float32, device=first.device)
        mask_out = None if mask is None else mask[0].new_empty((len(mask), len(mask[0]), *patch))
        # Autocast would round the filters of a blur to bfloat16.
        with torch.autocast(first.device.type, enabled=False):
            for index, seed in enumerate(batch[SEED].tolist()):
                random = SampleRandom(seed, first.device)
                one_mask, one_out = (
                    (None, None) if mask is None or mask_out is None else (mask[index], mask_out[index])
                )
                self.spatial(image[index], one_mask, random, out[index], one_out)
                for transform in self.intensity:
                    transform(out[index], random)
        return {**batch, IMAGE: out} if mask_out is None else {**batch, IMAGE: out, MASK: mask_out}


class NNUNetAugmentation(Augment3D):
    """The augmentation of nnU-Net v2: its order, probabilities and ranges.

    Mirroring is part of the first step here instead of the last one: nothing in between knows left
    from right, so the outcomes are as likely, and it costs no pass of its own.

    Args:
        patch_size: Size (D, H, W) of the result; ``None`` keeps the size that comes in (without
            the margin of ``initial_patch_size``, turned corners are filled with zeros).
        rotation_deg: Largest angle in degrees, for all axes or for each of D, H, W. ``None``: 30, or
            180 within the slices of a patch over three times as long as thick.
        rotation_probability: Chance of a turn. nnU-Net's 0.2 suits its thousand epochs; small data sets and short runs
            gain from more.
        scale_probability: Chance of a change of size.
        mirror_axes: Axes that may be mirrored; leave out one that tells left from right where
            labels depend on it.
        elastic_probability: Chance of an elastic deformation; off by default, as in nnU-Net.
        mask_mode: ``"linear"`` (as nnU-Net) or ``"nearest"``.

    Reference:
        Isensee et al. 2021, "nnU-Net: a self-configuring method for deep learning-based biomedical
        image segmentation", Nature Methods 18; list as in nnU-Net 2.8.1.
    """

    def __init__(
        self,
        patch_size: Sequence[int] | None = None,
        rotation_deg: float | Sequence[float] | None = None,
        rotation_probability: float = 0.2,
        scale_probability: float = 0.2,
        mirror_axes: Sequence[int] = (0, 1, 2),
        elastic_probability: float = 0.0,
        mask_mode: Literal["linear", "nearest"] = "linear",
    ) -> None:
        frozen = None if patch_size is None else thick_axis(patch_size)
        if rotation_deg is None:
            rotation_deg = 30.0 if frozen is None else 180.0
        spatial = RandomSpatial(
            rotation_probability=rotation_probability,
            rotation_deg=rotation_deg,
            scale_probability=scale_probability,
            elastic_probability=elastic_probability,
            mirror_axes=mirror_axes,
            frozen_axis=frozen,
            mask_mode=mask_mode,
        )
        intensity = [
            GaussianNoise(probability=0.1, sigma=(0.0, 0.1)),
            GaussianBlur(probability=0.2, channel_probability=0.5, sigma=(0.5, 1.0)),
            Brightness(probability=0.15, factor=(0.75, 1.25)),
            Contrast(probability=0.15, factor=(0.75, 1.25)),
            LowResolution(probability=0.25, channel_probability=0.5, zoom=(0.5, 1.0), frozen_axis=frozen),
            Gamma(probability=0.1, gamma=(0.7, 1.5), invert=True),
            Gamma(probability=0.3, gamma=(0.7, 1.5), invert=False),
        ]
        super().__init__(patch_size, spatial=spatial, intensity=intensity)


def thick_axis(patch_size: Sequence[int]) -> int | None:
    """Axis of a patch of thick slices, or ``None`` for a patch that may be turned freely.

    Example:
        >>> thick_axis((16, 256, 256)), thick_axis((128, 128, 128))
        (0, None)
    """
    shortest = min(range(len(patch_size)), key=lambda axis: patch_size[axis])
    return shortest if max(patch_size) / patch_size[shortest] > _THICK else None


def _three(patch_size: Sequence[int]) -> tuple[int, int, int]:
    if len(patch_size) != 3:
        raise ConfigError(f"patch_size must be three sizes (D, H, W), found {tuple(patch_size)}")
    return int(patch_size[0]), int(patch_size[1]), int(patch_size[2])


def _checked(batch: dict[str, Any]) -> tuple[Sequence[Tensor], Sequence[Tensor] | None]:
    """Images (C, D, H, W) and masks (K, D, H, W) of a batch, their shapes known to fit."""
    for key in (IMAGE, SEED):
        if key not in batch:
            raise ValueError(f"the batch has no {key!r}, only {sorted(batch)}: the data set must add it")
    images, masks = list(batch[IMAGE]), batch.get(MASK)
    if any(image.ndim != 4 for image in images):
        raise ValueError(f"image must be (B, C, D, H, W), found {[tuple(image.shape) for image in images]}")
    if len(batch[SEED]) != len(images):
        raise ValueError(f"seed must be ({len(images)},), one a sample, found {tuple(batch[SEED].shape)}")
    if masks is None:
        return images, None
    masks = list(masks)
    shapes = [tuple(image.shape[1:]) for image in images]
    if [tuple(mask.shape[1:]) for mask in masks] != shapes or any(mask.ndim != 4 for mask in masks):
        raise ValueError(
            f"masks {[tuple(mask.shape) for mask in masks]} do not lie on images of {shapes}: "
            "expected (B, K, D, H, W)"
        )
    return images, masks
