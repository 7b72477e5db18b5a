"""Where each voxel of a patch comes from, and how an image and its mask are read there."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medimg.transforms.axes import filter_axes, gaussian_matrix, linear_matrix
from medimg.transforms.motion import IDENTITY, Motion
from medimg.transforms.randomness import SampleRandom

_LABELS_AT_ONCE = 4  # Label indicators interpolated in one pass: a limit on memory.


def crop_(out: Tensor, volume: Tensor, mirrored: Sequence[int]) -> None:
    """Write the centre of a volume into ``out``, zeros where it ends, converted to the dtype of ``out``.

    Args:
        out: (C, D, H, W), overwritten.
        volume: (C, D', H', W'); the half voxel that an odd difference leaves goes to its end.
        mirrored: Axes (0 to 2) to read backwards.
    """
    source, target = [slice(None)], [slice(None)]
    for axis, (size, wanted) in enumerate(zip(volume.shape[1:], out.shape[1:], strict=True)):
        start = (size - wanted) // 2
        low, high = max(0, start), min(size, start + wanted)
        source.append(slice(low, high))
        first = low - start
        if axis in mirrored:  # what lay at the front of the patch now lies at its back
            first = wanted - (first + high - low)
        target.append(slice(first, first + high - low))
    part = volume[tuple(source)]
    if part.shape != out.shape:
        out.zero_()
    # Flipped before it is converted: half the bytes for an image stored as float16.
    out[tuple(target)].copy_(part.flip([axis + 1 for axis in mirrored]) if mirrored else part)


class Warp:
    """A resampling of volumes of one size onto a patch.

    Args:
        motion: Which voxel comes from where.
        source: Size (D', H', W') of the volumes that will be read.
        patch: Size (D, H, W) of the result.
        frozen_axis: An axis that the motion leaves alone: each slice is then resampled by itself in
            two dimensions, which is several times faster and is right for thick slices.
        random: Draws the displacements of an elastic motion.
        device: Where the volumes are.
    """

    def __init__(
        self,
        motion: Motion,
        source: Sequence[int],
        patch: Sequence[int],
        frozen_axis: int | None,
        random: SampleRandom,
        device: torch.device,
    ) -> None:
        self._motion = motion
        self._rows = motion.matrix or IDENTITY
        self._patch = tuple(patch)
        self._flips = [-1.0 if axis in motion.mirrored else 1.0 for axis in range(3)]
        # The patch's centre in the source, by the rule of crop_, so that a motion by nothing is a crop.
        centre = [(n - wanted) // 2 + wanted / 2 for n, wanted in zip(source, patch, strict=True)]
        # Only the box that is read is converted and interpolated.
        self._box: list[slice] = []
        for axis, (middle, far, size) in enumerate(zip(centre, motion.reach(patch), source, strict=True)):
            low = min(max(0, math.floor(middle - far)), size - 1)
            high = max(low + 1, min(size, math.ceil(middle + far)))
            self._box.append(slice(0, size) if axis == frozen_axis else slice(low, high))
        self._sizes = [part.stop - part.start for part in self._box]
        self._centre = [middle - part.start for middle, part in zip(centre, self._box, strict=True)]
        # Without a turn or a bend the axes are interpolated one after the other, by matrices.
        straight = motion.elastic_sigma is None and all(
            self._rows[i][j] == 0.0 for i in range(3) for j in range(3) if i != j
        )
        self._matrices = self._make_matrices(device) if straight else None
        self._plane = None if straight else frozen_axis
        self._axes = [axis for axis in range(3) if axis != self._plane]
        self._grid = torch.empty(0) if straight else self._make_grid(random, device)

    def _make_matrices(self, device: torch.device) -> list[Tensor]:
        steps = [self._rows[axis][axis] * self._flips[axis] for axis in range(3)]
        return [
            linear_matrix(size, length, centre, step, device)
            for size, length, centre, step in zip(self._patch, self._sizes, self._centre, steps, strict=True)
        ]

    def _make_grid(self, random: SampleRandom, device: torch.device) -> Tensor:
        """Sampling grid (1, D, H, W, 3), or (1, H, W, 2) within slices, in the units of grid_sample."""
        lines: list[Tensor] = []
        bend = [[2.0 / self._sizes[i] * self._rows[i][j] for i in reversed(self._axes)] for j in self._axes]
        origin = [2.0 * self._centre[i] / self._sizes[i] - 1.0 for i in reversed(self._axes)]
        for j, steps in zip(self._axes, bend, strict=True):
            # What a step along one axis of the patch adds; grid_sample counts axes from the last.
            line = torch.arange(self._patch[j], device=device, dtype=torch.float32)
            line = line.sub_((self._patch[j] - 1) / 2).mul_(self._flips[j])
            lines.append(line[:, None] * torch.tensor(steps, device=device))
        grid = lines[-1] + torch.tensor(origin, device=device)  # (W, 3), then (H, W, 3), then (D, H, W, 3)
        for line in reversed(lines[:-1]):
            grid = line.view(-1, *[1] * (grid.ndim - 1), len(self._axes)) + grid
        grid = grid[None]
        if self._motion.elastic_sigma is not None:
            offsets = self._displacements(self._motion.elastic_sigma, random, device)
            grid.add_(offsets @ torch.tensor(bend, device=device))
        return grid

    def _displacements(self, sigma: Sequence[float], random: SampleRandom, device: torch.device) -> Tensor:
        """Smooth random displacements (1, D, H, W, 3), or (1, H, W, 2), in voxels of the patch."""
        shape = [1 if axis == self._plane else size for axis, size in enumerate(self._patch)]
        smooth = [gaussian_matrix(n, s, device) for n, s in zip(shape, sigma, strict=True)]
        fields = []
        for axis in self._axes:
            field = filter_axes(random.normal_(torch.empty(shape, device=device)), smooth)
            field.sub_(field.mean())  # the patch as a whole stays where it is
            largest = field.abs().max().clamp_(min=1e-7)
            fields.append(field.mul_(self._motion.elastic_reach[axis] / largest))
        stacked = torch.stack(fields, dim=-1)
        return stacked[None] if self._plane is None else stacked.squeeze(self._plane)[None]

    def linear(self, volume: Tensor) -> Tensor:
        """Interpolate (C, D', H', W') linearly; zeros outside. Returns float32 (C, D, H, W)."""
        whole = [slice(0, size) for size in self._sizes]
        return self._sample(volume[(slice(None), *self._box)], "bilinear", whole, [slice(None)] * 3)

    def labels(self, mask: Tensor, mode: str) -> Tensor:
        """Resample label values (K, D', H', W') of any dtype; 0 outside. Returns (K, D, H, W).

        Args:
            mask: Label values, or one binary region a channel.
            mode: ``"nearest"``, or ``"linear"`` to interpolate the indicator of each label and let
                the largest win, which keeps boundaries smooth where ``"nearest"`` makes steps.
        """
        out = torch.zeros((mask.shape[0], *self._patch), dtype=mask.dtype, device=mask.device)
        for target, channel in zip(out, mask[(slice(None), *self._box)], strict=True):
            extent = label_extent(channel)
            if extent is None:
                continue
            region = self._reached(extent)
            if target[region].numel() == 0:  # the labels lie in the margin, beyond the patch
                continue
            held = [
                slice(0, size) if axis == self._plane else slice(*bounds)
                for axis, (size, bounds) in enumerate(zip(self._sizes, extent, strict=True))
            ]
            if mode == "nearest":
                target[region].copy_(self._sample(channel[(None, *held)], "nearest", held, region)[0])
            else:
                self._vote(target[region], channel[tuple(held)], held, region)
        return out

    def _vote(self, target: Tensor, part: Tensor, held: Sequence[slice], region: Sequence[slice]) -> None:
        """Write into ``target`` the label of ``part`` with the largest share of each voxel."""
        values = present_labels(part)
        best = torch.zeros(target.shape, device=target.device)
        background = torch.ones_like(best)  # the share that no label takes
        for first in range(0, len(values), _LABELS_AT_ONCE):
            group = values[first : first + _LABELS_AT_ONCE]
            indicators = torch.empty((len(group), *part.shape), device=part.device)
            for value, indicator in zip(group, indicators, strict=True):
                torch.eq(part, value, out=indicator)
            shares = self._sample(indicators, "bilinear", held, region)
            for value, share in zip(group, shares, strict=True):
                target.masked_fill_(share > best, value)
                torch.maximum(best, share, out=best)
                background.sub_(share)
        target.masked_fill_(background >= best, 0)

    def _reached(self, extent: Sequence[tuple[int, int]]) -> tuple[slice, slice, slice]:
        """Box of the patch outside of which the voxels of a box of the source have no weight.

        Labels fill a small part of most patches, and interpolating them there alone saves most of
        what a mask costs.
        """
        # From the reach of linear interpolation about the first voxel to that about the last.
        low = np.array([a - 0.5 for a, _ in extent]) - self._centre
        high = np.array([b + 0.5 for _, b in extent]) - self._centre
        inverse = np.linalg.inv(np.array(self._rows))
        middle = inverse @ ((low + high) / 2)
        half = np.abs(inverse) @ ((high - low) / 2) + np.array(self._motion.elastic_reach) + 1e-3
        middle = middle * self._flips + np.array(self._patch) / 2 - 0.5
        firsts = np.clip(np.ceil(middle - half), 0, self._patch).astype(int).tolist()
        lasts = np.clip(np.floor(middle + half) + 1, 0, self._patch).astype(int).tolist()
        d, h, w = (
            slice(None) if axis == self._plane else slice(a, max(a, b))
            for axis, (a, b) in enumerate(zip(firsts, lasts, strict=True))
        )
        return d, h, w

    def _sample(self, volume: Tensor, mode: str, held: Sequence[slice], region: Sequence[slice]) -> Tensor:
        """Read (C, *held), a part of the box, at a region of the patch; float32 (C, *region)."""
        part = volume.to(torch.float32)
        if self._matrices is not None:
            matrices = [
                m[rows, columns] for m, rows, columns in zip(self._matrices, region, held, strict=True)
            ]
            return _sample_straight(part, matrices, mode)
        grid = self._grid[(slice(None), *(region[axis] for axis in self._axes))]
        if any(held[axis].stop - held[axis].start != self._sizes[axis] for axis in self._axes):
            # The grid counts in sizes of the box: count in sizes of the part.
            parts = [(self._sizes[i], held[i].start, held[i].stop) for i in reversed(self._axes)]
            stretch = [size / (stop - start) for size, start, stop in parts]
            shift = [(size - start - stop) / (stop - start) for size, start, stop in parts]
            grid = grid * grid.new_tensor(stretch) + grid.new_tensor(shift)
        if self._plane is None:
            return functional.grid_sample(part[None], grid, mode=mode, align_corners=False)[0]
        # Slices become channels, so that one plane's weights serve all of them: (1, C*D, H', W').
        sizes = list(part.shape)
        sizes[self._plane + 1] = self._patch[self._plane]
        slab = torch.empty(sizes, device=part.device)
        crop_(slab, part, [self._plane] if self._flips[self._plane] < 0 else [])
        slab = slab.movedim(self._plane + 1, 1)
        plane = functional.grid_sample(slab.flatten(0, 1)[None], grid, mode=mode, align_corners=False)
        return plane.view(*slab.shape[:2], *plane.shape[2:]).movedim(1, self._plane + 1)


def _sample_straight(part: Tensor, matrices: Sequence[Tensor], mode: str) -> Tensor:
    """Interpolate each channel of (C, D', H', W') along the axes, or take its nearest voxels."""
    if mode == "bilinear":
        return torch.stack([filter_axes(channel, matrices) for channel in part])
    for axis, matrix in enumerate(matrices):
        weight, nearest = matrix.max(dim=1)
        inside = (weight >= 0.5).view([-1 if axis == other else 1 for other in range(3)])
        part = part.index_select(axis + 1, nearest).mul_(inside)
    return part


def present_labels(mask: Tensor) -> list[int | float]:
    """Values of a mask other than 0, in rising order.

    Example:
        >>> present_labels(torch.tensor([3, 0, 1, 3], dtype=torch.uint8))
        [1, 3]
    """
    if mask.dtype == torch.uint8 and mask.device.type == "cpu":
        # Thirty times faster than the sort behind ``unique``.
        counted = torch.bincount(mask.reshape(-1), minlength=1)
        return [int(value) for value in counted.nonzero().flatten().tolist() if value != 0]
    return [value for value in torch.unique(mask).tolist() if value != 0]


def label_extent(mask: Tensor) -> list[tuple[int, int]] | None:
    """Bounds of the voxels (D, H, W) other than 0: first and one past the last, along each axis.

    Example:
        >>> label_extent(torch.tensor([[[0, 0, 5, 1, 0]]]))
        [(0, 1), (0, 1), (2, 4)]
    """
    present = (mask != 0).view(torch.uint8)  # reductions of bytes are several times faster than of bools
    plane = present.amax(0)  # (H, W)
    extent = []
    for line in (present.amax((1, 2)), plane.amax(1), plane.amax(0)):
        found = line.nonzero().flatten()
        if len(found) == 0:
            return None
        extent.append((int(found[0]), int(found[-1]) + 1))
    return extent
