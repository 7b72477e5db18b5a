"""What the network sees of a volume: values worked out by hand, geometry that holds, refusals that name the file."""

import os
from pathlib import Path

import numpy as np
import pytest

from medimg.datasets import GliomaGrade
from medimg.datasets.volume_table import list_volumes
from medimg.errors import ConfigError, DataError
from medimg.preparation.volume_voxels import VolumeOptions, centre_fit, read_voxels, rescale
from medimg.records import Record


def read(path, **options):
    record = Record("c1", "p1", (path,) if not isinstance(path, tuple) else path)
    return read_voxels(record, VolumeOptions(**{"orientation": None, **options}))


@pytest.fixture
def ct(tmp_path, write_volume):
    """A volume of Hounsfield units -1000, -300, 400 and 1100 along D."""
    array = np.repeat(np.int16([-1000, -300, 400, 1100])[:, None, None], 4, 1).repeat(4, 2)
    return write_volume(tmp_path / "ct.nii.gz", array)


def test_windows_become_channels_from_minus_one_to_one(ct):
    seen = read(ct, size=(4, 4, 4), windows_hu=((-1000, 400), (-300, 1100)))
    assert seen.dtype == np.float16
    np.testing.assert_allclose(seen[:, :, 0, 0], [[-1, 0, 1, 1], [-1, -1, 0, 1]], atol=1e-3)
    bytes_ = read(ct, size=(4, 4, 4), windows_hu=((-1000, 400),), bits=8)
    assert bytes_.dtype == np.uint8
    assert bytes_[0, :, 0, 0].tolist() == [0, 128, 255, 255]


def test_range_and_zscore(ct):
    assert read(ct, size=(4, 4, 4), normalization="range")[0, :, 0, 0] == pytest.approx(
        [-1, -1 / 3, 1 / 3, 1], abs=1e-3
    )
    scores = read(ct, size=(4, 4, 4)).astype(np.float64)
    assert scores.mean() == pytest.approx(0, abs=1e-3)
    assert scores.std() == pytest.approx(1, abs=1e-3)


def test_a_spacing_resamples_then_crops_and_fills_about_the_centre(ct):
    # 2.5 mm along D, 1 along H, 0.8 along W: 10 x 4 x 3.2 mm.
    seen = read(ct, size=(12, 2, 3), spacing_mm=(1.0, 1.0, 1.0), windows_hu=((-1000, 400),))
    assert seen.shape == (1, 12, 2, 3)
    assert (seen[0, 0] == -1).all() and (seen[0, -1] == -1).all()  # beyond the volume: air
    assert seen[0, 10, 0, 0] == 1
    middle = seen[0, 1:11, 0, 0].astype(float)
    assert (np.diff(middle) >= 0).all()


def test_volumes_are_turned_to_one_orientation(tmp_path, write_volume):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 100, (4, 5, 6), dtype=np.int16)
    straight = write_volume(tmp_path / "a.nii.gz", array, np.diag([1.0, 1, 1, 1]))
    mirrored = np.diag([-1.0, 1, 1, 1])
    mirrored[0, 3] = 5
    turned = write_volume(tmp_path / "b.nii.gz", array[:, :, ::-1].copy(), mirrored)
    options = {"size": (4, 5, 6), "normalization": "range", "orientation": "RAS"}
    assert np.array_equal(read(straight, **options), read(turned, **options))
    assert not np.array_equal(read(straight, **options), read(turned, **{**options, "orientation": None}))


def test_the_foreground_fills_the_volume_and_the_background_stays_zero(tmp_path, write_volume):
    array = np.zeros((8, 8, 8), np.int16)
    array[2:6, 3:5, 1:7] = np.arange(1, 5)[:, None, None]
    path = write_volume(tmp_path / "a.nii.gz", array, np.eye(4))
    seen = read(path, size=(4, 2, 6), crop="foreground", normalization="zscore_nonzero")
    expected = (np.arange(1, 5) - 2.5) / np.sqrt(1.25)
    np.testing.assert_allclose(seen[0, :, 0, 0], expected, atol=2e-3)
    wide = read(path, size=(8, 8, 8), crop="foreground", normalization="zscore_nonzero", spacing_mm=(1, 1, 1))
    assert wide[0, 0, 0, 0] == 0
    np.testing.assert_allclose(wide[0, 2:6, 3, 1], expected, atol=2e-3)


def test_one_file_a_channel_or_all_in_one_are_the_same(tmp_path, write_volume, make_case):
    image, _ = make_case((8, 8, 8), 2)
    one = write_volume(tmp_path / "4d.nii.gz", image)
    parts = tuple(write_volume(tmp_path / f"{n}.nii.gz", image[n]) for n in range(2))
    options = {"size": (8, 8, 8), "channels": ("t1", "t2")}
    seen = read(one, **options)
    assert seen.shape == (2, 8, 8, 8)
    assert np.array_equal(seen, read(parts, **options))
    with pytest.raises(DataError, match=r"c1: expected 1 channels \(image\), found 2 in 4d\.nii\.gz"):
        read(one, size=(8, 8, 8))


