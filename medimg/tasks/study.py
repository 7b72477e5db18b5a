"""Classification of whole studies and of their slices at once, such as CT scans with a label on every slice."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from medimg import keys
from medimg.errors import CheckpointError, ConfigError
from medimg.inference.presets import mirrors_left_right
from medimg.inference.views import wrappers
from medimg.losses.study import StudyLoss
from medimg.metrics.classification import LabelMetrics
from medimg.models.pooling import SIZES
from medimg.models.slice_sequence import FeatureSequence, SliceSequence
from medimg.records import ImageIndex
from medimg.scoring.label_table import label_row
from medimg.tasks.classification import ClassificationTask, default_optimizer
from medimg.tasks.label_options import LabelScoring, TrainingOptions
from medimg.tasks.learning_rates import RateOptions
from medimg.tasks.schedules import Schedule
from medimg.tasks.study_sheet import STUDY_COLUMN, StudySheet

_GROUPED = (
    "a study is judged by its slices together: set data.init_args.batch.grouped to true, with data whose cases have a "
    "group, such as medimg.datasets.RSNAPulmonaryEmbolism"
)


class StudyTask(ClassificationTask):
    """Say for each study, and for each of its slices, which labels it has. Any number of the labels may be there.

    The data may have more labels than are learned: both kinds are picked by name. A study has a label if any of its
    slices has it.

    Args:
        network: Maps slices and the number of each study's, :class:`medimg.models.SliceSequence`, or their features,
            :class:`medimg.models.FeatureSequence`, to logits of studies (B, K) and of slices (M, K').
        classes: Labels of studies, in the order of the network's outputs.
        image_classes: Labels of slices, likewise.
        loss: Of both; by default binary cross-entropy of each, as much weight for one as for the other.
        optimizer: Takes the parameters.
        scheduler: As for `ClassificationTask`.
        rates: How fast the layers learn, relative to the heads.
        scoring: How studies are scored.
        channels_last: Lay out weights and slices with channels last.
        compile: Compile the encoder with torch.compile; a network of kept features has none.
    """

    loss: StudyLoss
    sheet: StudySheet

    def __init__(
        self,
        network: nn.Module,
        *,
        classes: Sequence[str],
        image_classes: Sequence[str],
        loss: StudyLoss | None = None,
        optimizer: OptimizerCallable = default_optimizer,
        scheduler: Schedule | LRSchedulerCallable | None = None,
        rates: RateOptions = RateOptions(),  # noqa: B008  (frozen)
        scoring: LabelScoring = LabelScoring(),  # noqa: B008  (frozen)
        channels_last: bool = False,
        compile: bool = False,
    ) -> None:
        if both := sorted(set(classes) & set(image_classes)):
            raise ConfigError(f"{', '.join(both)}: named in classes and in image_classes; keep one")
        super().__init__(
            network,
            task="binary" if len(classes) == 1 else "multilabel",
            classes=classes,
            optimizer=optimizer,
            scheduler=scheduler,
            training=TrainingOptions(rates=rates),
            scoring=scoring,
            channels_last=channels_last,
        )
        if compile and isinstance(network, SliceSequence):
            # In place, so that names in a checkpoint stay; sequences of changing length are left as they are.
            network.encoder.compile()
        self.image_classes = tuple(image_classes)
        self.loss = StudyLoss() if loss is None else loss
        order = getattr(self.loss, "classes", self.classes)
        if tuple(order) != self.classes:
            raise ConfigError(
                f"{type(self.loss).__name__} weighs the labels {list(order)} and model.init_args.classes is "
                f"{list(self.classes)}: give both in the same order"
            )
        self.image_metrics = LabelMetrics("multilabel", self.image_classes)
        self.sheet = StudySheet()
        self._columns: tuple[list[int], list[int]] | None = None

    # ---- checks before any data is read --------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Find the labels among the data's.

        Raises:
            ConfigError: If the data lack a label, or the initial weights are not there.
        """
        if stage == "fit" and self.trainer.ckpt_path is None and isinstance(self.network, SliceSequence):
            self.network.check_available()
        if isinstance(self.network, FeatureSequence) and any(wrappers(self.final_inferer)):
            raise ConfigError(
                "test-time augmentation changes images, and this network takes features: take --tta none"
            )
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        index = data.index if stage != "predict" else None
        if index is not None:
            self._columns = self._found(index, self.classes), self._found(index, self.image_classes)
        if mirrors_left_right(self.final_inferer):
            described = index or ImageIndex("the", Path(), self.task, self.classes, ())
            self._question_mirroring(getattr(data, "harm_of_mirroring", lambda _: "")(described))

    def _found(self, index: ImageIndex, names: Sequence[str]) -> list[int]:
        if missing := [name for name in names if name not in index.classes]:
            raise ConfigError(
                f"the data have no label {', '.join(missing)}: give model.init_args.classes and image_classes out of "
                f"{list(index.classes)}"
            )
        return [index.classes.index(name) for name in names]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the outputs mean beside the weights."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["medimg_image_classes"] = list(self.image_classes)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse weights whose outputs mean something else.

        Raises:
            CheckpointError: If the labels of studies or of slices differ.
        """
        super().on_load_checkpoint(checkpoint)
        trained = checkpoint.get("medimg_image_classes")
        if trained is not None and trained != list(self.image_classes):
            raise CheckpointError(
                f"the checkpoint was trained for slices with {trained}, this config says {list(self.image_classes)}: "
                "use the run's own config.yaml"
            )

    # ---- the network's two answers ---------------------------------------------------------------

    def forward(self, image: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Logits of studies (B, K); without sizes all slices are one study's."""
        return self.answers(image, sizes)[0]

    def answers(self, image: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits of studies (B, K) and of slices (M, K').

        Raises:
            ConfigError: If the network has another number of outputs.
        """
        logits, image_logits = self.apply_network(image, partial(self.network, sizes=sizes))
        found, wanted = (logits.shape[1], image_logits.shape[1]), (len(self.classes), len(self.image_classes))
        if found != wanted:
            raise ConfigError(
                f"the network gives {found[0]} labels of studies and {found[1]} of slices, the task has {wanted[0]} "
                f"and {wanted[1]}: set num_classes and num_image_classes of the network"
            )
        return logits, image_logits

    def _logits(self, batch: dict[str, Any]) -> Tensor:
        """Both answers in one row (B * K + M * K',): test-time augmentation averages one tensor."""
        return torch.cat([answer.flatten() for answer in self.answers(batch[keys.IMAGE], batch[SIZES])])

    def _both(self, row: Tensor, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """What stands in that row: of studies (B, K), of slices (M, K')."""
        cut = len(batch[SIZES]) * len(self.classes)
        return row[:cut].view(-1, len(self.classes)), row[cut:].view(-1, len(self.image_classes))

    def _picked(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch with the labels that this task learns, by name."""
        if SIZES not in batch or keys.IMAGE_ID not in batch:
            raise ConfigError(_GROUPED)
        if keys.LABEL not in batch or self._columns is None:
            return {key: value for key, value in batch.items() if key not in (keys.LABEL, keys.IMAGE_LABEL)}
        study, image = self._columns
        return {
            **batch,
            keys.LABEL: batch[keys.LABEL][:, study],
            keys.IMAGE_LABEL: batch[keys.IMAGE_LABEL][:, image],
        }

    def _loss(self, row: Tensor, batch: dict[str, Any]) -> Tensor:
        logits, image_logits = self._both(row, batch)
        loss: Tensor = self.loss(
            logits,
            batch[keys.LABEL],
            batch[keys.WEIGHT],
            image_logits=image_logits,
            image_target=batch[keys.IMAGE_LABEL],
            sizes=batch[SIZES],
        )
        return loss

    # ---- steps -------------------------------------------------------------------------------------

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Loss of the studies and slices of one batch."""
        batch = self._picked(batch)
        loss = self._loss(self._logits(batch), batch)
        size = len(batch[SIZES])
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=size)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Watch the scores of both; keep the rows where they were asked for."""
        batch = self._picked(batch)
        row, probs = self._probs(batch)
        size = len(batch[SIZES])
        self.log("val/loss", self._loss(row, batch), on_epoch=True, batch_size=size, sync_dist=True)
        study, image = self._both(probs, batch)
        self.val_metrics.update(study, batch[keys.LABEL])
        self.image_metrics.update(image, batch[keys.IMAGE_LABEL])
        if self.trainer.state.fn == TrainerFn.VALIDATING:
            self._add(batch, probs)
        return {"probs": study, "target": batch[keys.LABEL]}

    def on_validation_epoch_end(self) -> None:
        """Log the scores over the labels that are defined."""
        scores = self.image_metrics.compute()
        self.image_metrics.reset()
        for name in ("auroc", "average_precision"):
            self.log(f"val/image_{name}", scores[name])
        super().on_validation_epoch_end()

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Score a batch of studies."""
        batch = self._picked(batch)
        _, probs = self._probs(batch)
        self._add(batch, probs)
        return {"probs": self._both(probs, batch)[0], "target": batch[keys.LABEL]}

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Probabilities of a batch of studies."""
        batch = {key: value for key, value in self._picked(batch).items() if key != keys.LABEL}
        _, probs = self._probs(batch)
        self._add(batch, probs)
        return {"probs": self._both(probs, batch)[0]}

    def _add(self, batch: dict[str, Any], probs: Tensor) -> None:
        study, image = self._both(probs, batch)
        super()._add(batch, study)
        known = keys.LABEL in batch
        targets = batch[keys.IMAGE_LABEL].cpu().numpy() if known else [None] * len(image)
        counts = batch[SIZES].tolist()
        owners = [place for place, count in enumerate(counts) for _ in range(count)]
        rows = zip(batch[keys.IMAGE_ID], owners, image.cpu().numpy(), targets, strict=True)
        for name, owner, prob, target in rows:
            row = label_row(name, batch[keys.PATIENT_ID][owner], self.image_classes, prob, target)
            self.sheet.add_image({**row, STUDY_COLUMN: batch[keys.CASE_ID][owner]})
