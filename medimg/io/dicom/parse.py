"""Opening a DICOM file without trusting its header: bombs, endless nesting and cut files are refused."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NoReturn

from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medimg.errors import DataError

# A file or a deflated data set that grows past this is refused before memory is taken for it.
MAX_BYTES = 1 << 30
# Real headers nest a dozen sequences deep at most.
MAX_DEPTH = 64
_ITEM = {True: b"\xfe\xff\x00\xe0", False: b"\xff\xfe\xe0\x00"}
_UNDEFINED = 0xFFFFFFFF
_CHUNK = 1 << 17
_HEAD = 1 << 14  # the file meta group is a few hundred bytes
_LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}


@dataclass(frozen=True, slots=True)
class Opened:
    """A parsed file.

    Attributes:
        path: Where it was read.
        dataset: Its elements.
        syntax: Transfer syntax UID, guessed from the encoding where the file states none.
        flags: Departures from the standard that were read over, one line each.
    """

    path: Path
    dataset: Dataset
    syntax: UID
    flags: tuple[str, ...]


def is_dicom(path: Path) -> bool:
    """Return whether a file begins as DICOM files do: ``DICM`` after 128 bytes, or a group 2 or 8 element.

    Raises:
        DataError: If the file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            return _begins_as_dicom(file.read(132))
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}). Check the path.") from error


def open_dataset(path: Path, *, pixels: bool = True) -> Opened:
    """Read the elements of a DICOM file.

    Args:
        path: File with or without preamble and file meta information.
        pixels: Whether the pixel data are wanted too; the elements before them are read many times faster.

    Raises:
        DataError: If the file is missing, empty, not DICOM, larger than 1 GiB once inflated, nests sequences
            deeper than 64, or cannot be parsed.
    """
    with _open(path) as file, header_warnings() as odd:
        head = file.read(_HEAD)
        if not _begins_as_dicom(head):
            raise DataError(
                f"{path}: not a DICOM file: neither DICM after 128 bytes nor an element of group 2 or 8 at "
                "the start. Check the path and the download."
            )
        try:
            dataset = _parse(path, file, head, pixels=pixels)
            _check_depth(path, dataset)
            flags = _flags(dataset, head)
            syntax = _syntax(path, dataset)
        except DataError:
            raise
        except RecursionError as error:
            raise _too_deep(path) from error
        except Exception as error:
            # pydicom raises whatever its code meets in a damaged header, a dozen types at least.
            refuse_header(path, error)
    return Opened(path, dataset, syntax, (*flags, *odd))


@contextmanager
def header_warnings() -> Iterator[list[str]]:
    """Collect what pydicom warns of as flags, one line each, instead of printing it.

    Yields:
        A list that is filled when the block ends.
    """
    flags: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield flags
    flags += dict.fromkeys(f"header: {str(warning.message).splitlines()[0]}" for warning in caught)


