"""Stored values of a DICOM file: the pixel data decoded, and nothing yet read into the numbers."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames, get_frame
from pydicom.pixels.decoders.base import DecodeOptions, get_decoder
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medimg.errors import DataError
from medimg.io.dicom.codecs import Frame, FrameError, Layout, codec_for
from medimg.io.dicom.parse import MAX_BYTES, Opened, header_warnings, open_dataset, refuse_header

_PIXEL_ELEMENTS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_NATIVE = {
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
}
_VIDEO = range(100, 109)
_LIMIT_WORDS = f"more than the limit of {MAX_BYTES:,} bytes"


@dataclass(frozen=True, slots=True)
class Stored:
    """Decoded frames.

    Attributes:
        values: Shape (F, H, W, S), of the type the header states; colours are RGB.
        bits: Bits a value can use, 32 or 64 for floating point.
        photometric: ``MONOCHROME1``, ``MONOCHROME2``, ``PALETTE COLOR`` or ``RGB``.
    """

    values: NDArray[np.generic]
    bits: int
    photometric: str


def read_stored(path: Path, *, frame: int | None = None) -> NDArray[np.generic]:
    """Decode a file and return the values as stored, before slope, window and inversion.

    Args:
        path: DICOM file with an image.
        frame: Number of one frame, from 0; ``None`` for all.

    Returns:
        Integers, or floats where the file holds them, shape (F, H, W, S); S is 3 for colours, which are RGB.

    Raises:
        DataError: If the file cannot be read or decoded.
    """
    with header_warnings():
        return decode(open_dataset(Path(path)), frame).values


def decode(opened: Opened, frame: int | None = None) -> Stored:
    """Decode the frames of a parsed file.

    Raises:
        DataError: If the header contradicts itself or the data, the data are cut, no decoder reads the
            transfer syntax, or the values would take more than 1 GiB.
    """
    try:
        return _decode(opened, frame)
    except DataError:
        raise
    except Exception as error:
        # pydicom converts elements when they are first looked at, and raises what its code meets.
        refuse_header(opened.path, error)


def _decode(opened: Opened, frame: int | None) -> Stored:
    layout, frames = _layout(opened)
    if frame is not None and not 0 <= frame < frames:
        raise DataError(f"{opened.path}: expected a frame from 0 to {frames - 1}, found {frame}.")
    read = frames if frame is None else 1
    # Values become float32 later, so four bytes each at least.
    size = layout.rows * layout.columns * layout.samples * read * max(layout.allocated // 8, 4)
    shape = f"{read} x {layout.rows} x {layout.columns} x {layout.samples}"
    if size > MAX_BYTES:
        raise DataError(
            f"{opened.path}: the header declares {shape} values of {layout.allocated} bits, which take "
            f"{size:,} bytes, {_LIMIT_WORDS}. The header is wrong, or read one frame at a time."
        )
    if opened.syntax not in _NATIVE:
        decoded = _decode_encapsulated(opened, layout, frames, frame)
    else:
        decoded = _decode_native(opened, layout, frames, frame)
    return _to_rgb(opened.path, decoded)


def _layout(opened: Opened) -> tuple[Layout, int]:
    """Read and check the image's size; return the layout of a frame and the number of frames."""
    dataset, path = opened.dataset, opened.path
    if not any(name in dataset for name in _PIXEL_ELEMENTS):
        kind = UID(str(dataset.get("SOPClassUID", ""))).name or "a directory or an unknown kind"
        raise DataError(
            f"{path}: holds no image, only a header ({kind}). Leave it out, or get the file again if it "
            "should hold one: it may be truncated."
        )
    wanted = {"Rows": 0, "Columns": 0, "SamplesPerPixel": 1, "BitsAllocated": 0}
    found = {name: _whole(path, name, dataset.get(name), default) for name, default in wanted.items()}
    rows, columns, samples, allocated = found.values()
    if not (rows and columns) or samples not in (1, 3, 4) or allocated not in (1, 8, 16, 32, 64):
        raise DataError(
            f"{path}: the header does not describe an image: {rows} rows, {columns} columns, {samples} values "
            f"a pixel of {allocated} bits. Get the file again from its source."
        )
    photometric = str(dataset.get("PhotometricInterpretation", "")).strip()
    if not photometric:
        photometric = "RGB" if samples == 3 else "MONOCHROME2"
    frames = max(_whole(path, "NumberOfFrames", dataset.get("NumberOfFrames"), 1), 1)
    return Layout(rows, columns, samples, allocated, photometric), frames


