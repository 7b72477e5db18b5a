"""Volumes with masks: folds, the patch store, loaders and augmentation on the device."""

import logging
import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from medimg import keys
from medimg.datamodules.loader import CurrentCase, WatchedLoader
from medimg.datamodules.patches import (
    CaseSampler,
    PatchDataset,
    PatchSampler,
    RawCaseDataset,
    StoredCaseDataset,
    collate,
    region_table,
    to_regions,
)
from medimg.datasets.plain import index_plain
from medimg.errors import CheckpointError, ConfigError, DataError
from medimg.io.store import PatchStore
from medimg.preparation.prepare import (
    Preparation,
    check_patch_size,
    prepare_dataset,
    stale_cases,
    store_folder,
)
from medimg.preparation.splits import Split, choose_split
from medimg.records import DatasetIndex, LabelScheme
from medimg.transforms.augment3d import Augment3D

logger = logging.getLogger(__name__)

Augmentation = Callable[[tuple[int, int, int]], Augment3D]


@dataclass(frozen=True)
class SplitOptions:
    """Where the folds come from.

    Attributes:
        num_folds: Folds dealt by patient, where neither a file nor the data set names them.
        file: JSON list of folds in the form of nnU-Net's ``splits_final.json``.
        by: ``case`` deals cases without regard to patients; the run is marked as leaky if that splits one.
        allow_leaky: Accept a file that puts one patient on both sides; the run is marked as leaky.
    """

    num_folds: int = 5
    file: Path | None = None
    by: Literal["patient", "case"] = "patient"
    allow_leaky: bool = False


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


