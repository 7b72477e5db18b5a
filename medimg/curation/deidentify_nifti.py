"""A NIfTI file without text: header fields, extensions, the name inside gzip, and bytes after the voxels."""

import gzip
import math
import struct
from pathlib import Path

from medimg.curation.deidentify_streams import LeftOut
from medimg.errors import DataError
from medimg.io.gzip_guard import GuardedReader

_LEVEL = 3  # half the time of level 6, a few per cent larger
# Start and length of what holds text, or numbers that no reader needs, by the size of the header.
_TEXT = {
    348: ((4, 10), (14, 18), (32, 4), (36, 2), (140, 8), (148, 80), (228, 24), (328, 16)),
    540: ((240, 80), (320, 24), (508, 16), (525, 15)),
}
_REGULAR = 38  # NIfTI-1: always the letter r
_LONGEST_EXTENSIONS = 1 << 26


def clean_nifti(source: Path, target: Path) -> int:
    """Write a file with the same voxels, geometry and scaling, and nothing else.

    Args:
        source: ``.nii`` or ``.nii.gz``; its content says whether it is NIfTI-1 or 2.
        target: File to write, compressed if its name ends in ``.gz``.

    Returns:
        How many text fields and extensions held something.

    Raises:
        LeftOut: If the voxels lie in another file (``.hdr`` and ``.img``).
        DataError: If the file is damaged or truncated.
    """
    with GuardedReader(source) as reader:
        header = bytearray(reader.read(348))
        order, size = _layout(source, header)
        header += reader.read(size - 348)
        if header[344:347] == b"ni1" or header[4:7] == b"ni2":
            raise LeftOut("half of a .hdr/.img pair; convert it to one .nii.gz")
        offset, voxels = _sizes(source, header, order, size)
        reader.check_promise(offset + voxels)
        between = reader.read(offset - size)
        content = reader.read_array(voxels)
    cleared = sum(any(header[start : start + length]) for start, length in _TEXT[size]) + any(between)
    for start, length in _TEXT[size]:
        header[start : start + length] = bytes(length)
    if size == 348:
        header[_REGULAR] = ord("r")
        struct.pack_into(f"{order}f", header, 108, float(size + 4))
    else:
        struct.pack_into(f"{order}q", header, 168, size + 4)
    with target.open("wb") as file:
        if not target.name.endswith(".gz"):
            file.write(bytes(header) + bytes(4))
            file.write(content.data)
            return cleared
        # Neither name nor time in the gzip header.
        with gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed:
            packed.write(bytes(header) + bytes(4))
            packed.write(content.data)
    return cleared


def _layout(path: Path, header: bytes | bytearray) -> tuple[str, int]:
    for order in "<>":
        (size,) = struct.unpack_from(f"{order}l", header)
        if size in _TEXT:
            return order, size
    raise DataError(
        f"{path}: expected a NIfTI header of 348 or 540 bytes. The file is damaged; get it again."
    )


def _sizes(path: Path, header: bytearray, order: str, size: int) -> tuple[int, int]:
    """Where the voxels begin, and how many bytes they take."""
    if size == 348:
        dim, bits = (
            struct.unpack_from(f"{order}8h", header, 40),
            struct.unpack_from(f"{order}h", header, 72)[0],
        )
        place = struct.unpack_from(f"{order}f", header, 108)[0]
    else:
        dim, bits = (
            struct.unpack_from(f"{order}8q", header, 16),
            struct.unpack_from(f"{order}h", header, 14)[0],
        )
        place = struct.unpack_from(f"{order}q", header, 168)[0]
    offset = int(place) if math.isfinite(place) else -1
    axes = dim[0]
    if not 1 <= axes <= 7 or min(dim[1 : axes + 1]) < 1 or bits < 1:
        raise DataError(f"{path}: the header does not describe a volume. The file is damaged; get it again.")
    offset = max(offset, size + 4) if offset >= 0 else offset
    if not size <= offset <= _LONGEST_EXTENSIONS:
        raise DataError(f"{path}: the voxels begin at byte {offset:,}, which cannot be. Get the file again.")
    return offset, (math.prod(dim[1 : axes + 1]) * bits + 7) // 8