def test_members_of_an_npz(tmp_path):
    cubes = np.random.default_rng(0).integers(0, 256, (3, 6, 6, 6), dtype=np.uint8)
    cubes[1, 0, 0, :2] = 0, 255
    path = tmp_path / "nodulemnist3d.npz"
    np.savez(path, train_images=cubes, test_images=cubes[0])
    record = Record("train_1", "p", (path,), split="train", member=1)
    options = VolumeOptions(size=(6, 6, 6), normalization="bytes", bits=8)
    assert np.array_equal(read_voxels(record, options)[0], cubes[1])
    with pytest.raises(ConfigError, match=r"spacing_mm: .*nodulemnist3d\.npz states no spacing"):
        read_voxels(record, VolumeOptions(size=(6, 6, 6), spacing_mm=(1, 1, 1)))
    with pytest.raises(DataError, match=r"expected 2 channels \(a, b\), found 1"):
        read_voxels(record, VolumeOptions(size=(6, 6, 6), channels=("a", "b")))
    flat = Record("test_1", "p", (path,), split="test", member=1)
    with pytest.raises(DataError, match=r"expected a volume \(D, H, W\), found an image of \(6, 6\)"):
        read_voxels(flat, options)


def test_a_damaged_or_flat_file_is_named(tmp_path, ct):
    damaged = tmp_path / "damaged.nii.gz"
    damaged.write_bytes(ct.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"damaged\.nii\.gz"):
        read(damaged)
    with pytest.raises(DataError, match=r"a\.png: expected a volume \(NIfTI or DICOM\), found \.png"):
        read(tmp_path / "a.png")


def test_shrinking_keeps_means_and_growing_keeps_constants():
    volume = np.random.default_rng(0).normal(size=(12, 9, 7)).astype(np.float32)
    np.testing.assert_allclose(
        rescale(volume, (4, 3, 7)), volume.reshape(4, 3, 3, 3, 7).mean((1, 3)), atol=1e-5
    )
    assert rescale(volume, (5, 4, 3)).mean() == pytest.approx(volume.mean(), abs=0.02)
    np.testing.assert_allclose(rescale(np.full((2, 3, 4), 7, np.float32), (5, 5, 5)), 7, rtol=1e-6)


@pytest.mark.parametrize("size", [(3, 8, 5), (8, 2, 6)])
def test_fitting_about_the_centre_keeps_what_both_have(size):
    volume = np.arange(1, 151, dtype=np.float32).reshape(5, 5, 6)
    fitted = centre_fit(volume, size, -1)
    assert fitted.shape == size
    back = centre_fit(fitted, volume.shape, -1)
    kept = back != -1
    assert np.array_equal(back[kept], volume[kept])
    assert kept.sum() == np.prod(np.minimum(size, volume.shape))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": (8, 8)}, "size: expected three numbers above 0"),
        ({"channels": ("a", "a")}, "channels: expected one name a channel, each once"),
        ({"spacing_mm": (1, 0, 1)}, "spacing_mm: expected three lengths above 0"),
        ({"windows_hu": ((400, -1000),)}, "windows_hu: expected pairs of a lower and an upper limit"),
        (
            {"windows_hu": ((0, 1),), "channels": ("a", "b")},
            "windows_hu: windows are shown of volumes of one channel",
        ),
        (
            {"bits": 8},
            "bits: 8 bits need values with two ends, and normalization zscore has none: set bits to 16",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        VolumeOptions(**options)


# ---- real volumes ----------------------------------------------------------------------------------


@pytest.mark.real
def test_a_real_brain_fills_the_volume():
    root = Path(os.environ["MEDIMG_REAL_DATA"]) / "BraTS2023"
    (record,) = GliomaGrade(modalities=("t1c", "t2f")).unlabelled(root).records
    options = VolumeOptions(
        size=(96, 120, 96), channels=("t1c", "t2f"), spacing_mm=(1.5, 1.5, 1.5), crop="foreground",
        normalization="zscore_nonzero",
    )  # fmt: skip
    seen = read_voxels(record, options).astype(np.float32)
    assert np.isfinite(seen).all()
    brain = seen != 0
    assert 0.3 < brain.mean() < 0.9
    assert abs(seen[brain].mean()) < 0.1
    # The brain touches the middle of every side, and its left half mirrors its right one as brains do.
    assert all(brain.any(axis=tuple({0, 1, 2, 3} - {axis})).mean() > 0.85 for axis in (1, 2, 3))
    both = brain[0] & brain[0][:, :, ::-1]
    assert both.sum() > 0.8 * brain[0].sum()


@pytest.mark.real
def test_a_real_series_of_uneven_slices_is_seen_in_windows():
    root = Path(os.environ["MEDIMG_REAL_DATA"]) / "dicom" / "series" / "ct-ge"
    (record,) = list_volumes(root, ["CT"]).records
    options = VolumeOptions(size=(48, 96, 96), windows_hu=((-160, 240), (0, 80)), bits=8)
    seen = read_voxels(record, options)
    assert seen.shape == (2, 48, 96, 96)
    assert seen.dtype == np.uint8
    assert (seen[:, :, 0, 0] == 0).all()  # air in the corners
    assert {0, 255} <= set(np.unique(seen[1]))