class VolumeDataModule(LightningDataModule):
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
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        regions: Sequence[str] | None = None,
        fold: int = 0,
        split: SplitOptions = SplitOptions(),
        preparation: Preparation = Preparation(),  # noqa: B008  (frozen)
        store: Path = Path("prepared"),
        patches: PatchOptions = PatchOptions(),
        augmentation: Augmentation | None = None,
        num_workers: int = 0,
        predict_root: Path | None = None,
    ) -> None:
        super().__init__()
        self.root, self.regions, self.fold, self.split_options = root, regions, fold, split
        self.preparation, self.store_root, self.patches = preparation, store, patches
        self.augmentation = augmentation(patches.size) if augmentation is not None else None
        self.num_workers, self.predict_root = num_workers, predict_root
        self._ready: tuple[DatasetIndex, Split, PatchStore, LabelScheme, Tensor] | None = None

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
            logger.info("preparing %d of %d cases into %s", len(stale), len(index.records), store.folder)
            prepare_dataset(index, self.preparation, store, workers=_cores())

    def setup(self, stage: str) -> None:
        """Read the index and choose the split, before any network is built."""
        if self._fn == TrainerFn.PREDICTING or self._ready is not None:
            return
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
        self._ready = (index, split, self._open_store(index), scheme, region_table(index, scheme))

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

    def _root(self) -> Path:
        if self.root is None:
            raise ConfigError("no data: name the folder of the data set with --data.root FOLDER")
        return self.root

    def _open_store(self, index: DatasetIndex) -> PatchStore:
        return PatchStore(store_folder(self.store_root, index, self.preparation))

    @property
    def _fn(self) -> TrainerFn | None:
        return self.trainer.state.fn if self.trainer is not None else None

    # ---- what a run is told about its data ----------------------------------------------------

    @property
    def scheme(self) -> LabelScheme:
        """What the network's channels mean; known after ``setup``."""
        return self._set_up[3]

    @property
    def split(self) -> Split:
        """The cases that train and validate; known after ``setup``."""
        return self._set_up[1]

    @property
    def scored_title(self) -> str:
        """Names the cases that ``test`` scores, for the title of its table."""
        leaky = ", LEAKY: patients on both sides" if self.split.leaky else ""
        return f"validation cases of fold {self.fold} (the data set has no labelled test split){leaky}"

    @property
    def _set_up(self) -> tuple[DatasetIndex, Split, PatchStore, LabelScheme, Tensor]:
        if self._ready is None:
            self.setup("fit")
        assert self._ready is not None
        return self._ready

    def state_dict(self) -> dict[str, Any]:
        """Goes into every checkpoint: what its weights were fitted to."""
        index, split, *_ = self._set_up
        return {
            "data": index.name,
            "split": split.digest,
            "train": list(split.train),
            "labels": {name: list(values) for name, values in self.scheme.values.items()},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Compare a checkpoint's data with this run's.

        Raises:
            CheckpointError: If a resumed run would go on with other data or classes, or if a case that is
                to be scored was one that the weights were fitted to.
        """
        if self._fn == TrainerFn.PREDICTING:
            return
        own = self.state_dict()
        if self._fn == TrainerFn.FITTING:
            changed = [key for key in ("data", "labels", "split") if own[key] != state_dict[key]]
            if changed:
                lines = [f"  {key}: {state_dict[key]} in the checkpoint, {own[key]} now" for key in changed]
                raise CheckpointError(
                    "the checkpoint was trained on other data, so it cannot be resumed:\n"
                    + "\n".join(lines)
                    + "\nGive the run's own config.yaml, or start a new run without --ckpt_path."
                )
        seen = (
            sorted(set(state_dict["train"]) & set(self.split.val))
            if own["data"] == state_dict["data"]
            else []
        )
        if seen:
            raise CheckpointError(
                f"the checkpoint was trained on {len(seen)} of the {len(self.split.val)} cases to be scored, such "
                f"as {seen[0]}: use the fold it was trained with (data.init_args.fold, now {self.fold})"
            )

    # ---- loaders -----------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[Any]:
        """Endless patches, cut into epochs."""
        index, split, store, *_ = self._set_up
        check_patch_size(store, split.train, self.patches.size)
        patient_of = {record.case_id: record.patient_id for record in index.records}
        current = CurrentCase(self.num_workers)
        dataset = PatchDataset(
            store,
            split.train,
            [patient_of[case] for case in split.train],
            self.patches.size,
            window=self.augmentation.window if self.augmentation is not None else None,
            foreground=self.patches.foreground,
            before=current.note,
        )
        rank, world = self._place()
        sampler = PatchSampler(
            len(split.train),
            self.patches.batches_per_epoch * self.patches.batch_size * world,
            seed=torch.initial_seed() % 2**32,
            rank=rank,
            world=world,
        )
        return self._loader(dataset, sampler, self.patches.batch_size, current)

    def val_dataloader(self) -> DataLoader[Any]:
        """Whole cases of the fold's validation side."""
        return self._scored_cases(with_reference=self._fn == TrainerFn.VALIDATING)

    def test_dataloader(self) -> DataLoader[Any]:
        """The same cases with their label maps on the grids of their files."""
        return self._scored_cases(with_reference=True)

    def predict_dataloader(self) -> DataLoader[Any]:
        """Every image below the root, prepared on the fly."""
        if self.predict_root is not None:
            index = self.read_predict_index(self.predict_root)
        else:
            index = self.read_index(self._root())
        records = [*index.records, *index.unlabelled]
        if not records:
            raise DataError(f"no image found below {index.root}")
        current = CurrentCase(self.num_workers)
        dataset = RawCaseDataset(index, records, self.preparation, self.scheme_of(index), before=current.note)
        return self._case_loader(dataset, len(records), current)

    def _scored_cases(self, *, with_reference: bool) -> DataLoader[Any]:
        index, split, store, scheme, _ = self._set_up
        held = set(split.val)
        records = [record for record in index.records if record.case_id in held]
        current = CurrentCase(self.num_workers)
        dataset = StoredCaseDataset(
            store, records, scheme, with_reference=with_reference, before=current.note
        )
        return self._case_loader(dataset, len(records), current)

    def _case_loader(
        self, dataset: Dataset[dict[str, Any]], num_cases: int, current: CurrentCase
    ) -> DataLoader[Any]:
        rank, world = self._place()
        if num_cases < world:
            raise ConfigError(f"{world} processes for {num_cases} cases: lower trainer.devices")
        return self._loader(dataset, CaseSampler(num_cases, rank=rank, world=world), 1, current)

    def _loader(
        self, dataset: Dataset[dict[str, Any]], sampler: Sampler[Any], batch_size: int, current: CurrentCase
    ) -> DataLoader[Any]:
        return WatchedLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
            current=current,
        )

    def _place(self) -> tuple[int, int]:
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)

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
            batch = {**batch, keys.MASK: to_regions(batch[keys.MASK], self._set_up[4])}
        return batch

    def teardown(self, stage: str) -> None:
        """Let go of the index; a later stage reads it anew."""
        self._ready = None


def _cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