def refuse_header(path: Path, error: Exception) -> NoReturn:
    """Turn what a parser raised into one line that names the file."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    raise DataError(
        f"{path}: the DICOM header is damaged ({type(error).__name__}: {reason}). Get the file again from its "
        "source, or leave it out."
    ) from error


class _File(io.BufferedReader):
    """A file that takes no memory for bytes it does not have, whatever length an element states."""

    def __init__(self, path: Path, size: int) -> None:
        super().__init__(io.FileIO(path))
        self._size = size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _CHUNK:
            size = min(size, max(self._size - self.tell(), 0))
        return super().read(size)


def _open(path: Path) -> _File:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path}: {size:,} bytes are more than the limit of {MAX_BYTES:,} for one file.")
        if size == 0:
            raise DataError(f"{path}: the file is empty (0 bytes). Copy or download it again.")
        return _File(path, size)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file. Check the path and the download.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}).") from error


def _begins_as_dicom(start: bytes) -> bool:
    if start[128:132] == b"DICM":
        return True
    if len(start) < 8:
        return False
    little, big = (struct.unpack(f"{order}HH", start[:4]) for order in "<>")
    return any(group in (2, 8) and element < 0x2000 for group, element in (little, big))


def _parse(path: Path, file: _File, head: bytes, *, pixels: bool) -> FileDataset:
    file.seek(0)
    if head[128:132] == b"DICM":
        syntax, end = _meta(head)
        if syntax == DeflatedExplicitVRLittleEndian:
            return _parse_deflated(path, file.read(), end)
    dataset = dcmread(file, force=True, stop_before_pixels=not pixels)
    if not dataset:
        # pydicom drops every element when the file ends within a compressed image or a sequence.
        raise DataError(
            f"{path}: the file is truncated: it ends within an element. Copy or download it again."
        )
    return dataset


def _meta(head: bytes) -> tuple[str, int]:
    """Return the transfer syntax and the end of the file meta group, which is always explicit little endian."""
    position, syntax = 132, ""
    while position + 8 <= len(head) and head[position : position + 2] == b"\x02\x00":
        element, kind, length = struct.unpack_from("<H2sH", head, position + 2)
        start = position + 8
        if kind in _LONG_VRS:
            if start + 4 > len(head):
                break
            length, start = *struct.unpack_from("<L", head, start), start + 4
        if element == 0x0010:
            syntax = head[start : start + length].rstrip(b"\0 ").decode("ascii", "replace")
        position = start + length
    return syntax, position


def _parse_deflated(path: Path, content: bytes, start: int) -> FileDataset:
    """Inflate the data set up to the limit; pydicom itself would inflate without one."""
    meta = dcmread(BytesIO(content[:start])).file_meta
    body = _inflate(path, content, start)
    dataset = read_dataset(body, False, True)
    opened = FileDataset(body, dataset, content[:128], meta, False, True)
    opened.set_original_encoding(False, True, dataset._character_set)
    return opened


def _inflate(path: Path, content: bytes, start: int) -> BytesIO:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        # Nearly every file fits into the first step, which copies nothing.
        body = BytesIO(inflate.decompress(memoryview(content)[start:], min(MAX_BYTES // 4, 1 << 26)))
        rest = inflate.unconsumed_tail
        body.seek(0, io.SEEK_END)
        for place in range(0, len(rest), _CHUNK):
            piece = rest[place : place + _CHUNK]
            while piece and not inflate.eof:
                body.write(inflate.decompress(piece, 8 * _CHUNK))
                piece = inflate.unconsumed_tail
                if body.tell() > MAX_BYTES:
                    raise DataError(
                        f"{path}: {len(content):,} bytes inflate to more than the limit of {MAX_BYTES:,} "
                        "(a bomb, or a damaged file). Get it again from its source."
                    )
    except zlib.error as error:
        raise DataError(
            f"{path}: the deflated data set is damaged ({error}). Copy or download the file again."
        ) from error
    if not inflate.eof:
        raise DataError(f"{path}: the file is truncated: its deflated data set does not end. Copy it again.")
    body.seek(0)
    return body


def _check_depth(path: Path, dataset: Dataset) -> None:
    """Refuse nested sequences; those of a stated length stay unparsed, so only their bytes are walked."""
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        value = getattr(element, "value", None)
        if not isinstance(value, bytes) or tag.group == 0x7FE0:
            continue
        little = bool(getattr(element, "is_little_endian", True))
        # Each level costs an item, so few items cannot nest deep.
        if value.count(_ITEM[little]) > MAX_DEPTH and value.startswith(_ITEM[little]):
            implicit = bool(getattr(element, "is_implicit_VR", False))
            if _depth(value, little=little, implicit=implicit) > MAX_DEPTH:
                raise _too_deep(path)


def _depth(value: bytes, *, little: bool, implicit: bool) -> int:
    """Return how deep the sequences in ``value`` nest, at most one more than the limit; no recursion."""
    order = "<" if little else ">"
    ends = [len(value)]  # where each open sequence ends; items need no entry of their own
    position = deepest = 0
    while position + 8 <= len(value) and len(ends) <= MAX_DEPTH + 1:
        while len(ends) > 1 and position >= ends[-1]:
            ends.pop()
        deepest = max(deepest, len(ends))
        group, element, kind, short = struct.unpack_from(f"{order}HH2sH", value, position)
        (length,) = struct.unpack_from(f"{order}L", value, position + 4)
        position += 8
        if group == 0xFFFE:  # an item: step into it; a delimiter: a sequence without a length ends
            if element == 0xE0DD and len(ends) > 1:
                ends.pop()
            continue
        if not implicit and b"AA" <= kind <= b"ZZ":
            length = short
            if kind in _LONG_VRS and position + 4 <= len(value):
                (length,) = struct.unpack_from(f"{order}L", value, position)
                position += 4
        if value[position : position + 4] == _ITEM[little]:
            ends.append(len(value) if length == _UNDEFINED else position + length)
        elif length != _UNDEFINED:
            position += length
    return max(deepest, len(ends))


def _too_deep(path: Path) -> DataError:
    return DataError(
        f"{path}: sequences nest deeper than {MAX_DEPTH} levels, as no image does. The file is damaged or "
        "hostile; leave it out."
    )


def _flags(dataset: FileDataset, head: bytes) -> tuple[str, ...]:
    flags = []
    if head[128:132] != b"DICM":
        flags.append("no preamble")
    if not dataset.file_meta:
        flags.append("no meta")
    elif "TransferSyntaxUID" not in dataset.file_meta:
        flags.append("no transfer syntax")
    return tuple(flags)


def _syntax(path: Path, dataset: FileDataset) -> UID:
    stated = dataset.file_meta.get("TransferSyntaxUID")
    if stated:
        return UID(stated)
    pixels = dataset.get_item("PixelData") if "PixelData" in dataset else None
    if pixels is not None and getattr(pixels, "length", 0) == _UNDEFINED:
        raise DataError(
            f"{path}: the pixel data are compressed but the file states no transfer syntax. "
            "Write it into (0002,0010) with the tool that made the file."
        )
    match dataset.original_encoding:
        case (True, _):
            return ImplicitVRLittleEndian
        case (_, False):
            return ExplicitVRBigEndian
        case _:
            return ExplicitVRLittleEndian
