"""What is read once is not read again, a file that changed is, and a file that cannot be read is named."""

import os
import pickle

import numpy as np
import pytest

from medimg.datamodules import volume_cache
from medimg.datamodules.image_cache import CacheOptions
from medimg.datamodules.volume_cache import VolumeCache
from medimg.errors import DataError
from medimg.preparation.volume_voxels import VolumeOptions, read_voxels
from medimg.records import ImageIndex, Record

OPTIONS = VolumeOptions(size=(6, 6, 6))


@pytest.fixture
def index(tmp_path, write_volume, make_case):
    paths = [
        write_volume(tmp_path / "set" / f"c{n}.nii.gz", make_case((8, 8, 8), seed=n % 3)[0]) for n in range(4)
    ]
    records = tuple(Record(f"c{n}", f"p{n}", (path,)) for n, path in enumerate(paths))
    return ImageIndex("set", tmp_path / "set", "binary", ("sick",), records)


@pytest.fixture
def counted(monkeypatch):
    calls = []

    def read(record, options):
        calls.append(record.case_id)
        return read_voxels(record, options)

    monkeypatch.setattr(volume_cache, "read_voxels", read)
    return calls


def test_read_once_and_copies_found(index, tmp_path, counted):
    for _ in range(2):
        cache = VolumeCache(index, OPTIONS, CacheOptions(tmp_path / "kept"))
        cache.fill(workers=1)
    assert counted == ["c0", "c1", "c2", "c3"]
    again = pickle.loads(pickle.dumps(cache))  # as a worker gets it
    for case_id, record in cache.records.items():
        assert np.array_equal(again.read(case_id), read_voxels(record, OPTIONS))
    assert cache.identical() == [{"c0", "c3"}]


def test_an_interrupted_call_goes_on_where_it_ended(index, tmp_path, counted, monkeypatch):
    first = VolumeCache(index, OPTIONS, CacheOptions(tmp_path / "kept"))
    monkeypatch.setattr(volume_cache, "map_cases", lambda *args, **options: iter(()))
    first.fill(workers=1)
    voxels, done = first._open()
    voxels[1], done[1] = read_voxels(index.records[1], OPTIONS), True
    monkeypatch.undo()
    monkeypatch.setattr(volume_cache, "read_voxels", lambda record, options: counted.append(record.case_id))
    with pytest.raises(DataError):
        VolumeCache(index, OPTIONS, CacheOptions(tmp_path / "kept")).fill(workers=1)
    assert counted == ["c0", "c2", "c3"]


def test_a_changed_file_or_other_options_are_read_anew(index, tmp_path, counted):
    VolumeCache(index, OPTIONS, CacheOptions(tmp_path / "kept")).fill(workers=1)
    os.utime(index.records[2].images[0], ns=(1, 1))
    VolumeCache(index, OPTIONS, CacheOptions(tmp_path / "kept")).fill(workers=1)
    assert len(counted) == 8
    VolumeCache(index, VolumeOptions(size=(6, 6, 5)), CacheOptions(tmp_path / "kept")).fill(workers=1)
    assert len(counted) == 12


def test_too_large_a_set_is_read_anew_and_says_so(index, tmp_path, counted, caplog):
    cache = VolumeCache(index, OPTIONS, CacheOptions(tmp_path / "kept", limit_gib=1e-9))
    cache.fill(workers=1)
    assert "volumes are read anew in every epoch" in caplog.text
    assert not (tmp_path / "kept").exists()
    assert cache.read("c1").shape == (1, 6, 6, 6)
    assert counted == ["c1"]
    assert cache.identical() == []


def test_damaged_files_are_named_together(index, tmp_path):
    for n in (1, 3):
        path = index.records[n].images[0]
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"2 of 4 volumes cannot be used:\n.*c1\.nii\.gz.*\n.*c3\.nii\.gz"):
        VolumeCache(index, OPTIONS, CacheOptions(tmp_path / "kept")).fill(workers=1)
