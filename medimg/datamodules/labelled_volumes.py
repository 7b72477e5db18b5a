"""Labelled volumes: splits by patient, read once, augmented on the device, balanced, each scored once."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.trainer.states import TrainerFn
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from medimg import keys
from medimg.datamodules.cases import SplitOptions, usable_cores
from medimg.datamodules.image_cache import CacheOptions
from medimg.datamodules.image_samples import BatchOptions, ImageCase, draw_weights, image_cases
from medimg.datamodules.labelled import LabelledDataModule, LabelledReady, case_labels, teaching
from medimg.datamodules.loader import CurrentCase
from medimg.datamodules.pseudo import PseudoOptions, weighed
from medimg.datamodules.samplers import ImageSampler
from medimg.datamodules.volume_cache import VolumeCache
from medimg.datamodules.volume_samples import (
    VolumeDataset,
    augment_volumes,
    collate_volumes,
    scale_volumes,
)
from medimg.datasets.image_set import ImageSet
from medimg.datasets.volume_table import list_volumes, names_own_predictions
from medimg.errors import ConfigError, DataError
from medimg.preparation.image_splits import identical_files, official_test
from medimg.preparation.pseudo_leaks import known_cases, refuse_known
from medimg.preparation.pseudo_table import read_pseudo_table
from medimg.preparation.volume_voxels import VolumeOptions, read_voxels
from medimg.records import ImageIndex, Record
from medimg.transforms.augment3d import Augment3D

logger = logging.getLogger(__name__)

Augmentation = Callable[[tuple[int, int, int]], Augment3D]
_WIDTH = 2  # axis of (D, H, W) along which left and right lie, in volumes that are turned to RAS


@dataclass(frozen=True)
class _Ready(LabelledReady):
    """What ``setup`` found."""

    cache: VolumeCache
    pseudo: VolumeCache | None = None


class LabelledVolumeDataModule(LabelledDataModule[_Ready]):
    """Volumes of one data set with labels, read once and kept at the size that the network sees.

    Batches: ``image`` (B, C, D, H, W) float32 on the device, ``label`` (B, K), ``weight`` (B,), ``case_id``,
    ``patient_id``; in training ``seed`` (B,), and with ``batch.views`` of more than one ``image`` (B * views, C, D, H,
    W) and ``sizes`` (B,). Where the data set publishes training and validation cases they are taken; where it
    publishes folds, or none, ``fold`` says which part validates. ``test`` scores the published test cases, and without
    any the validation cases of the fold.

    Args:
        root: Folder or file of the data set.
        dataset: Which layout the root has, with the options of that layout.
        fold: Fold whose cases validate.
        split: Where the folds come from.
        volume: What the network sees of a volume.
        augmentation: Makes the batched transform for training from the size; it runs on the device.
        batch: What one training batch is made of; volumes are judged one by one.
        cache: Where prepared volumes are kept.
        num_workers: Processes that read volumes; 0 reads in the training process.
        predict_root: What ``predict`` takes: a folder of NIfTI files or DICOM series, or what the layout itself
            says; by default every case of ``root``.
        pseudo: Pseudo-labelled volumes that train in every fold.

    Raises:
        ConfigError: If an option of the batch is one of images.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        dataset: ImageSet,
        fold: int = 0,
        split: SplitOptions = SplitOptions(),  # noqa: B008  (frozen)
        volume: VolumeOptions = VolumeOptions(),  # noqa: B008  (frozen)
        augmentation: Augmentation | None = None,
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
        self.dataset, self.volume, self.batch, self.cache_options = dataset, volume, batch, cache
        self.augmentation = None if augmentation is None else augmentation(volume.size)
        _check_batch(batch, self.augmentation)

    # ---- preparation -------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Read what is not kept yet; runs on one process of each machine."""
        root = self._root()
        if self._fn != TrainerFn.PREDICTING:
            self._cache_of(self.dataset.index(root)).fill(usable_cores())
        if self._trains_on_pseudo:
            self._cache_of(self._pseudo_index()).fill(usable_cores())

    def _cache_of(self, index: ImageIndex) -> VolumeCache:
        return VolumeCache(index, self.volume, self.cache_options)

    def _pseudo_index(self) -> ImageIndex:
        assert self.pseudo.path is not None
        found = read_pseudo_table(self.pseudo.path, self.pseudo.images)
        return replace(found, records=weighed(found.records, self.pseudo.weight))

    def _read(self) -> _Ready:
        index = self.dataset.index(self._root())
        cache = self._cache_of(index)
        split = self._choose_split(
            index, lambda: cache.identical() if cache.used else identical_files(index.records)
        )
        self._warn_of_mirroring(index)
        pseudo, added = None, tuple[str, ...]()
        if self._trains_on_pseudo:
            pseudo = self._cache_of(self._checked_pseudo(index))
            added = tuple(pseudo.records)
        test = official_test(index) or split.test
        return _Ready(index.name, split, list(index.classes), index, test, cache, pseudo, pseudo_ids=added)

    def _checked_pseudo(self, index: ImageIndex) -> ImageIndex:
        """The pseudo-labelled cases, known to have the same labels and not to be those of the data set."""
        pseudo = self._pseudo_index()
        if (pseudo.task, pseudo.classes) != (index.task, index.classes):
            raise ConfigError(
                f"data.init_args.pseudo.path: {self.pseudo.path} is {pseudo.task} with {', '.join(pseudo.classes)}, "
                f"the data are {index.task} with {', '.join(index.classes)}. Name pseudo-labels of the same task."
            )
        refuse_known(
            known_cases(pseudo.records, labelled=index.records), "Leave such cases out of the pseudo-labels."
        )
        return pseudo

    def _warn_of_mirroring(self, index: ImageIndex) -> None:
        if self.augmentation is None or self._fn != TrainerFn.FITTING:
            return
        spatial = self.augmentation.spatial
        why = self.harm_of_mirroring(index)
        if why and _WIDTH in spatial.mirror_axes and spatial.mirror_probability:
            logger.warning(
                "the augmentation mirrors left and right, and %s: leave axis %d out of mirror_axes in "
                "data.init_args.augmentation",
                why,
                _WIDTH,
            )

    # ---- loaders -----------------------------------------------------------------------------

    def _training_cases(self) -> list[ImageCase]:
        ready = self._set_up
        own = self._cases(ready.split.train)
        if ready.pseudo is None:
            return own
        return own + image_cases(list(ready.pseudo.records.values()), ready.index.classes, grouped=False)

    def train_dataloader(self) -> DataLoader[Any]:
        """Every training case that teaches, once an epoch, or as often as its class asks for."""
        ready = self._set_up
        cases = teaching(self._training_cases(), self.batch)
        if not cases:
            raise DataError(f"{ready.index.root}: none of the training cases has a label")
        rank, world = self._place()
        sampler = ImageSampler(
            len(cases),
            weights=draw_weights(case_labels(cases), self.batch.balance) if self.batch.balance else None,
            seed=torch.initial_seed() % 2**32,
            rank=rank,
            world=world,
        )
        return self._batches(cases, _Voxels(ready.cache, ready.pseudo), sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation cases, each once."""
        return self.scored_cases(self._set_up.split.val)

    def test_dataloader(self) -> DataLoader[Any]:
        """The test cases, each once."""
        return self.scored_cases(self._scored_ids())

    def predict_dataloader(self) -> DataLoader[Any]:
        """Every case below the root, read on the fly, labelled or not."""
        index = self._predicted_index()
        self._predicted = tuple(record.case_id for record in index.records)
        bare = [replace(record, labels={}, group=None) for record in index.records]
        read = partial(_read_record, {record.case_id: record for record in bare}, self.volume)
        cases = image_cases(bare, (), grouped=False)
        return self._batches(cases, read, self._case_sampler(len(cases)))

    def _predicted_index(self) -> ImageIndex:
        if self.predict_root is None:
            return self.dataset.index(self._root())
        if names_own_predictions(self.dataset):
            return self.dataset.unlabelled(self.predict_root)
        return list_volumes(self.predict_root, self.volume.channels)

    def scored_cases(self, case_ids: tuple[str, ...]) -> DataLoader[Any]:
        """Those of these cases that have labels, each once and as they are; any part of the split.

        Args:
            case_ids: Ids of records of the index.
        """
        cases = [case for case in self._cases(case_ids) if case.label is not None]
        return self._batches(cases, self._set_up.cache.read, self._case_sampler(len(cases)))

    def _batches(
        self, cases: list[ImageCase], read: Any, sampler: Any, *, drop_last: bool = False
    ) -> DataLoader[Any]:
        current = CurrentCase(self.num_workers)
        return self._loader(
            VolumeDataset(cases, read, before=current.note),
            sampler,
            current,
            batch_size=self.batch.batch_size,
            collate=collate_volumes,
            drop_last=drop_last and len(sampler) >= self.batch.batch_size,
        )

    # ---- on the device ------------------------------------------------------------------------

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Bring voxels to the values that the network sees, and augment training batches."""
        batch = {**batch, keys.IMAGE: scale_volumes(batch[keys.IMAGE])}
        if self.augmentation is not None and self.trainer is not None and self.trainer.training:
            batch = augment_volumes(batch, self.augmentation, self.batch.views)
        return batch


@dataclass(frozen=True, slots=True)
class _Voxels:
    """Reads voxels by case id from whichever cache has the case; no id stands in both."""

    own: VolumeCache
    pseudo: VolumeCache | None

    def __call__(self, case_id: str) -> NDArray[Any]:
        cache = self.own if self.pseudo is None or case_id in self.own.records else self.pseudo
        return cache.read(case_id)


def _read_record(records: dict[str, Record], options: VolumeOptions, case_id: str) -> NDArray[Any]:
    return read_voxels(records[case_id], options)


def _check_batch(batch: BatchOptions, augmentation: Augment3D | None) -> None:
    for_images = {"grouped": batch.grouped, "max_images": batch.max_images, "masks": batch.masks}
    if wrong := [name for name, value in for_images.items() if value]:
        raise ConfigError(
            f"data.init_args.batch.{wrong[0]}: volumes are judged one by one, by their voxels alone. Leave it out, or "
            "take medimg.datamodules.ImageDataModule for slices."
        )
    if batch.views > 1 and augmentation is None:
        raise ConfigError(
            f"data.init_args.batch.views: {batch.views} views of a volume differ by their augmentation: set "
            "data.init_args.augmentation"
        )
