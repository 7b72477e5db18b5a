"""From what a network sees of a labelled volume back to the grid of its file."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medimg.io.grid import Grid
from medimg.preparation.geometry import Geometry, nonzero_box, orientation_change, reorient
from medimg.preparation.image_source import read_member
from medimg.preparation.source import read_case
from medimg.preparation.volume_voxels import VolumeOptions, centre_fit, rescale
from medimg.records import DatasetIndex, Record

Floats = NDArray[np.float32]


def onto_file(values: Floats, *, record: Record, options: VolumeOptions) -> tuple[Floats, Grid]:
    """Undo what :func:`medimg.preparation.volume_voxels.read_voxels` did to the grid of a case.

    Args:
        values: One value a voxel that the network sees, (D, H, W) of ``options.size``.
        record: The case.
        options: What the network sees.

    Returns:
        Values on the grid of the file, 0 where the network saw nothing, and that grid. A member of an ``.npz`` states
        none: voxels of 1 mm in the order of the file.

    Raises:
        DataError: If a file cannot be read.
    """
    image, grid = _source(record, options)
    axes, flips = orientation_change(grid.affine, options.orientation if record.member is None else None)
    volume = reorient(image, axes, flips)
    whole = ((0, 0, 0), (volume.shape[1], volume.shape[2], volume.shape[3]))
    low, high = nonzero_box(volume) if options.crop == "foreground" else whole
    cropped = [end - start for start, end in zip(low, high, strict=True)]
    d, h, w = (grid.spacing_mm[axis] for axis in axes)
    shape = options.size
    if options.spacing_mm is not None:
        steps = zip(cropped, (d, h, w), options.spacing_mm, strict=True)
        depth, height, width = (max(1, round(n * step / wanted)) for n, step, wanted in steps)
        shape = (depth, height, width)
    inside = rescale(centre_fit(values, shape, 0.0), cropped)
    size = (inside.shape[0], inside.shape[1], inside.shape[2])
    geometry = Geometry(grid.shape, grid.spacing_mm, axes, flips, (low, high), size, (d, h, w))
    return geometry.to_source(inside), grid


def _source(record: Record, options: VolumeOptions) -> tuple[NDArray[np.float32], Grid]:
    """Image (C, D, H, W) as its file holds it."""
    if record.member is not None:
        member = read_member(record)
        return member, Grid((member.shape[1], member.shape[2], member.shape[3]), np.eye(4), oriented=False)
    like = DatasetIndex("", record.images[0].parent, options.channels, {}, ())
    case = read_case(replace(record, mask=None), like, form=options.form)
    return case.image, case.grid
