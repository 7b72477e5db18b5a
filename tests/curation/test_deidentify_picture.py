import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from medimg.curation.deidentify_picture import clean_picture, text_of
from medimg.curation.deidentify_streams import Refused


def picture(mode="L"):
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    return Image.fromarray(pixels).convert(mode)


def png(image, **more):
    about = PngImagePlugin.PngInfo()
    about.add_text("Author", "Jane Doe")
    about.add_text("Comment", "Jane Doe", zip=True)
    about.add_itxt("Title", "Jané Doe")
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=about, icc_profile=b"Jane", **more)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "LA", "1", "I;16"])
def test_png_keeps_its_pixels_and_loses_its_text(tmp_path, mode):
    content = png(picture(mode))
    made = clean_picture(content + b"Jane Doe")
    assert np.array_equal(
        np.asarray(Image.open(io.BytesIO(made))), np.asarray(Image.open(io.BytesIO(content)))
    )
    assert Image.open(io.BytesIO(made)).mode == Image.open(io.BytesIO(content)).mode
    (tmp_path / "before.png").write_bytes(content)
    (tmp_path / "after.png").write_bytes(made)
    assert {"Jane Doe", "Jané Doe"} <= set(text_of(tmp_path / "before.png"))
    assert text_of(tmp_path / "after.png") == []
    assert clean_picture(made) == made


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("turned", [1, 6])
def test_pictures_stay_upright(kind, turned):
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = turned, "Jane Doe"
    buffer = io.BytesIO()
    picture("RGB").save(buffer, kind, exif=exif)
    made = clean_picture(buffer.getvalue())
    assert b"Doe" not in made
    before, after = (
        ImageOps.exif_transpose(Image.open(io.BytesIO(one))) for one in (buffer.getvalue(), made)
    )
    assert np.array_equal(np.asarray(before), np.asarray(after))
    assert dict(Image.open(io.BytesIO(made)).getexif()) == ({0x0112: 6} if turned == 6 else {})


def test_bytes_hidden_behind_the_deflated_pixels_go():
    content = png(picture("L"))
    place = content.index(b"IDAT")
    (length,) = struct.unpack_from(">L", content, place - 4)
    body = content[place + 4 : place + 4 + length] + b"Jane Doe"
    chunk = struct.pack(">L", len(body)) + b"IDAT" + body + struct.pack(">L", zlib.crc32(b"IDAT" + body))
    assert b"Doe" not in clean_picture(content[: place - 4] + chunk + content[place + 8 + length :])


def test_damaged_pictures_are_refused():
    content = png(picture("L"))
    place = content.index(b"IDAT") + 10
    for damaged, message in (
        (content[:60], "truncated"),
        (content[:place] + b"\xff\xff" + content[place + 2 :], "does not fit its checksum"),
        (b"GIF89a", "neither PNG nor JPEG"),
    ):
        with pytest.raises(Refused, match=message):
            clean_picture(damaged)

    def chunk(kind, body):
        return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))

    for body, message in ((zlib.compress(b"x" * 99)[:-6], "do not end"), (b"Jane Doe", "are damaged")):
        with pytest.raises(Refused, match=message):
            clean_picture(content[:33] + chunk(b"IDAT", body) + chunk(b"IEND", b""))
