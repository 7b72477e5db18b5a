"""Masks that came back from a viewer: put on the grid they were drawn on, with the labels of the data set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from medimg.errors import DataError
from medimg.io.dicom.segmentation_read import read_dicom_seg
from medimg.io.grid import Grid
from medimg.io.itksnap import read_label_descriptions
from medimg.io.mask_export import mask_format
from medimg.io.nifti import FORM_TOLERANCE_MM, read_grid, read_mask
from medimg.io.nrrd_read import read_seg_nrrd
from medimg.io.segments import Segmentation, make_segments

Overlap = Literal["refuse", "last"]


def import_mask(
    path: Path,
    like: Grid,
    labels: Mapping[str, int],
    *,
    names: Path | None = None,
    resample: bool = False,
    overlap: Overlap = "refuse",
) -> NDArray[np.int16]:
    """Read a mask from NIfTI, ``.seg.nrrd`` or DICOM SEG onto the grid of its image.

    Segments are known by name, so that a viewer may reorder or renumber them. A file that a viewer cropped is
    filled up; one whose voxels are flipped or lie elsewhere is refused.

    Args:
        path: The mask; its name tells the format.
        like: Grid of the image.
        labels: Value of each label.
        names: ITK-SNAP's label descriptions that tell the names of a NIfTI's values; ``None``: they are the values
            of ``labels``.
        resample: Take the nearest voxel where the grids differ, instead of refusing.
        overlap: What to do where segments overlap: ``last`` gives the voxel to the last of ``labels``.

    Returns:
        Label values, shape (D, H, W) of ``like``.

    Raises:
        DataError: If the file cannot be read, lies on another grid, holds a label that is not known, or overlaps.
    """
    found = _read(path, labels, names)
    layers = _placed(path, found, like, resample=resample, reorder=mask_format(path) == "dicom-seg")
    for number, layer in enumerate(layers):
        known = {one.value for one in found.segments if one.layer == number and one.name in labels}
        unknown = sorted(set(np.unique(layer).tolist()) - {0} - known)
        if unknown:
            called = [one.name for one in found.segments if one.layer == number and one.value in unknown]
            raise DataError(
                f"{path}: expected the labels {', '.join(labels)}, found {', '.join(called) or unknown[:8]}. Rename "
                "the segment in the viewer, or name the label."
            )
    mask = np.zeros(like.shape, np.int16)
    for name, value in labels.items():
        for one in (one for one in found.segments if one.name == name):
            inside = layers[one.layer] == one.value
            taken = inside & (mask != 0) & (mask != value)
            if overlap == "refuse" and taken.any():
                raise DataError(
                    f"{path}: {int(taken.sum())} voxels of {name} belong to another segment too, and a label map holds "
                    "one label a voxel. Remove the overlap in the viewer, or let the last label win (overlap: last)."
                )
            mask[inside] = value
    return mask


def _read(path: Path, labels: Mapping[str, int], names: Path | None) -> Segmentation:
    match mask_format(path):
        case "seg.nrrd":
            return read_seg_nrrd(path)
        case "dicom-seg":
            return read_dicom_seg(path)
        case "nifti":
            segments = make_segments(labels) if names is None else read_label_descriptions(names)
            grid = read_grid(path, form="sform")
            return Segmentation(read_mask(path, form="sform")[None], grid, segments)


def _placed(
    path: Path, found: Segmentation, like: Grid, *, resample: bool, reorder: bool
) -> NDArray[np.integer]:
    """Layers on the grid of the image, shape (L, D, H, W)."""
    # From indices (w, h, d) of the file to those of the image.
    exact = np.linalg.solve(like.affine, found.grid.affine)
    whole = np.rint(exact)
    turn = np.abs(whole[:3, :3])
    axes_map = bool((turn.sum(axis=0) == 1).all() and (turn.sum(axis=1) == 1).all())
    apart_mm = Grid(found.grid.shape, like.affine @ whole).corner_distance_mm(found.grid)
    fits = axes_map and apart_mm <= FORM_TOLERANCE_MM
    straight = bool((whole[:3, :3] == np.eye(3)).all())
    if fits and (straight or reorder):
        return _pasted(path, found.layers, whole, like.shape)
    if resample:
        return _nearest(found.layers, exact, like.shape)
    reason = (
        f"its voxels run {found.grid.orientation} and the image's {like.orientation}: it was flipped or turned"
        if fits
        else f"shape {found.grid.shape} and spacing {_mm(found.grid)}, the image's {like.shape} and {_mm(like)}, "
        f"{found.grid.corner_distance_mm(like):.2f} mm apart at a corner: it was resampled or belongs to another image"
    )
    raise DataError(
        f"{path}: does not lie on the grid of its image ({reason}). Save it on the image's own grid, or ask to "
        "resample it, which takes the nearest voxel."
    )


def _mm(grid: Grid) -> str:
    return " x ".join(f"{part:.4g}" for part in grid.spacing_mm) + " mm"


def _pasted(
    path: Path, layers: NDArray[np.integer], whole: NDArray[np.float64], shape: tuple[int, int, int]
) -> NDArray[np.integer]:
    """Copy voxels to where they lie on the image; nothing is interpolated."""
    turn = whole[:3, :3]
    sources = [int(np.flatnonzero(turn[axis])[0]) for axis in range(3)]
    moved = layers.transpose(0, 3, 2, 1).transpose(0, *(axis + 1 for axis in sources))  # (L, W, H, D)
    here, there = [slice(None)], [slice(None)]
    for axis, source in enumerate(sources):
        size, start = moved.shape[axis + 1], int(whole[axis, 3])
        if turn[axis, source] < 0:
            moved, start = np.flip(moved, axis + 1), start - size + 1
        first, last = max(start, 0), min(start + size, shape[2 - axis])
        there.append(slice(first, max(first, last)))
        here.append(slice(first - start, max(first, last) - start))
    placed = np.zeros((len(layers), *shape[::-1]), layers.dtype)
    placed[tuple(there)] = moved[tuple(here)]
    lost = np.count_nonzero(moved) - np.count_nonzero(placed)
    if lost:
        raise DataError(
            f"{path}: {lost} labelled voxels lie outside the image. Draw inside, or check the image."
        )
    return placed.transpose(0, 3, 2, 1)


def _nearest(
    layers: NDArray[np.integer], exact: NDArray[np.floating], shape: tuple[int, int, int]
) -> NDArray[np.integer]:
    back = np.linalg.inv(exact)  # from indices of the image to those of the file
    flipped = back[:3, :3][::-1, ::-1], back[:3, 3][::-1]  # axes (D, H, W)
    # "grid-constant": an outer voxel is half a voxel wide on its outer side too, not cut off at its centre.
    return np.stack(
        [affine_transform(one, *flipped, output_shape=shape, order=0, mode="grid-constant") for one in layers]
    )
