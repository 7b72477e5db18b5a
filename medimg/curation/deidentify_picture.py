"""PNG and JPEG without text: comments, EXIF, profiles and trailing bytes go, the coded pixels stay bit for bit."""

import struct
import zlib
from pathlib import Path

from medimg.curation.deidentify_streams import Refused, clean_jpeg, exif_orientation, orientation_exif

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8\xff"
_KEPT = {b"PLTE", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"pHYs", b"bKGD"}
_LARGEST = 1 << 30


def clean_picture(content: bytes) -> bytes:
    """Return a PNG or JPEG file without anything but the picture and how it is turned.

    Args:
        content: The file.

    Raises:
        Refused: If it is damaged or of another kind.
    """
    if content.startswith(PNG_MAGIC):
        return clean_png(content)
    if content.startswith(JPEG_MAGIC):
        return clean_jpeg(content, orientation=True)
    raise Refused("neither PNG nor JPEG. Convert it first.")


def clean_png(content: bytes) -> bytes:
    """Keep the chunks that make the picture; text, times, EXIF, profiles and unknown chunks go.

    Raises:
        Refused: If a chunk is damaged or the picture does not end.
    """
    kept, stream, seen, position = [PNG_MAGIC], bytearray(), b"", len(PNG_MAGIC)
    while seen != b"IEND":
        if position + 12 > len(content):
            raise Refused("the PNG is truncated. Get the file again.")
        length, seen = struct.unpack_from(">L4s", content, position)
        if position + 12 + length > len(content):
            raise Refused("the PNG is truncated. Get the file again.")
        body = content[position + 8 : position + 8 + length]
        (check,) = struct.unpack_from(">L", content, position + 8 + length)
        if zlib.crc32(seen + body) != check:
            raise Refused("a part of the PNG does not fit its checksum. Get the file again.")
        position += 12 + length
        if seen == b"IDAT":
            stream += body
        elif seen == b"IHDR" or (seen in _KEPT and not stream):
            kept.append(_chunk(seen, body))
        elif seen == b"eXIf" and (turned := exif_orientation(body)) != 1 and not stream:
            kept.append(_chunk(b"eXIf", orientation_exif(turned)))
    kept += [_chunk(b"IDAT", _without_tail(bytes(stream))), _chunk(b"IEND", b"")]
    return b"".join(kept)


def text_of(path: Path) -> list[str]:
    """Return every text that a picture carries beside its pixels, for the search after the work."""
    from PIL import Image

    with Image.open(path) as image:
        found = [str(value) for value in image.info.values() if isinstance(value, str | bytes)]
        found += [str(value) for value in image.getexif().values()]
    return [text for text in found if text]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def _without_tail(stream: bytes) -> bytes:
    """Cut what follows the deflated pixels."""
    inflate, size, rest = zlib.decompressobj(), 0, stream
    try:
        while not inflate.eof:
            size += len(inflate.decompress(rest, 1 << 22))
            rest = inflate.unconsumed_tail
            if size > _LARGEST or (not rest and not inflate.eof):
                raise Refused("the pixels of the PNG do not end. A bomb, or a damaged file; get it again.")
    except zlib.error:
        raise Refused("the pixels of the PNG are damaged. Get the file again.") from None
    return stream[: len(stream) - len(inflate.unused_data)]
