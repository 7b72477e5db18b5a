"""Probabilities of a volume, ``<case>.npz``, read one channel at a time."""

import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from medimg.errors import DataError
from medimg.io.files import atomic_write

KEYS = ("probs", "probabilities", "softmax")
"""Names under which the array may stand: ours, nnU-Net's, and that of nnU-Net version 1."""

_AGAIN = "Write the probabilities again."


@dataclass(frozen=True, slots=True)
class ProbsFile:
    """Where the probabilities of a case are, and what the file's header says of them.

    Attributes:
        path: The ``.npz``.
        member: Name of the array inside.
        shape: (K, D, H, W).
        dtype: float16, float32 or float64.
    """

    path: Path
    member: str
    shape: tuple[int, int, int, int]
    dtype: np.dtype[np.floating]

    def channels(self) -> Iterator[NDArray[np.floating]]:
        """Read the K channels one after the other, each of shape (D, H, W), so that one is in memory at a time.

        Raises:
            DataError: If the file ends early or its checksum is wrong.
        """
        volume = self.shape[1:]
        size = math.prod(volume) * self.dtype.itemsize
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
                _read_header(stream)
                for _ in range(self.shape[0]):
                    content = stream.read(size)
                    if len(content) != size:
                        raise DataError(f"{self.path}: ends before its last channel. {_AGAIN}")
                    yield np.frombuffer(content, self.dtype).reshape(volume)
                # The checksum is compared at the end of the stream only.
                if stream.read(1):
                    raise DataError(f"{self.path}: holds more than its header says. {_AGAIN}")
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise _damaged(self.path, error) from error


def open_probs(path: Path) -> ProbsFile:
    """Read the header of a file of probabilities.

    Args:
        path: ``.npz`` with an array (K, D, H, W) named ``probs``, or as nnU-Net names it.

    Returns:
        The array's place, shape and type; its values stay on disk.

    Raises:
        DataError: If the file is damaged, or holds no such array.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = next((f"{key}.npy" for key in KEYS if f"{key}.npy" in archive.namelist()), None)
            if member is None:
                found = ", ".join(archive.namelist()) or "nothing"
                raise DataError(
                    f"{path}: expected an array named {' or '.join(KEYS)}, found {found}. {_AGAIN}"
                )
            with archive.open(member) as stream:
                shape, fortran, dtype = _read_header(stream)
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise _damaged(path, error) from error
    if len(shape) != 4 or dtype.kind != "f" or fortran or min(shape) < 1:
        raise DataError(
            f"{path}: expected floats of shape (K, D, H, W) in C order, found {dtype} of shape {shape}"
            f"{' in Fortran order' if fortran else ''}. {_AGAIN}"
        )
    channels, depth, height, width = shape
    return ProbsFile(path, member, (channels, depth, height, width), dtype)


def write_probs(path: Path, probs: NDArray[np.floating]) -> None:
    """Write probabilities as float16.

    Args:
        path: ``.npz`` to write, whole or not at all.
        probs: Probabilities in [0, 1], shape (K, D, H, W).

    Raises:
        ResourceError: If the file cannot be written.
    """
    with atomic_write(path, durable=False) as temporary:
        np.savez_compressed(temporary, probs=probs.astype(np.float16))


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.floating]]:
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    return tuple(int(size) for size in shape), bool(fortran), dtype


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: cannot be read as .npz ({error}). {_AGAIN}")
