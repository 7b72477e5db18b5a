"""The patch store: prepared cases as memory-mapped arrays, so that a patch costs a patch.

A case is a folder of ``image.npy`` (C, D, H, W), ``mask.npy`` (D, H, W) of class indices,
``foreground.npy`` (N, 4) of class index and voxel, and ``case.json``, which is written last: a case
without it was never finished.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.errors import DataError
from medimg.io.files import atomic_write

# The largest magnitude that float16 holds with room for augmentation.
_HALF_LIMIT = 30_000.0
# Opening a map costs as much as reading a megabyte, a fifth of a small patch's time. So arrays up to that size
# are read whole and kept; the bound keeps a process's memory flat over any number of cases.
_SMALL_BYTES = 1 << 20
_KEPT_BYTES = 64 << 20


class PatchStore:
    """Prepared cases in one folder.

    Arrays are memory-mapped, except that those up to 1 MiB are read and kept, 64 MiB of them in a process.
    A case that is written anew is seen, because a file's identity is looked at on every read.

    Args:
        folder: Folder of the store; made on first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._small = _SmallArrays()

    def __getstate__(self) -> dict[str, Any]:
        """Worker processes read for themselves: what is kept here does not travel."""
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.folder = state["folder"]
        self._small = _SmallArrays()

    def write(
        self,
        case_id: str,
        image: NDArray[np.float32],
        mask: NDArray[np.uint8] | None,
        foreground: NDArray[np.int16],
        meta: dict[str, Any],
    ) -> None:
        """Write one case; a reader never sees half of it.

        Args:
            case_id: Name of the case's folder.
            image: Normalised image (C, D, H, W); kept as float16 where its range allows.
            mask: Class indices (D, H, W), or ``None`` for an unlabelled case.
            foreground: Sampled voxels (N, 4): class index, d, h, w; sorted by class.
            meta: Plain values, kept in ``case.json`` beside the sizes of the arrays' files.
        """
        folder = self.folder / case_id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "case.json").unlink(missing_ok=True)
        half = float(np.abs(image).max(initial=0)) < _HALF_LIMIT
        arrays: dict[str, NDArray[Any]] = {
            "image": image.astype(np.float16) if half else image,
            "foreground": foreground,
        }
        if mask is not None:
            arrays["mask"] = mask
        for name, array in arrays.items():
            # A new file under the old name: processes that have the old one mapped keep what they see.
            # Not forced to the disk: what a power cut leaves short is found by its size.
            with atomic_write(folder / f"{name}.npy", durable=False) as temporary:
                np.save(temporary, np.ascontiguousarray(array))
        sizes = {name: (folder / f"{name}.npy").stat().st_size for name in arrays}
        with atomic_write(folder / "case.json", durable=False) as temporary:
            temporary.write_text(json.dumps({**meta, "bytes": sizes}))

    def meta(self, case_id: str) -> dict[str, Any]:
        """What was written beside the arrays of a case.

        Raises:
            DataError: If the case is not in the store.
        """
        try:
            meta: dict[str, Any] = json.loads((self.folder / case_id / "case.json").read_text())
        except (FileNotFoundError, ValueError):
            raise DataError(f"{case_id} is not in the store {self.folder}: run `medimg prepare`") from None
        return meta

    def fresh(self, case_id: str, key: str, files: Iterable[Path]) -> bool:
        """Whether a case was prepared whole, with these options, from these very files.

        Sizes and times are compared first; where only times differ, as after a copy, contents decide.

        Args:
            case_id: The case.
            key: Hash of the options.
            files: The case's source files.
        """
        try:
            meta = self.meta(case_id)
            paths = list(files)
            arrays = {name: self.folder / case_id / f"{name}.npy" for name in meta["bytes"]}
            if any(path.stat().st_size != meta["bytes"][name] for name, path in arrays.items()):
                return False
            if meta["key"] != key:
                return False
            return bool(meta["stamp"] == stamp(paths) or meta["source_hash"] == source_hash(paths))
        except (DataError, KeyError, OSError):
            return False

    def image(self, case_id: str) -> NDArray[Any]:
        """Read-only image (C, D, H, W), float16 or float32, memory-mapped unless small."""
        return self._read(case_id, "image")

    def mask(self, case_id: str) -> NDArray[Any]:
        """Read-only class indices (D, H, W), uint8; 255 is ignored."""
        return self._read(case_id, "mask")

    def foreground(self, case_id: str) -> NDArray[Any]:
        """Read-only sampled foreground voxels (N, 4): class index, d, h, w."""
        return self._read(case_id, "foreground")

    def _read(self, case_id: str, name: str) -> NDArray[Any]:
        path = self.folder / case_id / f"{name}.npy"
        try:
            return self._small.open(path)
        except (FileNotFoundError, ValueError, EOFError) as error:
            raise DataError(f"{path} cannot be read ({error}): run `medimg prepare` again") from None


class _SmallArrays:
    """Small arrays that were read last, bounded in bytes."""

    def __init__(self) -> None:
        self._arrays: OrderedDict[Path, tuple[tuple[int, int, int], NDArray[Any]]] = OrderedDict()
        self._bytes = 0

    def open(self, path: Path) -> NDArray[Any]:
        status = path.stat()
        identity = (status.st_ino, status.st_mtime_ns, status.st_size)
        kept = self._arrays.get(path)
        if kept is not None and kept[0] == identity:
            self._arrays.move_to_end(path)
            return kept[1]
        if kept is not None:
            self._forget(path)
        small = status.st_size <= _SMALL_BYTES
        array: NDArray[Any] = np.load(path, mmap_mode=None if small else "r", allow_pickle=False)
        if small:
            array.flags.writeable = False
            self._arrays[path] = (identity, array)
            self._bytes += array.nbytes
            while self._bytes > _KEPT_BYTES:
                self._forget(next(iter(self._arrays)))
        return array

    def _forget(self, path: Path) -> None:
        self._bytes -= self._arrays.pop(path)[1].nbytes


def stamp(files: Iterable[Path]) -> list[list[int]]:
    """Size and modification time of each file, cheap to compare."""
    return [[status.st_size, status.st_mtime_ns] for status in (path.stat() for path in files)]


def source_hash(files: Iterable[Path]) -> str:
    """Hash of the contents of a case's source files, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
