"""Compressed frames to arrays, each transfer syntax through the decoder that was measured fastest.

``benchmarks/decode.py`` holds the measurement. JPEG streams are told apart by their own header and not by the
transfer syntax, because retired syntaxes and wrong labels carry the same streams.
"""

import importlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

Stored = NDArray[np.generic]

_JPEG = "1.2.840.10008.1.2.4."
_RLE = "1.2.840.10008.1.2.5"
_DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
# Start-of-frame markers: 0 to 2 DCT with Huffman codes, 3 lossless, 0xF7 - 0xC0 JPEG-LS.
_JPEG_LS = 0xF7
_SOF = {*range(0xC0, 0xD0), _JPEG_LS} - {0xC4, 0xC8, 0xCC}
_PACKAGE = {"gdcm": "python-gdcm", "openjpeg": "pylibjpeg-openjpeg", "rle": "pylibjpeg-rle", "PIL": "pillow"}
# GDCM chooses among its own codecs by these names; any of them reads every JPEG process.
_GDCM_SYNTAX = {0xC3: "1.2.840.10008.1.2.4.70", _JPEG_LS: "1.2.840.10008.1.2.4.80"}


class FrameError(Exception):
    """A frame that cannot be decoded; the caller adds the file and the frame."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What the header says of a frame.

    Attributes:
        rows: Height in pixels.
        columns: Width in pixels.
        samples: Values a pixel, 1 or 3.
        allocated: Bits a value takes in an uncompressed frame.
        photometric: Photometric interpretation.
    """

    rows: int
    columns: int
    samples: int
    allocated: int
    photometric: str


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame.

    Attributes:
        values: Shape (H, W, S), as the stream holds them: without sign extension.
        photometric: Colour space of ``values``; a decoder may have turned them to RGB.
        precision: Bits of a value in the stream.
        signed: Whether the stream itself says that its values are signed; ``None`` where it cannot say.
    """

    values: Stored
    photometric: str
    precision: int
    signed: bool | None = None


Codec = Callable[[bytes, Layout], Frame]


def codec_for(syntax: str) -> Codec | None:
    """Return the decoder of an encapsulated transfer syntax, ``None`` where there is none.

    Args:
        syntax: Transfer syntax UID.

    Example:
        >>> codec_for("1.2.840.10008.1.2.4.90").__name__, codec_for("1.2.840.10008.1.2.4.100")
        ('decode_jpeg2000', None)
    """
    if syntax == _RLE:
        return decode_rle
    if syntax == _DEFLATED_FRAMES:
        return decode_deflated
    number = syntax.removeprefix(_JPEG)
    if number == syntax or not number.isdigit():
        return None
    if int(number) in (90, 91, 201, 202, 203):
        return decode_jpeg2000
    # 50 to 66 are the JPEG processes, retired ones among them; 80 and 81 JPEG-LS.
    return decode_jpeg if int(number) in (*range(50, 67), 70, 80, 81) else None


def decode_rle(stream: bytes, layout: Layout) -> Frame:
    """Decode DICOM RLE with pylibjpeg-rle.

    Raises:
        FrameError: If the stream is cut or does not fill the frame.
    """
    planes = layout.samples * layout.allocated // 8
    pixels = layout.rows * layout.columns
    # A two-byte run makes at most 128 bytes.
    if pixels * planes > 64 * len(stream):
        raise FrameError(f"{len(stream):,} bytes of RLE cannot hold {layout.rows} x {layout.columns} pixels")
    decode = _plugin("rle").decode_pixel_data
    size = {"rows": layout.rows, "columns": layout.columns, "bits_allocated": layout.allocated}
    try:
        buffer = decode(stream, version=2, **size)
    except BaseException as error:
        # A panic of the Rust code under the decoder is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise FrameError("a run leaves the frame") from error
    dtype = np.dtype(f"<u{layout.allocated // 8}")
    if len(buffer) != pixels * planes:
        raise FrameError(f"expected {pixels * planes:,} bytes, found {len(buffer):,}")
    values = np.frombuffer(buffer, dtype).reshape(layout.samples, layout.rows, layout.columns)
    return Frame(values.transpose(1, 2, 0), layout.photometric, layout.allocated)


def decode_deflated(stream: bytes, layout: Layout) -> Frame:
    """Inflate a frame of Deflated Image Frame Compression, never further than the frame's size.

    Raises:
        FrameError: If the stream is damaged or does not fill the frame.
    """
    count = layout.rows * layout.columns * layout.samples
    needed = (count * layout.allocated + 7) // 8
    try:
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream, needed)
    except zlib.error as error:
        raise FrameError(f"the deflated frame is damaged ({error})") from error
    if len(content) < needed:
        raise FrameError(f"truncated: expected {needed:,} bytes, found {len(content):,}")
    if layout.allocated == 1:
        values = np.unpackbits(np.frombuffer(content, np.uint8), count=count, bitorder="little")
    else:
        values = np.frombuffer(content, f"<u{layout.allocated // 8}")
    shape = (layout.rows, layout.columns, layout.samples)
    return Frame(values.reshape(shape), layout.photometric, layout.allocated)


def decode_jpeg2000(stream: bytes, layout: Layout) -> Frame:
    """Decode JPEG 2000, High-Throughput too, with pylibjpeg-openjpeg.

    Raises:
        FrameError: If the stream is cut, or disagrees with the header about the size.
    """
    start = max(stream.find(b"\xff\x4f\xff\x51", 0, 4096), 0)  # behind the boxes of a .jp2 wrapper
    if len(stream) < start + 43 or stream[start : start + 4] != b"\xff\x4f\xff\x51":
        raise FrameError("it does not begin as a JPEG 2000 stream")
    size = [int.from_bytes(stream[start + at : start + at + 4]) for at in (8, 12, 16, 20)]
    samples = int.from_bytes(stream[start + 40 : start + 42])
    _same_size(layout, size[1] - size[3], size[0] - size[2], samples)
    buffer = _plugin("openjpeg").decode_pixel_data(_whole_jpeg2000(stream, start), version=2)
    precision = (stream[start + 42] & 0x7F) + 1
    bytes_each = 1 if precision <= 8 else 2 if precision <= 16 else 4
    if len(buffer) != layout.rows * layout.columns * samples * bytes_each:
        raise FrameError(f"expected {layout.rows} x {layout.columns} pixels, found {len(buffer):,} bytes")
    values = np.frombuffer(buffer, f"<u{bytes_each}").reshape(layout.rows, layout.columns, samples)
    # The decoder undoes the colour transform that the stream names.
    photometric = "RGB" if layout.photometric in ("YBR_ICT", "YBR_RCT") else layout.photometric
    return Frame(values, photometric, precision, signed=bool(stream[start + 42] & 0x80))


def decode_jpeg(stream: bytes, layout: Layout) -> Frame:
    """Decode any JPEG or JPEG-LS process: 8-bit DCT with pillow, all others with GDCM.

    Raises:
        FrameError: If the stream is cut, disagrees with the header, or is of a process that nothing decodes.
    """
    process, rows, columns, precision, ids = _jpeg_header(stream)
    _same_size(layout, rows, columns, len(ids))
    # Frames are padded to an even length, with zeros or with FF.
    if b"\xff\xd9" not in stream[-16:]:
        raise FrameError("truncated: the JPEG stream has no end marker")
    if process not in (0xC0, 0xC1, 0xC2, 0xC3, _JPEG_LS):
        raise FrameError(
            f"it uses JPEG process SOF{process - 0xC0} (arithmetic coding or hierarchy), which was retired and "
            "which no decoder here reads; convert the file with the software that wrote it"
        )
    if precision == 8 and process not in (0xC3, _JPEG_LS):
        return _decode_with_pillow(stream, layout, ids)
    if process == _JPEG_LS and precision in (6, 7):
        raise FrameError(f"GDCM cannot decode JPEG-LS of {precision} bits; convert the file")
    values = _decode_with_gdcm(stream, layout, process, precision)
    photometric = "RGB" if ids in (b"RGB", b"rgb") else layout.photometric
    if len(ids) == 3 and photometric == "YBR_FULL_422":
        photometric = "YBR_FULL"
    return Frame(values, photometric, precision)


def _decode_with_pillow(stream: bytes, layout: Layout, ids: bytes) -> Frame:
    image_module = _plugin("PIL.Image")
    with image_module.open(BytesIO(stream), formats=("JPEG",)) as image:
        if len(ids) == 1:
            return Frame(np.asarray(image)[..., None], layout.photometric, 8)
        # Without a JFIF or a whole Adobe marker the stream does not say its colours; then the header counts.
        says = "jfif" in image.info or "adobe_transform" in image.info or ids in (b"RGB", b"rgb")
        if layout.photometric == "RGB" and not says:
            # Pillow then leaves the values as they are.
            image.draft("YCbCr", image.size)
        elif image.mode != "RGB":
            raise FrameError(f"expected three colours, found {image.mode}")
        return Frame(np.asarray(image), "RGB", 8)


def _decode_with_gdcm(stream: bytes, layout: Layout, process: int, precision: int) -> Stored:
    gdcm = _plugin("gdcm")
    bits = 8 if precision <= 8 else 16
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(stream)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((layout.columns, layout.rows, 1))
    image.SetDataElement(element)
    # RGB keeps GDCM from touching the colours.
    kind = gdcm.PhotometricInterpretation
    image.SetPhotometricInterpretation(kind(kind.MONOCHROME2 if layout.samples == 1 else kind.RGB))
    if layout.samples > 1:
        image.SetPlanarConfiguration(0)
    syntax = gdcm.TransferSyntax
    name = _GDCM_SYNTAX.get(process, "1.2.840.10008.1.2.4.51")
    image.SetTransferSyntax(syntax(syntax.GetTSType(name)))
    image.SetPixelFormat(gdcm.PixelFormat(layout.samples, bits, precision, precision - 1, 0))
    # The binding hands bytes over as text, which takes a fifth of the time. Its ImageRegionReader fills an
    # array instead, but ends the whole process when a file is damaged.
    text = image.GetBuffer()
    buffer = text.encode("utf-8", "surrogateescape") if text is not None else b""
    if len(buffer) != layout.rows * layout.columns * layout.samples * bits // 8:
        raise FrameError("the JPEG stream is damaged or truncated")
    return np.frombuffer(buffer, f"<u{bits // 8}").reshape(layout.rows, layout.columns, layout.samples)


def _jpeg_header(stream: bytes) -> tuple[int, int, int, int, bytes]:
    """Return process, rows, columns, precision and component ids."""
    position = 2
    if stream[:2] != b"\xff\xd8":
        raise FrameError("it does not begin as a JPEG stream")
    while position + 4 <= len(stream) and stream[position] == 0xFF:
        marker = stream[position + 1]
        if marker == 0xFF or 0xD0 <= marker <= 0xD8 or marker == 0x01:  # no segment follows
            position += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(stream[position + 2 : position + 4])
        segment = stream[position + 4 : position + 2 + length]
        if marker in _SOF and len(segment) >= 6:
            rows, columns = int.from_bytes(segment[1:3]), int.from_bytes(segment[3:5])
            return marker, rows, columns, segment[0], segment[6::3][: segment[5]]
        position += 2 + max(length, 2)
    raise FrameError("truncated or damaged: the JPEG stream has no frame header")


def _whole_jpeg2000(stream: bytes, start: int) -> bytes:
    """Return a stream with an end marker, which some writers leave out; refuse one whose tiles are cut."""
    if b"\xff\xd9" in stream[-16:]:
        return stream
    cut = FrameError("truncated: the JPEG 2000 stream ends before its last tile does")
    position = start + 2
    while stream[position : position + 2] != b"\xff\x90":  # start of a tile part
        if position + 4 > len(stream):
            raise cut
        position += 2 + int.from_bytes(stream[position + 2 : position + 4])
    while stream[position : position + 2] == b"\xff\x90":
        length = int.from_bytes(stream[position + 6 : position + 10])
        if length < 14:
            raise cut
        position += length
    if position > len(stream) or stream[position:].strip(b"\0"):
        raise cut
    return stream[:position] + b"\xff\xd9"


def _same_size(layout: Layout, rows: int, columns: int, samples: int) -> None:
    """Refuse a stream of another size than the header's before anything is allocated."""
    if (rows, columns, samples) != (layout.rows, layout.columns, layout.samples):
        raise FrameError(
            f"the header says {layout.rows} x {layout.columns} pixels of {layout.samples} values, the stream "
            f"holds {rows} x {columns} of {samples}"
        )


def _plugin(name: str) -> Any:
    """Import a decoder when it is first needed, so that a missing one blocks its own syntaxes only."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = _PACKAGE[name.partition(".")[0]]
        raise FrameError(f"its decoder is missing; install the package {package}") from error
