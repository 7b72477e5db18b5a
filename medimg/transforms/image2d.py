"""Augmentation of 2D images by albumentations, behind one adapter.

Everything that albumentations asks for is settled here: the order of the axes, the value range, and a seed for
each sample, so that the same sample is changed in the same way on any number of workers.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

# Read when it is imported: otherwise every start asks the network for a newer release.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import cv2

from medimg.errors import ConfigError
from medimg.keys import IGNORE_INDEX
from medimg.transforms.views import ViewPreset, view_transforms

Preset = Literal["none", "xray", "mammography", "ultrasound"] | ViewPreset

# What changes values to a fixed scale and not by chance: validation needs it too.
_FIXED = ("Normalize", "ToFloat", "ToTensorV2")
_MIRRORS = ("HorizontalFlip", "Transpose", "D4", "SquareSymmetry")
# Of transforms that resize: the plain nearest neighbour of OpenCV puts a mask half a pixel beside its image.
_RESIZES = (
    A.RandomResizedCrop,
    A.RandomSizedCrop,
    A.Resize,
    A.RandomScale,
    A.LongestMaxSize,
    A.SmallestMaxSize,
    A.CropAndPad,
)
_SEEDS = 2**32


class AlbumentationsTransform:
    """A list of albumentations' transforms for training images.

    Images come as uint8, or as float32 in [0, 1] where the data set keeps 16 bits; other ranges are refused,
    since albumentations would clip them without a word.

    Args:
        transforms: Applied in this order, after the preset's. ``Normalize``, ``ToFloat`` and ``ToTensorV2`` go to
            the end and are applied to validation images too; without them the data module normalises.
        preset: Transforms to begin with: ``xray`` (small turns, zoom, brightness, contrast, noise; no mirroring),
            ``mammography`` (mirroring both ways, turns, zoom, contrast, noise), ``ultrasound`` (mirroring left and
            right, turns, zoom, brightness, blur, cutout), ``none``; for self-supervision ``xray_views``,
            ``ultrasound_views``, ``ct_views`` or ``mri_views``.

    Raises:
        ConfigError: If a transform does not belong in the list.
    """

    def __init__(
        self, transforms: Sequence[A.BasicTransform | A.BaseCompose] = (), *, preset: Preset = "none"
    ) -> None:
        every: list[Any] = [*preset_transforms(preset), *transforms]
        for one in every:
            if not isinstance(one, A.BasicTransform | A.BaseCompose):
                raise ConfigError(
                    f"transforms: expected a transform of albumentations, found {type(one).__name__}"
                )
        self.random = [one for one in every if type(one).__name__ not in _FIXED]
        for one in _flat(self.random):
            if isinstance(one, _RESIZES) and one.mask_interpolation == cv2.INTER_NEAREST:
                one.mask_interpolation = cv2.INTER_NEAREST_EXACT
        fixed = [one for one in every if type(one).__name__ in _FIXED]
        self.normalises = any(type(one).__name__ == "Normalize" for one in fixed)
        # Tensors are made by the data set, which also knows the order of the axes.
        self.fixed = [one for one in fixed if type(one).__name__ != "ToTensorV2"]
        self._train = A.Compose([*self.random, *self.fixed])
        self._evaluate = A.Compose(self.fixed)

    def __call__(self, image: NDArray[Any], seed: int) -> NDArray[Any]:
        """Change a training image.

        Args:
            image: uint8, or float32 in [0, 1], of shape (C, H, W).
            seed: Fixes every random choice.

        Returns:
            Image (C, H, W), whose size may be another one.

        Raises:
            ConfigError: If the image is neither, or a transform cannot take it.
        """
        self._train.set_random_seed(seed % _SEEDS)
        return _apply(self._train, image)["image"]

    def with_mask(
        self, image: NDArray[Any], mask: NDArray[np.uint8], seed: int
    ) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Change a training image and its mask by the same random choices.

        Args:
            image: uint8, or float32 in [0, 1], of shape (C, H, W).
            mask: Label map (H, W); only what moves pixels changes it, without new values, and what comes in from beyond
                the image is 0. One of 255 alone, an unknown mask, stays so.
            seed: Fixes every random choice.

        Returns:
            Image (C, H', W') and mask (H', W').

        Raises:
            ConfigError: If a transform cannot take them.
        """
        self._train.set_random_seed(seed % _SEEDS)
        if (mask == IGNORE_INDEX).all():
            changed = _apply(self._train, image)["image"]
            return changed, np.full(changed.shape[1:], IGNORE_INDEX, np.uint8)
        found = _apply(self._train, image, mask)
        return found["image"], found["mask"]

    def evaluate(self, image: NDArray[Any]) -> NDArray[Any]:
        """Apply to a validation image (C, H, W) what is not left to chance."""
        return _apply(self._evaluate, image)["image"] if self.fixed else image

    @property
    def mirrors_left_right(self) -> bool:
        """Whether a training image may come out with left and right exchanged."""
        return any(type(one).__name__ in _MIRRORS for one in _flat(self.random))


