"""Training on mixtures of two images, with labels mixed in the same share."""

import numpy as np
import torch
from torch import Tensor


def mix_images(
    image: Tensor,
    target: Tensor,
    weight: Tensor,
    *,
    mixup_alpha: float,
    cutmix_alpha: float,
    seed: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Mix each image with another one of its batch, by mixup or by cutmix.

    Where both are asked for, a coin decides for the batch. A label that is unknown in one of two images is unknown
    in the mixture.

    Args:
        image: Images (B, C, H, W).
        target: Targets (B, K), NaN where unknown; several labels of an image are mixed one by one.
        weight: Weight of each case (B,).
        mixup_alpha: Both parameters of the Beta distribution that the share is drawn from; 0: no mixup.
        cutmix_alpha: The same for cutmix.
        seed: Fixes every random choice.

    Returns:
        Images, targets and weights of the same shapes.

    Reference:
        Zhang et al. 2018, "mixup", arXiv:1710.09412; Yun et al. 2019, "CutMix", arXiv:1905.04899.
    """
    if not (mixup_alpha or cutmix_alpha) or len(image) < 2:
        return image, target, weight
    rng = np.random.default_rng(seed)
    by_cut = bool(cutmix_alpha) and (not mixup_alpha or rng.random() < 0.5)
    alpha = cutmix_alpha if by_cut else mixup_alpha
    share = float(rng.beta(alpha, alpha))
    partner = torch.from_numpy(rng.permutation(len(image))).to(image.device)
    if by_cut:
        height, width = image.shape[2:]
        top, bottom, left, right = _box(height, width, share, rng)
        image = image.clone()
        image[:, :, top:bottom, left:right] = image[partner][:, :, top:bottom, left:right]
        share = 1 - (bottom - top) * (right - left) / (height * width)  # what the edge of the image left over
    else:
        image = share * image + (1 - share) * image[partner]
    return (
        image,
        share * target + (1 - share) * target[partner],
        share * weight + (1 - share) * weight[partner],
    )


def _box(height: int, width: int, share: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a box with the image's proportions that covers 1 - share of it."""
    side = (1 - share) ** 0.5
    down, across = round(height * side), round(width * side)
    row, column = int(rng.integers(height)), int(rng.integers(width))
    top, left = row - down // 2, column - across // 2
    return max(0, top), min(height, top + down), max(0, left), min(width, left + across)
