"""Labelled 2D images: splits by patient, decoded once, augmented, balanced, each scored once."""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from medimg import keys
from medimg.datamodules.cases import SplitOptions, usable_cores
from medimg.datamodules.image_cache import CacheOptions, ImageCache, MaskCache
from medimg.datamodules.image_samples import (
    BatchOptions,
    Floats,
    ImageCase,
    ImageDataset,
    collate_images,
    draw_weights,
    image_cases,
    scale_images,
)
from medimg.datamodules.labelled import LabelledDataModule, LabelledReady, case_labels, teaching
from medimg.datamodules.loader import CurrentCase
from medimg.datamodules.pseudo import JoinedPixels, PseudoImages, PseudoOptions
from medimg.datamodules.samplers import ImageSampler
from medimg.datamodules.stack_positions import StackPositions
from medimg.datasets.image_set import ImageSet
from medimg.errors import ConfigError, DataError
from medimg.preparation.image_masks import read_reference
from medimg.preparation.image_pixels import ImageOptions, read_pixels
from medimg.preparation.image_splits import identical_files, official_test
from medimg.records import ImageIndex, Record
from medimg.transforms.image2d import AlbumentationsTransform

logger = logging.getLogger(__name__)

Positions = NDArray[np.float64] | None


@dataclass(frozen=True)
class _Ready(LabelledReady):
    """What ``setup`` found."""

    cache: ImageCache
    positions: Positions = None
    masks: MaskCache | None = None
    pseudo: PseudoImages | None = None


