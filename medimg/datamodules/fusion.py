"""Cases of several inputs: split by patient, any input blank, each case scored once."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from medimg import keys
from medimg.datamodules.cases import SplitOptions, usable_cores
from medimg.datamodules.fusion_inputs import (
    CATEGORY,
    TABLE,
    TEXT,
    FusionDataset,
    KeptTexts,
    PictureInput,
    PictureReader,
    Reader,
    RowReader,
    Source,
    TextOptions,
    collate_fusion,
)
from medimg.datamodules.image_cache import CacheOptions
from medimg.datamodules.image_samples import BatchOptions, Floats, ImageCase, draw_weights, image_cases
from medimg.datamodules.labelled import LabelledDataModule, LabelledReady, case_labels, has_label
from medimg.datamodules.loader import CurrentCase
from medimg.datamodules.samplers import ImageSampler
from medimg.datasets.fusion import FusionCases, FusionSet, Schema, present_inputs
from medimg.errors import ConfigError, DataError
from medimg.preparation.image_splits import official_test
from medimg.records import Record

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Ready(LabelledReady):
    """What ``setup`` found."""

    cases: FusionCases
    readers: Mapping[str, Reader]
    present: Mapping[str, frozenset[str]]


class FusionDataModule(LabelledDataModule[_Ready]):
    """Images, a second image, a table and report text of the same cases.

    Batches: of the inputs that there are ``image`` and ``image_2`` (B, C, H, W) or (B, C, D, H, W), ``table`` (B, P)
    with NaN for missing numbers, ``category`` (B, Q) codes, ``text`` (B, T) tokens or (B, F) embeddings; ``present``
    (B, 4) bool, columns as `medimg.models.fusion.INPUTS`; ``label`` (B, K), ``weight`` (B,), ``case_id``,
    ``patient_id``, in training ``seed`` (B,).

    Args:
        root: Folder or file of the data set.
        dataset: Which layout the root has, with the options of that layout.
        fold: Fold whose cases validate, where the data set publishes no split.
        split: Where the folds come from.
        images: By input, ``image`` and ``image_2``, what the network sees of it: `ImageInput` or `VolumeInput`. An
            input of the data set that is not named here is not read.
        text: How report text reaches the network.
        batch: Size of a training batch, and how often rare classes are drawn.
        cache: Where decoded pictures and texts are kept.
        num_workers: Processes that read cases; 0 reads in the training process.
        predict_root: What ``predict`` takes: a folder with the same table, labels or not; by default every case of
            ``root``.
        drop: Inputs that are left out on purpose, in every case: to see what a network does without them.

    Raises:
        ConfigError: If an input is named that the data set does not have.
    """

    dataset: FusionSet

    def __init__(
        self,
        root: Path | None = None,
        *,
        dataset: FusionSet,
        fold: int = 0,
        split: SplitOptions = SplitOptions(),  # noqa: B008  (frozen)
        images: dict[str, PictureInput] | None = None,
        text: TextOptions = TextOptions(),  # noqa: B008  (frozen)
        batch: BatchOptions = BatchOptions(),  # noqa: B008  (frozen)
        cache: CacheOptions = CacheOptions(),  # noqa: B008  (frozen)
        num_workers: int = 0,
        predict_root: Path | None = None,
        drop: tuple[str, ...] = (),
    ) -> None:
        super().__init__(root, fold=fold, split=split, num_workers=num_workers, predict_root=predict_root)
        self.dataset, self.images, self.text = dataset, images or {}, text
        self.batch, self.cache_options, self.drop = batch, cache, tuple(drop)
        self._check()

    def _check(self) -> None:
        has, where = self.dataset.inputs, type(self.dataset).__name__
        for what, names in (("images", tuple(self.images)), ("drop", self.drop)):
            if wrong := [name for name in names if name not in has]:
                raise ConfigError(
                    f"data.init_args.{what}: {where} has {', '.join(has) or 'no input'}, and not {', '.join(wrong)}"
                )
        if not self._read_inputs:
            raise ConfigError(f"data.init_args: {where} has {', '.join(has)}, and nothing of it is read")
        plain = BatchOptions(batch_size=self.batch.batch_size, balance=self.batch.balance)
        if self.batch != plain:
            raise ConfigError(
                "data.init_args.batch: cases of several inputs take batch_size and balance alone"
            )

    @property
    def inputs(self) -> tuple[str, ...]:
        """What a batch holds, also if it is dropped."""
        return tuple(name for name in self.dataset.inputs if name in self.images or name in (TABLE, TEXT))

    @property
    def _read_inputs(self) -> tuple[str, ...]:
        return tuple(name for name in self.inputs if name not in self.drop)

    @property
    def schema(self) -> Schema:
        """The columns of the table."""
        return self.dataset.schema

    # ---- preparation -------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Decode, tokenise and embed what is not kept yet; runs on one process of each machine."""
        if self._fn == TrainerFn.PREDICTING:
            if TEXT in self._read_inputs:
                self._texts(self._predicted_cases()).fill()
            return
        cases = self.dataset.cases(self._root())
        for cache in self._caches(cases).values():
            cache.fill(usable_cores())
        if TEXT in self._read_inputs:
            self._texts(cases).fill()

    def _caches(self, cases: FusionCases) -> dict[str, Source]:
        names = [name for name in self.images if name in self._read_inputs]
        if empty := [name for name in names if not cases.pictures[name].records]:
            raise DataError(
                f"{cases.index.root}: no case has {empty[0]}. Check its column, or set drop: {empty}."
            )
        return {name: self.images[name].cache(cases.pictures[name], self.cache_options) for name in names}

    def _texts(self, cases: FusionCases) -> KeptTexts:
        return KeptTexts(cases.index.name, cases.texts, self.text, self.cache_options)

    def _read(self) -> _Ready:
        cases = self.dataset.cases(self._root())
        caches = self._caches(cases)
        split = self._choose_split(
            cases.index,
            lambda: [*cases.copies, *(group for cache in caches.values() for group in cache.identical())],
        )
        readers = self._readers(cases, {name: cache.read for name, cache in caches.items()})
        present = present_inputs(cases)
        self._tell_of_empty(cases, present)
        return _Ready(
            cases.index.name,
            split,
            list(cases.index.classes),
            cases.index,
            official_test(cases.index) or split.test,
            replace(cases, texts=()),  # kept on disk by now
            readers,
            present,
        )

    def _readers(self, cases: FusionCases, read: Mapping[str, Any]) -> dict[str, Reader]:
        """What gives each input that is not dropped."""
        ids = [record.case_id for record in cases.index.records]
        found: dict[str, Reader] = {
            name: PictureReader(name, self.images[name], cases.pictures[name].records, reads)
            for name, reads in read.items()
        }
        if TABLE in self._read_inputs:
            arrays: dict[str, NDArray[Any]] = {TABLE: cases.numbers, CATEGORY: cases.codes}
            found[TABLE] = RowReader(arrays, ids, {TABLE: np.nan, CATEGORY: 0})
        if TEXT in self._read_inputs:
            found[TEXT] = RowReader({TEXT: self._texts(cases).read()}, ids, {TEXT: 0})
        return found

    def _tell_of_empty(self, cases: FusionCases, present: Mapping[str, frozenset[str]]) -> None:
        has_some = frozenset[str]().union(*(present[name] for name in self._read_inputs))
        empty = [r.case_id for r in cases.index.records if r.case_id not in has_some]
        if empty:
            logger.warning(
                "%d cases of %s have none of %s, such as %s: they do not train, and are scored by what is learned to "
                "stand in",
                len(empty),
                cases.index.name,
                ", ".join(self._read_inputs),
                empty[0],
            )

    # ---- what a run is told about its data ----------------------------------------------------

    @property
    def train_table(self) -> Floats:
        """Numbers of the training cases (N, P), NaN where missing."""
        ready, train = self._set_up, set(self._set_up.split.train)
        rows = [row for row, record in enumerate(ready.index.records) if record.case_id in train]
        return ready.cases.numbers[rows]

    @property
    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one case of each input, for an export: a text is taken as tokens."""
        shapes = {name: one.shape for name, one in self.images.items()}
        return {**shapes, TEXT: (self.text.limit,)} if TEXT in self.inputs else shapes

    # ---- loaders -----------------------------------------------------------------------------

    def _training_cases(self) -> list[ImageCase]:
        ready = self._set_up
        has_some = frozenset[str]().union(*(ready.present[name] for name in ready.readers))
        return [case for case in self._cases(ready.split.train) if case.case_id in has_some]

    def train_dataloader(self) -> DataLoader[Any]:
        """Every training case with a known label and an input once an epoch, or as often as its class asks for."""
        cases = [case for case in self._training_cases() if has_label(case)]
        if not cases:
            raise DataError(f"{self.index.root}: none of the training cases has a label and an input")
        rank, world = self._place()
        sampler = ImageSampler(
            len(cases),
            weights=draw_weights(case_labels(cases), self.batch.balance) if self.batch.balance else None,
            seed=torch.initial_seed() % 2**32,
            rank=rank,
            world=world,
        )
        drop_last = len(sampler) >= self.batch.batch_size
        return self._batches(cases, self._set_up.readers, self._set_up.present, sampler, drop_last=drop_last)

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation cases, each once."""
        return self.scored_cases(self._set_up.split.val)

    def test_dataloader(self) -> DataLoader[Any]:
        """The test cases, each once."""
        return self.scored_cases(self._scored_ids())

    def scored_cases(self, case_ids: tuple[str, ...]) -> DataLoader[Any]:
        """Those of these cases that have labels, each once and as they are; any part of the split.

        Args:
            case_ids: Ids of records of the index.
        """
        ready = self._set_up
        cases = [case for case in self._cases(case_ids) if case.label is not None]
        return self._batches(cases, ready.readers, ready.present, self._case_sampler(len(cases)))

    def predict_dataloader(self) -> DataLoader[Any]:
        """Every case below the root, its pictures read on the fly, labelled or not."""
        cases = self._predicted_cases()
        names = [name for name in self.images if name in self._read_inputs]
        read = {
            name: partial(
                _read_record, {r.case_id: r for r in cases.pictures[name].records}, self.images[name]
            )
            for name in names
        }
        readers = self._readers(cases, read)
        bare = [replace(record, labels={}) for record in cases.index.records]
        self._predicted = tuple(record.case_id for record in bare)
        judged = image_cases(bare, (), grouped=False)
        return self._batches(judged, readers, present_inputs(cases), self._case_sampler(len(judged)))

    def _predicted_cases(self) -> FusionCases:
        return self.dataset.cases(self.predict_root or self._root(), labelled=False)

    def _batches(
        self,
        cases: Sequence[ImageCase],
        readers: Mapping[str, Reader],
        present: Mapping[str, frozenset[str]],
        sampler: Sampler[Any],
        *,
        drop_last: bool = False,
    ) -> DataLoader[Any]:
        current = CurrentCase(self.num_workers)
        return self._loader(
            FusionDataset(cases, readers, present, before=current.note),
            sampler,
            current,
            batch_size=self.batch.batch_size,
            collate=collate_fusion,
            drop_last=drop_last,
        )

    # ---- on the device ------------------------------------------------------------------------

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Bring pictures to the values that the network sees, and change volumes of training batches."""
        training = self.trainer is not None and self.trainer.training
        seed = batch.get(keys.SEED) if training else None
        seen = {name: one.finish(batch[name], seed) for name, one in self.images.items() if name in batch}
        return {**batch, **seen}


def _read_record(records: Mapping[str, Record], picture: PictureInput, case_id: str) -> NDArray[Any]:
    return picture.read(records[case_id])
