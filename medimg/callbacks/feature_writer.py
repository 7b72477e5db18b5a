"""Features of the slices of studies on disk, for a second stage that trains on them."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from medimg import keys
from medimg.datamodules.slice_features import FACTS, write_features
from medimg.errors import ConfigError
from medimg.inference.views import wrappers
from medimg.io.files import atomic_write
from medimg.models.pooling import SIZES
from medimg.models.slice_sequence import SliceSequence
from medimg.runs import from_here
from medimg.tasks.study import StudyTask

logger = logging.getLogger(__name__)


class FeatureWriter(Callback):
    """Keep what the encoder of a `SliceSequence` says of each slice while ``predict`` goes over the studies.

    Each study becomes ``<study>.npz``: ``features`` (n, F) float16, ``images``, the case ids of the slices in
    anatomical order, and ``ids``, those of the study and its patient. ``features.json``, written when all are there,
    says which checkpoint, split and fold they come from. :class:`medimg.datamodules.SliceFeatureDataModule` reads them.

    Args:
        folder: Where the files go; by default ``features`` in the run's folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._place = Path()
        self._features: Tensor | None = None
        self._handle: RemovableHandle | None = None

    def on_predict_start(self, trainer: Trainer, pl_module: StudyTask) -> None:  # type: ignore[override]
        """Listen to the encoder.

        Raises:
            ConfigError: If the task has no encoder of slices, or shows it changed images.
        """
        network = getattr(pl_module, "network", None)
        if not isinstance(pl_module, StudyTask) or not isinstance(network, SliceSequence):
            raise ConfigError(
                "FeatureWriter: a medimg.tasks.StudyTask over a medimg.models.SliceSequence expected, found "
                f"{type(pl_module).__name__} over {type(network).__name__}"
            )
        if any(wrappers(pl_module.final_inferer)):
            raise ConfigError("FeatureWriter keeps features of the slices as they are: take --tta none")
        self._place = self.folder or Path(trainer.log_dir or ".") / "features"
        if trainer.is_global_zero:
            (self._place / FACTS).unlink(missing_ok=True)  # those of an earlier predict are no longer whole
        self._handle = network.head.register_forward_pre_hook(self._keep)

    def _keep(self, module: Any, inputs: tuple[Any, ...]) -> None:
        self._features = inputs[0].detach()

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: StudyTask,  # type: ignore[override]
        outputs: Any,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the studies of a batch."""
        assert self._features is not None
        rows = self._features.float().cpu().numpy().astype(np.float16)  # (M, F)
        self._features = None
        first = 0
        studies = zip(batch[keys.CASE_ID], batch[keys.PATIENT_ID], batch[SIZES].tolist(), strict=True)
        for study, patient, count in studies:
            part = slice(first, first + count)
            write_features(self._place, study, patient, batch[keys.IMAGE_ID][part], rows[part])
            first += count

    def on_predict_end(self, trainer: Trainer, pl_module: StudyTask) -> None:  # type: ignore[override]
        """Say where the features come from, once all processes have written theirs."""
        self._stop_listening()
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            data = trainer.datamodule  # type: ignore[attr-defined]
            facts = {"checkpoint": str(trainer.ckpt_path), **data.prediction_facts()}
            with atomic_write(self._place / FACTS) as temporary:
                temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
            logger.info("features of the slices: %s", from_here(self._place))

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Let go of the network."""
        self._stop_listening()

    def _stop_listening(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
