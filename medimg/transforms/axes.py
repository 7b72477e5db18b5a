"""Linear filters along the three axes of a volume, each written as one small matrix.

A blur or a smooth field along an axis of n voxels is a matrix (n, n). At patch sizes a matrix
product along each axis beats a convolution on a CPU core (3 ms against 23 ms an axis for 128^3),
and the border rule becomes part of the matrix instead of a padded copy.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

# Smaller weights are dropped: products with denormal numbers take thirty times as long.
_NEGLIGIBLE = 1e-9


def gaussian_matrix(size: int, sigma: float, device: torch.device | None = None) -> Tensor:
    """Gaussian smoothing of ``size`` samples, the signal mirrored at its two ends.

    Args:
        size: Samples along the axis.
        sigma: Standard deviation in samples; above 0 and not above ``size``.
        device: Where the matrix is made.

    Returns:
        Matrix (size, size) whose rows sum to one.

    Example:
        >>> gaussian_matrix(3, 1.0)[1]
        tensor([0.2961, 0.4078, 0.2961])
    """
    row = torch.arange(size, device=device, dtype=torch.float32)
    apart = row[:, None] - row
    over = row[:, None] + row + 1.0  # distance to the mirror image beyond the first sample
    weights = torch.exp(torch.stack([apart, over, over - 2.0 * size]).square_().mul_(-0.5 / sigma**2)).sum(0)
    weights.mul_(weights > _NEGLIGIBLE)
    return weights.div_(weights.sum(dim=1, keepdim=True))


def linear_matrix(
    size: int, source: int, centre: float, step: float, device: torch.device | None = None
) -> Tensor:
    """Linear interpolation at evenly spaced points, zeros beyond the ends.

    Args:
        size: Points to interpolate at.
        source: Samples along the axis; sample ``i`` lies at ``i + 0.5``.
        centre: Where the middle of the points lies.
        step: Distance from one point to the next, in samples; negative reads backwards.
        device: Where the matrix is made.

    Returns:
        Matrix (size, source).

    Example:
        >>> linear_matrix(2, 3, centre=1.5, step=1.0)
        tensor([[0.5000, 0.5000, 0.0000],
                [0.0000, 0.5000, 0.5000]])
    """
    points = torch.arange(size, device=device, dtype=torch.float32).sub_((size - 1) / 2).mul_(step)
    apart = points.add_(centre - 0.5)[:, None] - torch.arange(source, device=device)
    return (1.0 - apart.abs_()).clamp_(min=0.0)


def filter_axes(volume: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Multiply a volume by one matrix along each axis.

    Args:
        volume: Contiguous volume (D, H, W).
        matrices: Three matrices, (D', D), (H', H) and (W', W).

    Returns:
        New volume (D', H', W').

    Example:
        >>> volume = torch.arange(8.0).reshape(2, 2, 2)
        >>> filter_axes(volume, [torch.eye(2), torch.eye(2), torch.ones(1, 2)]).flatten()
        tensor([ 1.,  5.,  9., 13.])
    """
    along_d, along_h, along_w = matrices
    depth, height, width = volume.shape
    volume = (along_d @ volume.reshape(depth, -1)).view(-1, height, width)
    volume = along_h @ volume  # (H', H) @ (D', H, W)
    return (volume.view(-1, width) @ along_w.T).view(*volume.shape[:2], -1)
