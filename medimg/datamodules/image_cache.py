"""Decoded images kept on disk in one memory-mapped array, so that an epoch decodes nothing.

The operating system keeps what fits in memory and shares it among all workers and processes; memory that other
programs ask for is given back. So neither memory nor, by a stated limit, the disk grows with the data set unseen.
"""

import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.datamodules.kept import KeptArrays, fill_rows
from medimg.datasets.image_masks import ImageMask
from medimg.io.store import stamp
from medimg.keys import IGNORE_INDEX
from medimg.preparation.image_masks import read_mask_pixels
from medimg.preparation.image_pixels import DecodedImage, ImageOptions, decode_image, read_pixels
from medimg.records import ImageIndex, Record

logger = logging.getLogger(__name__)

_GIB = 2**30
# Raise when the arrays change in meaning: then they get another folder.
_VERSION = 2


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
        count = len(self.records)
        self.shape = (count, image.channels, *image.kept_size)
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
        self._described = described | {"size": image.kept_size, "root": str(index.root.resolve())}
        self.folder = kept_folder(options.folder, f"{index.name}-images", self._described)
        self._kept = KeptArrays(
            self.folder,
            {
                "images": (self.shape, image.dtype),
                "positions": ((count,), np.float64),
                "done": ((count,), np.bool_),
            },
        )

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
        cases = {name: [record.member, *stamp(record.images)] for name, record in self.records.items()}
        kept = self._kept.write({**self._described, "cases": cases})
        rows = np.flatnonzero(~kept["done"])
        if not rows.size:
            return
        names = list(self.records)
        wanted = [self.records[names[row]] for row in rows]
        logger.info(
            "decoding %d of %d images into %s (%.2f GiB)", rows.size, len(names), self.folder, self.size_gib
        )

        def put(place: int, found: DecodedImage) -> None:
            row = rows[place]
            kept["images"][row], kept["positions"][row] = found.pixels, found.position_mm
            kept["done"][row] = True

        # One file of many images is read whole by each process that reads it.
        packed = any(record.member is not None for record in wanted)
        fill_rows(
            partial(decode_image, options=self.image),
            wanted,
            put,
            names=[names[row] for row in rows],
            workers=1 if packed else workers,
            what="images",
        )

    def read(self, case_id: str) -> NDArray[Any]:
        """Pixels (C, H, W) of one case, as a private copy.

        Raises:
            DataError: If the file cannot be read, where it is not kept decoded.
        """
        if not self.used:
            return read_pixels(self.records[case_id], self.image)
        return np.array(self._kept.read("images")[self._row[case_id]])

    def positions(self) -> NDArray[np.float64] | None:
        """Places along the stack in millimetres in the order of the records, NaN where a file says none.

        ``None`` where images are not kept decoded.
        """
        return np.array(self._kept.read("positions")) if self.used else None

    def digests(self) -> dict[bytes, set[str]]:
        """Cases by the hash of their kept pixels; empty where none are kept."""
        cases_of: dict[bytes, set[str]] = defaultdict(set)
        for case_id in self.records if self.used else ():
            cases_of[hashlib.blake2b(self.read(case_id).tobytes(), digest_size=16).digest()].add(case_id)
        return dict(cases_of)

    def identical(self) -> list[set[str]]:
        """Cases whose kept pixels are the same; empty where none are kept."""
        return sorted((cases for cases in self.digests().values() if len(cases) > 1), key=min)


class MaskCache:
    """Masks of a data set on the pixels that are kept of its images, read by case id.

    Args:
        index: The data set.
        masks: Masks by case id.
        image: What the network sees of an image.
        options: Where the array is kept, and how large it may be; a larger one is not kept.
    """

    def __init__(
        self, index: ImageIndex, masks: Mapping[str, ImageMask], image: ImageOptions, options: CacheOptions
    ) -> None:
        self.image, self.masks = image, dict(masks)
        self.records = {r.case_id: r for r in index.records if r.case_id in self.masks}
        self._row = {case_id: row for row, case_id in enumerate(self.records)}
        count = len(self.records)
        shape = (count, *image.kept_size)
        self.used = int(np.prod(shape)) / _GIB <= options.limit_gib
        self._described = {
            "size": image.kept_size,
            "keep_aspect": image.keep_aspect,
            "root": str(index.root.resolve()),
        }
        folder = kept_folder(options.folder, f"{index.name}-masks", self._described)
        self._kept = KeptArrays(folder, {"masks": (shape, np.uint8), "done": ((count,), np.bool_)})

    def fill(self, workers: int) -> None:
        """Read what is not there yet; an interrupted call goes on where it ended.

        Args:
            workers: Processes that read.

        Raises:
            DataError: If masks cannot be used; all are named.
            ResourceError: If the disk is full.
        """
        if not self.used:
            return
        # The image too, since the mask has its pixels.
        cases = {
            name: [*stamp(record.images), *self.masks[name].stamp()] for name, record in self.records.items()
        }
        kept = self._kept.write({**self._described, "cases": cases})
        rows, names = np.flatnonzero(~kept["done"]), list(self.records)
        wanted = [names[row] for row in rows]

        def put(place: int, mask: NDArray[np.uint8]) -> None:
            kept["masks"][rows[place]] = mask
            kept["done"][rows[place]] = True

        fill_rows(
            partial(_read_pair, options=self.image),
            [(self.records[name], self.masks[name]) for name in wanted],
            put,
            names=wanted,
            workers=workers,
            what="masks",
        )

    def read(self, case_id: str) -> NDArray[np.uint8]:
        """Label map (H, W) of one case, as a private copy; 255 everywhere where the case has no mask.

        Raises:
            DataError: If the mask cannot be read, where it is not kept.
        """
        if case_id not in self.records:
            return np.full(self.image.kept_size, IGNORE_INDEX, np.uint8)
        if not self.used:
            return read_mask_pixels(self.records[case_id], self.masks[case_id], self.image)
        return np.array(self._kept.read("masks")[self._row[case_id]])


def _read_pair(pair: tuple[Record, ImageMask], options: ImageOptions) -> NDArray[np.uint8]:
    return read_mask_pixels(*pair, options)


def kept_folder(folder: Path, name: str, described: Mapping[str, Any]) -> Path:
    """A folder for what these plain values describe."""
    text = json.dumps([_VERSION, dict(described)], sort_keys=True)
    return folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