class ImageDataModule(LabelledDataModule[_Ready]):
    """Images of one data set with labels, decoded once and kept.

    Batches: ``image`` (M, C, H, W), normalised on the device; ``label`` (B, K), ``weight`` (B,), ``case_id``,
    ``patient_id``, in training ``seed`` (B,). Of groups also ``sizes`` (B,), ``image_id`` (M) and ``image_label``
    (M, K), the labels of the single images; with ``batch.masks`` ``mask`` (M, 1, H, W), uint8, 255 for an image
    without a mask, but not in predict; with ``batch.views`` in training ``image`` (B * views, C, H, W) and ``sizes``.

    Where the data set publishes training and validation cases they are taken; where it publishes folds, or none,
    ``fold`` says which part validates. ``test`` scores the published test cases, and without any the
    validation cases of the fold.

    Args:
        root: Folder or file of the data set.
        dataset: Which layout the root has, with the options of that layout.
        fold: Fold whose cases validate.
        split: Where the folds come from.
        image: What the network sees of an image.
        transform: Augmentation of training images.
        batch: What one training batch is made of.
        cache: Where decoded images are kept.
        num_workers: Processes that read images; 0 reads in the training process.
        predict_root: What ``predict`` takes; by default every case of ``root``.
        pseudo: Pseudo-labelled images that train in every fold.

    Raises:
        ConfigError: If several views are asked for without an augmentation that makes them differ.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        dataset: ImageSet,
        fold: int = 0,
        split: SplitOptions = SplitOptions(),  # noqa: B008  (frozen)
        image: ImageOptions = ImageOptions(),  # noqa: B008  (frozen)
        transform: AlbumentationsTransform | None = None,
        batch: BatchOptions = BatchOptions(),  # noqa: B008  (frozen)
        cache: CacheOptions = CacheOptions(),  # noqa: B008  (frozen)
        num_workers: int = 0,
        predict_root: Path | None = None,
        pseudo: PseudoOptions = PseudoOptions(),  # noqa: B008  (frozen)
    ) -> None:
        super().__init__(
            root,
            fold=fold,
            split=split,
            num_workers=num_workers,
            predict_root=predict_root,
            pseudo=pseudo,
        )
        self.dataset, self.image, self.transform = dataset, image, transform
        self.batch, self.cache_options = batch, cache
        self._predicted_records: dict[str, Record] = {}
        if batch.views > 1 and transform is None:
            raise ConfigError(
                f"data.init_args.batch.views: {batch.views} views of an image differ by their augmentation: set "
                "data.init_args.transform"
            )

    # ---- preparation -------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Decode what is not kept yet; runs on one process of each machine."""
        if self._fn == TrainerFn.PREDICTING:
            if self.batch.grouped:
                self._stack(self._predicted_index()).fill(usable_cores())
            return
        index = self.dataset.index(self._root())
        self._fill(index, self._cache_of(index))
        if self.batch.masks:
            self._masks_of(index).fill(usable_cores())
        if self._trains_on_pseudo:
            pseudo = PseudoImages(self.pseudo, self.image, self.cache_options)
            self._fill(pseudo.index, pseudo.cache)

    def _fill(self, index: ImageIndex, cache: ImageCache) -> None:
        cache.fill(usable_cores())
        if self.batch.grouped and not cache.used:
            self._stack(index).fill(usable_cores())

    def _cache_of(self, index: ImageIndex) -> ImageCache:
        return ImageCache(index, self.image, self.cache_options)

    def _stack(self, index: ImageIndex) -> StackPositions:
        return StackPositions(index, self.cache_options)

    def _positions(self, index: ImageIndex, cache: ImageCache) -> Positions:
        """Where images lie in their groups, in the order of the records; ``None`` if nobody asks."""
        if not self.batch.grouped:
            return None
        kept = cache.positions()
        found = _as_told(index, self._stack(index).read() if kept is None else kept)
        if self.batch.consecutive and np.isnan(found).all():
            logger.warning(
                "no image of %s says its place along a stack, so that consecutive images are those by case id: take "
                "the DICOM files themselves, or set data.init_args.batch.consecutive to false",
                index.name,
            )
        return found

    def _masks_of(self, index: ImageIndex) -> MaskCache:
        masks = self.dataset.masks(index)
        if not masks:
            raise ConfigError(
                f"data.init_args.batch.masks: {type(self.dataset).__name__} finds no mask of any image below "
                f"{index.root}. Set it to false, or name a data set with masks, such as medimg.datasets.ImageFolder "
                "with a.png beside a_mask.png, or medimg.datasets.HistologyTiles with a folder images beside masks."
            )
        return MaskCache(index, masks, self.image, self.cache_options)

    def _read(self) -> _Ready:
        index = self.dataset.index(self._root())
        cache = self._cache_of(index)
        split = self._choose_split(index, lambda: _copies(index, cache))
        self._warn_of_mirroring(index)
        pseudo, added = None, tuple[str, ...]()
        if self._trains_on_pseudo:
            pseudo = PseudoImages(self.pseudo, self.image, self.cache_options)
            pseudo.check(index, cache)
            added = tuple(record.case_id for record in pseudo.index.records)
        return _Ready(
            index.name,
            split,
            list(index.classes),
            index,
            official_test(index) or split.test,
            cache,
            self._positions(index, cache),
            self._masks_of(index) if self.batch.masks else None,
            pseudo,
            pseudo_ids=added,
        )

    def _warn_of_mirroring(self, index: ImageIndex) -> None:
        if self.transform is None or not self.transform.mirrors_left_right or self._fn != TrainerFn.FITTING:
            return
        if why := self.harm_of_mirroring(index):
            logger.warning(
                "the augmentation mirrors left and right, and %s: remove the flip from data.init_args.transform",
                why,
            )

    # ---- what a run is told about its data ----------------------------------------------------

    def pixels(self, case_id: str) -> list[Floats]:
        """Kept images of a case, each (C, H, W) in [0, 1], for pictures."""
        ready = self._set_up
        records = [r for r in ready.index.records if case_id in (r.case_id, r.group)]
        top = np.float32(2**self.image.bits - 1)
        return [ready.cache.read(record.case_id).astype(np.float32) / top for record in records]

    def record(self, case_id: str) -> Record:
        """Files and labels of a case, also of one that is predicted."""
        return self._predicted_records.get(case_id) or self._set_up.cache.records[case_id]

    def reference(self, case_id: str) -> NDArray[np.uint8] | None:
        """Mask (H, W) of an image on the pixels of its file; ``None`` where it has none.

        Raises:
            DataError: If it cannot be read, or does not fit the image.
        """
        masks = self._set_up.masks
        if masks is None or case_id not in masks.records:
            return None
        return read_reference(masks.records[case_id], masks.masks[case_id])

    # ---- loaders -----------------------------------------------------------------------------

    def _cases(self, case_ids: tuple[str, ...]) -> list[ImageCase]:
        wanted, ready = set(case_ids), self._set_up
        records = ready.index.records
        rows = [row for row, record in enumerate(records) if record.case_id in wanted]
        return image_cases(
            [records[row] for row in rows],
            ready.index.classes,
            grouped=self.batch.grouped,
            positions=None if ready.positions is None else ready.positions[rows],
        )

    def _training_cases(self) -> list[ImageCase]:
        """Those of the fold, and the pseudo-labelled ones."""
        ready = self._set_up
        own = self._cases(ready.split.train)
        if ready.pseudo is None:
            return own
        index = ready.pseudo.index
        positions = self._positions(index, ready.pseudo.cache)
        return own + image_cases(
            index.records, index.classes, grouped=self.batch.grouped, positions=positions
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """Every training case that teaches, once an epoch, or as often as its class asks for."""
        ready = self._set_up
        cases = teaching(self._training_cases(), self.batch, self._masked)
        if not cases:
            what = "a label or a mask" if self.batch.masks else "a label"
            raise DataError(f"{ready.index.root}: none of the training cases has {what}")
        current = CurrentCase(self.num_workers)
        dataset = ImageDataset(
            cases,
            ready.cache.read if ready.pseudo is None else JoinedPixels((ready.cache, ready.pseudo.cache)),
            self.image,
            transform=self.transform,
            batch=self.batch,
            masks=self._masks(),
            before=current.note,
        )
        rank, world = self._place()
        weights = draw_weights(case_labels(cases), self.batch.balance) if self.batch.balance else None
        sampler = ImageSampler(
            len(cases), weights=weights, seed=torch.initial_seed() % 2**32, rank=rank, world=world
        )
        return self._batches(
            dataset,
            sampler,
            current,
            several=self.batch.views > 1,
            drop_last=len(sampler) >= self.batch.batch_size,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation cases, each once."""
        return self.scored_cases(self._set_up.split.val)

    def test_dataloader(self) -> DataLoader[Any]:
        """The test cases, each once."""
        return self.scored_cases(self._scored_ids())

    def predict_dataloader(self) -> DataLoader[Any]:
        """Every case below the root, decoded on the fly, labelled or not."""
        index = self._predicted_index()
        bare = [replace(record, labels={}) for record in index.records]
        self._predicted_records = {record.case_id: record for record in bare}
        self._predicted = tuple(self._predicted_records)
        positions = _as_told(index, self._stack(index).read()) if self.batch.grouped else None
        cases = image_cases(bare, (), grouped=self.batch.grouped, positions=positions)
        return self._case_loader(cases, partial(_read_record, self._predicted_records, self.image))

    def _predicted_index(self) -> ImageIndex:
        if self.predict_root is None:
            return self.dataset.index(self._root())
        return self.dataset.unlabelled(self.predict_root)

    def scored_cases(self, case_ids: tuple[str, ...]) -> DataLoader[Any]:
        """Those of these cases that have labels or masks, each once and as they are; any part of the split.

        Args:
            case_ids: Ids of records of the index.
        """
        cases = [case for case in self._cases(case_ids) if self._is_scored(case)]
        return self._case_loader(cases, self._set_up.cache.read, self._masks())

    @property
    def _masked(self) -> Collection[str]:
        """Images that have a mask, if masks are asked for."""
        masks = self._set_up.masks
        return () if masks is None else masks.records.keys()

    def _is_scored(self, case: ImageCase) -> bool:
        return super()._is_scored(case) or any(image in self._masked for image in case.images)

    def _masks(self) -> Callable[[str], NDArray[np.uint8]] | None:
        masks = self._set_up.masks
        return None if masks is None else masks.read

    def _case_loader(
        self,
        cases: list[ImageCase],
        read: Callable[[str], NDArray[Any]],
        masks: Callable[[str], NDArray[np.uint8]] | None = None,
    ) -> DataLoader[Any]:
        sampler = self._case_sampler(len(cases))
        current = CurrentCase(self.num_workers)
        dataset = ImageDataset(
            cases,
            read,
            self.image,
            transform=self.transform,
            batch=self.batch,
            masks=masks,
            before=current.note,
        )
        return self._batches(dataset, sampler, current)

    def _batches(
        self,
        dataset: ImageDataset,
        sampler: Sampler[Any],
        current: CurrentCase,
        *,
        several: bool = False,
        drop_last: bool = False,
    ) -> DataLoader[Any]:
        return self._loader(
            dataset,
            sampler,
            current,
            batch_size=self.batch.batch_size,
            collate=partial(collate_images, grouped=self.batch.grouped or several),
            drop_last=drop_last,
        )

    # ---- on the device ------------------------------------------------------------------------

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Scale to [0, 1] and normalise on the device: bytes travel faster than floats."""
        image: Tensor = batch[keys.IMAGE]
        if self.transform is not None and self.transform.normalises:
            image = scale_images(image)
        else:
            image = scale_images(image, self.image.mean, self.image.std)
        return {**batch, keys.IMAGE: image}


def _as_told(index: ImageIndex, found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places along the stack (N,): those of the table, else those found in the files."""
    told = np.array([np.nan if r.position_mm is None else r.position_mm for r in index.records])
    return np.where(np.isnan(told), found, told)


def _read_record(records: dict[str, Record], options: ImageOptions, case_id: str) -> Any:
    return read_pixels(records[case_id], options)


def _copies(index: ImageIndex, cache: ImageCache) -> list[set[str]]:
    """Cases that are one picture, by their pixels where they are kept, else by their files."""
    return cache.identical() if cache.used else identical_files(index.records)


__all__ = ["BatchOptions", "ImageDataModule"]
