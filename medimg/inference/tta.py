"""Test-time augmentation by mirroring: an inferer that wraps an inferer."""

from collections.abc import Sequence
from functools import partial
from itertools import combinations

import torch
from monai.inferers.inferer import Inferer
from torch import Tensor

from medimg.errors import ConfigError
from medimg.inference.sliding_window import Network, first_output


class MirrorTTA(Inferer):
    """Average a network's logits over all mirrorings of its input along the given axes.

    The network is mirrored, not the volume: the wrapped inferer sees a network that looks at each
    tile in every direction. This was chosen over running the inferer once a mirroring because the
    tiles then stand at the same voxels each time, as in nnU-Net, the sum over the whole volume is
    written once instead of 2**n times and exists once, and only tiles are flipped; the forward passes,
    which cost nearly everything, are the same in number. Logits are averaged, since it is one model.

    Args:
        inferer: Applies a network to volumes, e.g. :class:`~medimg.inference.SlidingWindowInferer`.
        axes: Axes to mirror, 0 for D, 1 for H, 2 for W. Each doubles the work; none switches it off.
            Use the axes that were mirrored in training.

    Raises:
        ConfigError: If an axis is outside 0, 1, 2 or named twice.

    Example:
        >>> mirrored = MirrorTTA(lambda inputs, network: network(inputs), axes=(2,))
        >>> ramp = torch.arange(3.0).expand(1, 1, 1, 1, 3)
        >>> mirrored(torch.zeros(1, 1, 1, 1, 3), lambda tile: tile + ramp).flatten()
        tensor([1., 1., 1.])
    """

    def __init__(self, inferer: Inferer, axes: Sequence[int] = (0, 1, 2)) -> None:
        if not set(axes) <= {0, 1, 2} or len(set(axes)) != len(axes):
            raise ConfigError(
                f"axes: expected different axes out of 0 (D), 1 (H), 2 (W), found {tuple(axes)}. "
                "Axes are counted without batch and channel."
            )
        self.inferer = inferer
        self.axes = tuple(sorted(axes))

    def __call__(self, inputs: Tensor, network: Network) -> Tensor:
        """Apply the network in every mirroring.

        Args:
            inputs: Volumes, shape (B, C, D, H, W).
            network: Maps tiles to logits, or to a list of them with the full resolution first.

        Returns:
            Mean logits, shape (B, K, D, H, W).
        """
        logits: Tensor = self.inferer(inputs, partial(mirrored_mean, network, self.axes))
        return logits


def mirrored_mean(network: Network, axes: Sequence[int], tiles: Tensor) -> Tensor:
    """Mean of a network's logits over all mirrorings of the tiles.

    Args:
        network: Maps tiles to logits, or to a list of them with the full resolution first.
        axes: Axes (0 for D, 1 for H, 2 for W) of which all combinations are mirrored.
        tiles: Input, shape (B, C, D, H, W).

    Returns:
        Mean logits, shape (B, K, D, H, W), float32.

    Example:
        >>> mirrored_mean(lambda tiles: tiles, (0, 1, 2), torch.eye(2).view(1, 1, 1, 2, 2)).squeeze()
        tensor([[1., 0.],
                [0., 1.]])
    """
    # float32, because eight bfloat16 numbers added up lose the last bits of each.
    total = first_output(network(tiles)).float()
    flips = [[axis + 2 for axis in some] for n in range(len(axes)) for some in combinations(axes, n + 1)]
    for dims in flips:
        mirrored = first_output(network(torch.flip(tiles, dims)))
        total = total + torch.flip(mirrored, dims)
    return total / (len(flips) + 1)
