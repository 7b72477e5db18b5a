"""Between the epochs of a self-supervised run: how much the features know of the labels."""

import logging
from abc import abstractmethod
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from medimg.errors import ConfigError
from medimg.metrics.classification import LabelMetrics
from medimg.models.probes import fit_linear, neighbour_probs
from medimg.records import Task
from medimg.tasks.self_supervised import SelfSupervisedTask

logger = logging.getLogger(__name__)


class FeatureProbe(Callback):
    """Read the labels of the validation cases from their frozen features, knowing only the fold's training cases.

    Args:
        every_n_epochs: Validations between two probes; 1 where a checkpoint monitors the score.
    """

    name = ""

    def __init__(self, every_n_epochs: int = 1) -> None:
        if every_n_epochs < 1:
            raise ConfigError(f"every_n_epochs: expected 1 or more, found {every_n_epochs}")
        self.every_n_epochs = every_n_epochs
        self._validations = 0
        self._parts: list[tuple[Tensor, Tensor]] = []

    @abstractmethod
    def read(self, features: Tensor, known: tuple[Tensor, Tensor], task: Task) -> Tensor:
        """Probabilities (N, K) of features (N, F), from features and labels of the training cases."""

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Refuse tasks that give no features.

        Raises:
            ConfigError: If the task is none of self-supervision.
        """
        if not isinstance(pl_module, SelfSupervisedTask):
            raise ConfigError(
                f"{type(self).__name__} probes SimCLRTask and MoCoTask, found {type(pl_module).__name__}: remove it "
                "from trainer.callbacks"
            )

    def _due(self, trainer: Trainer) -> bool:
        # Of validate and test the task itself makes the score.
        watched = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        return watched and self._validations % self.every_n_epochs == 0

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: SelfSupervisedTask,  # type: ignore[override]
        outputs: Any,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the features of a batch."""
        if self._due(trainer):
            self._parts.append((outputs["features"].cpu(), outputs["target"].cpu()))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: SelfSupervisedTask) -> None:  # type: ignore[override]
        """Log the scores, which are those of all processes."""
        due, parts, self._parts = self._due(trainer), self._parts, []
        self._validations += trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if not due:
            return
        index = trainer.datamodule.index  # type: ignore[attr-defined]
        known = pl_module.training_features()
        metrics = LabelMetrics(index.task, index.classes).to(pl_module.device)
        if parts:  # a process may have no case
            features, target = (torch.cat(column) for column in zip(*parts, strict=True))
            probs = self.read(features, known, index.task)
            metrics.update(probs.to(pl_module.device), target.to(pl_module.device))
        scores = metrics.compute()
        pl_module.log(f"val/{self.name}_auroc", scores["auroc"], prog_bar=True)
        pl_module.log(f"val/{self.name}_accuracy", scores["accuracy"])


class LinearProbe(FeatureProbe):
    """A logistic regression on the frozen features, as ``val/probe_auroc`` and ``val/probe_accuracy``.

    Args:
        every_n_epochs: Validations between two probes.
        strength: Inverse of its L2 penalty, for standardised features.
    """

    name = "probe"

    def __init__(self, every_n_epochs: int = 1, strength: float = 0.01) -> None:
        super().__init__(every_n_epochs)
        self.strength = strength

    def read(self, features: Tensor, known: tuple[Tensor, Tensor], task: Task) -> Tensor:
        """As `FeatureProbe` says."""
        return fit_linear(*known, task, strength=self.strength).probs(features)


class KNNProbe(FeatureProbe):
    """The nearest training cases, as ``val/knn_auroc`` and ``val/knn_accuracy``.

    Args:
        every_n_epochs: Validations between two probes.
        neighbours: Training cases that vote.
        temperature: A vote counts exp(cosine similarity / temperature).
    """

    name = "knn"

    def __init__(self, every_n_epochs: int = 1, neighbours: int = 20, temperature: float = 0.07) -> None:
        super().__init__(every_n_epochs)
        self.neighbours, self.temperature = neighbours, temperature

    def read(self, features: Tensor, known: tuple[Tensor, Tensor], task: Task) -> Tensor:
        """As `FeatureProbe` says."""
        return neighbour_probs(features, *known, neighbours=self.neighbours, temperature=self.temperature)
