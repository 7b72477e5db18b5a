"""Test-time augmentation by mirrorings and by small turns: inferers that wrap an inferer."""

from collections.abc import Sequence

import torch
from monai.inferers.inferer import Inferer
from torch import Tensor
from torch.nn import functional

from medimg.errors import ConfigError
from medimg.inference.sliding_window import Network, pad_to
from medimg.inference.views import TTA, View, ViewTTA, flip_views
from medimg.transforms.motion import Matrix, turn_and_scale


class MirrorTTA(ViewTTA):
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
        super().__init__(inferer)
        self.axes = tuple(sorted(axes))

    def views(self, images: Tensor) -> list[View]:
        """The tile and all its mirrorings."""
        return flip_views([axis + 2 for axis in self.axes])


class RotationTTA(TTA):
    """Average a network's logits over the volume as it is and turned a little, forth and back about each axis.

    The network has to have seen turns in training. Turns are about the centre and in voxels, as in the augmentation,
    so for voxels that are cubes, nearly. What a turn brings in from outside is zero, and what it turns out of the
    volume is left out of the mean there.

    Args:
        inferer: Applies a network to volumes, e.g. :class:`MirrorTTA` around a sliding window.
        degrees: Angle of the turns.
        axes: Axes to turn about, 0 for D, 1 for H, 2 for W. Each adds two passes; none switches it off.
        least_size: Smaller volumes are padded with zeros to this size (D, H, W) before they turn, so that their
            corners stay inside; normally the size of a tile.

    Raises:
        ConfigError: If an axis is outside 0, 1, 2 or named twice, or the angle is not between 0 and 90.

    Example:
        >>> turned = RotationTTA(lambda inputs, network: network(inputs), degrees=10, axes=(0,))
        >>> logits = turned(torch.zeros(1, 1, 4, 4, 4), lambda volume: torch.full_like(volume, 0.7))
        >>> torch.allclose(logits, torch.tensor(0.7))
        True
    """

    def __init__(
        self,
        inferer: Inferer,
        degrees: float = 10.0,
        axes: Sequence[int] = (0, 1, 2),
        least_size: Sequence[int] = (1, 1, 1),
    ) -> None:
        if not set(axes) <= {0, 1, 2} or len(set(axes)) != len(axes):
            raise ConfigError(
                f"axes: expected different axes out of 0 (D), 1 (H), 2 (W), found {tuple(axes)}. "
                "Axes are counted without batch and channel."
            )
        if not 0 < degrees < 90:
            raise ConfigError(f"degrees: expected an angle between 0 and 90, found {degrees}.")
        if len(least_size) != 3 or min(least_size) < 1:
            raise ConfigError(
                f"least_size: expected three positive sizes (D, H, W), found {tuple(least_size)}."
            )
        super().__init__(inferer)
        self.degrees, self.axes, self.least_size = degrees, tuple(axes), tuple(least_size)

    @torch.no_grad()
    def __call__(self, inputs: Tensor, network: Network) -> Tensor:
        """Apply the network to every turn.

        Args:
            inputs: Volumes, shape (B, C, D, H, W).
            network: As the wrapped inferer takes it.

        Returns:
            Mean logits, shape (B, K, D, H, W), float32.
        """
        padded, (depth, height, width) = pad_to(inputs, self.least_size)
        total: Tensor = self.inferer(padded, network).float()
        inside = torch.ones_like(total[:1, :1])
        weight = inside.clone()
        for axis in self.axes:
            for sign in (1.0, -1.0):
                there, back = (
                    turn_and_scale([turn * self.degrees if axis == a else 0.0 for a in range(3)], (1.0,) * 3)
                    for turn in (sign, -sign)
                )
                logits = self.inferer(turned(padded, there), network).float()
                total = total + turned(logits, back)
                weight += turned(inside, back)
        return (total / weight)[:, :, depth, height, width]


def turned(volume: Tensor, matrix: Matrix) -> Tensor:
    """Read a volume at turned places, by linear interpolation, with zeros beyond its edge.

    Args:
        volume: Shape (B, C, D, H, W), float.
        matrix: Offset from the centre of the result to offset from the centre of the volume, in voxels.

    Example:
        >>> turned(torch.arange(4.0).view(1, 1, 1, 2, 2), turn_and_scale((90, 0, 0), (1, 1, 1))).flatten()
        tensor([2., 0., 3., 1.])
    """
    sizes = volume.shape[2:]
    # torch's coordinates run from -1 to 1 over the volume, W first.
    rows = [[matrix[a][b] * sizes[b] / sizes[a] for b in (2, 1, 0)] + [0.0] for a in (2, 1, 0)]
    theta = torch.tensor([rows], dtype=volume.dtype, device=volume.device).expand(len(volume), -1, -1)
    grid = functional.affine_grid(theta, list(volume.shape), align_corners=False)
    return functional.grid_sample(volume, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
