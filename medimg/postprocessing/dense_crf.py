"""A fully connected conditional random field: voxels that look alike and lie near each other agree.

Reference:
    Krähenbühl and Koltun, Efficient inference in fully connected CRFs with Gaussian edge potentials, NeurIPS
    2011, arXiv:1210.5644.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medimg.postprocessing.lattice import FloatArray, Lattice, build_lattice, choose_each, choose_one

# A share of 0 would forbid a label for ever, whatever the neighbours say.
SMALLEST_PROB = 1e-5
_TINY = 1e-20


@dataclass(frozen=True, slots=True)
class CrfSettings:
    """Strength and reach of the two kernels.

    The defaults are gentle, for structures of a few millimetres: a kernel that reaches further than a structure
    votes it down, since most of what it reaches is background.

    Attributes:
        smooth_weight: Weight of the smoothness kernel, which knows places only; 0 leaves it out.
        smooth_sigma_mm: Its standard deviation in mm.
        weight: Weight of the appearance kernel, which knows places and image values; 0 leaves it out.
        sigma_mm: Its standard deviation in mm.
        sigma_value: Its standard deviation in the units of the image, for all channels.
        iterations: Rounds of mean field.
    """

    smooth_weight: float = 0.5
    smooth_sigma_mm: float = 1.0
    weight: float = 3.0
    sigma_mm: float = 2.0
    sigma_value: float = 0.25
    iterations: int = 5

    def __post_init__(self) -> None:
        positive = (self.smooth_sigma_mm, self.sigma_mm, self.sigma_value)
        weights = (self.smooth_weight, self.weight)
        if not (
            all(0 < value < np.inf for value in positive) and all(0 <= value < np.inf for value in weights)
        ):
            raise ValueError(
                f"sigmas above 0 and weights of at least 0 expected, found sigmas {positive} and weights {weights}"
            )
        if self.iterations < 1:
            raise ValueError(f"iterations of at least 1 expected, found {self.iterations}")


def dense_crf(
    probs: NDArray[np.floating],
    image: NDArray[np.floating] | None,
    *,
    spacing_mm: Sequence[float] | None = None,
    settings: CrfSettings | None = None,
    exclusive: bool = True,
) -> FloatArray:
    """Refine probabilities by mean field with two Gaussian kernels and Potts compatibility.

    The kernels are normalised symmetrically: each is divided by the square root of its sum at either voxel.

    Args:
        probs: Probabilities in [0, 1], shape (K, H, W) or (K, D, H, W).
        image: The image on the same grid, shape (C, H, W) or (C, D, H, W); ``None`` leaves the appearance
            kernel out.
        spacing_mm: Voxel size along the spatial axes; 1 by default.
        settings: Strength and reach of the kernels; those of ``CrfSettings`` by default.
        exclusive: Whether the K channels are the classes of a softmax, one of which holds in each voxel. If
            not, they are regions that may overlap, and each one is refined against its own absence.

    Returns:
        Marginals, shape of ``probs``.

    Raises:
        ValueError: If shapes do not fit, a probability or an image value is not a number, or there is one
            exclusive class only.

    Example:
        >>> image = np.repeat(np.array([[0.0, 0.0, 0.0, 9.0, 9.0, 9.0]]), 6, axis=0)[None]
        >>> foreground = np.clip(image[0] / 9, 0.2, 0.8)
        >>> foreground[2, 1] = 0.6  # one pixel against its neighbours
        >>> marginals = dense_crf(np.stack([1 - foreground, foreground]), image)
        >>> marginals.argmax(axis=0)[2]
        array([0, 0, 0, 1, 1, 1])
    """
    settings = settings or CrfSettings()
    spacing = (1.0,) * (probs.ndim - 1) if spacing_mm is None else tuple(spacing_mm)
    _check(probs, image, spacing, exclusive=exclusive)
    values = np.ascontiguousarray(probs.reshape(len(probs), -1).T, np.float32)  # (N, K)
    kernels = make_kernels(probs.shape[1:], image, spacing, settings)
    marginals = _mean_field(values, kernels, settings.iterations, exclusive=exclusive)
    return np.ascontiguousarray(marginals.T).reshape(probs.shape)


def make_kernels(
    shape: Sequence[int],
    image: NDArray[np.floating] | None,
    spacing_mm: Sequence[float],
    settings: CrfSettings,
) -> list[Lattice]:
    """The kernels of a grid, normalised and weighted.

    Args:
        shape: Shape of the grid, (H, W) or (D, H, W).
        image: Shape (C, ...) of that grid, or ``None``.
        spacing_mm: Voxel size along the axes of the grid.
        settings: Strength and reach of the kernels.

    Returns:
        One lattice a kernel whose weight is above 0; filtering with it gives what a voxel hears.
    """
    axes = [axis for axis, size in enumerate(shape) if size > 1]  # an axis of one voxel tells nothing apart
    places = np.empty((*shape, max(len(axes), 1)), np.float32)
    places[...] = 0
    for column, axis in enumerate(axes):
        steps = np.arange(shape[axis], dtype=np.float32) * np.float32(spacing_mm[axis])
        places[..., column] = steps.reshape([-1 if other == axis else 1 for other in range(len(shape))])
    places = places.reshape(-1, places.shape[-1])  # (N, axes), mm
    kernels = []
    if settings.smooth_weight > 0:
        kernels.append(_kernel(places / np.float32(settings.smooth_sigma_mm), settings.smooth_weight))
    if settings.weight > 0 and image is not None:
        values = image.reshape(len(image), -1).T.astype(np.float32)  # (N, C)
        features = np.hstack(
            [places / np.float32(settings.sigma_mm), values / np.float32(settings.sigma_value)]
        )
        kernels.append(_kernel(features, settings.weight))
    return kernels


def _kernel(features: FloatArray, weight: float) -> Lattice:
    lattice = build_lattice(features)
    sums = np.zeros((len(features), 1), np.float32)
    lattice.add_filtered(np.ones_like(sums), sums)
    lattice.scale(np.sqrt(np.float32(weight) / (sums[:, 0] + np.float32(_TINY))))
    return lattice


def _mean_field(
    probs: FloatArray, kernels: Sequence[Lattice], iterations: int, *, exclusive: bool
) -> FloatArray:
    """Marginals (N, K) from probabilities (N, K)."""
    floored = np.clip(probs, SMALLEST_PROB, 1)
    if exclusive:
        scores, choose, columns = np.log(floored), choose_one, probs.shape[1] - 1
    else:
        scores, choose, columns = (
            np.log(floored / np.clip(1 - probs, SMALLEST_PROB, 1)),
            choose_each,
            probs.shape[1],
        )
    messages = np.zeros((len(probs), columns), np.float32)
    sums = np.zeros((len(probs), 1), np.float32)
    current = np.empty_like(messages)
    choose(scores, messages, sums[:, 0], current)  # without any message: the probabilities themselves
    # Marginals add up to 1 in each voxel, so one of K messages follows from the others and their sum.
    for kernel in kernels:
        kernel.add_filtered(np.ones_like(sums), sums)
    for _ in range(iterations):
        messages[...] = 0
        for kernel in kernels:
            kernel.add_filtered(current, messages)
        choose(scores, messages, sums[:, 0], current)
    if not exclusive:
        return current
    return np.hstack([current, np.clip(1 - current.sum(axis=1, keepdims=True), 0, 1)])


def _check(
    probs: NDArray[np.floating],
    image: NDArray[np.floating] | None,
    spacing_mm: Sequence[float],
    *,
    exclusive: bool,
) -> None:
    if probs.ndim not in (3, 4) or len(spacing_mm) != probs.ndim - 1:
        raise ValueError(
            f"probabilities of shape (K, H, W) or (K, D, H, W) and one spacing an axis expected, found shape "
            f"{probs.shape} and spacing {tuple(spacing_mm)}"
        )
    if exclusive and len(probs) < 2:
        raise ValueError("two exclusive classes or more expected, found one; the background is one of them")
    if image is not None and image.shape[1:] != probs.shape[1:]:
        raise ValueError(f"an image of the grid {probs.shape[1:]} expected, found {image.shape[1:]}")
    for name, array in (("probabilities", probs), ("image values", image)):
        if array is not None and not np.isfinite(array).all():
            raise ValueError(f"finite {name} expected, found NaN or infinity")
