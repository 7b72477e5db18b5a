"""Labelled 2D images: splits by patient, decoded once, augmented, balanced, each scored once."""

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from medimg import keys
from medimg.datamodules.cases import CaseDataModule, Ready, SplitOptions, usable_cores
from medimg.datamodules.image_cache import CacheOptions, ImageCache
from medimg.datamodules.image_samples import (
    Floats,
    ImageCase,
    ImageDataset,
    collate_images,
    draw_weights,
    image_cases,
    scale_images,
)
from medimg.datamodules.image_split import choose_image_split
from medimg.datamodules.loader import CurrentCase
from medimg.datamodules.pseudo import JoinedPixels, PseudoImages, PseudoOptions
from medimg.datamodules.samplers import ImageSampler
from medimg.datasets.image_set import ImageSet
from medimg.errors import DataError
from medimg.preparation.image_pixels import ImageOptions, read_pixels
from medimg.preparation.image_splits import identical_files, official_test
from medimg.records import ImageIndex, Record
from medimg.transforms.image2d import AlbumentationsTransform

logger = logging.getLogger(__name__)

_SIDES = re.compile(r"(^|[^a-z])(left|right)([^a-z]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class BatchOptions:
    """What one training batch is made of.

    Attributes:
        batch_size: Cases in a batch, on each device.
        balance: 0 draws every case once an epoch; 1 draws rare classes as often as frequent ones; between them in
            part. An epoch has as many samples as there are cases.
        grouped: Judge the images of one group (breast, study) together; the task then needs a pooling.
        max_images: Most images of one group in training.
    """

    batch_size: int = 32
    balance: float = 0.0
    grouped: bool = False
    max_images: int | None = None


@dataclass(frozen=True)
class _Ready(Ready):
    """What ``setup`` found."""

    index: ImageIndex
    test: tuple[str, ...]
    cache: ImageCache
    pseudo: PseudoImages | None = None


class ImageDataModule(CaseDataModule[_Ready]):
    """Images of one data set with labels, decoded once and kept.

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
        batch: BatchOptions = BatchOptions(),
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

    # ---- preparation -------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Decode what is not kept yet; runs on one process of each machine."""
        root = self._root()
        if self._fn != TrainerFn.PREDICTING:
            ImageCache(self.dataset.index(root), self.image, self.cache_options).fill(usable_cores())
        if self._trains_on_pseudo:
            PseudoImages(self.pseudo, self.image, self.cache_options).cache.fill(usable_cores())

    def _read(self) -> _Ready:
        index = self.dataset.index(self._root())
        cache = ImageCache(index, self.image, self.cache_options)
        options = self.split_options
        split = choose_image_split(
            index,
            fold=self.fold,
            num_folds=options.num_folds,
            split_file=options.file,
            by=options.by,
            allow_leaky=options.allow_leaky,
            # Copies are looked for only where folds are dealt: an official split stays what it is.
            copies=lambda: [*self.dataset.known_copies(index), *_copies(index, cache)],
        )
        self._warn_of_mirroring(index)
        test = official_test(index) or split.test
        pseudo, added = None, tuple[str, ...]()
        if self._trains_on_pseudo:
            pseudo = PseudoImages(self.pseudo, self.image, self.cache_options)
            pseudo.check(index, cache)
            added = tuple(record.case_id for record in pseudo.index.records)
        return _Ready(index.name, split, list(index.classes), index, test, cache, pseudo, pseudo_ids=added)

    def _warn_of_mirroring(self, index: ImageIndex) -> None:
        if self.transform is None or not self.transform.mirrors_left_right or self._fn != TrainerFn.FITTING:
            return
        if why := self.harm_of_mirroring(index):
            logger.warning(
                "the augmentation mirrors left and right, and %s: remove the flip from data.init_args.transform",
                why,
            )

    def harm_of_mirroring(self, index: ImageIndex) -> str:
        """Why left and right must not be exchanged in these images; empty where nothing speaks against it."""
        sided = [name for name in index.classes if _SIDES.search(name.replace("_", " "))]
        if sided:
            return f"labels tell them apart ({', '.join(sided[:4])})"
        if self.dataset.has_laterality:
            return f"{index.name} images have sides (a mirrored heart lies on the right)"
        return ""

    # ---- what a run is told about its data ----------------------------------------------------

    @property
    def index(self) -> ImageIndex:
        """The data set; known after ``setup``."""
        return self._set_up.index

    @property
    def scored_title(self) -> str:
        """Names the cases that are scored, for the title of the table."""
        ready = self._set_up
        leaky = ", LEAKY: patients on both sides" if ready.split.leaky else ""
        if self._fn == TrainerFn.TESTING and ready.test:
            kept = "official" if official_test(ready.index) else "held-out"
            return f"{kept} test cases of {ready.index.name}{leaky}"
        official = {"train", "val"} <= {
            record.split for record in ready.index.records
        } and not ready.index.folds
        if official and self.split_options.file is None:
            return f"official validation cases of {ready.index.name}{leaky}"
        why = "" if ready.test else " (the data set has no test split)"
        return f"validation cases of fold {self.fold} of {ready.index.name}{why}{leaky}"

    @property
    def train_labels(self) -> Floats:
        """Labels of the training cases (N, K), NaN where unknown."""
        return _labels(self._training_cases())

    def pixels(self, case_id: str) -> list[Floats]:
        """Kept images of a case, each (C, H, W) in [0, 1], for pictures."""
        ready = self._set_up
        records = [r for r in ready.index.records if case_id in (r.case_id, r.group)]
        top = np.float32(2**self.image.bits - 1)
        return [ready.cache.read(record.case_id).astype(np.float32) / top for record in records]

    @property
    def _test_ids(self) -> tuple[str, ...]:
        return self._set_up.test

    def _names(self, case_ids: tuple[str, ...]) -> list[str]:
        return [case.case_id for case in self._cases(case_ids) if case.label is not None]

    def _scored_ids(self) -> tuple[str, ...]:
        ready = self._set_up
        return ready.test if self._fn == TrainerFn.TESTING and ready.test else ready.split.val

    def _expect_unseen(self, trained: Iterable[str]) -> None:
        # A run that is allowed to leak is marked as leaky.
        if not self.split_options.allow_leaky:
            super()._expect_unseen(trained)

    # ---- loaders -----------------------------------------------------------------------------

    def _cases(self, case_ids: tuple[str, ...]) -> list[ImageCase]:
        wanted = set(case_ids)
        records = [record for record in self._set_up.index.records if record.case_id in wanted]
        return image_cases(records, self._set_up.index.classes, grouped=self.batch.grouped)

    def _training_cases(self) -> list[ImageCase]:
        """Those of the fold, and the pseudo-labelled ones."""
        ready = self._set_up
        own = self._cases(ready.split.train)
        if ready.pseudo is None:
            return own
        index = ready.pseudo.index
        return own + image_cases(index.records, index.classes, grouped=self.batch.grouped)

    def train_dataloader(self) -> DataLoader[Any]:
        """Every training case with a known label once an epoch, or as often as its class asks for."""
        ready = self._set_up
        cases = [case for case in self._training_cases() if _has_label(case)]
        if not cases:
            raise DataError(f"{ready.index.root}: none of the training cases has a label")
        current = CurrentCase(self.num_workers)
        dataset = ImageDataset(
            cases,
            ready.cache.read if ready.pseudo is None else JoinedPixels((ready.cache, ready.pseudo.cache)),
            self.image,
            transform=self.transform,
            grouped=self.batch.grouped,
            max_images=self.batch.max_images,
            before=current.note,
        )
        rank, world = self._place()
        weights = draw_weights(_labels(cases), self.batch.balance) if self.batch.balance else None
        sampler = ImageSampler(
            len(cases), weights=weights, seed=torch.initial_seed() % 2**32, rank=rank, world=world
        )
        return self._batches(dataset, sampler, current, drop_last=len(sampler) >= self.batch.batch_size)

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation cases, each once."""
        return self._scored_cases(self._set_up.split.val)

    def test_dataloader(self) -> DataLoader[Any]:
        """The test cases, each once."""
        return self._scored_cases(self._scored_ids())

    def predict_dataloader(self) -> DataLoader[Any]:
        """Every case below the root, decoded on the fly, labelled or not."""
        index = (
            self.dataset.index(self._root())
            if self.predict_root is None
            else self.dataset.unlabelled(self.predict_root)
        )
        self._predicted = tuple(record.case_id for record in index.records)
        bare = [replace(record, labels={}) for record in index.records]
        by_id: dict[str, Record] = {record.case_id: record for record in bare}
        cases = image_cases(bare, (), grouped=self.batch.grouped)
        return self._case_loader(cases, partial(_read_record, by_id, self.image))

    def _scored_cases(self, case_ids: tuple[str, ...]) -> DataLoader[Any]:
        cases = [case for case in self._cases(case_ids) if case.label is not None]
        return self._case_loader(cases, self._set_up.cache.read)

    def _case_loader(self, cases: list[ImageCase], read: Any) -> DataLoader[Any]:
        sampler = self._case_sampler(len(cases))
        current = CurrentCase(self.num_workers)
        dataset = ImageDataset(
            cases, read, self.image, transform=self.transform, grouped=self.batch.grouped, before=current.note
        )
        return self._batches(dataset, sampler, current)

    def _batches(
        self, dataset: ImageDataset, sampler: Sampler[Any], current: CurrentCase, *, drop_last: bool = False
    ) -> DataLoader[Any]:
        return self._loader(
            dataset,
            sampler,
            current,
            batch_size=self.batch.batch_size,
            collate=partial(collate_images, grouped=self.batch.grouped),
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


def _read_record(records: dict[str, Record], options: ImageOptions, case_id: str) -> Any:
    return read_pixels(records[case_id], options)


def _copies(index: ImageIndex, cache: ImageCache) -> list[set[str]]:
    """Cases that are one picture, by their pixels where they are kept, else by their files."""
    return cache.identical() if cache.used else identical_files(index.records)


def _has_label(case: ImageCase) -> bool:
    """Whether a case teaches anything: one whose labels are all unknown would only take another's place."""
    return case.label is not None and not bool(np.isnan(case.label).all())


def _labels(cases: list[ImageCase]) -> Floats:
    return np.stack([case.label for case in cases if case.label is not None])
