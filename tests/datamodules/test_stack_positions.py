"""Places along a stack come from headers alone, once, and damaged headers are named."""

import os

import numpy as np
import pytest

from medimg.datamodules import stack_positions
from medimg.datamodules.image_cache import CacheOptions
from medimg.datamodules.stack_positions import StackPositions, read_positions
from medimg.errors import DataError
from medimg.records import ImageIndex, Record

AXIAL = [1, 0, 0, 0, 1, 0]


@pytest.fixture
def make_index(tmp_path, write_slice, write_picture):
    """Six slices of one study in the wrong order of names, a picture beside them, and a lone slice."""

    def make():
        root = tmp_path / "set"
        heights = [5.0, -2.5, 0.0, 10.0, 7.5, None]
        records = [
            Record(f"s{n}", "p", (write_slice(root / f"s{n}.dcm", height=height),), group="study")
            for n, height in enumerate(heights)
        ]
        records.append(Record("t", "p", (write_picture(root / "t.png"),), group="study"))
        records.append(Record("u", "q", (write_slice(root / "u.dcm", height=1.0),), group="alone"))
        return ImageIndex("set", root, "binary", ("x",), tuple(records))

    return make


@pytest.fixture
def counted(monkeypatch):
    calls = []
    whole = stack_positions.read_position

    def read(path):
        calls.append(path.name)
        return whole(path)

    monkeypatch.setattr(stack_positions, "read_position", read)
    return calls


def test_headers_are_read_once(make_index, tmp_path, counted):
    expected = [5.0, -2.5, 0.0, 10.0, 7.5, np.nan, np.nan, np.nan]
    index = make_index()
    for _ in range(2):
        places = StackPositions(index, CacheOptions(tmp_path / "kept"))
        places.fill(workers=1)
        np.testing.assert_allclose(places.read(), expected)
    assert sorted(counted) == [
        f"s{n}.dcm" for n in range(6)
    ]  # neither pictures nor slices without neighbours
    os.utime(tmp_path / "set" / "s1.dcm", ns=(1, 1))
    StackPositions(index, CacheOptions(tmp_path / "kept")).fill(workers=2)
    np.testing.assert_allclose(StackPositions(index, CacheOptions(tmp_path / "kept")).read(), expected)


def test_places_are_there_without_being_prepared(make_index, tmp_path):
    assert StackPositions(make_index(), CacheOptions(tmp_path / "kept")).read()[3] == 10.0


def test_damaged_headers_are_named_and_the_others_kept(make_index, tmp_path, counted):
    index = make_index()
    path = tmp_path / "set" / "s2.dcm"
    good = path.read_bytes()
    path.write_bytes(good[:140])
    places = StackPositions(index, CacheOptions(tmp_path / "kept"))
    with pytest.raises(DataError, match=r"1 of 7 headers cannot be read:\n  .*s2\.dcm"):
        places.fill(workers=1)
    assert read_positions((path,))[1][0]
    assert places.read()[4] == 7.5


def test_no_group_needs_no_header(make_index, tmp_path, counted):
    index = make_index()
    lone = ImageIndex("set", index.root, "binary", ("x",), index.records[-1:])
    assert np.isnan(StackPositions(lone, CacheOptions(tmp_path / "kept")).read()).all()
    assert counted == []
