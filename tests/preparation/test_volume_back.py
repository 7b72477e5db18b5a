import numpy as np
import pytest
from writers.nifti import OBLIQUE, write_volume

from medimg.preparation.volume_back import onto_file
from medimg.preparation.volume_voxels import VolumeOptions, read_voxels
from medimg.records import Record

SHAPE = (12, 20, 16)  # of the file: 30 x 20 x 12.8 mm


@pytest.fixture
def record(tmp_path):
    """A bright ball in a box of tissue in empty air, off the middle, in a file that is mirrored and turned."""
    d, h, w = np.meshgrid(*(np.arange(side) for side in SHAPE), indexing="ij")
    array = np.zeros(SHAPE, np.float32)
    array[2:11, 3:18, 2:15] = 10
    array += 90 * np.exp(-((((d - 7) * 2.5) ** 2 + (h - 6) ** 2 + ((w - 10) * 0.8) ** 2) / 12))
    array[array < 1] = 0
    return Record("a", "a", (write_volume(tmp_path / "a.nii.gz", array),))


@pytest.mark.parametrize(
    "options",
    [
        {"size": (32, 32, 32)},
        {"size": (10, 14, 12)},
        {"size": (28, 22, 14), "spacing_mm": (1.0, 1.0, 1.0)},
        {"size": (20, 12, 10), "spacing_mm": (1.25, 1.0, 0.8)},
        {"size": (24, 24, 24), "crop": "foreground"},
        {"size": (24, 24, 24), "orientation": "PIR"},
        {"size": (24, 24, 24), "orientation": None},
    ],
)
def test_what_the_network_sees_comes_back_to_where_it_was(record, options):
    chosen = VolumeOptions(normalization="range", **options)
    seen = read_voxels(record, chosen)[0].astype(np.float32) + 1
    back, grid = onto_file(seen, record=record, options=chosen)
    assert back.shape == grid.shape == SHAPE and np.allclose(grid.affine, OBLIQUE, atol=1e-4)
    peak = np.unravel_index(back.argmax(), SHAPE)
    assert np.abs(np.subtract(peak, (7, 6, 10))).max() <= 1
    weights = np.clip(back - 1, 0, None)
    centre = [float((weights.sum(tuple({0, 1, 2} - {axis})) * np.arange(SHAPE[axis])).sum() / weights.sum())
              for axis in range(3)]  # fmt: skip
    assert centre == pytest.approx((7, 6, 10), abs=0.35)


def test_members_of_an_npz_keep_their_own_order(tmp_path):
    volumes = np.zeros((2, 8, 6, 10), np.uint8)
    volumes[1, 5, 2, 3] = 255
    np.savez(tmp_path / "set.npz", train_images=volumes)
    record = Record("1", "1", (tmp_path / "set.npz",), split="train", member=1)
    options = VolumeOptions(size=(16, 12, 20), normalization="bytes")
    back, grid = onto_file(
        read_voxels(record, options)[0].astype(np.float32) + 1, record=record, options=options
    )
    assert np.unravel_index(back.argmax(), back.shape) == (5, 2, 3)
    assert grid.shape == (8, 6, 10) and not grid.oriented
