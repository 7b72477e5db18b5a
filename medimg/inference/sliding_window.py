"""A network trained on patches, applied to a whole volume tile by tile."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from typing import Literal

import torch
from monai.inferers.inferer import Inferer
from torch import Tensor
from torch.nn import functional

from medimg.errors import ConfigError, DataError
from medimg.inference.channels_last import ChannelsLastNorm

Network = Callable[[Tensor], Tensor | Sequence[Tensor]]
Place = tuple[int, int, int, int]  # case, and the first voxel (d, h, w) of the tile


class SlidingWindowInferer(Inferer):
    """Cut a volume into overlapping tiles, apply the network to each, and average where tiles meet.

    Tiles are spread evenly with the last one flush with the border, as nnU-Net places them. In the
    average each tile counts by a Gaussian that is largest in its middle, where the network sees most
    context. Logits are averaged, in float32 whatever type the network returns. No gradient is kept.

    On the CPU tiles go in with their channels innermost (see :mod:`medimg.inference.channels_last`):
    the same numbers to rounding in about half the time for networks with instance normalisation.

    Args:
        roi_size: Size (D, H, W) of a tile, normally the patch the network was trained on.
        overlap: Share of a tile that the next one covers again, in [0, 1).
        sw_batch_size: Tiles given to the network at once. More fills a GPU better; on a CPU 1 is
            fastest and leanest.
        mode: ``"gaussian"`` weights, or ``"constant"`` for a plain average.
        sigma_scale: Standard deviation of the Gaussian as a share of the tile's size.
        accumulate_on: Where the sum (B, K, D, H, W) is kept and the result returned: ``"same"`` as the
            input, ``"cpu"``, or ``"auto"``: same as the input unless its free memory is too small.
        channels_last: Whether tiles have their channels innermost; ``None`` does so on the CPU only.

    Raises:
        ConfigError: If an argument is out of its range.

    References:
        Isensee et al. 2021, nnU-Net, Nature Methods 18, doi:10.1038/s41592-020-01008-z.

    Example:
        >>> inferer = SlidingWindowInferer(roi_size=(8, 8, 8))
        >>> logits = inferer(torch.ones(1, 1, 10, 9, 6), lambda tile: 2 * tile)
        >>> logits.shape
        torch.Size([1, 1, 10, 9, 6])
        >>> torch.allclose(logits, torch.tensor(2.0))
        True
    """

    def __init__(
        self,
        roi_size: Sequence[int],
        overlap: float = 0.5,
        sw_batch_size: int = 2,
        mode: Literal["gaussian", "constant"] = "gaussian",
        sigma_scale: float = 0.125,
        accumulate_on: Literal["auto", "cpu", "same"] = "auto",
        channels_last: bool | None = None,
    ) -> None:
        if len(roi_size) != 3 or min(roi_size) < 1:
            raise ConfigError(f"roi_size: expected three positive sizes (D, H, W), found {tuple(roi_size)}.")
        if not 0 <= overlap < 1:
            raise ConfigError(f"overlap: expected a share in [0, 1), found {overlap}. nnU-Net uses 0.5.")
        if sw_batch_size < 1:
            raise ConfigError(f"sw_batch_size: expected at least 1 tile, found {sw_batch_size}.")
        if mode not in ("gaussian", "constant"):
            raise ConfigError(f"mode: expected 'gaussian' or 'constant', found {mode!r}.")
        if not sigma_scale > 0:
            raise ConfigError(f"sigma_scale: expected a positive share, found {sigma_scale}.")
        if accumulate_on not in ("auto", "cpu", "same"):
            raise ConfigError(f"accumulate_on: expected 'auto', 'cpu' or 'same', found {accumulate_on!r}.")
        depth, height, width = roi_size
        self.roi_size = (depth, height, width)
        self.overlap = overlap
        self.sw_batch_size = sw_batch_size
        self.mode = mode
        self.sigma_scale = sigma_scale
        self.accumulate_on = accumulate_on
        self.channels_last = channels_last

    @torch.no_grad()
    def __call__(self, inputs: Tensor, network: Network) -> Tensor:
        """Apply the network to whole volumes.

        Args:
            inputs: Volumes, shape (B, C, D, H, W). Where one is smaller than a tile it is padded with
                zeros on both sides, and the result is cropped back.
            network: Maps tiles (B, C, *roi_size) to logits (B, K, *roi_size), or to a list of them with
                the full resolution first, as networks with deep supervision do.

        Returns:
            Logits, shape (B, K, D, H, W), float32.

        Raises:
            DataError: If the inputs are not 5D.
            ConfigError: If the network changes the size of a tile.
        """
        if inputs.ndim != 5:
            raise DataError(f"inputs: expected shape (B, C, D, H, W), found {tuple(inputs.shape)}.")
        padded, inside = pad_to(inputs, self.roi_size)
        starts = [
            tile_starts(size, tile, self.overlap)
            for size, tile in zip(padded.shape[2:], self.roi_size, strict=True)
        ]
        total = self._sum_tiles(padded, starts, network)
        total.div_(self._weight_of_voxels(padded.shape[2:], starts).to(total.device))
        depth, height, width = inside
        return total[:, :, depth, height, width]

    def _sum_tiles(self, padded: Tensor, starts: Sequence[Sequence[int]], network: Network) -> Tensor:
        """Weighted sum of the logits of all tiles, shape (B, K, D, H, W)."""
        total: Tensor | None = None
        weight = outer([self._profile(tile) for tile in self.roi_size])  # (d, h, w) of one tile
        along_d, along_h, along_w = starts
        all_places = list(product(range(padded.shape[0]), along_d, along_h, along_w))
        with self._layout_mode(padded):
            for places in batches(all_places, self.sw_batch_size):
                logits = first_output(network(self._stack(padded, places)))
                self._check_output(logits)
                if total is None:
                    total, weight = self._allocate(padded, logits, weight)
                for place, tile in zip(places, logits, strict=True):
                    # One plain-layout float32 copy of a tile, then one pass over the sum.
                    tile = tile.to(total.device, torch.float32, memory_format=torch.contiguous_format)
                    self._at(total, place).addcmul_(tile, weight)
        if total is None:
            raise DataError("inputs: expected at least one volume, found an empty batch.")
        return total

    def _stack(self, padded: Tensor, places: Sequence[Place]) -> Tensor:
        """The tiles at these places, shape (tiles, C, *roi_size)."""
        batch = torch.stack([self._at(padded, place) for place in places])
        return batch.contiguous(memory_format=torch.channels_last_3d) if self._is_last(padded) else batch

    def _at(self, volumes: Tensor, place: Place) -> Tensor:
        """View of one tile, shape (C, *roi_size), in volumes (B, C, D, H, W)."""
        case, d, h, w = place
        depth, height, width = self.roi_size
        return volumes[case, :, d : d + depth, h : h + height, w : w + width]

    def _is_last(self, padded: Tensor) -> bool:
        return padded.device.type == "cpu" if self.channels_last is None else self.channels_last

    def _layout_mode(self, padded: Tensor) -> AbstractContextManager[object]:
        return ChannelsLastNorm() if self._is_last(padded) else nullcontext()

    def _check_output(self, logits: Tensor) -> None:
        if logits.ndim != 5 or tuple(logits.shape[2:]) != self.roi_size:
            raise ConfigError(
                f"network: expected logits (B, K, {', '.join(map(str, self.roi_size))}) for a tile of that "
                f"size, found {tuple(logits.shape)}. Choose a roi_size that the network's strides divide."
            )

    def _allocate(self, padded: Tensor, logits: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """A sum of zeros (B, K, D, H, W) and the tile's weight on the same device."""
        shape = (padded.shape[0], logits.shape[1], *padded.shape[2:])
        device = padded.device
        if self.accumulate_on == "cpu" or (self.accumulate_on == "auto" and not fits(shape, device)):
            device = torch.device("cpu")
        return torch.zeros(shape, dtype=torch.float32, device=device), weight.to(device)

    def _profile(self, size: int) -> Tensor:
        """Weight along one axis of a tile, largest in the middle, shape (size,)."""
        if self.mode == "constant":
            return torch.ones(size)
        # Centred on voxel size // 2 as in nnU-Net: half a voxel aside for even sizes, enough to move labels.
        place = torch.arange(size, dtype=torch.float64) - size // 2
        return torch.exp(-0.5 * (place / (self.sigma_scale * size)).square()).float()

    def _weight_of_voxels(self, shape: Sequence[int], starts: Sequence[Sequence[int]]) -> Tensor:
        """Sum of the weights of all tiles over each voxel, shape (D, H, W).

        Tiles stand on a grid and their weight is a product over the axes, so the sum is one too.
        """
        lines = []
        for size, tile, places in zip(shape, self.roi_size, starts, strict=True):
            profile, line = self._profile(tile), torch.zeros(size)
            for start in places:
                line[start : start + tile] += profile
            lines.append(line)
        return outer(lines)