def _apply(
    compose: A.Compose, image: NDArray[Any], mask: NDArray[np.uint8] | None = None
) -> dict[str, NDArray[Any]]:
    """The changed image (C, H, W), and the mask (H, W) if there is one."""
    _check_range(image)
    given = {"image": np.ascontiguousarray(image.transpose(1, 2, 0))}  # (H, W, C)
    if mask is not None:
        given["mask"] = mask
    try:
        changed: dict[str, NDArray[Any]] = compose(**given)
    except Exception as error:
        # Each transform raises what it likes: cv2.error, CropSizeError, ValueError and more.
        names = ", ".join(type(one).__name__ for one in compose.transforms)
        raise ConfigError(
            f"data.init_args.transform: one of {names} cannot take an image of {image.dtype} and shape "
            f"{image.shape} (C, H, W){' with a mask' if mask is not None else ''}: {error}"
        ) from error
    pixels = changed["image"] if changed["image"].ndim == 3 else changed["image"][..., None]
    found = {"image": np.ascontiguousarray(pixels.transpose(2, 0, 1))}
    if mask is not None:
        found["mask"] = np.ascontiguousarray(changed["mask"])
    return found


def _flat(transforms: Sequence[Any]) -> Iterator[Any]:
    for one in transforms:
        yield one
        yield from _flat(getattr(one, "transforms", ()) or ())


def _check_range(image: NDArray[Any]) -> None:
    if image.dtype == np.uint8:
        return
    if image.dtype != np.float32:
        raise ConfigError(
            f"augmentation takes uint8, or float32 in [0, 1], found {image.dtype}: set a window "
            "(data.init_args.image.window), so that values are scaled and not clipped"
        )
    low, high = float(image.min()), float(image.max())
    # Written so that NaN is refused.
    if not (low >= 0 and high <= 1):
        raise ConfigError(
            f"augmentation takes float32 in [0, 1], found {low:g} to {high:g}: set a window "
            "(data.init_args.image.window), so that values are scaled and not clipped"
        )


def preset_transforms(preset: Preset) -> list[A.BasicTransform]:
    """The transforms of a preset; all keep the size of the image.

    Args:
        preset: Its name.

    Returns:
        New transforms, in order.

    Example:
        >>> [type(one).__name__ for one in preset_transforms("xray")]
        ['Affine', 'RandomBrightnessContrast', 'RandomGamma', 'GaussNoise']
    """
    match preset:
        case "none":
            return []
        case "xray":
            return [
                _affine(degrees=10, scale=(0.85, 1.15), shift=0.08),
                A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.7),
                A.RandomGamma(gamma_limit=(75, 130), p=0.3),
                A.GaussNoise(std_range=(0.01, 0.04), p=0.2),
            ]
        case "mammography":
            return [
                A.HorizontalFlip(p=0.5),
                A.VerticalFlip(p=0.5),
                _affine(degrees=15, scale=(0.85, 1.2), shift=0.05),
                A.RandomBrightnessContrast(brightness_limit=0.15, contrast_limit=0.25, p=0.7),
                A.GaussNoise(std_range=(0.01, 0.03), p=0.2),
            ]
        case "ultrasound":
            return [
                A.HorizontalFlip(p=0.5),
                _affine(degrees=15, scale=(0.8, 1.25), shift=0.1),
                A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.25, p=0.7),
                A.GaussianBlur(blur_limit=(3, 5), p=0.2),
                A.CoarseDropout(
                    num_holes_range=(1, 3), hole_height_range=(0.08, 0.2), hole_width_range=(0.08, 0.2), p=0.3
                ),
            ]
        case _:
            return view_transforms(preset)


def _affine(*, degrees: float, scale: tuple[float, float], shift: float) -> A.Affine:
    return A.Affine(
        scale=scale,
        translate_percent=(-shift, shift),
        rotate=(-degrees, degrees),
        shear=(-5, 5),
        keep_ratio=True,
        p=0.9,
    )
