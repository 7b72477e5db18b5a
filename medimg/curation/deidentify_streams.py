"""Text inside compressed pictures: comments, application data and trailing bytes go, coded pixels stay bit for bit."""

import re
import struct

from pydicom.uid import UID

from medimg.errors import DataError

_JPEG_SYNTAX = "1.2.840.10008.1.2.4."
_RLE_SYNTAX = "1.2.840.10008.1.2.5"
_SOI, _EOI, _SOS, _COM = 0xD8, 0xD9, 0xDA, 0xFE
_APP0, _APP1, _APP14, _APP15 = 0xE0, 0xE1, 0xEE, 0xEF
_JFIF = 14  # bytes of JFIF without a thumbnail
_ADOBE = 12  # bytes of Adobe's colour transform
# Within coded pixels, FF is followed by 00 (JPEG), by a byte below 80 (JPEG-LS), or by a restart marker.
_MARKER = re.compile(rb"\xff([\x80-\xcf\xd8-\xfe])")
_J2K_SOT, _J2K_SOD, _J2K_COM, _J2K_EOC = 0xFF90, 0xFF93, 0xFF64, 0xFFD9
_JP2_BOX = b"\0\0\0\x0cjP  "


class Refused(DataError):
    """A file that is not written. The text says why without a value of the file, so that a report may hold it."""


class LeftOut(Exception):
    """A file that is no image and is not copied. The text says why without a value of the file."""


def clean_stream(syntax: UID, stream: bytes, *, planes: int = 1, pixels: int = 0) -> bytes:
    """Return one frame's compressed stream without text.

    Args:
        syntax: Transfer syntax of the file.
        stream: The frame.
        planes: RLE: byte planes of a frame.
        pixels: RLE: pixels of a frame.

    Raises:
        Refused: If the syntax is none that can be looked into (such as video), or the stream is damaged.
    """
    if syntax == _RLE_SYNTAX:
        return clean_rle(stream, planes=planes, pixels=pixels)
    if stream[:2] == b"\xff\xd8" and syntax.startswith(_JPEG_SYNTAX):
        return clean_jpeg(stream)
    if stream[:4] == b"\xff\x4f\xff\x51" or stream[:8] == _JP2_BOX:
        return clean_jpeg2000(stream)
    raise Refused(
        f"pixels in {syntax.name or 'an unknown syntax'} cannot be searched for text. Convert them to another "
        "transfer syntax first, or leave the file out."
    )


def clean_jpeg(stream: bytes, *, orientation: bool = False) -> bytes:
    """Rewrite JPEG or JPEG-LS without comments, application data and what follows the end.

    Kept are JFIF without its thumbnail, Adobe's colour transform, which decoders need, and JPEG-LS' own
    parameters.

    Args:
        stream: From start of image on.
        orientation: Keep how the picture is turned, as an EXIF of that one number.

    Raises:
        Refused: If the markers are damaged.
    """
    kept, position = [b"\xff\xd8"], 2
    while True:
        position = _skip_fill(stream, position)
        marker = stream[position + 1]
        if marker == _EOI:
            return b"".join([*kept, b"\xff\xd9"])
        (length,) = struct.unpack_from(">H", stream, position + 2) if position + 4 <= len(stream) else (0,)
        end = position + 2 + length
        if length < 2 or end > len(stream):
            raise Refused("a JPEG segment leaves the picture. Get the file again.")
        kept.append(_jpeg_segment(marker, stream[position + 4 : end], orientation=orientation))
        position = end
        if marker == _SOS:
            found = _MARKER.search(stream, position)
            if found is None:
                # Truncated streams decode in practice; their end is put right.
                return b"".join([*kept, stream[position:], b"\xff\xd9"])
            kept.append(stream[position : found.start()])
            position = found.start()


def _skip_fill(stream: bytes, position: int) -> int:
    while stream[position : position + 2] == b"\xff\xff":
        position += 1
    if position + 2 > len(stream) or stream[position] != 0xFF:
        raise Refused("a JPEG marker is missing. Get the file again.")
    return position


