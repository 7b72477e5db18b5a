"""Predictions of validate, test and predict on disk, one file a case."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import distributed

from medimg import keys
from medimg.ensembling.calibration_file import CALIBRATION, Calibration
from medimg.errors import ConfigError
from medimg.inference.export import export_probs
from medimg.inference.views import describe_tta
from medimg.io.files import atomic_write, safe_name
from medimg.io.mask_export import SaveAs, check_save_as, export_mask, mask_path
from medimg.io.raster import write_png
from medimg.preparation.geometry import Geometry
from medimg.runs import from_here
from medimg.tasks import ClassificationTask, ImageSegmentationTask, MultiTargetTask, SegmentationTask

logger = logging.getLogger(__name__)

_Task = SegmentationTask | ClassificationTask | MultiTargetTask
_Tabled = ClassificationTask | MultiTargetTask  # predictions are the rows of a table


class PredictionWriter(Callback):
    """Write the label map of each case as ``<case>.nii.gz`` on the grid of its image, with the header of a NIfTI image.

    Label maps of 2D images are ``<case>.png``, of the size of the image's file, and hold the values 1, 2, ... of the
    classes.

    The files go into ``<run>/predict/``, ``<run>/test/masks/`` or ``<run>/validate/masks/``. Of a classification, which
    writes its rows itself, this only chooses the folder: ``<run>/predict/``, ``<run>/test/`` or ``<run>/validate/``.
    Beside the predictions ``predictions.json`` names the classes, the checkpoint, the hash of the split, its fold and
    which part of it the cases are (``validation``, ``test`` or ``predict``), and for masks the label values they are
    written with and each case's grid. Between the epochs of a fit nothing is written.

    Args:
        probabilities: Also write ``<case>.npz`` with ``probs``, float16 (K, D, H, W) in [0, 1].
        folder: Write here instead of into the run's folder.
        save_as: Format of the label maps of volumes; ``dicom-seg`` needs cases that are DICOM series.

    Attributes:
        calibration: What the probabilities of a classification go through. They land in ``<run>/test_calibrated/``, so
            that those of the model stay.
    """

    def __init__(
        self, probabilities: bool = False, folder: Path | None = None, save_as: SaveAs = "nifti"
    ) -> None:
        check_save_as(save_as)
        self.probabilities, self.folder, self.save_as = probabilities, folder, save_as
        self.calibration: Calibration | None = None
        self._place = Path()
        self._labels: dict[str, int] = {}
        self._grids: dict[str, Any] = {}

    def on_validation_start(self, trainer: Trainer, pl_module: _Task) -> None:  # type: ignore[override]
        """Choose the folder, unless this is a look between epochs."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            place = "validate" if isinstance(pl_module, _Tabled) else "validate/masks"
            self._choose(trainer, pl_module, place)

    def on_test_start(self, trainer: Trainer, pl_module: _Task) -> None:  # type: ignore[override]
        """Choose the folder."""
        self._choose(trainer, pl_module, "test" if isinstance(pl_module, _Tabled) else "test/masks")

    def on_predict_start(self, trainer: Trainer, pl_module: _Task) -> None:  # type: ignore[override]
        """Choose the folder."""
        self._choose(trainer, pl_module, "predict")

    def _choose(self, trainer: Trainer, pl_module: _Task, default: str) -> None:
        # Here and not batch by batch: asking for log_dir makes all processes talk, and one may have a batch more.
        default += "_calibrated" if self.calibration is not None else ""
        self._place = self.folder or Path(trainer.log_dir or ".") / default
        if isinstance(pl_module, ImageSegmentationTask) and self.save_as != "nifti":
            raise ConfigError(
                f"save_as: {self.save_as} is for volumes; masks of images are PNG: leave it out"
            )
        if isinstance(pl_module, _Tabled):
            pl_module.predictions_folder, pl_module.sheet.calibration = self._place, self.calibration

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: _Task,  # type: ignore[override]
        outputs: Any,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the cases of a scored batch, unless this is a look between epochs."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._write(pl_module, outputs, batch)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: _Task,  # type: ignore[override]
        outputs: Any,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the cases of a scored batch."""
        self._write(pl_module, outputs, batch)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: _Task,  # type: ignore[override]
        outputs: Any,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the cases of a predicted batch."""
        self._write(pl_module, outputs, batch)

    def on_validation_end(self, trainer: Trainer, pl_module: _Task) -> None:  # type: ignore[override]
        """Say how the files came about."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._describe(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: _Task) -> None:  # type: ignore[override]
        """Say how the files came about."""
        self._describe(trainer, pl_module)

    def on_predict_end(self, trainer: Trainer, pl_module: _Task) -> None:  # type: ignore[override]
        """Say how the files came about."""
        self._describe(trainer, pl_module)

    def _write(self, pl_module: _Task, outputs: Any, batch: dict[str, Any]) -> None:
        if isinstance(pl_module, _Tabled):
            return  # its predictions are the rows of its table
        folder = self._place
        folder.mkdir(parents=True, exist_ok=True)
        for number, case_id in enumerate(batch[keys.CASE_ID]):
            name = safe_name(case_id)
            grid: Geometry = batch[keys.GEOMETRY][number]
            self._grids[name] = {"shape": grid.source_shape, "spacing_mm": grid.source_spacing_mm}
            self._labels = dict(batch[keys.SCHEME][number].written)
            labels = outputs["labels"][number]
            if isinstance(pl_module, ImageSegmentationTask):
                write_png(folder / f"{name}.png", labels[0])
            else:
                path = mask_path(folder, name, self.save_as)
                export_mask(path, labels, batch[keys.SOURCE][number], self._labels)
            if self.probabilities:
                cropped = export_probs(
                    outputs["logits"][number], grid.cropped_shape, activation=pl_module.head
                )
                probs = grid.to_source(cropped)
                if pl_module.head == "softmax":  # outside the crop all is background
                    probs[0] = 1 - grid.to_source(1 - cropped[0])
                with atomic_write(folder / f"{name}.npz", durable=False) as temporary:
                    np.savez_compressed(temporary, probs=probs)

    def _describe(self, trainer: Trainer, pl_module: _Task) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        facts: dict[str, Any] = {
            "classes": list(pl_module.classes),
            "checkpoint": str(trainer.ckpt_path),
            **getattr(data, "prediction_facts", lambda: {"split": None})(),
            "tta": describe_tta(pl_module.final_inferer),
        }
        if isinstance(pl_module, _Tabled):
            facts["task"] = pl_module.task
            if isinstance(pl_module, MultiTargetTask):
                facts["targets"] = pl_module.target_facts
            if self.calibration is not None:
                facts[CALIBRATION] = self.calibration.digest
                self._warn_of_fitted(facts)
        else:
            grids = self._all_grids()
            facts |= {"head": pl_module.head, "labels": self._labels, "cases": dict(sorted(grids.items()))}
            logger.info("%d masks in %s", len(grids), from_here(self._place))
        if trainer.is_global_zero and self._place.is_dir():
            with atomic_write(self._place / "predictions.json") as temporary:
                temporary.write_text(json.dumps(facts, indent=2))

    def _warn_of_fitted(self, facts: dict[str, Any]) -> None:
        same = self.calibration is not None and self.calibration.split == facts["split"] is not None
        if facts.get("part") == "validation" and same:
            logger.warning(
                "the calibration was fitted on the validation cases of this split: the scores above flatter it, and "
                "those that `medimg calibrate` printed as unseen do not"
            )

    def _all_grids(self) -> dict[str, Any]:
        """The grid of each case, of all processes."""
        parts = [self._grids]
        if distributed.is_available() and distributed.is_initialized():
            parts = [{} for _ in range(distributed.get_world_size())]
            distributed.all_gather_object(parts, self._grids)
        return {name: grid for part in parts for name, grid in part.items()}
