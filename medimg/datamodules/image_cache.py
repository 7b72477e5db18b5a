"""Decoded images kept on disk in one memory-mapped array, so that an epoch decodes nothing.

The operating system keeps what fits in memory and shares it among all workers and processes; memory that other
programs ask for is given back. So neither memory nor, by a stated limit, the disk grows with the data set unseen.
"""

import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.errors import DataError, ResourceError
from medimg.io.files import atomic_write
from medimg.parallel import map_cases
from medimg.preparation.image_pixels import ImageOptions, read_pixels
from medimg.records import ImageIndex, Record

logger = logging.getLogger(__name__)

_GIB = 2**30
_SHOWN = 20


@dataclass(frozen=True)
class CacheOptions:
    """Where decoded images are kept.

    Attributes:
        folder: Folder under which each data set has its own.
        limit_gib: Largest array in GiB; a data set that needs more is decoded anew in every epoch. 8 GiB hold 170,000
            grey images of 224 x 224.
    """

    folder: Path = Path("prepared")
    limit_gib: float = 8.0


class ImageCache:
    """Pixels of all cases of a data set, read by case id.

    Args:
        index: The data set.
        image: What the network sees of an image.
        options: Where the array is kept, and how large it may be.
    """

    def __init__(self, index: ImageIndex, image: ImageOptions, options: CacheOptions) -> None:
        self.image, self.records = image, {record.case_id: record for record in index.records}
        self._row = {case_id: row for row, case_id in enumerate(self.records)}
        self.shape = (len(self.records), image.channels, *image.kept_size)
        self.size_gib = int(np.prod(self.shape)) * (image.bits // 8) / _GIB
        self.used = self.size_gib <= options.limit_gib
        if not self.used:
            logger.warning(
                "%s needs %.1f GiB to be kept decoded, more than data.init_args.cache.limit_gib (%g): images are "
                "decoded anew in every epoch",
                index.name,
                self.size_gib,
                options.limit_gib,
            )
        described = {
            k: v for k, v in asdict(image).items() if k not in ("size", "stored_size", "mean", "std")
        }
        described |= {"size": image.kept_size, "root": str(index.root.resolve())}
        self._described = described
        digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:10]
        self.folder = options.folder / f"{index.name}-images-{digest}"
        self._array: NDArray[Any] | None = None

    # ---- filling -----------------------------------------------------------------------------

    def fill(self, workers: int) -> None:
        """Decode what is not there yet; an interrupted call goes on where it ended.

        Args:
            workers: Processes that decode.

        Raises:
            DataError: If files cannot be used; all are named.
            ResourceError: If the disk is full.
        """
        if not self.used:
            return
        stamps = {case_id: _stamp(record) for case_id, record in self.records.items()}
        pixels, done = self._open(stamps)
        wanted = [case_id for case_id, row in self._row.items() if not done[row]]
        if wanted:
            logger.info(
                "decoding %d of %d images into %s (%.2f GiB)",
                len(wanted),
                len(done),
                self.folder,
                self.size_gib,
            )
            self._decode(wanted, pixels, done, workers)

    def _decode(
        self, wanted: Sequence[str], pixels: NDArray[Any], done: NDArray[np.bool_], workers: int
    ) -> None:
        # One file of many images is read whole by each process that reads it.
        packed = any(self.records[case_id].member is not None for case_id in wanted)
        failed = []
        outcomes = map_cases(
            partial(read_pixels, options=self.image),
            [self.records[case_id] for case_id in wanted],
            workers=1 if packed else workers,
            label="images",
            progress=len(wanted) > 2000,
        )
        for outcome in outcomes:
            row = self._row[wanted[outcome.index]]
            if outcome.value is None:
                failed.append(f"  {outcome.name}: {outcome.error}")
            else:
                pixels[row], done[row] = outcome.value, True
        if failed:
            more = f"\n  and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
            raise DataError(
                f"{len(failed)} of {len(wanted)} images cannot be used:\n" + "\n".join(failed[:_SHOWN]) + more
            )

    def _open(self, stamps: dict[str, list[Any]]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The arrays of pixels and of what is done, made new unless they are of these very files."""
        manifest = self.folder / "manifest.json"
        facts = {**self._described, "cases": stamps}
        try:
            if json.loads(manifest.read_text()) == json.loads(json.dumps(facts)):
                return np.load(self.folder / "images.npy", "r+"), np.load(self.folder / "done.npy", "r+")
        except (OSError, ValueError):
            pass  # not there, or not whole: made new
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            manifest.unlink(missing_ok=True)
            make = np.lib.format.open_memmap
            pixels = make(self.folder / "images.npy", "w+", self.image.dtype, self.shape)
            done = make(self.folder / "done.npy", "w+", np.bool_, (len(self.records),))
        except OSError as error:
            raise ResourceError(f"{self.folder}: cannot be written ({error.strerror}). Name another folder with "
                                "data.init_args.cache.folder.") from error  # fmt: skip
        with atomic_write(manifest) as temporary:
            temporary.write_text(json.dumps(facts))
        return pixels, done

    # ---- reading -----------------------------------------------------------------------------

    def read(self, case_id: str) -> NDArray[Any]:
        """Pixels (C, H, W) of one case, as a private copy.

        Raises:
            DataError: If the file cannot be read, where it is not kept decoded.
        """
        if not self.used:
            return read_pixels(self.records[case_id], self.image)
        if self._array is None:
            self._array = np.load(self.folder / "images.npy", "r")
        return np.array(self._array[self._row[case_id]])

    def digests(self) -> dict[bytes, set[str]]:
        """Cases by the hash of their kept pixels; empty where none are kept."""
        cases_of: dict[bytes, set[str]] = defaultdict(set)
        for case_id in self.records if self.used else ():
            cases_of[hashlib.blake2b(self.read(case_id).tobytes(), digest_size=16).digest()].add(case_id)
        return dict(cases_of)

    def identical(self) -> list[set[str]]:
        """Cases whose kept pixels are the same; empty where none are kept."""
        return sorted((cases for cases in self.digests().values() if len(cases) > 1), key=min)

    def __getstate__(self) -> dict[str, Any]:
        """Workers open the array themselves."""
        return {**self.__dict__, "_array": None}


def _stamp(record: Record) -> list[Any]:
    """Tells whether a case's files changed."""
    stats = [path.stat() for path in record.images]
    return [record.member, *([stat.st_size, stat.st_mtime_ns] for stat in stats)]
