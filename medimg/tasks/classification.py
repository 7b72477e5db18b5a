"""Classification of images: one label, exclusive classes or several labels, of one image or of a group."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from monai.inferers.inferer import Inferer, SimpleInferer
from torch import Tensor, nn

from medimg import keys
from medimg.errors import CheckpointError, ConfigError, DataError
from medimg.inference.presets import mirrors_left_right
from medimg.inference.views import describe_tta
from medimg.losses import DiceCELoss
from medimg.losses.classification import MaskedBCELoss, WeightedCrossEntropyLoss
from medimg.metrics.classification import LabelMetrics
from medimg.models import (
    EfficientNetTransUNet,
    MaskedClassifier,
    ResNet3D,
    TimmClassifier,
    TransUNetClassifier,
)
from medimg.models.pooling import SIZES, NoisyOrPooling, Pooling
from medimg.records import ImageIndex, Task
from medimg.scoring.label_table import label_row
from medimg.tasks.base import BaseTask
from medimg.tasks.batch_masks import checked_masks
from medimg.tasks.label_options import LabelScoring, TrainingOptions
from medimg.tasks.label_sheet import LabelSheet, Thresholds, validation_thresholds
from medimg.tasks.learning_rates import grouped_optimizer
from medimg.tasks.mixing import mix_images
from medimg.tasks.schedules import Schedule

logger = logging.getLogger(__name__)

# Networks that hand over their features before the head, which a pooling can join.
_FEATURED = TimmClassifier | EfficientNetTransUNet | TransUNetClassifier | MaskedClassifier | ResNet3D


def default_optimizer(params: Any) -> torch.optim.Optimizer:
    """AdamW at 3e-4, a safe start for fine-tuning."""
    return torch.optim.AdamW(params, lr=3e-4, weight_decay=0.01)


class ClassificationTask(BaseTask):
    """Say for each case which labels it has.

    Args:
        network: Maps (B, C, H, W) to logits (B, K).
        task: ``binary`` (K = 1), ``multiclass`` (exclusive classes) or ``multilabel``.
        classes: Names of the labels, in the order of the outputs; the positive one for a binary task.
        loss: Takes logits (B, K), target (B, K) with NaN where unknown, and weight (B,); by default cross-entropy.
        optimizer: Takes the parameters.
        scheduler: A schedule of :mod:`medimg.tasks.schedules`, by default `CosineSchedule` to zero, or a scheduler of
            torch, stepped by epoch.
        pooling: Joins the images of a group, for data with ``batch.grouped``.
        training: How the network is fitted.
        scoring: How cases are scored.
        channels_last: Lay out weights and images with channels last.
        compile: Compile the network with torch.compile.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        task: Task,
        classes: Sequence[str],
        loss: nn.Module | None = None,
        optimizer: OptimizerCallable = default_optimizer,
        scheduler: Schedule | LRSchedulerCallable | None = None,
        pooling: Pooling | None = None,
        training: TrainingOptions = TrainingOptions(),  # noqa: B008  (frozen)
        scoring: LabelScoring = LabelScoring(),  # noqa: B008  (frozen)
        channels_last: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__(
            network,
            optimizer=partial(grouped_optimizer, optimizer, network, training.rates),
            scheduler=scheduler,
            channels_last=channels_last,
            compile=compile,
        )
        self.task, self.classes = task, tuple(classes)
        self.loss = loss or (WeightedCrossEntropyLoss() if task == "multiclass" else MaskedBCELoss())
        self.pooling, self.training_options, self.scoring = pooling, training, scoring
        self.mask_loss = (training.mask_loss or DiceCELoss()) if training.mask_weight else None
        self.final_inferer: Inferer = scoring.inferer or SimpleInferer()
        self._check_settings(compile=compile)
        self.val_metrics = LabelMetrics(task, self.classes)
        self.sheet = LabelSheet()
        self.predictions_folder: Path | None = None

    def _check_settings(self, *, compile: bool) -> None:
        if compile and self.pooling is not None and self.pooling.over == "features":
            raise ConfigError(
                f"compile: {type(self.pooling).__name__} takes the network apart, which torch.compile does not reach; "
                "leave model.init_args.compile out"
            )
        if self.task == "binary" and len(self.classes) != 1:
            raise ConfigError(
                f"a binary task has one label, the positive one; model.init_args.classes has {len(self.classes)}: "
                f"{list(self.classes)}"
            )
        if self.task == "multiclass" and isinstance(self.pooling, NoisyOrPooling):
            raise ConfigError(
                "noisy-or pools labels that may all be there; exclusive classes take mean or attention"
            )
        options = self.training_options
        mixes = options.mixup_alpha or options.cutmix_alpha
        if self.pooling is not None and mixes:
            raise ConfigError(
                "mixup and cutmix mix single images: leave them out where a pooling joins several"
            )
        if isinstance(self.network, MaskedClassifier) != bool(options.mask_weight):
            raise ConfigError(
                "training.mask_weight above 0 and a medimg.models.MaskedClassifier as the network go together: found "
                f"{options.mask_weight:g} and {type(self.network).__name__}"
            )
        if options.mask_weight < 0 or (options.mask_weight and (mixes or compile)):
            raise ConfigError(
                "training.mask_weight: expected 0 or more, and above 0 neither mixup nor cutmix, which have no mixed "
                "mask, nor compile, which does not reach the mask's decoder"
            )

    # ---- checks before any data is read --------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Compare the labels with the data's, and count them if the loss is to weigh them.

        Raises:
            ConfigError: If the data have other labels, or the initial weights are not there.
        """
        if stage == "fit" and self.trainer.ckpt_path is None and isinstance(self.network, _FEATURED):
            self.network.check_available()
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        index = getattr(data, "index", None) if stage != "predict" else None
        if index is not None and (tuple(index.classes), index.task) != (self.classes, self.task):
            raise ConfigError(
                f"the data are {index.task} with the labels {list(index.classes)}, the model is {self.task} with "
                f"{list(self.classes)}: give model.init_args.task and classes as the data have them, in their order"
            )
        if index is not None and not any(record.labels for record in index.records):
            raise DataError(
                f"{index.root}: no case has a label, from which alone a classification learns. Masks are for "
                "medimg.tasks.ImageSegmentationTask."
            )
        if mirrors_left_right(self.final_inferer):
            # What is predicted is listed later; its labels are this task's.
            described = index or ImageIndex("the", Path(), self.task, self.classes, ())
            self._question_mirroring(getattr(data, "harm_of_mirroring", lambda _: "")(described))
        if stage == "fit" and self.training_options.count_weights:
            self._weigh(torch.as_tensor(data.train_labels))

    def _question_mirroring(self, why: str) -> None:
        if why:
            logger.warning(
                "the test-time augmentation mirrors left and right, and %s: take --tta none or xray, or another "
                "model.init_args.scoring.inferer",
                why,
            )

    def _weigh(self, labels: Tensor) -> None:
        """Set the weights of the loss from the training labels (N, K), NaN where unknown."""
        positive = (labels >= 0.5).sum(0)
        negative = (labels < 0.5).sum(0)
        if hasattr(self.loss, "pos_weight"):
            # A label without positives has nothing to be weighed.
            weights = torch.where(positive > 0, negative / positive.clamp(min=1), 1.0)
            self.loss.pos_weight = weights.float().to(self.device)
        elif hasattr(self.loss, "class_weights"):
            counts = torch.where(positive > 0, positive, positive.sum() / len(positive))
            weights = positive.sum() / (counts * len(positive))
            self.loss.class_weights = weights.float().to(self.device)
        else:
            raise ConfigError(
                f"training.count_weights: {type(self.loss).__name__} takes no weights of classes; name MaskedBCELoss "
                "or WeightedCrossEntropyLoss, or leave it out"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the outputs mean beside the weights."""
        checkpoint["medimg_classes"] = list(self.classes)
        checkpoint["medimg_task"] = self.task

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse weights whose outputs mean something else.

        Raises:
            CheckpointError: If the task or the labels differ.
        """
        trained = (checkpoint.get("medimg_task"), checkpoint.get("medimg_classes"))
        if None not in trained and trained != (self.task, list(self.classes)):
            raise CheckpointError(
                f"the checkpoint was trained as {trained[0]} for {trained[1]}, this config says {self.task} for "
                f"{list(self.classes)}: use the run's own config.yaml"
            )

    # ---- training ----------------------------------------------------------------------------

    def forward(self, image: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Logits (B, K) of images (B, C, H, W), or of groups (M, C, H, W) with the number of images of each."""
        if self.pooling is None:
            logits: Tensor = self.apply_network(image)
        elif sizes is None:
            raise ConfigError(
                "model.init_args.pooling joins groups: set data.init_args.batch.grouped to true"
            )
        elif self.pooling.over == "logits":
            logits = self.pooling(self.apply_network(image), sizes)
        else:
            if not isinstance(self.network, _FEATURED):
                raise ConfigError(
                    f"{type(self.pooling).__name__} joins features: name a classifier of medimg.models as the network, "
                    f"such as TimmClassifier, found {type(self.network).__name__}"
                )
            features = self.apply_network(image, self.network.features)
            logits = self.network.head(self.pooling(features, sizes))
        return self._checked(logits)

    def _checked(self, logits: Tensor) -> Tensor:
        if logits.ndim != 2 or logits.shape[1] != len(self.classes):
            raise ConfigError(
                f"the network gives {tuple(logits.shape)} for {len(self.classes)} labels: set its number of outputs "
                "(num_classes) to the number of model.init_args.classes"
            )
        return logits

    def _logits(self, batch: dict[str, Any]) -> Tensor:
        self._check_groups(batch)
        logits: Tensor = self(batch[keys.IMAGE], batch.get(SIZES))
        return logits

    def _check_groups(self, batch: dict[str, Any]) -> None:
        if self.pooling is None and SIZES in batch:
            raise ConfigError(
                "the data come in groups of images (data.init_args.batch.grouped): name a pooling, such as "
                "medimg.models.GatedAttentionPooling, as model.init_args.pooling"
            )

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Loss of one batch."""
        target, weight = batch[keys.LABEL], batch[keys.WEIGHT]
        options = self.training_options
        if options.mixup_alpha or options.cutmix_alpha:
            image, target, weight = mix_images(
                batch[keys.IMAGE],
                target,
                weight,
                mixup_alpha=options.mixup_alpha,
                cutmix_alpha=options.cutmix_alpha,
                seed=int(batch[keys.SEED][0]),
            )
            batch = {**batch, keys.IMAGE: image}
        loss: Tensor
        if self.mask_loss is None:
            loss = self.loss(self._logits(batch), target, weight)
        else:
            logits, mask_loss = self._logits_and_mask_loss(batch, self.mask_loss)
            self.log("train/mask_loss", mask_loss, on_step=False, on_epoch=True, batch_size=len(target))
            loss = self.loss(logits, target, weight) + options.mask_weight * mask_loss
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=len(target))
        return loss

    def _logits_and_mask_loss(self, batch: dict[str, Any], mask_loss: nn.Module) -> tuple[Tensor, Tensor]:
        """Logits (B, K) as ever, and the loss of the masks, in one pass through the encoder."""
        self._check_groups(batch)
        network: Any = self.network
        features, drawn = self.apply_network(batch[keys.IMAGE], network.features_and_masks)
        if self.pooling is None:
            logits = network.head(features)
        elif self.pooling.over == "features":
            logits = network.head(self.pooling(features, batch.get(SIZES)))
        else:
            logits = self.pooling(network.head(features), batch.get(SIZES))
        return self._checked(logits), mask_loss(drawn, checked_masks(batch, drawn.shape[1]))

    # ---- scoring -----------------------------------------------------------------------------

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities (B, K) in [0, 1], float32."""
        return logits.float().softmax(1) if self.task == "multiclass" else logits.float().sigmoid()

    def _probs(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Logits of the images as they are, and probabilities, averaged over views where they are asked for."""
        if self.trainer.state.fn == TrainerFn.FITTING:
            logits = self._logits(batch)
            return logits, self.probabilities(logits)
        # In full precision: a score must not depend on which cases shared a batch.
        with torch.autocast(batch[keys.IMAGE].device.type, enabled=False):
            return self._augmented(batch)

    def _augmented(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        image, plain = batch[keys.IMAGE], []

        def network(view: Tensor) -> Tensor:
            logits = self._logits({**batch, keys.IMAGE: view})
            if view is image:
                plain.append(logits)
            return self.probabilities(logits)

        probs: Tensor = self.final_inferer(image, network)
        return plain[0] if plain else self._logits(batch), probs

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Watch the scores; keep the rows where they were asked for."""
        logits, probs = self._probs(batch)
        target = batch[keys.LABEL]
        loss = self.loss(logits, target, batch[keys.WEIGHT])
        self.log("val/loss", loss, on_epoch=True, batch_size=len(target), sync_dist=True)
        self.val_metrics.update(probs, target)
        if self.trainer.state.fn == TrainerFn.VALIDATING:
            self._add(batch, probs)
        return {"probs": probs, "target": target}

    def on_validation_epoch_end(self) -> None:
        """Log the scores over the labels that are defined."""
        scores = self.val_metrics.compute()
        self.val_metrics.reset()
        for name, value in scores.items():
            # All processes computed the same numbers.
            self.log(f"val/{name}", value, prog_bar=name == "auroc")
        if self.trainer.state.fn == TrainerFn.VALIDATING:
            self._finish("validate", None)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Score a batch of cases."""
        _, probs = self._probs(batch)
        self._add(batch, probs)
        return {"probs": probs, "target": batch[keys.LABEL]}

    def on_test_epoch_end(self) -> None:
        """Gather the rows of all processes and write the table, with the thresholds that validation chose."""
        folder = self._run_folder() / "validate"
        self._finish("test", validation_thresholds(folder, self.classes, self.scoring.threshold))

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Probabilities of a batch of cases."""
        _, probs = self._probs(batch)
        self._add({key: value for key, value in batch.items() if key != keys.LABEL}, probs)
        return {"probs": probs}

    def on_predict_epoch_end(self) -> None:
        """Gather the rows of all processes and write them."""
        self.sheet.write(self._folder("predict"))

    def _add(self, batch: dict[str, Any], probs: Tensor) -> None:
        targets = batch[keys.LABEL].cpu().numpy() if keys.LABEL in batch else [None] * len(probs)
        names = zip(batch[keys.CASE_ID], batch[keys.PATIENT_ID], strict=True)
        for (case_id, patient_id), prob, target in zip(names, probs.cpu().numpy(), targets, strict=True):
            self.sheet.add(label_row(case_id, patient_id, self.classes, prob, target))

    def _finish(self, verb: str, thresholds: Thresholds | None) -> None:
        title = getattr(self.trainer.datamodule, "scored_title", "cases")  # type: ignore[attr-defined]
        settings = {
            "threshold": self.scoring.threshold,
            "resamples": self.scoring.resamples,
            "tta": describe_tta(self.final_inferer),
            "checkpoint": str(self.trainer.ckpt_path),
        }
        self.sheet.finish(
            self._folder(verb),
            f"{verb}: {title}",
            self.task,
            settings=settings,
            resamples=self.scoring.resamples,
            thresholds=thresholds,
            ordinal=self.scoring.ordinal,
        )

    def _folder(self, verb: str) -> Path:
        return self.predictions_folder or self._run_folder() / verb

    def _run_folder(self) -> Path:
        return Path(self.trainer.log_dir or self.trainer.default_root_dir)
