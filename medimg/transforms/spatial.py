"""Rotation, scaling, elastic deformation, mirroring and the crop to the patch, as one resampling."""

import math
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from medimg.errors import ConfigError
from medimg.transforms.motion import Motion, turn_and_scale
from medimg.transforms.randomness import SampleRandom
from medimg.transforms.warp import Warp, crop_

# A largest angle about every axis, or one for each of D, H and W, in degrees.
Degrees = float | Sequence[float]


class RandomSpatial(nn.Module):
    """Moves image and mask together and crops them to the patch.

    A sample that draws neither rotation, scaling nor deformation is cropped (and mirrored) without
    interpolation. All motions of the others form one map, so that voxels are interpolated once.

    Args:
        rotation_probability: Chance that a sample is turned.
        rotation_deg: Largest angle, in degrees; one for all axes or one for each of D, H, W.
        scale_probability: Chance that a sample is scaled, all axes alike.
        scale_range: Range of the factor; above one objects look smaller.
        elastic_probability: Chance that a sample is deformed.
        elastic_sigma: Range of the smoothing length of the displacements, as a part of the patch's
            edge; drawn for each axis.
        elastic_magnitude: Range of the largest displacement, as a part of the smoothing length;
            below about one, tissue does not fold.
        mirror_axes: Axes (0 to 2 for D, H, W) that may be mirrored.
        mirror_probability: Chance for each of them.
        frozen_axis: Axis along which nothing is turned, scaled or deformed (mirroring excepted), for
            volumes of thick slices.
        mask_mode: ``"linear"`` lets the label with the largest interpolated share win,
            ``"nearest"`` takes the nearest voxel's and is faster.
    """

    def __init__(
        self,
        *,
        rotation_probability: float = 0.2,
        rotation_deg: Degrees = 30.0,
        scale_probability: float = 0.2,
        scale_range: tuple[float, float] = (0.7, 1.4),
        elastic_probability: float = 0.0,
        elastic_sigma: tuple[float, float] = (0.05, 0.2),
        elastic_magnitude: tuple[float, float] = (0.0, 0.5),
        mirror_axes: Sequence[int] = (0, 1, 2),
        mirror_probability: float = 0.5,
        frozen_axis: int | None = None,
        mask_mode: Literal["linear", "nearest"] = "linear",
    ) -> None:
        super().__init__()
        if not 0.0 < scale_range[0] <= scale_range[1]:
            raise ConfigError(f"scale_range must be two rising numbers above 0, found {tuple(scale_range)}")
        if not 0.0 < elastic_sigma[0] <= elastic_sigma[1]:
            raise ConfigError(
                f"elastic_sigma must be two rising numbers above 0, found {tuple(elastic_sigma)}"
            )
        if not set(mirror_axes) <= {0, 1, 2}:
            raise ConfigError(f"mirror_axes must be among 0, 1, 2 (D, H, W), found {tuple(mirror_axes)}")
        if mask_mode not in ("linear", "nearest"):
            raise ConfigError(f"mask_mode must be 'linear' or 'nearest', found {mask_mode!r}")
        self.rotation_probability = rotation_probability
        self.rotation_deg = _per_axis(rotation_deg)
        self.scale_probability = scale_probability
        self.scale_range = scale_range
        self.elastic_probability = elastic_probability
        self.elastic_sigma = elastic_sigma
        self.elastic_magnitude = elastic_magnitude
        self.mirror_axes = tuple(mirror_axes)
        self.mirror_probability = mirror_probability
        self.frozen_axis = frozen_axis
        self.mask_mode = mask_mode

    def draw(self, patch: Sequence[int], random: SampleRandom) -> Motion:
        """Take a sample's decisions.

        Args:
            patch: Size (D, H, W) of the result.
            random: The sample's random numbers.
        """
        free = [axis != self.frozen_axis for axis in range(3)]
        degrees, scale = [0.0] * 3, 1.0
        turned, scaled, bent = (
            random.chance(probability)
            for probability in (self.rotation_probability, self.scale_probability, self.elastic_probability)
        )
        if turned:
            # With a frozen axis only the turn about this very axis stays within the slices.
            turns = [self.frozen_axis is None or axis == self.frozen_axis for axis in range(3)]
            degrees = [
                random.uniform(-most, most) if turn else 0.0
                for turn, most in zip(turns, self.rotation_deg, strict=True)
            ]
        if scaled:
            scale = random.uniform(*self.scale_range)
        matrix = turn_and_scale(degrees, [scale if is_free else 1.0 for is_free in free])
        sigma: tuple[float, ...] | None = None
        reach: tuple[float, ...] = (0.0, 0.0, 0.0)
        if bent:
            sigma = tuple(random.uniform(*self.elastic_sigma) * size for size in patch)
            size_of_bend = [random.uniform(*self.elastic_magnitude) * length for length in sigma]
            reach = tuple(b if is_free else 0.0 for b, is_free in zip(size_of_bend, free, strict=True))
        mirrored = tuple(axis for axis in self.mirror_axes if random.chance(self.mirror_probability))
        return Motion(matrix if turned or scaled else None, mirrored, sigma, reach)

    def forward(
        self, image: Tensor, mask: Tensor | None, random: SampleRandom, out: Tensor, mask_out: Tensor | None
    ) -> None:
        """Move one sample into buffers of the patch's size.

        Args:
            image: (C, D', H', W') of any float dtype; only read.
            mask: (K, D', H', W') of any dtype, or ``None``; only read.
            random: The sample's random numbers.
            out: (C, D, H, W) float32, overwritten.
            mask_out: (K, D, H, W) of the mask's dtype, overwritten.
        """
        patch = out.shape[1:]
        motion = self.draw(patch, random)
        if not motion.resamples:
            crop_(out, image, motion.mirrored)
            if mask is not None and mask_out is not None:
                crop_(mask_out, mask, motion.mirrored)
            return
        warp = Warp(motion, image.shape[1:], patch, self.frozen_axis, random, image.device)
        out.copy_(warp.linear(image))
        if mask is not None and mask_out is not None:
            mask_out.copy_(warp.labels(mask, self.mask_mode))

    def extra_repr(self) -> str:
        """What ``print`` shows of the transform."""
        return (
            f"rotation {self.rotation_deg} deg p={self.rotation_probability}, "
            f"scale {self.scale_range} p={self.scale_probability}, elastic p={self.elastic_probability}, "
            f"mirror {self.mirror_axes} p={self.mirror_probability}"
        )


