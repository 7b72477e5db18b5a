import json
import os
import pickle

import numpy as np
import pytest

from medimg.errors import DataError
from medimg.io import store as store_module
from medimg.io.store import PatchStore, source_hash, stamp


def write(store, case_id="a", value=1.0, shape=(4, 5, 6), mask=True, **meta):
    image = np.full((2, *shape), value, np.float32)
    classes = np.ones(shape, np.uint8) if mask else None
    store.write(case_id, image, classes, np.array([[1, 0, 0, 0]], np.int16), meta)


@pytest.fixture
def store(tmp_path):
    return PatchStore(tmp_path / "store")


def test_what_is_written_is_read(store):
    write(store, value=1.5, key="k")
    assert store.image("a").dtype == np.float16
    assert store.image("a").shape == (2, 4, 5, 6)
    assert (store.image("a") == 1.5).all()
    assert store.mask("a").dtype == np.uint8
    assert store.foreground("a").tolist() == [[1, 0, 0, 0]]
    assert store.meta("a")["key"] == "k"


def test_large_values_stay_single_precision(store):
    write(store, value=1e6)
    assert store.image("a").dtype == np.float32
    assert (store.image("a") == 1e6).all()


def test_what_is_missing_is_named_with_the_next_step(store):
    with pytest.raises(DataError, match=r"a is not in the store .* run `medimg prepare`"):
        store.meta("a")
    write(store, mask=False)
    with pytest.raises(DataError, match=r"mask\.npy cannot be read .* run `medimg prepare` again"):
        store.mask("a")


def test_a_damaged_array_is_refused_and_made_again(store):
    write(store, key="k", stamp=[], source_hash=source_hash([]))
    assert store.fresh("a", "k", [])
    path = store.folder / "a" / "image.npy"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"image\.npy cannot be read"):
        store.image("a")
    assert not store.fresh("a", "k", [])


def test_an_unfinished_case_is_not_fresh(store, tmp_path, monkeypatch):
    source = tmp_path / "source"
    source.write_text("x")
    facts = {"key": "k", "stamp": stamp([source]), "source_hash": source_hash([source])}
    write(store, **facts)
    assert store.fresh("a", "k", [source])

    def full(*arguments, **options):
        raise OSError("killed")

    monkeypatch.setattr(store_module.np, "save", full)
    with pytest.raises(OSError, match="killed"):
        write(store, **facts)
    assert not store.fresh("a", "k", [source])
    assert not [path for path in (store.folder / "a").iterdir() if path.name.startswith(".")]


def test_freshness_follows_options_and_contents(store, tmp_path):
    source = tmp_path / "source"
    source.write_text("x")
    write(store, key="k", stamp=stamp([source]), source_hash=source_hash([source]))
    assert not store.fresh("a", "other options", [source])
    os.utime(source, (1, 1))  # a copy: another time, the same bytes
    assert store.fresh("a", "k", [source])
    source.write_text("y")
    assert not store.fresh("a", "k", [source])
    source.unlink()
    assert not store.fresh("a", "k", [source])
    assert not store.fresh("b", "k", [])


def test_small_arrays_are_kept_and_a_rewritten_case_is_seen(store):
    write(store, value=1)
    first = store.image("a")
    assert store.image("a") is first
    assert not first.flags.writeable
    write(store, value=2)
    assert (store.image("a") == 2).all()
    assert (first == 1).all()


def test_large_arrays_are_mapped_and_a_rewritten_case_is_seen(store):
    write(store, value=1, shape=(64, 64, 80))
    first = store.image("a")
    assert isinstance(first, np.memmap)
    assert store._small._bytes == 0
    write(store, value=2, shape=(64, 64, 80))
    assert (store.image("a") == 2).all()
    assert (first == 1).all()  # a reader in the middle of the old file is not disturbed


def test_what_is_kept_is_bounded(store, monkeypatch):
    for number in range(6):
        write(store, f"case{number}")
    nbytes = store.image("case0").nbytes
    monkeypatch.setattr(store_module, "_KEPT_BYTES", 3 * nbytes)
    kept = [store.image(f"case{number}") for number in range(6)]
    assert store._small._bytes == 3 * nbytes
    assert store.image("case5") is kept[5]
    assert store.image("case0") is not kept[0]


def test_what_is_kept_does_not_travel_to_worker_processes(store):
    write(store, shape=(32, 32, 32))
    store.image("a")
    packed = pickle.dumps(store)
    assert len(packed) < 1000
    assert (pickle.loads(packed).image("a") == 1).all()


def test_meta_is_plain_json(store):
    write(store, spacing=[1.0, 2.0])
    meta = json.loads((store.folder / "a" / "case.json").read_text())
    assert meta["spacing"] == [1.0, 2.0]
    assert set(meta["bytes"]) == {"image", "mask", "foreground"}
