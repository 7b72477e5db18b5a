"""A network for images applied to every slice of a volume."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from medimg.errors import ConfigError


class SliceWise(nn.Module):
    """Gives a network for images volumes to see: slices along D, alone or with their neighbours as channels (2.5D).

    With it a 2D network trains on patches of any depth, and everything that applies networks to volumes works as for
    3D ones: sliding windows, mirroring, export to the source's grid.

    Args:
        network: Maps (B, C * (2 * neighbours + 1), H, W) to logits (B, K, H, W).
        neighbours: Slices on each side that are shown beside each slice; the last one is repeated at the ends.

    Raises:
        ConfigError: If neighbours is negative.

    Example:
        >>> network = SliceWise(nn.Conv2d(3, 2, 1), neighbours=1)  # a volume of one channel
        >>> network(torch.zeros(1, 1, 5, 8, 8)).shape
        torch.Size([1, 2, 5, 8, 8])
    """

    def __init__(self, network: nn.Module, neighbours: int = 0) -> None:
        super().__init__()
        if neighbours < 0:
            raise ConfigError(f"neighbours: expected 0 or more slices, found {neighbours}")
        self.network, self.neighbours = network, neighbours

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K, D, H, W) of volumes (B, C, D, H, W).

        Raises:
            ConfigError: If the image is no volume, or the network gives another size or several outputs.
        """
        if image.ndim != 5:
            raise ConfigError(f"SliceWise takes volumes (B, C, D, H, W), found {tuple(image.shape)}")
        batch, depth = image.shape[0], image.shape[2]
        slices = self.stacked(image).transpose(1, 2).flatten(0, 1)  # (B*D, C, H, W)
        logits = self.network(slices)
        if not isinstance(logits, Tensor) or logits.shape[2:] != slices.shape[2:]:
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ConfigError(
                f"SliceWise needs logits of the slices' size {tuple(slices.shape[2:])}, found {found}: switch deep "
                "supervision off, or take a network that keeps the size"
            )
        return logits.view(batch, depth, *logits.shape[1:]).transpose(1, 2)

    def stacked(self, image: Tensor) -> Tensor:
        """Each slice with those before and behind it as channels, (B, C * (2n + 1), D, H, W)."""
        if not self.neighbours:
            return image
        near, depth = self.neighbours, image.shape[2]
        padded = functional.pad(image, (0, 0, 0, 0, near, near), mode="replicate")
        return torch.cat([padded[:, :, first : first + depth] for first in range(2 * near + 1)], 1)
