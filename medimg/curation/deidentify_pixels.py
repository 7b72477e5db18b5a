"""Text in the picture itself: which files may carry it, boxes that blank it, and bytes that are no pixels."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medimg.curation.deidentify_streams import Refused, clean_stream
from medimg.errors import ConfigError
from medimg.io.dicom.parse import Opened
from medimg.io.dicom.stored import decode

# Modalities whose machines write names and numbers into the picture.
_BURNED = "US IVUS EC DUS XA RF ES XC GM DOC SC OPT OPM VF ECG HD EPS LP"
BURNED_MODALITIES = frozenset(_BURNED.split())
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_SCREEN = ("SCREEN", "CAPTURE")
_BOX_COLUMNS = ("match", "left", "top", "width", "height")
_NATIVE = {
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
}
_FLOATS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle to blank, in pixels.

    Attributes:
        match: Path below the source folder, with ``*`` for any text, or a SeriesInstanceUID.
        left: Columns left of it.
        top: Rows above it.
        width: Columns; 0 says that the picture was looked at and holds no text.
        height: Rows.
    """

    match: str
    left: int = 0
    top: int = 0
    width: int = 0
    height: int = 0


def read_boxes(path: Path) -> tuple[Box, ...]:
    """Read a table with the columns match, left, top, width, height.

    A row whose four numbers are empty says that someone looked and found no text.

    Raises:
        ConfigError: If the file is missing, lacks a column, or holds a box that is none.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--boxes {path}: cannot be read ({error}).") from error
    boxes = []
    for number, line in enumerate(lines, 2):
        try:
            values = [(line[name] or "").strip() for name in _BOX_COLUMNS]
            empty = not any(values[1:])
            box = Box(values[0]) if empty else Box(values[0], *(int(value) for value in values[1:]))
        except (KeyError, ValueError):
            raise _bad_box(path, number) from None
        if not box.match or (not empty and (min(box.left, box.top) < 0 or min(box.width, box.height) < 1)):
            raise _bad_box(path, number)
        boxes.append(box)
    return tuple(boxes)


def _bad_box(path: Path, number: int) -> ConfigError:
    return ConfigError(
        f"--boxes {path}, line {number}: expected the columns {', '.join(_BOX_COLUMNS)}: a path or series UID and "
        "whole numbers of pixels, or four empty fields for a picture without text."
    )


def boxes_for(boxes: Sequence[Box], name: str, series_uid: str = "") -> tuple[Box, ...]:
    """Return the rows that speak of a file.

    Args:
        boxes: All rows.
        name: Path of the file below the source folder, with ``/``.
        series_uid: Series that the file belongs to.

    Example:
        >>> [box.match for box in boxes_for([Box("us/*.dcm"), Box("1.2.3"), Box("b")], "us/a.dcm", "1.2.3")]
        ['us/*.dcm', '1.2.3']
    """
    return tuple(box for box in boxes if box.match == series_uid or fnmatchcase(name, box.match))


def may_show_text(dataset: Dataset) -> str:
    """Return why a picture may carry burned-in text, empty if nothing says so.

    A statement that it carries none (BurnedInAnnotation NO) does not help for kinds that usually do: machines set it
    whatever they draw.
    """
    if str(dataset.get("BurnedInAnnotation", "")).strip().upper() == "YES":
        return "BurnedInAnnotation is YES"
    modality = str(dataset.get("Modality", "")).strip().upper()
    if modality in BURNED_MODALITIES:
        return f"modality {modality} often carries it"
    if str(dataset.get("SOPClassUID", "")).startswith(_SECONDARY_CAPTURE):
        return "it is a secondary capture"
    kinds = dataset.get("ImageType") or ()
    words = " ".join([kinds] if isinstance(kinds, str) else [str(kind) for kind in kinds]).upper()
    return "it is a screen capture" if any(word in words for word in _SCREEN) else ""


def clean_pixels(opened: Opened, cleaned: Dataset, boxes: Sequence[Box]) -> UID:
    """Put the pixels of a file into its cleaned header, without bytes that are none.

    Compressed frames are decoded only where there is something to blank; they are then stored uncompressed, and all
    other pixels keep the values that the decoder gave.

    Args:
        opened: The file.
        cleaned: Its new header, which receives the pixels.
        boxes: What to blank.

    Returns:
        Transfer syntax of the new file.

    Raises:
        Refused: If the pixels are truncated or damaged, a box lies outside, or blanking is not possible.
    """
    dataset, syntax = opened.dataset, opened.syntax
    drawn = [box for box in boxes if box.width]
    if _planes_in_pixels(dataset):
        raise Refused("overlay planes lie within the pixels. Write them apart first, or leave the file out.")
    for name, bits in _FLOATS.items():
        if name in dataset:
            if drawn:
                raise Refused("boxes in pixels of floating point are not supported. Leave the file out.")
            setattr(cleaned, name, _trimmed(dataset, bytes(dataset[name].value), bits))
            return syntax
    if syntax not in _NATIVE:
        if drawn:
            return _blank_decoded(opened, cleaned, drawn)
        cleaned.add_new(0x7FE00010, "OB", _clean_frames(dataset, syntax))
        cleaned["PixelData"].is_undefined_length = True
        return syntax
    bits = int(dataset.BitsAllocated)
    content = _trimmed(dataset, bytes(dataset["PixelData"].value), bits)
    if drawn:
        content = _blank_native(dataset, content, drawn)
    cleaned.add_new(0x7FE00010, "OW" if bits > 8 or syntax.is_implicit_VR else "OB", content)
    return syntax


def _planes_in_pixels(dataset: Dataset) -> bool:
    """Whether an old-style overlay uses bits of the pixels that the picture leaves free."""
    for group in range(0x6000, 0x6020, 2):
        position = dataset.get((group, 0x0102))
        if position is not None and position.value and (group, 0x3000) not in dataset:
            return True
    return False


def _shape(dataset: Dataset) -> tuple[int, int, int, int]:
    """Frames, rows, columns and samples."""
    frames = int(dataset.get("NumberOfFrames") or 1)
    return max(frames, 1), int(dataset.Rows), int(dataset.Columns), int(dataset.get("SamplesPerPixel") or 1)


def _trimmed(dataset: Dataset, content: bytes, bits: int) -> bytes:
    needed = (math.prod(_shape(dataset)) * bits + 7) // 8
    if str(dataset.get("PhotometricInterpretation", "")) == "YBR_FULL_422":
        needed = needed * 2 // 3
    if len(content) < needed:
        raise Refused(f"the pixel data are truncated: expected {needed:,} bytes, found {len(content):,}.")
    return content[:needed] + b"\0" * (needed % 2)


def _clean_frames(dataset: Dataset, syntax: UID) -> bytes:
    frames, rows, columns, samples = _shape(dataset)
    bits = int(dataset.BitsAllocated)
    planes = samples * max(bits // 8, 1)
    pixels = rows * columns if bits >= 8 else (rows * columns * bits + 7) // 8  # masks of one bit are packed
    streams = generate_frames(dataset["PixelData"].value, number_of_frames=frames)
    cleaned = [clean_stream(syntax, stream, planes=planes, pixels=pixels) for stream in streams]
    if len(cleaned) != frames:
        raise Refused(f"the pixel data are truncated: expected {frames} frames, found {len(cleaned)}.")
    return encapsulate(cleaned)


def _blank_native(dataset: Dataset, content: bytes, boxes: Sequence[Box]) -> bytes:
    frames, rows, columns, samples = _shape(dataset)
    bits = int(dataset.BitsAllocated)
    if bits % 8 or str(dataset.get("PhotometricInterpretation", "")) == "YBR_FULL_422":
        raise Refused(
            "boxes in pixels of one bit, or of halved colours, are not supported. Leave the file out."
        )
    size = bits // 8
    pixels = np.frombuffer(content, np.uint8)[: frames * rows * columns * samples * size].copy()
    if samples > 1 and int(dataset.get("PlanarConfiguration") or 0) == 1:
        _blank(pixels.reshape(frames * samples, rows, columns, size), boxes)
    else:
        _blank(pixels.reshape(frames, rows, columns, samples * size), boxes)
    return pixels.tobytes() + content[pixels.size :]


def _blank_decoded(opened: Opened, cleaned: Dataset, boxes: Sequence[Box]) -> UID:
    stored = decode(opened)
    values = np.array(stored.values)  # (F, H, W, S)
    _blank(values, boxes)
    content = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    cleaned.BitsAllocated = values.dtype.itemsize * 8
    cleaned.PhotometricInterpretation = stored.photometric
    cleaned.SamplesPerPixel = values.shape[3]
    if values.shape[3] > 1:
        cleaned.PlanarConfiguration = 0
    cleaned.add_new(
        0x7FE00010, "OW" if values.dtype.itemsize > 1 else "OB", content + b"\0" * (len(content) % 2)
    )
    return ExplicitVRLittleEndian


def _blank(pixels: np.ndarray, boxes: Sequence[Box]) -> None:
    """Set boxes to zero in place, shape (F, H, W, S)."""
    _, rows, columns, _ = pixels.shape
    for box in boxes:
        if box.left + box.width > columns or box.top + box.height > rows:
            raise Refused(
                f"a box reaches to column {box.left + box.width} and row {box.top + box.height}, outside the picture "
                f"of {columns} x {rows}. Correct it in --boxes."
            )
        pixels[:, box.top : box.top + box.height, box.left : box.left + box.width] = 0
