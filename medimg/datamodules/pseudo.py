"""Pseudo-labelled cases as a second source of training cases: which they are, and how much they count."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from medimg.datamodules.image_cache import CacheOptions, ImageCache
from medimg.errors import ConfigError, DataError
from medimg.io.store import PatchStore
from medimg.preparation.image_pixels import ImageOptions
from medimg.preparation.pseudo_leaks import known_cases, refuse_known
from medimg.preparation.pseudo_note import labels_digest, read_note
from medimg.preparation.pseudo_table import read_pseudo_table
from medimg.preparation.pseudo_volumes import pseudo_volumes
from medimg.records import DatasetIndex, ImageIndex, Record

logger = logging.getLogger(__name__)

_ADVICE = "Label again with medimg pseudolabel, whose --split and --labelled keep such cases out."


@dataclass(frozen=True)
class PseudoOptions:
    """Cases that train in every fold, and never validate or test.

    Attributes:
        path: What `medimg pseudolabel` wrote: a table for images, a folder of masks for volumes; ``None``: no such
            cases.
        images: Folder of their images, where it has moved since.
        weight: How much such a case counts, times the weight that stands beside its label: in the loss of images,
            and in how often it is drawn among volumes, where a labelled case has 1.
    """

    path: Path | None = None
    images: Path | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.weight < float("inf"):
            raise ConfigError(
                f"data.init_args.pseudo.weight: expected a number above 0, found {self.weight:g}. To leave the cases "
                "out, leave out data.init_args.pseudo.path."
            )

    def facts(self) -> dict[str, Any]:
        """Goes into a checkpoint, so that a resumed run goes on with the same cases."""
        if self.path is None:
            return {}
        return {"pseudo": f"{labels_digest(self.path)} x {self.weight:g}"}

    def warn_of_teachers(self, fold: int) -> None:
        """Say so if a network that gave labels was trained on the cases that validate.

        Args:
            fold: Fold whose cases validate.
        """
        members = [] if self.path is None else read_note(self.path).settings.get("members", [])
        # Of one split the cases of other folds were training cases; several folds together have no number.
        seen = [one for one in members if one.get("split") is not None and one.get("fold", fold) != fold]
        if seen:
            logger.warning(
                "%d of the %d networks that gave the pseudo-labels were trained on validation cases of fold %d, so its "
                "scores may be a little too good: label with the networks of fold %d alone to be sure",
                len(seen), len(members), fold, fold,
            )  # fmt: skip


def weighed(records: Sequence[Record], weight: float) -> tuple[Record, ...]:
    """The same cases, each counting so much more or less."""
    return tuple(replace(record, weight=record.weight * weight) for record in records)


class PseudoImages:
    """Pseudo-labelled images beside a data set.

    Args:
        options: Where they are.
        image: What the network sees of an image.
        cache: Where decoded images are kept.
    """

    def __init__(self, options: PseudoOptions, image: ImageOptions, cache: CacheOptions) -> None:
        if options.path is None:
            raise ValueError("expected pseudo-labels, found no path")
        self.path = options.path
        found = read_pseudo_table(options.path, options.images)
        self.index = replace(found, records=weighed(found.records, options.weight))
        self.cache = ImageCache(self.index, image, cache)

    def check(self, index: ImageIndex, cache: ImageCache) -> None:
        """Refuse pseudo-labels of other labels, and those of cases that the data set holds under any name.

        Args:
            index: The data set.
            cache: Its decoded images.

        Raises:
            ConfigError: If task or labels differ.
            DataError: If a case is one of the data set, by id, patient or pixels.
        """
        if (self.index.task, self.index.classes) != (index.task, index.classes):
            raise ConfigError(
                f"data.init_args.pseudo.path: {self.path} is {self.index.task} with {', '.join(self.index.classes)}, "
                f"the data are {index.task} with {', '.join(index.classes)}. Name pseudo-labels of the same task."
            )
        if not (self.cache.used and cache.used):
            logger.warning(
                "images are not kept decoded (data.init_args.cache.limit_gib), so copies of labelled images in another "
                "file format are not looked for: run medimg audit on both folders"
            )
        found = known_cases(self.index.records, labelled=index.records)
        refuse_known(found | _same_pixels(self.cache, cache), _ADVICE)


def _same_pixels(one: ImageCache, other: ImageCache) -> dict[str, str]:
    """Cases of one whose decoded pixels the other has, and of which case; none where pixels are not kept."""
    theirs = other.digests()
    return {
        case: f"its pixels are those of the labelled case {min(theirs[digest])}"
        for digest, cases in one.digests().items()
        if digest in theirs
        for case in cases
    }


@dataclass(frozen=True, slots=True)
class JoinedPixels:
    """Reads pixels by case id from whichever source has the case.

    Attributes:
        caches: Decoded images; no id stands in two of them.
    """

    caches: tuple[ImageCache, ...]

    def __call__(self, case_id: str) -> NDArray[Any]:
        """Pixels (C, H, W) of a case."""
        return next(cache for cache in self.caches if case_id in cache.records).read(case_id)


def read_pseudo_volumes(
    options: PseudoOptions, like: DatasetIndex, read: Callable[[Path], DatasetIndex]
) -> DatasetIndex:
    """Index pseudo-labelled volumes.

    Args:
        options: Where they are.
        like: The data set that is trained.
        read: Lists the cases below a folder of images.

    Returns:
        The cases as records, each with its weight.

    Raises:
        ConfigError: If these are no volumes, or of other classes.
        DataError: If a file is not there.
    """
    if options.path is None:
        raise ValueError("expected pseudo-labels, found no path")
    note = read_note(options.path)
    root = options.images or note.images
    if not root.is_dir():
        raise DataError(
            f"{options.path}: its images lie below {root}, and there is no such folder. Name it anew with "
            "data.init_args.pseudo.images."
        )
    found = pseudo_volumes(options.path, note, read(root), like)
    return replace(found, records=weighed(found.records, options.weight))


def check_pseudo_volumes(pseudo: DatasetIndex, index: DatasetIndex) -> None:
    """Refuse cases that the data set holds under any name.

    Raises:
        DataError: If a case is a labelled one, by id, patient or the bytes of an image.
    """
    refuse_known(known_cases(pseudo.records, labelled=(*index.records, *index.test)), _ADVICE)


class JoinedStores:
    """Prepared cases of two stores, read as of one.

    Args:
        own: Store of the data set.
        pseudo: Store of the pseudo-labelled cases.
        cases: The pseudo-labelled cases; no id stands in both.
    """

    def __init__(self, own: PatchStore, pseudo: PatchStore, cases: Sequence[str]) -> None:
        self.own, self.pseudo, self.cases = own, pseudo, frozenset(cases)

    def _of(self, case_id: str) -> PatchStore:
        return self.pseudo if case_id in self.cases else self.own

    def image(self, case_id: str) -> NDArray[Any]:
        """Read-only image (C, D, H, W)."""
        return self._of(case_id).image(case_id)

    def mask(self, case_id: str) -> NDArray[Any]:
        """Read-only class indices (D, H, W), uint8; 255 is ignored."""
        return self._of(case_id).mask(case_id)

    def foreground(self, case_id: str) -> NDArray[Any]:
        """Read-only sampled foreground voxels (N, 4): class index, d, h, w."""
        return self._of(case_id).foreground(case_id)