def _whole(path: Path, name: str, value: object, default: int) -> int:
    if value is None or value == "":
        return default
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: expected a whole number in {name}, found {value!r}.") from error


def _decode_native(opened: Opened, layout: Layout, frames: int, frame: int | None) -> Stored:
    """View the pixel data as an array, after a check that they are all there."""
    dataset, path = opened.dataset, opened.path
    name = next(name for name in _PIXEL_ELEMENTS if name in dataset)
    content = dataset[name].value
    if not isinstance(content, bytes):
        raise DataError(f"{path}: the pixel data are not a string of bytes. Get the file again.")
    bits = layout.rows * layout.columns * layout.samples * frames * layout.allocated
    needed = (bits + 7) // 8
    if layout.photometric == "YBR_FULL_422":
        needed = needed * 2 // 3
    if len(content) < needed:
        raise DataError(
            f"{path}: the pixel data are truncated: {frames} x {layout.rows} x {layout.columns} x "
            f"{layout.samples} values of {layout.allocated} bits need {needed:,} bytes, found "
            f"{len(content):,}. Copy or download the file again."
        )
    decoder = get_decoder(opened.syntax)
    options: DecodeOptions = {
        "view_only": True,
        "correct_unused_bits": False,
        "allow_excess_frames": False,
        "photometric_interpretation": layout.photometric,
    }
    array, about = decoder.as_array(dataset, index=frame, raw=True, **options)  # type: ignore[arg-type]
    shape = (-1, layout.rows, layout.columns, layout.samples)
    values = array.astype(array.dtype.newbyteorder("="), copy=False).reshape(shape)
    stored_bits = _stored_bits(dataset, layout.allocated)
    if values.dtype.kind != "f" and stored_bits < layout.allocated:
        values = _keep_bits(values, stored_bits)
    return Stored(values, stored_bits, str(about["photometric_interpretation"]))


def _decode_encapsulated(opened: Opened, layout: Layout, frames: int, frame: int | None) -> Stored:
    codec = codec_for(opened.syntax)
    if codec is None:
        raise DataError(f"{opened.path}: {_no_decoder(opened.syntax)}")
    decoded = []
    for number, stream in _streams(opened, frames, frame):
        try:
            decoded.append(_conform(codec(stream, layout), opened.dataset, layout))
        except FrameError as error:
            raise DataError(
                f"{opened.path}: frame {number} of {opened.syntax.name} cannot be decoded: {error}."
            ) from error
        except Exception as error:
            # The decoders raise their own types on damaged streams, GDCM's binding SystemError too.
            raise DataError(
                f"{opened.path}: frame {number} of {opened.syntax.name} is damaged "
                f"({type(error).__name__}: {' '.join(str(error).split())[:200]}). Get the file again."
            ) from error
    if len(decoded) != (frames if frame is None else 1):
        raise DataError(
            f"{opened.path}: the pixel data are truncated: the header declares {frames} frames, found "
            f"{len(decoded)}. Copy or download the file again."
        )
    values = decoded[0].values[None] if len(decoded) == 1 else np.stack([one.values for one in decoded])
    bits = min(_stored_bits(opened.dataset, layout.allocated), values.dtype.itemsize * 8)
    return Stored(values, bits, decoded[0].photometric)


