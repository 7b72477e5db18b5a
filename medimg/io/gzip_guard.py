"""Reading a file, compressed or not, without trusting what it says of its size."""

import zlib
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from medimg.errors import DataError

# A deflate stream cannot expand further than this, so a bigger promise is a lie.
_MAX_RATIO = 1032
_CHUNK = 1 << 18
# Bytes after the voxels that are taken as padding.
_SLACK = 1 << 16
_GZIP_MAGIC = b"\x1f\x8b"


class GuardedReader:
    """Reads a file front to back, decompressing it if its name ends in ``.gz``, and checks its end.

    The checksum that gzip stores is compared when the stream ends, so a flipped byte never passes.

    Args:
        path: File to read.

    Raises:
        DataError: If the file is missing or empty, or its name and its content disagree about compression.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.compressed = path.name.lower().endswith(".gz")
        try:
            self._file: BinaryIO = path.open("rb")
        except FileNotFoundError:
            raise DataError(f"{path}: there is no such file. Check the path and the download.") from None
        except OSError as error:
            raise DataError(f"{path}: cannot be opened ({error.strerror}).") from error
        self.file_size = self._file.seek(0, 2)
        self._file.seek(0)
        self._first = self._file.read(_CHUNK if self.compressed else 2)
        self._inflate = zlib.decompressobj(wbits=31)
        self._input = self._first
        try:
            self._check_kind()
        except DataError:
            self._file.close()
            raise

    def __enter__(self) -> "GuardedReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _check_kind(self) -> None:
        if self.file_size == 0:
            raise DataError(f"{self.path}: the file is empty (0 bytes). Copy or download it again.")
        gzip_inside = self._first[:2] == _GZIP_MAGIC
        if self.compressed and not gzip_inside:
            plain = (
                "an uncompressed NIfTI file; rename it to end in .nii"
                if (self._first[:4] in _NIFTI_SIZES)
                else "not a gzip file; copy or download it again"
            )
            raise DataError(f"{self.path}: the name ends in .gz but the content is {plain}.")
        if gzip_inside and not self.compressed:
            raise DataError(f"{self.path}: the content is gzip but the name lacks .gz; rename it to .nii.gz.")
        if not self.compressed:
            self._file.seek(0)

    def check_promise(self, declared: int) -> None:
        """Refuse a header that promises more bytes than a file of this size can hold.

        Args:
            declared: Bytes that the header says follow from the start of the file.
        """
        most = self.file_size * (_MAX_RATIO if self.compressed else 1)
        if declared > most:
            raise DataError(
                f"{self.path}: the header declares {declared:,} bytes but a file of {self.file_size:,} bytes "
                f"holds at most {most:,}. The file is truncated or its header is wrong; get it again."
            )

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes, decompressed.

        Raises:
            DataError: If the file ends before, or its compressed stream is damaged.
        """
        buffer = bytearray(size)
        self._fill(memoryview(buffer))
        return bytes(buffer)

    def read_array(self, size: int) -> NDArray[np.uint8]:
        """Return the next ``size`` bytes as a writable array, and check that the file ends there.

        Raises:
            DataError: If the file is truncated, damaged, or goes on well past ``size``.
        """
        array = np.empty(size, np.uint8)
        self._fill(memoryview(array.data))
        self._finish()
        return array

    def _fill(self, target: memoryview) -> None:
        if not self.compressed:
            got = self._file.readinto(target)  # type: ignore[attr-defined]
            if got < len(target):
                raise self._truncated()
            return
        position = 0
        while position < len(target):
            chunk = self._next_chunk(len(target) - position)
            if not chunk:
                raise self._truncated()
            target[position : position + len(chunk)] = chunk
            position += len(chunk)

    def _next_chunk(self, most: int) -> bytes:
        """Return up to ``most`` decompressed bytes, empty at the end of the last gzip member."""
        while True:
            if self._inflate.eof:
                # pigz and bgzip write several members; tape writers pad with zeros.
                self._input = self._inflate.unused_data.lstrip(b"\0") or self._file.read(_CHUNK).lstrip(b"\0")
                if not self._input:
                    return b""
                self._inflate = zlib.decompressobj(wbits=31)
            if not self._input:
                self._input = self._file.read(_CHUNK)
                if not self._input:
                    raise self._truncated()
            try:
                chunk = self._inflate.decompress(self._input, most)
            except zlib.error as error:
                raise DataError(
                    f"{self.path}: the gzip stream is damaged ({error}). Copy or download the file again."
                ) from error
            self._input = self._inflate.unconsumed_tail
            if chunk:
                return chunk

    def _finish(self) -> None:
        """Read on to the checksum; stop when more than padding follows."""
        extra = 0
        if self.compressed:
            while extra <= _SLACK:
                chunk = self._next_chunk(_SLACK + 1)
                if not chunk:
                    return
                extra += len(chunk)
        else:
            extra = self.file_size - self._file.tell()
        if extra > _SLACK:
            raise DataError(
                f"{self.path}: the data go on past the size that the header declares; reading stopped there "
                "(a gzip bomb, or a wrong header). Get the file again from its source."
            )

    def _truncated(self) -> DataError:
        return DataError(
            f"{self.path}: the file is truncated: it ends before the bytes that its header declares. "
            "Copy or download it again."
        )


_NIFTI_SIZES = {size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big")}
