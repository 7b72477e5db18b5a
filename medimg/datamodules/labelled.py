"""What a data module of labelled cases says of them, whatever a case is made of: its split, its labels, its title."""

import re
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from lightning.pytorch.trainer.states import TrainerFn

from medimg.datamodules.cases import CaseDataModule, Ready
from medimg.datamodules.image_samples import BatchOptions, Floats, ImageCase, image_cases
from medimg.datamodules.image_split import choose_image_split
from medimg.datasets.image_set import ImageSet
from medimg.preparation.image_splits import official_test
from medimg.preparation.splits import Split
from medimg.records import ImageIndex

_SIDES = re.compile(r"(^|[^a-z])(left|right)([^a-z]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class LabelledReady(Ready):
    """What ``setup`` found of labelled cases."""

    index: ImageIndex
    test: tuple[str, ...]


LabelledT = TypeVar("LabelledT", bound=LabelledReady)


class LabelledDataModule(CaseDataModule[LabelledT]):
    """Cases with labels; a subclass says how they are read and makes the loaders.

    Attributes:
        dataset: Layout of the root.
    """

    dataset: ImageSet

    def _choose_split(self, index: ImageIndex, copies: Callable[[], Sequence[Collection[str]]]) -> Split:
        options = self.split_options
        return choose_image_split(
            index,
            fold=self.fold,
            num_folds=options.num_folds,
            split_file=options.file,
            by=options.by,
            allow_leaky=options.allow_leaky,
            # Copies are looked for only where folds are dealt: an official split stays what it is.
            copies=lambda: [*self.dataset.known_copies(index), *copies()],
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
        named = {record.split for record in ready.index.records}
        if {"train", "val"} <= named and not ready.index.folds and self.split_options.file is None:
            return f"official validation cases of {ready.index.name}{leaky}"
        why = "" if ready.test else " (the data set has no test split)"
        return f"validation cases of fold {self.fold} of {ready.index.name}{why}{leaky}"

    @property
    def train_labels(self) -> Floats:
        """Labels of the training cases (N, K), NaN where unknown."""
        return case_labels(self._training_cases())

    @abstractmethod
    def _training_cases(self) -> list[ImageCase]:
        """Cases of the fold that train, and the pseudo-labelled ones."""

    @property
    def _test_ids(self) -> tuple[str, ...]:
        return self._set_up.test

    def _names(self, case_ids: tuple[str, ...]) -> list[str]:
        return [case.case_id for case in self._cases(case_ids) if self._is_scored(case)]

    def _is_scored(self, case: ImageCase) -> bool:
        """Whether anything is known of a case that an answer could be held against."""
        return case.label is not None

    def _scored_ids(self) -> tuple[str, ...]:
        ready = self._set_up
        return ready.test if self._fn == TrainerFn.TESTING and ready.test else ready.split.val

    def _expect_unseen(self, trained: Iterable[str]) -> None:
        # A run that is allowed to leak is marked as leaky.
        if not self.split_options.allow_leaky:
            super()._expect_unseen(trained)

    def _cases(self, case_ids: tuple[str, ...]) -> list[ImageCase]:
        wanted = set(case_ids)
        records = [record for record in self._set_up.index.records if record.case_id in wanted]
        return image_cases(records, self._set_up.index.classes, grouped=False)


def teaching(
    cases: Sequence[ImageCase], batch: BatchOptions, masked: Collection[str] = ()
) -> list[ImageCase]:
    """What an epoch is made of: cases with a known label or a mask, or all of them where views of a case are compared.

    Args:
        cases: Cases of the training side.
        batch: What a batch is made of.
        masked: Images that have a mask, if masks are asked for.
    """
    if batch.views > 1 and not batch.balance:
        return list(cases)
    return [case for case in cases if has_label(case) or any(image in masked for image in case.images)]


def has_label(case: ImageCase) -> bool:
    """Whether a case teaches anything: one whose labels are all unknown would only take another's place."""
    return case.label is not None and not bool(np.isnan(case.label).all())


def case_labels(cases: Sequence[ImageCase]) -> Floats:
    """Labels (N, K) of the cases that have some, NaN where unknown."""
    return np.stack([case.label for case in cases if case.label is not None])
