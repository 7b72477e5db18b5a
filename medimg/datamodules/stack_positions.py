"""Where the images of a group lie along their stack, for data sets whose images are not kept decoded.

Only headers are read, once: a small array keeps what was found.
"""

import hashlib
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.datamodules.image_cache import CacheOptions, kept_folder
from medimg.datamodules.kept import KeptArrays
from medimg.errors import DataError
from medimg.io.dicom import is_dicom
from medimg.io.dicom.slices import read_position
from medimg.io.store import stamp
from medimg.parallel import map_cases
from medimg.records import ImageIndex

logger = logging.getLogger(__name__)

# Handing over one file takes as long as reading its header.
_AT_ONCE = 256
_SHOWN = 20


class StackPositions:
    """Places of a data set's images along the stacks of their groups.

    Images that are alone in their group need none, and neither do members of one file.

    Args:
        index: The data set.
        options: Under which folder the array is kept.
    """

    def __init__(self, index: ImageIndex, options: CacheOptions) -> None:
        self.records = index.records
        described = {"root": str(index.root.resolve()), "count": len(index.records)}
        folder = kept_folder(options.folder, f"{index.name}-positions", described)
        count = (len(index.records),)
        self._kept = KeptArrays(folder, {"positions": (count, np.float64), "done": (count, np.bool_)})

    def fill(self, workers: int) -> None:
        """Read the headers that were not read yet; an interrupted call goes on where it ended.

        Args:
            workers: Processes that read.

        Raises:
            DataError: If headers are damaged; the first ones are named.
            ResourceError: If the disk is full.
        """
        groups = Counter(record.group for record in self.records)
        wanted = np.array(
            [
                record.member is None and record.group is not None and groups[record.group] > 1
                for record in self.records
            ],
            bool,
        )
        # A digest and no list: of two million files the list alone would take a hundred megabytes.
        digest = hashlib.blake2b(digest_size=16)
        for row in np.flatnonzero(wanted):
            record = self.records[row]
            digest.update(f"{record.case_id} {record.group} {stamp(record.images[:1])}\n".encode())
        kept = self._kept.write({"cases": digest.hexdigest()})
        kept["positions"][~wanted] = np.nan
        rows = np.flatnonzero(wanted & ~kept["done"])
        parts = [rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE)]
        if rows.size:
            logger.info("reading the places of %d images from their headers", rows.size)
        faults: list[str] = []
        for outcome in map_cases(
            read_positions,
            [tuple(self.records[row].images[0] for row in part) for part in parts],
            workers=workers,
            label=f"headers, {_AT_ONCE} at once",
            progress=len(parts) > 20,
        ):
            if outcome.value is None:
                faults.append(outcome.error or "unknown")
                continue
            part, (found, wrong) = parts[outcome.index], outcome.value
            kept["positions"][part] = found
            kept["done"][part] = [not fault for fault in wrong]
            faults += filter(None, wrong)
        if faults:
            more = f"\n  and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
            lines = "\n".join(f"  {fault}" for fault in faults[:_SHOWN])
            raise DataError(f"{len(faults)} of {len(rows)} headers cannot be read:\n{lines}{more}")

    def read(self) -> NDArray[np.float64]:
        """Places in millimetres in the order of the records, NaN where there is none."""
        try:
            return np.array(self._kept.read("positions"))
        except OSError:
            self.fill(workers=1)
            return np.array(self._kept.read("positions"))


def read_positions(paths: tuple[Path, ...]) -> tuple[list[float], list[str]]:
    """Place of each file along its normal, NaN where it has none, and why it could not be read, or empty."""
    found: list[float] = []
    faults: list[str] = []
    for path in paths:
        place: Any = None
        try:
            place = read_position(path) if is_dicom(path) else None
            faults.append("")
        except DataError as error:
            faults.append(str(error))
        found.append(np.nan if place is None else place)
    return found, faults
