"""Prepared volumes kept on disk in one memory-mapped array, so that an epoch reads no file anew.

The counterpart of `medimg.datamodules.image_cache` for volumes: rows of one array, filled in parallel, taken up again
after an interruption, and made anew where the options or the files have changed.
"""

import hashlib
import json
import logging
from collections import defaultdict
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.datamodules.image_cache import CacheOptions
from medimg.errors import DataError, ResourceError
from medimg.io.files import atomic_write
from medimg.io.store import stamp
from medimg.parallel import map_cases
from medimg.preparation.volume_voxels import VolumeOptions, read_voxels
from medimg.records import ImageIndex

logger = logging.getLogger(__name__)

_GIB = 2**30
_SHOWN = 20


class VolumeCache:
    """Voxels of all cases of a data set, read by case id.

    Args:
        index: The data set.
        volume: What the network sees of a volume.
        options: Where the array is kept, and how large it may be.
    """

    def __init__(self, index: ImageIndex, volume: VolumeOptions, options: CacheOptions) -> None:
        self.volume, self.records = volume, {record.case_id: record for record in index.records}
        self._row = {case_id: row for row, case_id in enumerate(self.records)}
        self.shape = (len(self.records), volume.in_channels, *volume.size)
        self.size_gib = int(np.prod(self.shape)) * (volume.bits // 8) / _GIB
        self.used = self.size_gib <= options.limit_gib
        if not self.used:
            logger.warning(
                "%s needs %.1f GiB to be kept prepared, more than data.init_args.cache.limit_gib (%g): volumes are "
                "read anew in every epoch",
                index.name,
                self.size_gib,
                options.limit_gib,
            )
        self._described = {**asdict(volume), "root": str(index.root.resolve())}
        digest = hashlib.sha256(json.dumps(self._described, sort_keys=True).encode()).hexdigest()[:10]
        self.folder = options.folder / f"{index.name}-volumes-{digest}"
        self._array: NDArray[Any] | None = None

    # ---- filling -----------------------------------------------------------------------------

    def fill(self, workers: int) -> None:
        """Read what is not there yet; an interrupted call goes on where it ended.

        Args:
            workers: Processes that read.

        Raises:
            DataError: If files cannot be used; all are named.
            ResourceError: If the disk is full.
        """
        if not self.used:
            return
        voxels, done = self._open()
        wanted = [case_id for case_id, row in self._row.items() if not done[row]]
        if not wanted:
            return
        logger.info(
            "reading %d of %d volumes into %s (%.2f GiB)", len(wanted), len(done), self.folder, self.size_gib
        )
        records = [self.records[case_id] for case_id in wanted]
        # One file of many volumes is read whole by each process that reads it.
        packed = any(record.member is not None for record in records)
        read = partial(read_voxels, options=self.volume)
        failed = []
        for outcome in map_cases(read, records, workers=1 if packed else workers, label="volumes"):
            row = self._row[wanted[outcome.index]]
            if outcome.value is None:
                failed.append(f"  {outcome.name}: {outcome.error}")
            else:
                voxels[row], done[row] = outcome.value, True
        if failed:
            more = f"\n  and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
            raise DataError(
                f"{len(failed)} of {len(wanted)} volumes cannot be used:\n"
                + "\n".join(failed[:_SHOWN])
                + more
            )

    def _open(self) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The arrays of voxels and of what is done, made new unless they are of these very files."""
        manifest = self.folder / "manifest.json"
        cases = {name: [record.member, stamp(record.images)] for name, record in self.records.items()}
        facts = json.loads(json.dumps({**self._described, "cases": cases}))
        try:
            if json.loads(manifest.read_text()) == facts:
                return np.load(self.folder / "volumes.npy", "r+"), np.load(self.folder / "done.npy", "r+")
        except (OSError, ValueError):
            pass  # not there, or not whole: made new
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            manifest.unlink(missing_ok=True)
            make = np.lib.format.open_memmap
            voxels = make(self.folder / "volumes.npy", "w+", self.volume.dtype, self.shape)
            done = make(self.folder / "done.npy", "w+", np.bool_, (len(self.records),))
        except OSError as error:
            raise ResourceError(f"{self.folder}: cannot be written ({error.strerror}). Name another folder with "
                                "data.init_args.cache.folder.") from error  # fmt: skip
        with atomic_write(manifest) as temporary:
            temporary.write_text(json.dumps(facts))
        return voxels, done

    # ---- reading -----------------------------------------------------------------------------

    def read(self, case_id: str) -> NDArray[Any]:
        """Voxels (C, D, H, W) of one case, as a private copy.

        Raises:
            DataError: If the file cannot be read, where it is not kept prepared.
        """
        if not self.used:
            return read_voxels(self.records[case_id], self.volume)
        if self._array is None:
            self._array = np.load(self.folder / "volumes.npy", "r")
        return np.array(self._array[self._row[case_id]])

    def digests(self) -> dict[bytes, set[str]]:
        """Cases by the hash of their kept voxels; empty where none are kept."""
        cases_of: dict[bytes, set[str]] = defaultdict(set)
        for case_id in self.records if self.used else ():
            cases_of[hashlib.blake2b(self.read(case_id).tobytes(), digest_size=16).digest()].add(case_id)
        return dict(cases_of)

    def identical(self) -> list[set[str]]:
        """Cases whose kept voxels are the same; empty where none are kept."""
        return sorted((cases for cases in self.digests().values() if len(cases) > 1), key=min)

    def __getstate__(self) -> dict[str, Any]:
        """Workers open the array themselves."""
        return {**self.__dict__, "_array": None}
