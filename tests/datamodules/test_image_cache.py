"""What is decoded once is not decoded again, and a file that changed is."""

import os
import pickle

import numpy as np
import pytest

from medimg.datamodules import image_cache
from medimg.datamodules.image_cache import CacheOptions, ImageCache, MaskCache
from medimg.datasets.folder import ImageFolder
from medimg.errors import DataError
from medimg.preparation.image_pixels import ImageOptions, decode_image, read_pixels

OPTIONS = ImageOptions(size=(16, 16), channels=1, mean=(0.5,), std=(0.5,))


@pytest.fixture
def root(tmp_path, write_class_folders):
    return write_class_folders(tmp_path / "set", {"benign": 3, "malignant": 2})


@pytest.fixture
def counted(monkeypatch):
    calls = []

    def decode(record, options):
        calls.append(record.case_id)
        return decode_image(record, options)

    monkeypatch.setattr(image_cache, "decode_image", decode)
    return calls


def cache_of(root, tmp_path, options=OPTIONS, **limits):
    return ImageCache(ImageFolder().index(root), options, CacheOptions(tmp_path / "kept", **limits))


def test_decoded_once(root, tmp_path, counted):
    for _ in range(2):
        cache = cache_of(root, tmp_path)
        cache.fill(workers=1)
    assert len(counted) == 5
    again = pickle.loads(pickle.dumps(cache))  # as a worker gets it
    for case_id, record in cache.records.items():
        assert np.array_equal(again.read(case_id), read_pixels(record, OPTIONS))


def test_a_changed_file_or_other_options_are_decoded_anew(root, tmp_path, counted, write_picture):
    cache_of(root, tmp_path).fill(workers=1)
    path = write_picture(root / "benign" / "benign (1).png", seed=99)
    os.utime(path, ns=(1, 1))
    cache = cache_of(root, tmp_path)
    cache.fill(workers=1)
    assert np.array_equal(
        cache.read("benign/benign (1).png"), read_pixels(cache.records["benign/benign (1).png"], OPTIONS)
    )
    assert len(counted) == 10
    cache_of(root, tmp_path, ImageOptions(size=(16, 16), channels=1, mean=(0.1,), std=(0.5,))).fill(workers=1)
    assert len(counted) == 10  # normalisation happens later
    cache_of(root, tmp_path, ImageOptions(size=(8, 8), channels=1, mean=(0.5,), std=(0.5,))).fill(workers=1)
    assert len(counted) == 15


def test_an_interrupted_filling_goes_on_where_it_ended(root, tmp_path, counted):
    bad = root / "malignant" / "malignant (1).png"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:50])
    stamp = bad.stat()
    with pytest.raises(DataError, match=r"1 of 5 images cannot be used:\n  malignant/malignant \(1\).png"):
        cache_of(root, tmp_path).fill(workers=1)
    assert len(counted) == 5
    # Same size and time, so that only this one is missing.
    bad.write_bytes(whole)
    os.utime(bad, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    manifest = next((tmp_path / "kept").rglob("manifest.json"))
    manifest.write_text(manifest.read_text().replace(f"[{stamp.st_size}, ", f"[{len(whole)}, "))
    cache_of(root, tmp_path).fill(workers=1)
    assert counted[5:] == ["malignant/malignant (1).png"]


def test_a_set_beyond_the_limit_is_not_kept(root, tmp_path, caplog):
    cache = cache_of(root, tmp_path, limit_gib=1e-9)
    cache.fill(workers=1)
    assert "limit_gib" in caplog.text
    assert not (tmp_path / "kept").exists()
    assert cache.read("benign/benign (1).png").shape == (1, 16, 16)
    assert cache.identical() == []
    assert cache.positions() is None


def test_equal_pixels_are_found_under_other_names(root, tmp_path, write_picture):
    # Another file format, so that no byte is the same.
    source = root / "benign" / "benign (2).png"
    from PIL import Image

    write_picture(root / "malignant" / "twin.bmp", np.asarray(Image.open(source)))
    cache = cache_of(root, tmp_path)
    cache.fill(workers=1)
    assert cache.identical() == [{"benign/benign (2).png", "malignant/twin.bmp"}]


def test_pictures_have_no_place(root, tmp_path):
    cache = cache_of(root, tmp_path)
    cache.fill(workers=1)
    assert np.isnan(cache.positions()).all() and len(cache.positions()) == 5


@pytest.fixture
def masked(root, write_picture):
    """Two of five images have a mask, one of them in two parts."""
    inner = np.zeros((32, 40), np.uint8)
    inner[8:16, 10:30] = 255
    write_picture(root / "benign" / "benign (1)_mask.png", inner)
    write_picture(root / "benign" / "benign (1)_mask_1.png", inner.T.copy().reshape(32, 40))
    write_picture(root / "malignant" / "malignant (2)_mask.png", inner)
    return root


def masks_of(root, tmp_path, **limits):
    data = ImageFolder()
    index = data.index(root)
    return MaskCache(index, data.masks(index), OPTIONS, CacheOptions(tmp_path / "kept", **limits))


def test_masks_are_read_once_and_again_when_they_change(masked, tmp_path, monkeypatch, write_picture):
    reads = []
    whole = image_cache.read_mask_pixels

    def counted(record, mask, options):
        reads.append(record.case_id)
        return whole(record, mask, options)

    monkeypatch.setattr(image_cache, "read_mask_pixels", counted)
    for _ in range(2):
        cache = masks_of(masked, tmp_path)
        cache.fill(workers=1)
    assert sorted(reads) == ["benign/benign (1).png", "malignant/malignant (2).png"]
    again = pickle.loads(pickle.dumps(cache))
    mask = again.read("malignant/malignant (2).png")
    assert mask.shape == (16, 16) and set(np.unique(mask)) == {0, 1}
    assert (again.read("benign/benign (2).png") == 255).all()
    path = write_picture(masked / "malignant" / "malignant (2)_mask.png", np.full((32, 40), 255, np.uint8))
    os.utime(path, ns=(1, 1))
    cache = masks_of(masked, tmp_path)
    cache.fill(workers=1)
    assert cache.read("malignant/malignant (2).png").mean() == 13 / 16 > mask.mean()  # black above and below
    assert len(reads) == 4


def test_masks_beyond_the_limit_are_read_as_they_are_asked_for(masked, tmp_path):
    kept, read = masks_of(masked, tmp_path), masks_of(masked, tmp_path / "other", limit_gib=1e-9)
    kept.fill(workers=1)
    read.fill(workers=1)
    assert not (tmp_path / "other").exists()
    for name in kept.records:
        assert np.array_equal(kept.read(name), read.read(name))


def test_masks_that_do_not_fit_are_named(masked, tmp_path, write_picture):
    write_picture(masked / "benign" / "benign (3)_mask.png", np.zeros((32, 32), np.uint8))
    with pytest.raises(
        DataError,
        match=r"1 of 3 masks cannot be used:\n  benign/benign \(3\).png: the mask of .* a mask of \(32, 32\) pixels",
    ):
        masks_of(masked, tmp_path).fill(workers=1)
