"""Strong augmentation for self-supervision: what may differ between two views of one case.

Views teach the encoder to overlook what differs between them. So they differ in place, size, contrast, sharpness and
noise, never in colour, and are mirrored only where left and right mean the same.
"""

from collections.abc import Sequence
from typing import Any, Literal

import albumentations as A
from albumentations.core.transforms_interface import BaseTransformInitSchema

from medimg.transforms.augment3d import Augment3D, thick_axis
from medimg.transforms.intensity import (
    Brightness,
    Contrast,
    Gamma,
    GaussianBlur,
    GaussianNoise,
    LowResolution,
)
from medimg.transforms.spatial import RandomSpatial

ViewPreset = Literal["xray_views", "ultrasound_views", "ct_views", "mri_views"]


class ZoomCrop(A.RandomResizedCrop):  # type: ignore[misc]
    """A random part of an image, brought back to the size of the image.

    Args:
        scale: Range of the part's area.
        ratio: Range of the part's width by its height.
        p: Chance that an image is changed.
    """

    class InitSchema(BaseTransformInitSchema):  # type: ignore[misc]
        """What albumentations checks of the arguments."""

        scale: tuple[float, float]
        ratio: tuple[float, float]

    def __init__(
        self,
        scale: tuple[float, float] = (0.2, 1.0),
        ratio: tuple[float, float] = (0.75, 4 / 3),
        p: float = 1.0,
    ) -> None:
        super().__init__(size=(1, 1), scale=scale, ratio=ratio, p=p)

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Also take over the size of the image."""
        self.size = tuple(params["shape"][:2])
        drawn: dict[str, Any] = super().get_params_dependent_on_data(params, data)
        return drawn


def view_transforms(preset: ViewPreset) -> list[A.BasicTransform]:
    """The transforms of a preset for views; all keep the size of the image.

    Args:
        preset: ``xray_views`` and ``ct_views`` never mirror, as organs have their side; ``ultrasound_views`` and
            ``mri_views`` mirror left and right.

    Returns:
        New transforms, in order.

    Example:
        >>> [type(one).__name__ for one in view_transforms("ct_views")]
        ['ZoomCrop', 'Affine', 'RandomBrightnessContrast', 'RandomGamma', 'GaussianBlur', 'GaussNoise']
    """
    match preset:
        case "xray_views":
            # A chest in a fifth of its film is no longer told from another; at a third lobes remain.
            return [ZoomCrop(scale=(0.3, 1.0)), _turn(10), *_intensity(contrast=0.4, noise=(0.01, 0.06))]
        case "ultrasound_views":
            speckle = A.MultiplicativeNoise(multiplier=(0.8, 1.2), elementwise=True, p=0.3)
            changes = _intensity(contrast=0.4, noise=(0.01, 0.05))
            return [ZoomCrop(), A.HorizontalFlip(p=0.5), _turn(15), *changes, speckle]
        case "ct_views":
            # Hounsfield units mean something: less contrast than elsewhere.
            return [ZoomCrop(), _turn(15), *_intensity(contrast=0.2, noise=(0.02, 0.08))]
        case "mri_views":
            # Intensities of MRI have no unit.
            return [
                ZoomCrop(),
                A.HorizontalFlip(p=0.5),
                _turn(15),
                *_intensity(contrast=0.5, noise=(0.01, 0.05)),
            ]


def _turn(degrees: float) -> A.BasicTransform:
    return A.Affine(rotate=(-degrees, degrees), p=0.5)


def _intensity(*, contrast: float, noise: tuple[float, float]) -> list[A.BasicTransform]:
    limit = (-contrast, contrast)
    return [
        A.RandomBrightnessContrast(brightness_limit=limit, contrast_limit=limit, p=0.8),
        A.RandomGamma(gamma_limit=(70, 150), p=0.3),
        A.GaussianBlur(sigma_limit=(0.1, 2.0), blur_limit=0, p=0.5),
        A.GaussNoise(std_range=noise, p=0.3),
    ]


class VolumeViews(Augment3D):
    """Strong augmentation of volumes for self-supervision, about their centre.

    Args:
        patch_size: Size (D, H, W) of the result; ``None`` keeps the size that comes in.
        modality: ``ct`` changes intensities less than ``mri``, whose values have no unit.
        scale_range: Range of the factor; 0.6 shows a fifth of the volume.
        rotation_deg: Largest angle in degrees.
        mirror_axes: Axes that may be mirrored: 0, 1, 2 for D, H, W; none where organs have their side.
    """

    def __init__(
        self,
        patch_size: Sequence[int] | None = None,
        modality: Literal["ct", "mri"] = "ct",
        scale_range: tuple[float, float] = (0.6, 1.1),
        rotation_deg: float = 30.0,
        mirror_axes: Sequence[int] = (),
    ) -> None:
        frozen = None if patch_size is None else thick_axis(patch_size)
        spatial = RandomSpatial(
            rotation_probability=0.8,
            rotation_deg=rotation_deg,
            scale_probability=0.9,
            scale_range=scale_range,
            mirror_axes=mirror_axes,
            frozen_axis=frozen,
        )
        reach = (0.8, 1.25) if modality == "ct" else (0.6, 1.6)
        intensity = [
            Brightness(probability=0.8, factor=reach),
            Contrast(probability=0.8, factor=reach),
            Gamma(probability=0.3, gamma=(0.7, 1.5)),
            GaussianBlur(probability=0.5, channel_probability=1.0, sigma=(0.3, 1.5)),
            LowResolution(probability=0.2, channel_probability=1.0, zoom=(0.5, 1.0), frozen_axis=frozen),
            GaussianNoise(probability=0.5, sigma=(0.0, 0.15)),
        ]
        super().__init__(patch_size, spatial=spatial, intensity=intensity)
