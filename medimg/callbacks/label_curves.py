"""Curves, confusion and the worst mistakes of a classification, in TensorBoard."""

from typing import Any

import numpy as np
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray

from medimg import keys
from medimg.datamodules.images import ImageDataModule
from medimg.figures.confusion import confusion_panel
from medimg.figures.curves import LabelCurves as Curves
from medimg.figures.curves import curve_panel
from medimg.figures.image_grid import ImageTile, image_grid
from medimg.records import Task
from medimg.scoring.calibration import expected_calibration_error, reliability_points
from medimg.scoring.classification import (
    THRESHOLD,
    auroc,
    average_precision,
    precision_recall_points,
    roc_points,
)
from medimg.scoring.confusion import confusion_matrix, known_classes
from medimg.scoring.label_table import LabelArrays, label_arrays, label_row
from medimg.scoring.table import Row
from medimg.tasks import ClassificationTask
from medimg.tasks.score_sheet import gathered

Floats = NDArray[np.float64]


class LabelCurves(Callback):
    """ROC, precision-recall and reliability curves, a confusion matrix for each label, and the worst mistakes.

    They are drawn of the validation cases every few epochs and in the last one, and of the cases of ``validate``
    and ``test``.

    Args:
        every_n_epochs: Epochs between pictures.
        mistakes: Images in the grid of mistakes.
        most_labels: Labels with a confusion matrix of their own.
    """

    def __init__(self, every_n_epochs: int = 10, mistakes: int = 12, most_labels: int = 4) -> None:
        self.every_n_epochs, self.mistakes, self.most_labels = every_n_epochs, mistakes, most_labels
        self._rows: list[Row] = []

    def _due(self, trainer: Trainer) -> bool:
        if trainer.sanity_checking:
            return False
        last = 0 < (trainer.max_epochs or 0) <= trainer.current_epoch + 1
        return trainer.state.fn != "fit" or last or (trainer.current_epoch + 1) % self.every_n_epochs == 0

    def _collect(self, trainer: Trainer, task: Any, outputs: Any, batch: dict[str, Any]) -> None:
        if not self._due(trainer):
            return
        probs, targets = (outputs[name].detach().cpu().numpy() for name in ("probs", "target"))
        ids = zip(batch[keys.CASE_ID], batch[keys.PATIENT_ID], strict=True)
        for (case_id, patient_id), prob, target in zip(ids, probs, targets, strict=True):
            self._rows.append(label_row(case_id, patient_id, task.classes, prob, target))

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: ClassificationTask,  # type: ignore[override]
        outputs: Any,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the probabilities of a batch."""
        self._collect(trainer, pl_module, outputs, batch)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: ClassificationTask,  # type: ignore[override]
        outputs: Any,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the probabilities of a batch."""
        self._collect(trainer, pl_module, outputs, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: ClassificationTask) -> None:  # type: ignore[override]
        """Draw the validation cases."""
        self._finish(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: ClassificationTask) -> None:  # type: ignore[override]
        """Draw the test cases."""
        self._finish(trainer, pl_module, "test")

    def _finish(self, trainer: Trainer, task: ClassificationTask, stage: str) -> None:
        if not self._due(trainer):
            return
        rows = gathered(self._rows)
        self._rows = []
        if not rows:  # not the first process
            return
        table = label_arrays(rows)
        title = f"{stage}, epoch {trainer.current_epoch}" if trainer.state.fn == "fit" else stage
        pictures = {"curves": curve_panel(label_curves(table), title=title)}
        pictures |= self._confusions(table, task.task, title)
        data = trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, ImageDataModule) and self.mistakes:
            tiles = worst_mistakes(table, task.task, data, self.mistakes)
            if tiles:
                pictures["mistakes"] = image_grid(tiles, title=f"worst mistakes, {title}")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                for name, picture in pictures.items():
                    logger.experiment.add_image(
                        f"{stage}/{name}", picture, trainer.global_step, dataformats="HWC"
                    )

    def _confusions(self, table: LabelArrays, task: Task, title: str) -> dict[str, NDArray[np.uint8]]:
        if task == "multiclass":
            known, index = known_classes(table.target)
            matrix = confusion_matrix(index, table.prob[known].argmax(axis=1), len(table.labels))
            return {"confusion": confusion_panel(matrix, table.labels, title=title)}
        panels = {}
        for column, name in enumerate(table.labels[: self.most_labels]):
            known = ~np.isnan(table.target[:, column])
            if known.any():
                truth = (table.target[known, column] >= THRESHOLD).astype(int)
                called = (table.prob[known, column] > THRESHOLD).astype(int)
                matrix = confusion_matrix(truth, called, 2)
                panels[f"confusion_{name}"] = confusion_panel(matrix, [f"no {name}", name], title=title)
        return panels


