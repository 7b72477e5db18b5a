import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from medimg.errors import DataError
from medimg.io import raster
from medimg.io.raster import raster_shape, read_raster, write_png

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (9, 13), np.uint8)
DEEP = RANDOM.integers(0, 65536, (9, 13), np.uint16)
RGB = RANDOM.integers(0, 256, (9, 13, 3), np.uint8)


def png(width, height, kind, bits, rows):
    """A PNG from its definition, without a library that could keep fewer bits."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    body = b"".join(b"\0" + row for row in rows)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def same(path, expected):
    found = read_raster(path)
    assert found.dtype == expected.dtype
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm", "a.bmp"])
def test_eight_bits_of_grey_are_kept(tmp_path, name):
    Image.fromarray(GREY).save(tmp_path / name)
    same(tmp_path / name, GREY[None])


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.ppm", "a.bmp"])
def test_colours_are_kept(tmp_path, name):
    Image.fromarray(RGB).save(tmp_path / name)
    same(tmp_path / name, np.moveaxis(RGB, -1, 0))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_of_grey_are_kept(tmp_path, name):
    Image.fromarray(DEEP).save(tmp_path / name)
    same(tmp_path / name, DEEP[None])


def test_sixteen_bits_of_colour_are_kept(tmp_path):
    deep = RANDOM.integers(0, 65536, (5, 7, 3), np.uint16)
    (tmp_path / "a.png").write_bytes(png(7, 5, 2, 16, [row.astype(">u2").tobytes() for row in deep]))
    same(tmp_path / "a.png", np.moveaxis(deep, -1, 0))


def test_a_jpeg_is_close_and_grey_stays_grey(tmp_path):
    ramp = np.add.outer(np.arange(32), np.arange(48)).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "a.jpg", quality=95)
    found = read_raster(tmp_path / "a.jpg")
    assert found.shape == (1, 32, 48)
    assert np.abs(found[0].astype(int) - ramp).max() <= 3


@pytest.mark.parametrize("top", [1, 100, 255, 4095, 65535])
def test_a_pgm_keeps_its_values_whatever_its_maximum(tmp_path, top):
    values = RANDOM.integers(0, top + 1, (6, 4))
    stored = values.astype(">u2" if top > 255 else "u1")
    (tmp_path / "a.pgm").write_bytes(f"P5 # from a scanner\n4 6\n{top}\n".encode() + stored.tobytes())
    same(tmp_path / "a.pgm", values[None].astype(np.uint16 if top > 255 else np.uint8))


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_picture_is_turned_upright(tmp_path, turn):
    # What a viewer does with each orientation, on the array.
    shown = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.T,
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).T,
        8: np.rot90,
    }[turn](GREY)
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(GREY).save(tmp_path / "a.png", exif=exif)
    same(tmp_path / "a.png", np.ascontiguousarray(shown)[None])


def test_a_palette_becomes_colours(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), mode="P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(tmp_path / "a.png")
    expected = np.array([[[10, 40], [70, 40]], [[20, 50], [80, 50]], [[30, 60], [90, 60]]], np.uint8)
    same(tmp_path / "a.png", expected)


def test_opacity_is_laid_over_white(tmp_path):
    opaque = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    opaque[0, 0] = (9, 9, 9, 0)
    Image.fromarray(opaque).save(tmp_path / "a.png")
    found = read_raster(tmp_path / "a.png")
    assert found[:, 0, 0].tolist() == [255, 255, 255]
    np.testing.assert_array_equal(found[:, 1:], np.moveaxis(RGB, -1, 0)[:, 1:])


def test_one_bit_becomes_black_and_white(tmp_path):
    Image.fromarray(GREY > 128).save(tmp_path / "a.png")
    same(tmp_path / "a.png", np.where(GREY > 128, 255, 0).astype(np.uint8)[None])


def test_floats_are_kept(tmp_path):
    values = RANDOM.normal(size=(4, 5)).astype(np.float32)
    Image.fromarray(values).save(tmp_path / "a.tif")
    same(tmp_path / "a.tif", values[None])


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.pgm", "a.bmp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_file_is_refused(tmp_path, name, share):
    Image.fromarray(RANDOM.integers(0, 256, (64, 64), np.uint8)).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=name) as caught:
        read_raster(tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1


def test_a_truncated_picture_of_deep_colours_is_refused(tmp_path):
    deep = RANDOM.integers(0, 65536, (32, 32, 3), np.uint16)
    content = png(32, 32, 2, 16, [row.astype(">u2").tobytes() for row in deep])
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"a\.png"):
        read_raster(tmp_path / "a.png")


@pytest.mark.parametrize("content", [b"", b"hello", b"P5 3 3 70000\n", b"P5 0 3 255\n"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png"):
        read_raster(tmp_path / "a.png")
    with pytest.raises(DataError, match="no such file"):
        read_raster(tmp_path / "b.png")


@pytest.mark.parametrize("side", [60_000, 2**30])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, side):
    (tmp_path / "a.png").write_bytes(png(side, side, 0, 8, [b"\0"]))
    with pytest.raises(DataError, match=r"too large|damaged"):
        read_raster(tmp_path / "a.png")
    (tmp_path / "a.pgm").write_bytes(f"P5 {side} {side} 255\n".encode())
    with pytest.raises(DataError, match="too large"):
        read_raster(tmp_path / "a.pgm")


@pytest.mark.parametrize("array", [GREY, GREY[None], DEEP, DEEP[None], np.moveaxis(RGB, -1, 0)])
def test_written_and_read_are_equal(tmp_path, array):
    write_png(tmp_path / "new" / "a.png", array)
    same(tmp_path / "new" / "a.png", array if array.ndim == 3 else array[None])


def test_deep_colours_are_written(tmp_path):
    deep = RANDOM.integers(0, 65536, (3, 5, 7), np.uint16)
    write_png(tmp_path / "a.png", deep)
    same(tmp_path / "a.png", deep)


@pytest.mark.parametrize("array", [GREY.astype(float), GREY[None, None], RGB, np.zeros((0, 4), np.uint8)])
def test_other_arrays_are_not_written(tmp_path, array):
    with pytest.raises(DataError, match=r"a\.png"):
        write_png(tmp_path / "a.png", array)
    assert not (tmp_path / "a.png").exists()


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    write_png(tmp_path / "a.png", GREY)

    def fail(*_, **__):
        raise RuntimeError("the encoder broke")

    monkeypatch.setattr(raster.Image.Image, "save", fail)
    with pytest.raises(RuntimeError):
        write_png(tmp_path / "a.png", GREY // 2)
    same(tmp_path / "a.png", GREY[None])
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp", "a.pgm"])
@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_the_size_is_that_of_the_upright_picture(tmp_path, name, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"exif": exif} if name.endswith((".png", ".jpg", ".tif")) else {}
    Image.fromarray(np.zeros((6, 9), np.uint8)).save(tmp_path / name, **options)
    assert raster_shape(tmp_path / name) == read_raster(tmp_path / name).shape[1:]


def test_a_size_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"x\.png: there is no such file"):
        raster_shape(tmp_path / "x.png")
    (tmp_path / "x.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"x\.png: no size can be read"):
        raster_shape(tmp_path / "x.png")