def initial_patch_size(
    patch_size: Sequence[int],
    rotation_deg: Degrees = 30.0,
    scale_range: tuple[float, float] = (0.85, 1.25),
    frozen_axis: int | None = None,
) -> tuple[int, int, int]:
    """Size of the patch to read, so that turning and scaling bring in tissue instead of zeros.

    As in nnU-Net, turns about one axis at a time are covered in full, and scaling up to a usual
    amount: covering every corner of every draw would cost several times the reading.

    Args:
        patch_size: Size (D, H, W) of the patch after augmentation, in voxels.
        rotation_deg: Largest angle, in degrees; one for all axes or one for each of D, H, W.
        scale_range: The reading grows by the inverse of its lower end.
        frozen_axis: Axis that is neither turned nor scaled.

    Returns:
        Size (D, H, W), nowhere below ``patch_size``.

    Example:
        >>> initial_patch_size((128, 128, 128))
        (205, 205, 205)

    Reference:
        Isensee et al. 2021, "nnU-Net: a self-configuring method for deep learning-based biomedical
        image segmentation", Nature Methods 18.
    """
    largest = [float(size) for size in patch_size]
    for axis, angle in enumerate(_per_axis(rotation_deg)):
        if frozen_axis not in (None, axis):
            continue
        for one, other in ((1, 2), (2, 1)):
            a, b = patch_size[(axis + one) % 3], patch_size[(axis + other) % 3]
            # a cos t + b sin t grows until the diagonal of the a x b rectangle lies along the axis.
            turn = min(math.radians(abs(angle)), math.atan2(b, a))
            target = (axis + one) % 3
            largest[target] = max(largest[target], a * math.cos(turn) + b * math.sin(turn))
    grow = 1.0 / min(1.0, scale_range[0])
    sizes = [int(size * (1.0 if axis == frozen_axis else grow)) for axis, size in enumerate(largest)]
    return sizes[0], sizes[1], sizes[2]


def _per_axis(value: Degrees) -> tuple[float, float, float]:
    if isinstance(value, int | float):
        return float(value), float(value), float(value)
    if len(value) != 3:
        raise ConfigError(f"rotation_deg must be one angle or three (D, H, W), found {len(value)}")
    return float(value[0]), float(value[1]), float(value[2])
