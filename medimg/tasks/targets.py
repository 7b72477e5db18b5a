"""Several targets of a case at once: labels, classes and numbers, from one network."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from medimg.losses.targets import Balance, TargetLoss, encode_targets, split_outputs
from medimg.metrics.classification import LabelMetrics
from medimg.metrics.targets import ValueMetrics
from medimg.models.pooling import SIZES
from medimg.records import ImageIndex
from medimg.scoring.targets import Target, check_targets, target_row
from medimg.tasks.base import BaseTask
from medimg.tasks.classification import default_optimizer
from medimg.tasks.label_sheet import LabelSheet
from medimg.tasks.learning_rates import RateOptions, grouped_optimizer
from medimg.tasks.schedules import Schedule
from medimg.tasks.target_sheet import report_targets

logger = logging.getLogger(__name__)

_WATCHED = ("auroc", "accuracy", "mae", "r2", "spearman")


@dataclass(frozen=True)
class TargetScoring:
    """How cases are scored.

    Attributes:
        resamples: Draws of the bootstrap over patients.
        inferer: Test-time augmentation, whose answers are averaged in validate, test and predict; not between epochs.
            Views that move a case fit no target that is a place.
    """

    resamples: int = 1000
    inferer: Inferer | None = None


class MultiTargetTask(BaseTask):
    """Say for each case several things at once: whether it is malignant, how large it is, and where.

    The last layer of the network is a linear head a target, side by side. A target that is unknown in a case teaches
    nothing there. Numbers are learned standardised by mean and spread of the training cases, which stay in the
    checkpoint, and predicted in the unit of the data set's column.

    Args:
        network: Maps images (B, C, ...) to (B, O), O being the number of all outputs: one of a yes or no, one a class,
            one a column of numbers.
        targets: What is learned; the outputs follow in their order.
        losses: By name of a target, a loss in place of the usual one; see `medimg.losses.TargetLoss`.
        balance: Weights of the targets as they are (``fixed``), or also learned (``uncertainty``).
        optimizer: Takes the parameters.
        scheduler: As for `ClassificationTask`.
        rates: How fast the layers learn, relative to the head.
        scoring: How cases are scored.
        channels_last: Lay out weights and images with channels last.
        compile: Compile the network with torch.compile.

    Attributes:
        classes: Names of the outputs.
    """

    task = "targets"
    mean: Tensor
    spread: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        targets: list[Target],
        losses: dict[str, nn.Module] | None = None,
        balance: Balance = "fixed",
        optimizer: OptimizerCallable = default_optimizer,
        scheduler: Schedule | LRSchedulerCallable | None = None,
        rates: RateOptions = RateOptions(),  # noqa: B008  (frozen)
        scoring: TargetScoring = TargetScoring(),
        channels_last: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__(
            network,
            optimizer=partial(grouped_optimizer, optimizer, network, rates),
            scheduler=scheduler,
            channels_last=channels_last,
            compile=compile,
        )
        self.targets, self.classes = tuple(targets), check_targets(targets)
        self.loss = TargetLoss(self.targets, losses=losses, balance=balance)
        self.scoring = scoring
        self.final_inferer: Inferer = scoring.inferer or SimpleInferer()
        self.val_metrics = nn.ModuleList(_metrics_of(target) for target in self.targets)
        self.sheet = LabelSheet()
        self.predictions_folder: Path | None = None
        self._columns: list[int] = []
        # Of classes they stay 0 and 1.
        self.register_buffer("mean", torch.zeros(len(self.classes)))
        self.register_buffer("spread", torch.ones(len(self.classes)))

    # ---- checks before any data is read --------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Find the columns among the data's, check their values and, to fit, take their mean and spread.

        Raises:
            ConfigError: If the data lack a column, or the initial weights are not there.
            DataError: If a value is none of its target, or a number is the same in all training cases.
        """
        if stage == "fit" and self.trainer.ckpt_path is None and hasattr(self.network, "check_available"):
            self.network.check_available()  # type: ignore[operator]
        if stage == "predict":
            return
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        index: ImageIndex = data.index
        wanted = [column for target in self.targets for column in target.columns]
        if missing := [column for column in wanted if column not in index.classes]:
            raise ConfigError(
                f"the data have no column {', '.join(missing)}: give the columns of model.init_args.targets out of "
                f"{list(index.classes)}, or have the data set read them"
            )
        self._columns = [index.classes.index(column) for column in wanted]
        _check_values(index, self.targets)
        why = getattr(data, "harm_of_mirroring", lambda _: "")(index)
        if why and mirrors_left_right(self.final_inferer):
            logger.warning("model.init_args.scoring.inferer mirrors left and right, and %s", why)
        if stage == "fit":
            self._standardise(torch.as_tensor(data.train_labels))

    def _standardise(self, labels: Tensor) -> None:
        """Take mean and spread of the training cases (N, K)."""
        encoded = encode_targets(labels[:, self._columns], self.targets)  # (N, O)
        kinds = [target.kind for target in self.targets for _ in target.outputs]
        for number, (name, kind) in enumerate(zip(self.classes, kinds, strict=True)):
            if kind != "regression":
                continue
            values = encoded[~encoded[:, number].isnan(), number].double()
            if len(values) < 2 or not values.std() > 0:
                raise DataError(
                    f"{name}: expected different values among the training cases, found {len(values)} known ones, all "
                    "the same. Leave the target out, or take another fold."
                )
            self.mean[number], self.spread[number] = values.mean(), values.std()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the outputs mean beside the weights."""
        checkpoint["medimg_targets"] = self.target_facts

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse weights whose outputs mean something else.

        Raises:
            CheckpointError: If the targets differ.
        """
        trained = checkpoint.get("medimg_targets")
        if trained is not None and trained != self.target_facts:
            raise CheckpointError(
                f"the checkpoint was trained for {[one['name'] for one in trained]}, this config says "
                f"{[target.name for target in self.targets]}, or their kinds, columns or classes differ: use the run's "
                "own config.yaml"
            )
        for name, buffer in (("mean", self.mean), ("spread", self.spread)):
            # An export loads the weights of the network alone.
            buffer.copy_(checkpoint.get("state_dict", {}).get(name, buffer))

    @property
    def output_facts(self) -> dict[str, Any]:
        """What a user of the bare network needs: numbers are its outputs times ``spread`` plus ``mean``."""
        numbers = self._training_means()
        spread = dict(zip(self.classes, self.spread.tolist(), strict=True))
        standardised = {name: {"mean": mean, "spread": spread[name]} for name, mean in numbers.items()}
        return {"targets": self.target_facts, "standardised": standardised}

    @property
    def target_facts(self) -> list[dict[str, Any]]:
        """What the targets are, in plain values."""
        return [
            {
                "name": target.name,
                "kind": target.kind,
                "columns": list(target.columns),
                "classes": list(target.classes),
                "unit": target.unit,
            }
            for target in self.targets
        ]

    # ---- steps ---------------------------------------------------------------------------------

    def forward(self, image: Tensor) -> Tensor:
        """Outputs (B, O) of images (B, C, ...): logits, and numbers standardised.

        Raises:
            ConfigError: If the network has another number of outputs.
        """
        outputs: Tensor = self.apply_network(image)
        if outputs.ndim != 2 or outputs.shape[1] != len(self.classes):
            raise ConfigError(
                f"the network gives {tuple(outputs.shape)} for {len(self.classes)} outputs of the targets "
                f"({', '.join(self.classes)}): set its num_classes to {len(self.classes)}"
            )
        return outputs

    def _truth(self, batch: dict[str, Any]) -> Tensor:
        """What the outputs should say (B, O), numbers in their unit."""
        return encode_targets(batch[keys.LABEL][:, self._columns], self.targets)

    def _loss(
        self, outputs: Tensor, truth: Tensor, batch: dict[str, Any]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        total, parts = self.loss(outputs, (truth - self.mean) / self.spread, batch[keys.WEIGHT])
        return total, parts

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Loss of one batch."""
        if SIZES in batch:
            raise ConfigError("several targets are learned of single images: leave data.init_args.batch.grouped and "
                              "views out")  # fmt: skip
        size = len(batch[keys.LABEL])
        loss, parts = self._loss(self(batch[keys.IMAGE]), self._truth(batch), batch)
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=size)
        for name, part in parts.items():
            self.log(f"train/loss_{name}", part, on_step=False, on_epoch=True, batch_size=size)
        return loss

    def answers(self, outputs: Tensor) -> Tensor:
        """Probabilities, and numbers in their unit, float32 (B, O), of outputs (B, O)."""
        columns = []
        for target, column in zip(self.targets, split_outputs(outputs.float(), self.targets), strict=True):
            if target.exclusive:
                column = column.softmax(1)
            elif target.kind == "binary":
                column = column.sigmoid()
            columns.append(column)
        return torch.cat(columns, 1) * self.spread + self.mean

    def _scored(self, batch: dict[str, Any]) -> Tensor:
        """Answers, averaged over views where they are asked for."""
        # In full precision: a score must not depend on which cases shared a batch.
        with torch.autocast(batch[keys.IMAGE].device.type, enabled=False):
            answers: Tensor = self.final_inferer(batch[keys.IMAGE], lambda view: self.answers(self(view)))
        return answers

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Watch loss and scores; keep the rows where they were asked for."""
        outputs, truth = self(batch[keys.IMAGE]), self._truth(batch)
        loss, _ = self._loss(outputs, truth, batch)
        self.log("val/loss", loss, on_epoch=True, batch_size=len(truth), sync_dist=True)
        scored = self.trainer.state.fn == TrainerFn.VALIDATING
        said = self._scored(batch) if scored else self.answers(outputs)
        pairs = (split_outputs(values, self.targets) for values in (said, truth))
        for metric, pred, true in zip(self.val_metrics, *pairs, strict=True):
            metric.update(pred, true)
        if scored:
            self._add(batch, said, truth)
        return {"preds": said, "target": truth}

    def on_validation_epoch_end(self) -> None:
        """Log the scores of each target."""
        for target, metric in zip(self.targets, self.val_metrics, strict=True):
            scores = metric.compute()  # type: ignore[operator]
            metric.reset()  # type: ignore[operator]
            for name in _WATCHED:
                if name in scores:  # all processes computed the same numbers
                    self.log(f"val/{name}_{target.name}", scores[name])
        if self.trainer.state.fn == TrainerFn.VALIDATING:
            self._finish("validate")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Score a batch of cases."""
        said, truth = self._scored(batch), self._truth(batch)
        self._add(batch, said, truth)
        return {"preds": said, "target": truth}

    def on_test_epoch_end(self) -> None:
        """Gather the rows of all processes, write the table and score it."""
        self._finish("test")

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Predict a batch of cases."""
        said = self._scored(batch)
        self._add(batch, said, None)
        return {"preds": said}

    def on_predict_epoch_end(self) -> None:
        """Gather the rows of all processes and write them."""
        self.sheet.write(self._folder("predict"))

    def _add(self, batch: dict[str, Any], said: Tensor, truth: Tensor | None) -> None:
        known = [None] * len(said) if truth is None else truth.tolist()
        cases = zip(batch[keys.CASE_ID], batch[keys.PATIENT_ID], said.tolist(), known, strict=True)
        for case_id, patient_id, pred, true in cases:
            self.sheet.add(target_row(case_id, patient_id, self.targets, pred, true))

    def _finish(self, verb: str) -> None:
        folder = self._folder(verb)
        rows = self.sheet.write(folder)
        if rows is None:
            return
        settings = {
            "resamples": self.scoring.resamples,
            "tta": describe_tta(self.final_inferer),
            "checkpoint": str(self.trainer.ckpt_path),
        }
        title = getattr(self.trainer.datamodule, "scored_title", "cases")  # type: ignore[attr-defined]
        report_targets(
            folder,
            f"{verb}: {title}",
            rows,
            self.targets,
            settings=settings,
            constants=self._training_means(),
            resamples=self.scoring.resamples,
        )

    def _training_means(self) -> Mapping[str, float]:
        means = dict(zip(self.classes, self.mean.tolist(), strict=True))
        return {name: means[name] for t in self.targets if t.kind == "regression" for name in t.outputs}

    def _folder(self, verb: str) -> Path:
        return self.predictions_folder or Path(self.trainer.log_dir or self.trainer.default_root_dir) / verb


def _metrics_of(target: Target) -> LabelMetrics | ValueMetrics:
    if target.kind == "regression":
        return ValueMetrics(target.outputs)
    return LabelMetrics("multiclass" if target.exclusive else "binary", target.outputs)


def _check_values(index: ImageIndex, targets: Sequence[Target]) -> None:
    """Refuse values that mean nothing to their target, all cases of one target together."""
    for target in targets:
        faults = [
            f"{record.case_id}: {fault}"
            for record in index.records
            if record.labels
            and (
                fault := target.fault([record.labels.get(column, float("nan")) for column in target.columns])
            )
        ]
        if faults:
            more = f" ... and {len(faults) - 1} more" if len(faults) > 1 else ""
            raise DataError(
                f"{index.root}: {faults[0]}{more}. Mend the table, or name other classes or another kind for the "
                f"target {target.name} in model.init_args.targets."
            )