def _streams(opened: Opened, frames: int, frame: int | None) -> Iterable[tuple[int, bytes]]:
    """Cut the fragments into one stream a frame."""
    dataset = opened.dataset
    content = dataset.PixelData if "PixelData" in dataset else b""
    tables = None
    if "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset:
        tables = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
    try:
        if frame is not None:
            one = get_frame(content, frame, number_of_frames=frames, extended_offsets=tables)
            return [(frame, one)]
        found = generate_frames(content, number_of_frames=frames, extended_offsets=tables)
        return list(enumerate(found))[:frames]
    except Exception as error:
        # pydicom raises ValueError, EOFError, struct.error and others on damaged fragments.
        raise DataError(
            f"{opened.path}: the compressed pixel data are damaged or truncated "
            f"({' '.join(str(error).split())[:200]}). Copy or download the file again."
        ) from error


def _conform(frame: Frame, dataset: Dataset, layout: Layout) -> Frame:
    """Give the values the sign that the header states, and clear the bits above those that are used."""
    signed = _is_signed(dataset)
    container = frame.values.dtype.itemsize * 8
    bits = frame.precision if frame.signed is not None else _stored_bits(dataset, layout.allocated)
    bits = min(bits, container)
    values = frame.values.view(f"{'i' if signed else 'u'}{container // 8}")
    # A JPEG 2000 stream whose sign agrees with the header is extended by the decoder, and a stream of no more
    # bits than the header's cannot hold larger values.
    fits = not signed and frame.signed is None and frame.precision <= bits
    if bits < container and frame.signed is not signed and not fits:
        values = _keep_bits(values, bits)
    return replace(frame, values=values)


def _keep_bits(values: NDArray[np.generic], bits: int) -> NDArray[np.generic]:
    """Keep the lowest bits of each value, and the sign; overlays may hide in the others (PS3.5, 8.1.1)."""
    shift = values.dtype.itemsize * 8 - bits
    if values.dtype.kind == "u":
        # Nearly every file keeps the upper bits clear, and looking is cheaper than copying.
        if int(values.max()) >> bits == 0:
            return values
        kept: NDArray[np.generic] = np.bitwise_and(values, values.dtype.type((1 << bits) - 1))
        return kept
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    if int(values.min()) >= low and int(values.max()) <= high:
        return values
    shifted: NDArray[np.generic] = np.right_shift(np.left_shift(values, shift), shift)
    return shifted


def _stored_bits(dataset: Dataset, allocated: int) -> int:
    bits = int(dataset.get("BitsStored") or allocated)
    return bits if 1 <= bits <= allocated else allocated


def _is_signed(dataset: Dataset) -> bool:
    return int(dataset.get("PixelRepresentation") or 0) == 1


def _to_rgb(path: Path, stored: Stored) -> Stored:
    """Turn luminance and chrominance to RGB; palettes are left to the reader of values."""
    samples = stored.values.shape[-1]
    if samples == 1:
        known = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
        if stored.photometric not in known:
            raise DataError(
                f"{path}: expected one of {', '.join(known)} for one value a pixel, found "
                f"{stored.photometric!r}. Mend (0028,0004) if the tag is wrong."
            )
        return stored
    if stored.photometric == "RGB" and samples == 3:
        return stored
    if stored.photometric not in ("YBR_FULL", "YBR_FULL_422") or samples != 3 or stored.bits != 8:
        raise DataError(
            f"{path}: {samples} values of {stored.bits} bits a pixel as {stored.photometric!r} cannot be "
            "turned to RGB. Convert the file to RGB with the software that wrote it."
        )
    rgb = convert_color_space(np.array(stored.values), "YBR_FULL", "RGB")
    return Stored(rgb, stored.bits, "RGB")


def _no_decoder(syntax: UID) -> str:
    """Say why a transfer syntax is not decoded, and what to do."""
    number = syntax.removeprefix("1.2.840.10008.1.2.4.")
    name = f"the transfer syntax {syntax.name} ({syntax})"
    if number.isdigit() and int(number) in _VIDEO:
        return f"{name} is video; extract its frames first, e.g. with ffmpeg."
    if number in ("94", "95", "204", "205"):
        return f"{name} keeps its pixels on a server; ask the archive for the file in another syntax."
    return (
        f"{name} cannot be decoded by pylibjpeg-openjpeg, pylibjpeg-rle, python-gdcm or pillow; convert the "
        "file to explicit little endian with the software that wrote it."
    )