def _jpeg_segment(marker: int, body: bytes, *, orientation: bool) -> bytes:
    if marker == _APP0 and body[:5] == b"JFIF\0" and len(body) >= _JFIF:
        body = body[: _JFIF - 2] + b"\0\0"
    elif marker == _APP1 and orientation and body[:6] == b"Exif\0\0":
        turned = exif_orientation(body[6:])
        if turned == 1:
            return b""
        body = b"Exif\0\0" + orientation_exif(turned)
    elif marker == _APP14 and body[:5] == b"Adobe":
        body = body[:_ADOBE]
    elif marker == 0xE8 and body[:4] == b"mrfx" and len(body) >= 5:  # colour transform of HP's JPEG-LS
        body = body[:5]
    elif marker == _COM or _APP0 <= marker <= _APP15:
        return b""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def exif_orientation(tiff: bytes) -> int:
    """Return the number, 1 to 8, that says how a picture is turned; 1 where none is readable."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 14:
        return 1
    (start,) = struct.unpack_from(f"{order}L", tiff, 4)
    if start + 2 > len(tiff):
        return 1
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    for entry in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
        tag, _kind, _count, value = struct.unpack_from(f"{order}HHLH", tiff, entry)
        if tag == 0x0112:
            return int(value) if 1 <= value <= 8 else 1
    return 1


def orientation_exif(value: int) -> bytes:
    """An EXIF block that says how the picture is turned and nothing else.

    Example:
        >>> exif_orientation(orientation_exif(6))
        6
    """
    return b"MM\0*" + struct.pack(">LHHHLHHL", 8, 1, 0x0112, 3, 1, value, 0, 0)


def clean_jpeg2000(stream: bytes) -> bytes:
    """Return a JPEG 2000 codestream with empty comments and nothing after its end.

    A JP2 wrapper goes: DICOM allows the bare codestream only, and boxes hold text. Comments keep their length, so that
    no length in the stream changes.

    Raises:
        Refused: If the markers are damaged.
    """
    if stream[:8] == _JP2_BOX:
        stream = _codestream(stream)
    cleaned = bytearray(stream)
    try:
        position = _blank_comments(cleaned, 2, _J2K_SOT)
        while _word(cleaned, position) == _J2K_SOT:
            (size,) = struct.unpack_from(">L", cleaned, position + 6)
            _blank_comments(cleaned, position, _J2K_SOD)
            if size == 0:  # the last part reaches to the end
                end = cleaned.rfind(b"\xff\xd9")
                position = end if end > position else len(cleaned)
            else:
                position += size
            if position + 2 > len(cleaned):
                return bytes(cleaned) + b"\xff\xd9"
    except struct.error:
        raise Refused("a JPEG 2000 stream is cut. Get the file again.") from None
    if _word(cleaned, position) != _J2K_EOC:
        raise Refused("a JPEG 2000 stream does not end where it says. Get the file again.")
    return bytes(cleaned[: position + 2])


def _blank_comments(stream: bytearray, position: int, until: int) -> int:
    """Fill the comments of one header with zeros; return where the marker stands that ends the header."""
    while (marker := _word(stream, position)) != until:
        length = _word(stream, position + 2)
        if marker < 0xFF00 or length < 2:
            raise Refused("a JPEG 2000 marker is missing. Get the file again.")
        if marker == _J2K_COM:
            stream[position + 4 : position + 2 + length] = bytes(length - 2)
        position += 2 + length
    return position


def _word(stream: bytearray, position: int) -> int:
    return int(struct.unpack_from(">H", stream, position)[0])


def _codestream(stream: bytes) -> bytes:
    position = 0
    while position + 8 <= len(stream):
        length, kind = struct.unpack_from(">L4s", stream, position)
        if kind == b"jp2c":
            return stream[position + 8 : position + length if length > 8 else None]
        if length < 8:
            break
        position += length
    raise Refused("a JP2 wrapper holds no codestream. Get the file again.")


def clean_rle(stream: bytes, *, planes: int, pixels: int) -> bytes:
    """Return a DICOM RLE frame without bytes between and after its runs.

    Args:
        stream: Header of 64 bytes and one segment a byte plane.
        planes: Bytes of a pixel.
        pixels: Pixels of a frame.

    Raises:
        Refused: If there are not as many segments, or one ends before the frame is full.
    """
    if len(stream) < 64:
        raise Refused("an RLE header is cut. Get the file again.")
    count, *offsets = struct.unpack_from("<16L", stream)
    if count != planes or not 0 < count < 16:
        raise Refused(f"expected {planes} RLE segments, found {count}. Get the file again.")
    segments, places, position = [], [], 64
    for start in offsets[:count]:
        segment = stream[start : _end_of_runs(stream, start, pixels)]
        segments.append(segment + b"\0" * (len(segment) % 2))
        places.append(position)
        position += len(segments[-1])
    header = struct.pack("<16L", count, *places, *[0] * (15 - count))
    return header + b"".join(segments)


def _end_of_runs(stream: bytes, position: int, pixels: int) -> int:
    made = 0
    while made < pixels:
        if position >= len(stream):
            raise Refused("an RLE segment ends before the frame is full. Get the file again.")
        step = stream[position]
        if step < 128:
            made, position = made + step + 1, position + step + 2
        elif step > 128:
            made, position = made + 257 - step, position + 2
        else:
            position += 1
    return position