def label_curves(table: LabelArrays) -> dict[str, Curves]:
    """The three curves of each label.

    Args:
        table: Targets and probabilities (N, K).

    Returns:
        Curves by label; a label without both classes has empty ones.
    """
    found = {}
    nothing = np.zeros(0)
    for column, name in enumerate(table.labels):
        target, prob = table.target[:, column], table.prob[:, column]
        known = ~np.isnan(target)
        hard, prob = (target[known] >= THRESHOLD).astype(float), prob[known]
        if not hard.any() or hard.all():
            empty = (nothing, nothing)
            found[name] = Curves(empty, empty, (*empty, np.zeros(0, int)), np.nan, np.nan, np.nan)
            continue
        found[name] = Curves(
            roc_points(hard, prob),
            precision_recall_points(hard, prob),
            reliability_points(hard, prob),
            auroc(hard, prob),
            average_precision(hard, prob),
            expected_calibration_error(hard, prob),
        )
    return found


def worst_mistakes(table: LabelArrays, task: Task, data: ImageDataModule, most: int) -> list[ImageTile]:
    """The cases whose truth had the lowest probability, with their first image.

    Args:
        table: Targets and probabilities (N, K).
        task: Kind of the labels.
        data: Gives the images.
        most: Number of images at most.

    Returns:
        Tiles, the worst first; right calls are no mistakes.
    """
    hard = np.nan_to_num(table.target) >= THRESHOLD
    if task == "multiclass":
        known = ~np.isnan(table.target).any(axis=1)
        right = np.where(known, (table.prob * hard).sum(axis=1), 1.0)[:, None]  # (N, 1)
        wrong = (table.prob.argmax(axis=1) != hard.argmax(axis=1))[:, None]
    else:
        right = np.where(hard, table.prob, 1 - table.prob)  # probability of the truth
        right = np.where(np.isnan(table.target), 1.0, right)
        wrong = (table.prob > THRESHOLD) != hard
    order = [place for place in np.argsort(right, axis=None).tolist() if wrong.flat[place]]
    tiles = []
    for place in order:
        row, column = divmod(place, right.shape[1])
        if np.isnan(table.target[row, column]):
            continue
        tiles.append(_tile(table, task, data, row, column))
        if len(tiles) == most:
            break
    return tiles


def _tile(table: LabelArrays, task: Task, data: ImageDataModule, row: int, column: int) -> ImageTile:
    case_id = table.case_ids[row]
    image = data.pixels(case_id)[0]  # (C, H, W)
    shown = image.transpose(1, 2, 0) if len(image) == 3 else image[0]
    if task == "multiclass":
        truth, called = int(table.target[row].argmax()), int(table.prob[row].argmax())
        return ImageTile(
            shown, case_id, table.labels[truth], table.labels[called], float(table.prob[row, called])
        )
    name, prob = table.labels[column], float(table.prob[row, column])
    words = (f"no {name}", name)
    positive = prob > THRESHOLD
    return ImageTile(
        shown,
        case_id,
        words[int(table.target[row, column] >= THRESHOLD)],
        words[int(positive)],
        prob if positive else 1 - prob,
    )