def tile_starts(size: int, tile: int, overlap: float) -> list[int]:
    """First voxel of each tile along one axis: evenly spread, the last one flush with the border.

    Args:
        size: Voxels along the axis, at least ``tile``.
        tile: Voxels of one tile.
        overlap: Least share of a tile covered by the next one, in [0, 1).

    Example:
        >>> tile_starts(110, 64, 0.5)
        [0, 23, 46]
    """
    # nnU-Net's own arithmetic, so that both cut at the same voxels: the step is at most tile * (1 - overlap).
    steps = math.ceil((size - tile) / (tile * (1 - overlap)))
    return [round(index * (size - tile) / steps) for index in range(steps + 1)] if steps else [0]


def pad_to(inputs: Tensor, size: Sequence[int]) -> tuple[Tensor, tuple[slice, ...]]:
    """Pad volumes (B, C, D, H, W) with zeros on both sides to at least ``size``.

    Returns:
        The padded volumes, and the slices (D, H, W) at which the input stands in them.

    Example:
        >>> padded, inside = pad_to(torch.ones(1, 1, 4, 4, 3), (4, 4, 6))
        >>> padded.shape, inside[2]
        (torch.Size([1, 1, 4, 4, 6]), slice(1, 4, None))
    """
    missing = [max(0, least - now) for least, now in zip(size, inputs.shape[2:], strict=True)]
    before = [total // 2 for total in missing]
    inside = tuple(slice(b, b + now) for b, now in zip(before, inputs.shape[2:], strict=True))
    if not any(missing):
        return inputs, inside
    # functional.pad counts from the last axis.
    pairs = [pad for b, total in zip(before[::-1], missing[::-1], strict=True) for pad in (b, total - b)]
    return functional.pad(inputs, pairs), inside


def first_output(outputs: Tensor | Sequence[Tensor]) -> Tensor:
    """The logits at full resolution: the first of a list, as deep supervision returns them.

    Example:
        >>> first_output([torch.tensor(1), torch.tensor(2)])
        tensor(1)
    """
    return outputs if isinstance(outputs, Tensor) else outputs[0]


def outer(lines: Sequence[Tensor]) -> Tensor:
    """Product of three lines (D,), (H,), (W,) as a volume (D, H, W).

    Example:
        >>> outer([torch.tensor([1.0, 2.0]), torch.tensor([3.0]), torch.tensor([5.0])]).flatten()
        tensor([15., 30.])
    """
    depth, height, width = lines
    return depth[:, None, None] * height[:, None] * width


def batches(places: Sequence[Place], size: int) -> Iterator[Sequence[Place]]:
    """Cut the list of tiles into groups of at most ``size``.

    Example:
        >>> [len(group) for group in batches([(0, 0, 0, 0)] * 3, 2)]
        [2, 1]
    """
    for start in range(0, len(places), size):
        yield places[start : start + size]


def fits(shape: Sequence[int], device: torch.device) -> bool:
    """Whether a float32 tensor of this shape leaves a fifth of the device's free memory for the network."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    # Torch keeps freed blocks for itself; they are free to us too.
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return 4 * math.prod(shape) < 0.8 * free
