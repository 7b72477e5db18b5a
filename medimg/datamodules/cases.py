"""What volumes and images share: a root, a split, what a checkpoint says of them, and loaders."""

import os
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn
from torch.utils.data import DataLoader, Dataset, Sampler

from medimg.datamodules.loader import CurrentCase, WatchedLoader
from medimg.datamodules.pseudo import PseudoOptions
from medimg.datamodules.samplers import CaseSampler
from medimg.errors import CheckpointError, ConfigError
from medimg.preparation.splits import Split


@dataclass(frozen=True)
class SplitOptions:
    """Where the folds come from.

    Attributes:
        num_folds: Folds dealt by patient, where neither a file nor the data set names them.
        file: Table of folds that `medimg split` wrote, or a JSON list in the form of nnU-Net's ``splits_final.json``.
        by: ``case`` deals cases without regard to patients; the run is marked as leaky if that splits one.
        allow_leaky: Accept a file that puts one patient on both sides; the run is marked as leaky.
    """

    num_folds: int = 5
    file: Path | None = None
    by: Literal["patient", "case"] = "patient"
    allow_leaky: bool = False


@dataclass(frozen=True)
class Ready:
    """What ``setup`` found, as far as weights depend on it.

    Attributes:
        name: Name of the data set.
        split: The cases that train and validate.
        labels: What the network's channels mean, in plain values.
        pseudo_ids: Pseudo-labelled cases that train.
    """

    name: str
    split: Split
    labels: dict[str, list[int]] | list[str]
    pseudo_ids: tuple[str, ...] = field(default=(), kw_only=True)


ReadyT = TypeVar("ReadyT", bound=Ready)


