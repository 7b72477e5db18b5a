"""Volumes with masks: folds, the patch store, loaders and augmentation on the device."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from medimg import keys
from medimg.datamodules.cases import CaseDataModule, Ready, SplitOptions, usable_cores
from medimg.datamodules.loader import CurrentCase
from medimg.datamodules.patches import (
    PatchDataset,
    RawCaseDataset,
    StoredCaseDataset,
    collate,
    region_table,
    to_regions,
)
from medimg.datamodules.pseudo import (
    JoinedStores,
    PseudoOptions,
    check_pseudo_volumes,
    read_pseudo_volumes,
)
from medimg.datamodules.samplers import PatchSampler
from medimg.datasets.plain import index_plain
from medimg.errors import ConfigError, DataError
from medimg.io.store import PatchStore
from medimg.preparation.prepare import (
    Preparation,
    check_patch_size,
    prepare_dataset,
    stale_cases,
    store_folder,
)
from medimg.preparation.splits import choose_split
from medimg.records import DatasetIndex, LabelScheme
from medimg.transforms.augment3d import Augment3D

logger = logging.getLogger(__name__)

Augmentation = Callable[[tuple[int, int, int]], Augment3D]


@dataclass(frozen=True)
class PatchOptions:
    """What one training batch is made of.

    Attributes:
        size: Patch (D, H, W) that the network sees.
        batch_size: Patches in a batch, on each device.
        batches_per_epoch: Batches in an epoch on each device: patches are drawn without end, so an epoch is
            a number, as in nnU-Net.
        foreground: Share of patches centred on a voxel of a class drawn with equal chance.
    """

    size: tuple[int, int, int] = (128, 128, 128)
    batch_size: int = 2
    batches_per_epoch: int = 250
    foreground: float = 1 / 3


@dataclass(frozen=True)
class _Ready(Ready):
    """What ``setup`` found."""

    index: DatasetIndex
    store: PatchStore
    scheme: LabelScheme
    region_table: Tensor
    pseudo: DatasetIndex | None = None


class VolumeDataModule(CaseDataModule[_Ready]):
    """Cases of one data set, prepared once into a patch store and read patch by patch.

    Args:
        root: Folder of the data set.
        regions: Train one channel for each of these overlapping regions; by default one for each label.
        fold: Fold whose cases validate.
        split: Where the folds come from.
        preparation: What every case goes through before training sees it.
        store: Folder under which prepared cases are kept.
        patches: What one training batch is made of.
        augmentation: Makes the batched transform for training from the patch size; it runs on the device.
        num_workers: Processes that read patches; 0 reads in the training process.
        predict_root: Folder whose images ``predict`` takes; by default every image below ``root``.
        pseudo: Pseudo-labelled volumes that train in every fold.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        regions: Sequence[str] | None = None,
        fold: int = 0,
        split: SplitOptions = SplitOptions(),  # noqa: B008  (frozen)
        preparation: Preparation = Preparation(),  # noqa: B008  (frozen)
        store: Path = Path("prepared"),
        patches: PatchOptions = PatchOptions(),
        augmentation: Augmentation | None = None,
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
        self.regions, self.preparation, self.store_root, self.patches = regions, preparation, store, patches
        self.augmentation = augmentation(patches.size) if augmentation is not None else None

    @abstractmethod
    def read_index(self, root: Path) -> DatasetIndex:
        """List the cases below a folder."""

    def read_predict_index(self, root: Path) -> DatasetIndex:
        """List what ``predict`` takes below another folder: a data set, or images alone."""
        if (root / "dataset.json").is_file():
            return self.read_index(root)
        return index_plain(root, like=self.read_index(self._root()))

    # ---- preparation -------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Prepare what the store lacks; runs on one process of each machine."""
        if self._fn == TrainerFn.PREDICTING:
            return
        index = self.read_index(self._root())
        store = self._open_store(index)
        stale = stale_cases(index, self.preparation, store)
        if stale:
            labelled = len(index.records) + len(index.test)
            logger.info("preparing %d of %d cases into %s", len(stale), labelled, store.folder)
            prepare_dataset(index, self.preparation, store, workers=usable_cores())
        if self._trains_on_pseudo:
            pseudo = self._pseudo(index)
            prepare_dataset(pseudo, self.preparation, self._open_store(pseudo), workers=usable_cores())

    def _pseudo(self, index: DatasetIndex) -> DatasetIndex:
        """The pseudo-labelled cases, known not to be those of the data set."""
        pseudo = read_pseudo_volumes(self.pseudo, index, self.read_predict_index)
        check_pseudo_volumes(pseudo, index)
        return pseudo

    def _read(self) -> _Ready:
        index = self.read_index(self._root())
        options = self.split_options
        split = choose_split(
            index,
            fold=self.fold,
            num_folds=options.num_folds,
            split_file=options.file,
            by=options.by,
            allow_leaky=options.allow_leaky,
        )
        if split.leaky:
            logger.warning(
                "LEAKY SPLIT: %d patients stand in train and in validation (%s); scores of this run are "
                "too good to be quoted",
                len(split.leaky),
                ", ".join(split.leaky[:3]),
            )
        scheme = self.scheme_of(index)
        labels = {name: list(values) for name, values in scheme.values.items()}
        store, table = self._open_store(index), region_table(index, scheme)
        pseudo = self._pseudo(index) if self._trains_on_pseudo else None
        added = () if pseudo is None else tuple(record.case_id for record in pseudo.records)
        return _Ready(index.name, split, labels, index, store, scheme, table, pseudo, pseudo_ids=added)

    def scheme_of(self, index: DatasetIndex) -> LabelScheme:
        """What the network's channels mean in a data set's masks.

        Raises:
            ConfigError: If a wanted region is none of the data set's.
        """
        if self.regions is None:
            return index.label_scheme()
        known = index.region_scheme()
        missing = [name for name in self.regions if name not in known.values]
        if missing:
            raise ConfigError(
                f"data.init_args.regions: {missing} are not regions of {index.root}, which has {list(known.values)}"
            )
        written = {name: value for name, value in known.written.items() if name in self.regions}
        return LabelScheme({name: known.values[name] for name in self.regions}, written, known.ignore)

    def _open_store(self, index: DatasetIndex) -> PatchStore:
        return PatchStore(store_folder(self.store_root, index, self.preparation))

    # ---- what a run is told about its data ----------------------------------------------------

    @property
    def scheme(self) -> LabelScheme:
        """What the network's channels mean; known after ``setup``."""
        return self._set_up.scheme

    @property
    def scored_title(self) -> str:
        """Names the cases that are scored, for the title of the table."""
        ready = self._set_up
        leaky = ", LEAKY: patients on both sides" if ready.split.leaky else ""
        if self._tests:
            kept = "labelled test cases" if ready.index.test else "held-out test cases"
            return f"{kept} of {ready.name}{leaky}"
        why = "" if self._test_ids else " (the data set has no labelled test split)"
        return f"validation cases of fold {self.fold}{why}{leaky}"

    @property
    def _tests(self) -> bool:
        """Whether this stage scores a test split."""
        return self._fn == TrainerFn.TESTING and bool(self._test_ids)

    @property
    def _test_ids(self) -> tuple[str, ...]:
        """The published test cases, else those that a split file holds out."""
        ready = self._set_up
        return tuple(record.case_id for record in ready.index.test) or ready.split.test

    def _scored_ids(self) -> tuple[str, ...]:
        return self._test_ids if self._tests else super()._scored_ids()

    # ---- loaders -----------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[Any]:
        """Endless patches, cut into epochs."""
        ready = self._set_up
        store: PatchStore | JoinedStores = ready.store
        cases, weights = ready.split.train, None
        check_patch_size(ready.store, cases, self.patches.size)
        patient_of = {record.case_id: record.patient_id for record in ready.index.records}
        if ready.pseudo is not None:
            own, more = self._open_store(ready.pseudo), ready.pseudo.records
            added = ready.pseudo_ids
            check_patch_size(own, added, self.patches.size)
            patient_of |= {record.case_id: record.patient_id for record in more}
            # The losses of volumes know no weights: what counts half is drawn half as often.
            weights = np.array([1.0] * len(cases) + [record.weight for record in more])
            store, cases = JoinedStores(ready.store, own, added), (*cases, *added)
        current = CurrentCase(self.num_workers)
        dataset = PatchDataset(
            store,
            cases,
            [patient_of[case] for case in cases],
            self.patches.size,
            window=self.augmentation.window if self.augmentation is not None else None,
            foreground=self.patches.foreground,
            before=current.note,
        )
        rank, world = self._place()
        sampler = PatchSampler(
            len(cases),
            self.patches.batches_per_epoch * self.patches.batch_size * world,
            seed=torch.initial_seed() % 2**32,
            rank=rank,
            world=world,
            weights=weights,
        )
        return self._loader(dataset, sampler, current, batch_size=self.patches.batch_size, collate=collate)

    def val_dataloader(self) -> DataLoader[Any]:
        """Whole cases of the fold's validation side."""
        return self._scored_cases(with_reference=self._fn == TrainerFn.VALIDATING)

    def test_dataloader(self) -> DataLoader[Any]:
        """The labelled test cases, or without any the validation cases, with label maps on the grids of their files."""
        return self._scored_cases(with_reference=True)

    def predict_dataloader(self) -> DataLoader[Any]:
        """Every image below the root, prepared on the fly."""
        if self.predict_root is not None:
            index = self.read_predict_index(self.predict_root)
        else:
            index = self.read_index(self._root())
        records = index.all_records
        if not records:
            raise DataError(f"no image found below {index.root}")
        self._predicted = tuple(record.case_id for record in records)
        current = CurrentCase(self.num_workers)
        dataset = RawCaseDataset(index, records, self.preparation, self.scheme_of(index), before=current.note)
        return self._case_loader(dataset, len(records), current)

    def _scored_cases(self, *, with_reference: bool) -> DataLoader[Any]:
        ready = self._set_up
        scored = set(self._scored_ids())
        records = [record for record in ready.index.all_records if record.case_id in scored]
        current = CurrentCase(self.num_workers)
        dataset = StoredCaseDataset(
            ready.store, records, ready.scheme, with_reference=with_reference, before=current.note
        )
        return self._case_loader(dataset, len(records), current)

    def _case_loader(
        self, dataset: Dataset[dict[str, Any]], num_cases: int, current: CurrentCase
    ) -> DataLoader[Any]:
        return self._loader(dataset, self._case_sampler(num_cases), current, batch_size=1, collate=collate)

    # ---- on the device ------------------------------------------------------------------------

    def transfer_batch_to_device(
        self, batch: dict[str, Any], device: torch.device, dataloader_idx: int
    ) -> dict[str, Any]:
        """Move what the device computes with; label maps, geometries and names stay."""
        moved = {key: batch[key] for key in (keys.IMAGE, keys.MASK) if key in batch}
        sent: dict[str, Any] = super().transfer_batch_to_device(moved, device, dataloader_idx)
        return {**batch, **sent}

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Augment training batches, and turn masks into regions where regions are trained."""
        if self.augmentation is not None and self.trainer is not None and self.trainer.training:
            batch = self.augmentation(batch)
        elif isinstance(batch[keys.IMAGE], Tensor):
            # The store keeps half precision, to read half as much; the augmentation returns float32.
            batch = {**batch, keys.IMAGE: batch[keys.IMAGE].float()}
        if self.regions is not None and keys.MASK in batch:
            batch = {**batch, keys.MASK: to_regions(batch[keys.MASK], self._set_up.region_table)}
        return batch
