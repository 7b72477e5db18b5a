import time
import tracemalloc
import zlib

import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from writers.dicom import element, nested, part10, write_dicom

from medimg.errors import DataError
from medimg.io.dicom import is_dicom, parse, read_image
from medimg.io.dicom.parse import open_dataset

PIXELS = np.arange(20, dtype=np.uint16).reshape(4, 5)


@pytest.fixture
def good(tmp_path):
    return write_dicom(tmp_path / "good.dcm", PIXELS)


def refused(path, words):
    begun = time.process_time()
    with pytest.raises(DataError, match=words) as caught:
        read_image(path)
    assert time.process_time() - begun < 10
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_whole_file_has_no_flags(good):
    opened = open_dataset(good)
    assert opened.flags == ()
    assert opened.syntax == ExplicitVRLittleEndian
    assert is_dicom(good)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_fault_34_no_preamble_and_no_meta_are_read_and_flagged(tmp_path, good, syntax):
    content = write_dicom(tmp_path / "other.dcm", PIXELS, syntax=syntax).read_bytes()
    begin = 132 + 12 + int.from_bytes(content[140:144], "little")
    bare = tmp_path / "bare.dcm"
    bare.write_bytes(content[begin:])
    found = read_image(bare, window="none")
    assert {"no preamble", "no meta"} <= set(found.flags)
    assert is_dicom(bare)
    np.testing.assert_array_equal(found.pixels[0], PIXELS)
    bare.write_bytes(content[132:])
    found = read_image(bare, window="none")
    assert found.flags[0] == "no preamble"
    np.testing.assert_array_equal(found.pixels[0], PIXELS)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + b"\0" * 200])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "a.dcm"
    path.write_bytes(content)
    assert not is_dicom(path)
    refused(path, "not a DICOM file|empty")
    refused(tmp_path / "missing.dcm", "no such file")


@pytest.mark.parametrize("defined", [True, False])
def test_fault_40_sequences_nested_5000_deep_are_refused(tmp_path, defined):
    body = nested(5000, defined=defined)
    path = tmp_path / "deep.dcm"
    path.write_bytes(part10(body, ExplicitVRLittleEndian))
    refused(path, "deeper than 64")


@pytest.mark.parametrize("defined", [True, False])
def test_sequences_nested_as_in_life_are_read(tmp_path, good, defined):
    content = good.read_bytes()
    begin = 132 + 12 + int.from_bytes(content[140:144], "little")
    path = tmp_path / "nested.dcm"
    path.write_bytes(content[:begin] + nested(12, defined=defined) + content[begin:])
    np.testing.assert_array_equal(read_image(path, window="none").pixels[0], PIXELS)


def test_many_items_side_by_side_are_no_depth(tmp_path, good):
    content = good.read_bytes()
    begin = 132 + 12 + int.from_bytes(content[140:144], "little")
    inner = element(0x0008, 0x1150, b"UI", b"1.2\0")
    items = (b"\xfe\xff\x00\xe0" + len(inner).to_bytes(4, "little") + inner) * 500
    path = tmp_path / "broad.dcm"
    path.write_bytes(content[:begin] + element(0x0008, 0x1140, b"SQ", items) + content[begin:])
    np.testing.assert_array_equal(read_image(path, window="none").pixels[0], PIXELS)


def test_a_deflated_file_is_read(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", PIXELS, syntax=DeflatedExplicitVRLittleEndian)
    np.testing.assert_array_equal(read_image(path, window="none").pixels[0], PIXELS)


def test_fault_39_a_deflated_bomb_stops_at_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(parse, "MAX_BYTES", 8 << 20)
    compress = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = compress.compress(element(0x0008, 0x0060, b"CS", b"OT") + b"\0" * (64 << 20)) + compress.flush()
    path = tmp_path / "bomb.dcm"
    path.write_bytes(part10(bomb, DeflatedExplicitVRLittleEndian))
    tracemalloc.start()
    refused(path, "inflate to more than the limit")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * (8 << 20)


def test_a_cut_deflated_file_is_refused(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
    path = write_dicom(tmp_path / "a.dcm", pixels, syntax=DeflatedExplicitVRLittleEndian)
    path.write_bytes(path.read_bytes()[:-500])
    refused(path, "truncated")


def test_a_file_over_the_limit_is_refused_unread(good, monkeypatch):
    monkeypatch.setattr(parse, "MAX_BYTES", 100)
    refused(good, "limit")


def test_fault_36_a_bad_vr_is_read_and_flagged_or_refused(tmp_path, good):
    content = good.read_bytes()
    place = content.index(b"\x28\x00\x10\x00US")  # Rows
    path = tmp_path / "bad.dcm"
    path.write_bytes(content[: place + 4] + b"ZZ" + content[place + 6 :])
    try:
        found = read_image(path, window="none")
    except DataError as error:
        assert str(path) in str(error)
    else:
        np.testing.assert_array_equal(found.pixels[0], PIXELS)


def test_every_cut_of_a_file_is_refused(tmp_path, good):
    content = good.read_bytes()
    path = tmp_path / "cut.dcm"
    for length in range(0, len(content) - 1, 7):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"cut\.dcm"):
            read_image(path)


def test_flipped_bytes_never_raise_anything_else(tmp_path, good):
    random = np.random.default_rng(0)
    content = np.frombuffer(good.read_bytes(), np.uint8)
    path = tmp_path / "flipped.dcm"
    for _ in range(300):
        damaged = content.copy()
        places = random.integers(128, len(content), 3)
        damaged[places] = random.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        try:
            read_image(path)
        except DataError as error:
            assert str(path) in str(error)