class CaseDataModule(LightningDataModule, Generic[ReadyT]):
    """Cases below a root, some of which train and others validate.

    Args:
        root: Folder of the data set.
        fold: Fold whose cases validate.
        split: Where the folds come from.
        num_workers: Processes that read cases; 0 reads in the training process.
        predict_root: What ``predict`` takes; by default what ``root`` holds.
        pseudo: Pseudo-labelled cases that train in every fold.
    """

    def __init__(
        self,
        root: Path | None,
        *,
        fold: int,
        split: SplitOptions,
        num_workers: int,
        predict_root: Path | None,
        pseudo: PseudoOptions = PseudoOptions(),  # noqa: B008  (frozen)
    ) -> None:
        super().__init__()
        self.root, self.fold, self.split_options = root, fold, split
        self.num_workers, self.predict_root, self.pseudo = num_workers, predict_root, pseudo
        self._ready: ReadyT | None = None
        self._pseudo_facts: dict[str, Any] = {}
        self._predicted: tuple[str, ...] = ()
        self._checkpoint: dict[str, Any] = {}

    @abstractmethod
    def _read(self) -> ReadyT:
        """Read the index and choose the split."""

    def setup(self, stage: str) -> None:
        """Read the index and choose the split, before any network is built."""
        if self._fn != TrainerFn.PREDICTING and self._ready is None:
            self._ready = self._read()
            self._pseudo_facts = {}
            if self._trains_on_pseudo:
                self.pseudo.warn_of_teachers(self.fold)
                self._pseudo_facts = {**self.pseudo.facts(), "pseudo_train": list(self._ready.pseudo_ids)}

    def teardown(self, stage: str) -> None:
        """Let go of the index; a later stage reads it anew."""
        self._ready = None

    def _root(self) -> Path:
        if self.root is None:
            raise ConfigError("no data: name the folder of the data set with --data.root FOLDER")
        return self.root

    @property
    def _fn(self) -> TrainerFn | None:
        return self.trainer.state.fn if self.trainer is not None else None

    @property
    def _trains_on_pseudo(self) -> bool:
        """Whether this stage takes pseudo-labelled cases, which never validate or test."""
        return self.pseudo.path is not None and self._fn in (None, TrainerFn.FITTING)

    def _place(self) -> tuple[int, int]:
        """Rank of this process, and how many there are."""
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)

    # ---- what a run is told about its data ----------------------------------------------------

    @property
    def _set_up(self) -> ReadyT:
        if self._ready is None:
            self.setup("fit")
        assert self._ready is not None
        return self._ready

    @property
    def split(self) -> Split:
        """The cases that train and validate; known after ``setup``."""
        return self._set_up.split

    def _scored_ids(self) -> tuple[str, ...]:
        """The cases that the present stage scores."""
        return self.split.val

    @property
    @abstractmethod
    def _test_ids(self) -> tuple[str, ...]:
        """The cases that are kept for a test; empty if there are none."""

    def _names(self, case_ids: tuple[str, ...]) -> list[str]:
        """What the tables call these cases, those that cannot be scored left out."""
        return sorted(case_ids)

    def split_facts(self) -> dict[str, Any]:
        """What stands in ``split.json`` beside a run's config: the split, the fold, and what it holds out."""
        split = self.split
        return {
            "split": split.whole,
            "fold": self.fold,
            "folds": split.folds,
            "leaky": list(split.leaky),
            "validation": self._names(split.val),
            "test": self._names(self._test_ids),
        }

    def prediction_facts(self) -> dict[str, Any]:
        """What ``predictions.json`` says of the cases: the split, its fold, and which part of it they are.

        Of cases that are predicted it also counts those that train or validate in the split of the weights.
        """
        if self._fn != TrainerFn.PREDICTING:
            part = "validation" if self._scored_ids() == self.split.val else "test"
            return {"split": self.split.whole, "fold": self.fold, "part": part}
        known = self._checkpoint
        dealt = {*known.get("train", ()), *known.get("val", ())}
        facts: dict[str, Any] = {"split": known.get("whole"), "fold": known.get("fold"), "part": "predict"}
        return facts | {"in_split": len(dealt.intersection(self._predicted)) if dealt else None}

    def state_dict(self) -> dict[str, Any]:
        """Goes into every checkpoint: what its weights were fitted to."""
        ready = self._set_up
        return {
            "data": ready.name,
            "split": ready.split.digest,
            "whole": ready.split.whole,
            "fold": self.fold,
            "train": list(ready.split.train),
            "val": list(ready.split.val),
            "labels": ready.labels,
            **self._pseudo_facts,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Compare a checkpoint's data with this run's.

        Raises:
            CheckpointError: If a resumed run would go on with other data or classes, or if a case that is
                to be scored was one that the weights were fitted to.
        """
        if self._fn == TrainerFn.PREDICTING:
            self._checkpoint = state_dict
            return
        own = self.state_dict()
        if self._fn == TrainerFn.FITTING:
            _expect_same(state_dict, own)
        if own["data"] == state_dict["data"]:
            # A case that was pseudo-labelled once may have got its label since, and would judge now.
            self._expect_unseen([*state_dict["train"], *state_dict.get("pseudo_train", ())])

    def _expect_unseen(self, trained: Iterable[str]) -> None:
        scored = set(self._scored_ids())
        if seen := sorted(set(trained) & scored):
            raise CheckpointError(
                f"the checkpoint was trained on {len(seen)} of the {len(scored)} cases to be scored, such "
                f"as {seen[0]}: use the fold it was trained with (data.init_args.fold, now {self.fold})"
            )

    # ---- loaders -----------------------------------------------------------------------------

    def _case_sampler(self, num_cases: int) -> CaseSampler:
        """Every case once, over all processes."""
        rank, world = self._place()
        if num_cases < world:
            raise ConfigError(f"{world} processes for {num_cases} cases: lower trainer.devices")
        return CaseSampler(num_cases, rank=rank, world=world)

    def _loader(
        self,
        dataset: Dataset[dict[str, Any]],
        sampler: Sampler[Any],
        current: CurrentCase,
        *,
        batch_size: int,
        collate: Callable[[list[Any]], Any],
        drop_last: bool = False,
    ) -> DataLoader[Any]:
        return WatchedLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=self.num_workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
            current=current,
        )


def usable_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _expect_same(state: dict[str, Any], own: dict[str, Any]) -> None:
    """Refuse to go on with other data than those that a checkpoint was fitted to."""
    changed = [key for key in ("data", "labels", "split", "pseudo") if own.get(key) != state.get(key)]
    if changed:
        lines = [f"  {key}: {state.get(key)} in the checkpoint, {own.get(key)} now" for key in changed]
        raise CheckpointError(
            "the checkpoint was trained on other data, so it cannot be resumed:\n"
            + "\n".join(lines)
            + "\nGive the run's own config.yaml, or start a new run without --ckpt_path."
        )
