"""``.seg.nrrd`` as 3D Slicer saves it: cropped, with layers, segments in any order."""

import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.coding import Code

from medimg.errors import DataError
from medimg.io.grid import Grid
from medimg.io.segments import Segment, Segmentation, make_segments

MAX_BYTES = 1 << 32
"""A file that declares more is refused before memory is taken for it."""

_TYPES = {
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
}
# Signs that turn each space into right-anterior-superior.
_SPACES = {
    **dict.fromkeys(("left-posterior-superior", "lps"), (-1.0, -1.0, 1.0)),
    **dict.fromkeys(("right-anterior-superior", "ras"), (1.0, 1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior", "las"), (-1.0, 1.0, 1.0)),
}
_VECTOR = re.compile(r"none|\(([^)]*)\)")
_NUMBERED = re.compile(r"Segment(\d+)_ID")


@dataclass(slots=True)
class _Header:
    """Fields and keys of the header of a file."""

    path: Path
    fields: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)

    def need(self, name: str) -> str:
        if name not in self.fields:
            raise self.wrong(f"lacks the field {name!r}")
        return self.fields[name]

    def wrong(self, what: str) -> DataError:
        return DataError(
            f"{self.path}: {what}. Expected a segmentation as 3D Slicer saves it (.seg.nrrd, data inside, raw or gzip, "
            "in anatomical space); save it again there."
        )


def read_seg_nrrd(path: Path) -> Segmentation:
    """Read a segmentation with names, colours and terminology.

    Args:
        path: ``.seg.nrrd`` with its data inside, raw or gzip. It may be cropped: its origin says where it lies.

    Returns:
        All layers as they stand in the file; a file without layers has one. Files of 3D Slicer before 4.11, with
        a segment a layer and no label values, are read alike.

    Raises:
        DataError: If the file is missing, damaged or no such segmentation, or holds a value that no segment names.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    header, start = _parse(path, content)
    try:
        sizes = [int(part) for part in header.need("sizes").split()]
        layered, grid = _geometry(header, sizes)
        segments = _segments(header)
    except ValueError as error:
        raise header.wrong(f"has a header field that is no number ({error})") from error
    stored = _voxels(header, content[start:], sizes)
    depth_first = np.moveaxis(stored, len(sizes) - 1 - layered, 0) if layered is not None else stored[None]
    _check_values(header, depth_first, segments)
    return Segmentation(depth_first, grid, segments)


def _parse(path: Path, content: bytes) -> tuple[_Header, int]:
    """The header, and where the data begin."""
    header = _Header(path)
    ended = re.search(rb"\r?\n\r?\n", content[: 1 << 22])
    if not re.match(rb"NRRD000[1-5]\r?\n", content) or ended is None:
        raise header.wrong("is no NRRD file, or its header has no end")
    try:
        lines = content[: ended.start()].decode("utf-8").splitlines()[1:]
    except UnicodeDecodeError as error:
        raise header.wrong("has a header that is no UTF-8 text") from error
    for line in lines:
        if line.startswith("#"):
            continue
        key, mark, value = line.partition(":=")
        if mark:
            header.keys[key] = re.sub(r"\\([\\n])", lambda m: "\n" if m[1] == "n" else "\\", value)
            continue
        name, mark, value = line.partition(":")
        if not mark:
            raise header.wrong(f"has a header line without a colon, {line[:60]!r}")
        header.fields[name.strip().lower()] = value.strip()
    for name in ("data file", "datafile", "line skip", "byte skip"):
        if header.fields.get(name, "0") != "0":
            raise header.wrong(f"keeps its data elsewhere ({name}: {header.fields[name]})")
    return header, ended.end()


def _geometry(header: _Header, sizes: list[int]) -> tuple[int | None, Grid]:
    """Which axis of the file counts layers, and the grid of the other three."""
    space = header.need("space").lower()
    directions = [
        None if one[0] == "none" else [float(part) for part in one[1].split(",")]
        for one in _VECTOR.finditer(header.need("space directions"))
    ]
    places = [axis for axis, one in enumerate(directions) if one is not None]
    counted = int(header.need("dimension")) == len(sizes) == len(directions)
    if space not in _SPACES or not counted or len(sizes) not in (3, 4) or len(places) != 3:
        raise header.wrong(f"has space {space!r}, sizes {sizes} and directions {directions}")
    affine = np.eye(4)
    affine[:3, :3] = np.array([directions[axis] for axis in places]).T
    affine[:3, 3] = [float(part) for part in header.need("space origin").strip("()").split(",")]
    affine[:3] *= np.array(_SPACES[space])[:, None]
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-9:
        raise header.wrong("has axes that span no volume")
    width, height, depth = (sizes[axis] for axis in places)
    layered = next((axis for axis in range(len(sizes)) if axis not in places), None)
    return layered, Grid((depth, height, width), affine)


def _voxels(header: _Header, data: bytes, sizes: list[int]) -> NDArray[np.integer]:
    """Values as stored, the file's axes from slow to fast."""
    kind = _TYPES.get(header.need("type").lower())
    if kind is None or min(sizes) < 1:
        raise header.wrong(f"has values of type {header.need('type')} and sizes {sizes}")
    order = ">" if header.fields.get("endian", "little").lower() == "big" else "<"
    dtype = np.dtype(order + kind)
    expected = math.prod(sizes) * dtype.itemsize
    if expected > MAX_BYTES:
        raise header.wrong(f"declares {expected:,} bytes, over the limit of {MAX_BYTES:,}")
    match header.need("encoding").lower():
        case "raw":
            raw, whole = data, True
        case "gzip" | "gz":
            unpack = zlib.decompressobj(wbits=31)
            try:
                raw = unpack.decompress(data, expected + 1)
            except zlib.error as error:
                raise header.wrong(f"has damaged gzip data ({error})") from error
            whole = unpack.eof
        case other:
            raise header.wrong(f"has data of encoding {other}")
    if len(raw) != expected or not whole:
        raise header.wrong(
            f"has {len(raw):,} bytes of data where {expected:,} are declared; it is cut off or damaged"
        )
    stored = np.frombuffer(raw, dtype).reshape(sizes[::-1])
    return stored.astype(dtype.newbyteorder("="), copy=False)


def _segments(header: _Header) -> tuple[Segment, ...]:
    numbers = sorted(int(found[1]) for key in header.keys if (found := _NUMBERED.fullmatch(key)))
    if not numbers:
        raise header.wrong("names no segment (Segment0_ID and so on)")
    return tuple(_segment(header.keys, number) for number in numbers)


def _segment(keys: Mapping[str, str], number: int) -> Segment:
    def key(name: str, default: str) -> str:
        return keys.get(f"Segment{number}_{name}", default)

    name = key("Name", key("ID", ""))
    # Before layers could be shared, each segment had its own and the value 1.
    (plain,) = make_segments({name: int(key("LabelValue", "1"))})
    layer = int(key("Layer", "0" if f"Segment{number}_LabelValue" in keys else str(number)))
    colour = [round(float(part) * 255) for part in key("Color", "").split()]
    category, kind = _terminology(key("Tags", "")) or (plain.category, plain.kind)
    return replace(
        plain,
        colour=(colour[0], colour[1], colour[2]) if len(colour) == 3 else plain.colour,
        category=category,
        kind=kind,
        layer=layer,
    )


def _terminology(tags: str) -> tuple[Code, Code] | None:
    """Category and kind out of a terminology entry, ``None`` where there is none."""
    found = re.search(r"TerminologyEntry:([^|]*)", tags)
    parts = found[1].split("~") if found else []
    codes = [part.split("^") for part in parts[1:3]]
    if len(codes) != 2 or any(len(code) != 3 or not all(code) for code in codes):
        return None
    (scheme, value, meaning), (kind_scheme, kind_value, kind_meaning) = codes
    return Code(value, scheme, meaning), Code(kind_value, kind_scheme, kind_meaning)


def _check_values(header: _Header, layers: NDArray[np.integer], segments: tuple[Segment, ...]) -> None:
    for one in segments:
        if not 0 <= one.layer < len(layers):
            raise header.wrong(f"puts segment {one.name!r} on layer {one.layer} of {len(layers)}")
    for number, layer in enumerate(layers):
        named = {one.value for one in segments if one.layer == number}
        unknown = sorted(set(np.unique(layer).tolist()) - {0} - named)
        if unknown:
            raise header.wrong(f"holds the values {unknown[:8]} on layer {number}, which no segment names")
