"""Segmentation of volumes: one network, one loss, scores on the grid of the files."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from monai.inferers.inferer import Inferer
from torch import Tensor, nn

from medimg import keys
from medimg.errors import CheckpointError, ConfigError
from medimg.inference.export import export_labels
from medimg.inference.sliding_window import SlidingWindowInferer
from medimg.losses import DiceBCELoss, DiceCELoss
from medimg.metrics import CaseDice
from medimg.preparation.geometry import Geometry
from medimg.records import LabelScheme
from medimg.scoring.table import score_case
from medimg.tasks.base import BaseTask
from medimg.tasks.schedules import Schedule
from medimg.tasks.score_sheet import ScoreSheet

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoringOptions:
    """How cases are scored.

    Attributes:
        empty: What a case scores in which a class is empty: a rule of :mod:`medimg.scoring.empty`.
        nsd_tolerance_mm: Tolerance of the normalised surface Dice in millimetres.
        hd95: Area-weighted surface distance (``area``, DeepMind's) or the larger directed percentile
            (``max``, MONAI's).
    """

    empty: Literal["brats", "skip", "one"] = "brats"
    nsd_tolerance_mm: float = 1.0
    hd95: Literal["area", "max"] = "area"


def default_optimizer(params: Any) -> torch.optim.Optimizer:
    """AdamW at 1e-3, a safe start for networks with normalisation."""
    return torch.optim.AdamW(params, lr=1e-3)


class SegmentationTask(BaseTask):
    """Label every voxel, as exclusive classes or as overlapping regions.

    Args:
        network: Maps (B, C, D, H, W) to logits (B, K, D, H, W); may return a list of logits, finest
            first, for deep supervision. K is one more than the classes under ``softmax``.
        classes: Names of the classes or regions, in channel order, the background left out.
        head: ``softmax`` for exclusive classes (masks of indices, (B, 1, ...)), ``sigmoid`` for regions
            (masks (B, K, ...)).
        loss: Takes logits and mask; by default Dice with (binary) cross-entropy.
        optimizer: Takes the parameters.
        scheduler: A schedule of :mod:`medimg.tasks.schedules`, by default `CosineSchedule` to zero, or a scheduler of
            torch, stepped by epoch.
        inferer: Applies the network to a whole case; by default a gaussian sliding window of 128 cubed.
        final_inferer: Takes the inferer's place in validate, test and predict, to spend more there than
            between epochs: test-time augmentation, most often.
        scoring: How cases are scored.
        channels_last: Lay out weights and images with channels last.
        compile: Compile the network with torch.compile.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        classes: Sequence[str],
        head: Literal["softmax", "sigmoid"] = "softmax",
        loss: nn.Module | None = None,
        optimizer: OptimizerCallable = default_optimizer,
        scheduler: Schedule | LRSchedulerCallable | None = None,
        inferer: Inferer | None = None,
        final_inferer: Inferer | None = None,
        scoring: ScoringOptions = ScoringOptions(),
        channels_last: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__(
            network,
            optimizer=optimizer,
            scheduler=scheduler,
            channels_last=channels_last,
            compile=compile,
        )
        self.classes, self.head, self.scoring = tuple(classes), head, scoring
        self.loss = loss or (DiceCELoss() if head == "softmax" else DiceBCELoss())
        self.inferer = inferer or SlidingWindowInferer(roi_size=(128, 128, 128))
        self.final_inferer = final_inferer or self.inferer
        self.val_dice = CaseDice(self.classes)
        self.sheet = ScoreSheet()

    # ---- checks before any data is read --------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Compare the classes with the data's.

        Raises:
            ConfigError: If the data module's classes are others.
        """
        scheme = getattr(self.trainer.datamodule, "scheme", None) if stage != "predict" else None  # type: ignore[attr-defined]
        if scheme is not None and tuple(scheme.names) != self.classes:
            raise ConfigError(
                f"model.init_args.classes are {list(self.classes)} and the data's are {list(scheme.names)}: "
                "give the data's, in their order (or set data.init_args.regions)"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the channels mean beside the weights."""
        checkpoint["medimg_classes"] = list(self.classes)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse weights whose channels mean something else.

        Raises:
            CheckpointError: If the classes differ.
        """
        trained = checkpoint.get("medimg_classes")
        if trained is not None and tuple(trained) != self.classes:
            raise CheckpointError(
                f"the checkpoint was trained for the classes {trained}, this config names {list(self.classes)}: "
                "use the run's own config.yaml"
            )

    # ---- training ----------------------------------------------------------------------------

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K, D, H, W) of an image (B, C, D, H, W), at full resolution only."""
        return _levels(self.apply_network(image))[0]

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Loss over all levels of deep supervision, each half as heavy as the finer one."""
        levels = _levels(self.apply_network(batch[keys.IMAGE]))
        self._check_channels(levels[0])
        loss = deep_supervision(self.loss, levels, batch[keys.MASK])
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=len(levels[0]))
        return loss

    def _check_channels(self, logits: Tensor) -> None:
        expected = len(self.classes) + (self.head == "softmax")
        if logits.shape[1] != expected:
            raise ConfigError(
                f"the network gives {logits.shape[1]} channels and {len(self.classes)} classes under {self.head} "
                f"need {expected}: correct the network's number of output channels or model.init_args.classes"
            )

    # ---- whole cases ---------------------------------------------------------------------------

    def infer(self, image: Tensor) -> Tensor:
        """Logits (B, K, D, H, W) of whole cases, tile by tile."""
        inferer = self.inferer if self.trainer.state.fn == TrainerFn.FITTING else self.final_inferer
        logits: Tensor = inferer(image, self.forward)
        self._check_channels(logits)
        return logits

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Watch the Dice on the prepared grid; score against the files where they were asked for."""
        logits = self.infer(batch[keys.IMAGE])
        mask = batch[keys.MASK]
        loss = self.loss(logits, mask)
        self.log("val/loss", loss, on_epoch=True, batch_size=len(logits), sync_dist=True)
        preds, target = self._channels(logits, mask)
        self.val_dice.update(preds, target)
        labels = self._score(batch, logits) if keys.REFERENCE in batch else None
        return {"labels": labels, "logits": logits, "preds": preds}

    def _channels(self, logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions and target as one channel a class, (B, K, D, H, W)."""
        if self.head == "sigmoid":
            return logits > 0, mask
        axes = [1] * (logits.ndim - 2)
        numbers = torch.arange(1, logits.shape[1], device=mask.device).view(1, -1, *axes)
        target = (mask == numbers).to(torch.uint8).masked_fill(mask == keys.IGNORE_INDEX, keys.IGNORE_INDEX)
        return logits.argmax(1, keepdim=True) == numbers, target

    def on_validation_epoch_end(self) -> None:
        """Log the Dice of each class and their mean over the classes that occurred."""
        dice = self.val_dice.compute()
        self.val_dice.reset()
        for name, value in dice.items():
            self.log(f"val/dice_{name}", value)
        self.log("val/dice", torch.stack(list(dice.values())).nanmean(), prog_bar=True)
        self._finish("validate")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Score one case against its label map on the grid of its file."""
        logits = self.infer(batch[keys.IMAGE])
        return {"labels": self._score(batch, logits), "logits": logits}

    def on_test_epoch_end(self) -> None:
        """Gather the rows of all processes and write the table."""
        self._finish("test")

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Label maps on the grids of the files, one a case."""
        logits = self.infer(batch[keys.IMAGE])
        return {"labels": self._export(batch, logits), "logits": logits}

    def _export(self, batch: dict[str, Any], logits: Tensor) -> list[Any]:
        """Label maps (D, H, W) on the grids of the files."""
        for scheme in batch[keys.SCHEME]:
            if scheme.names != self.classes:
                raise ConfigError(
                    f"the network knows the classes {list(self.classes)}, and the data's are {list(scheme.names)}: "
                    "their masks would be mislabelled. Correct the labels of the data set."
                )
        return [
            labels_on_source(volume, geometry, scheme, self.head)
            for volume, geometry, scheme in zip(logits, batch[keys.GEOMETRY], batch[keys.SCHEME], strict=True)
        ]

    def _score(self, batch: dict[str, Any], logits: Tensor) -> list[Any]:
        maps = self._export(batch, logits)
        for number, labels in enumerate(maps):
            scheme: LabelScheme = batch[keys.SCHEME][number]
            row = score_case(
                batch[keys.CASE_ID][number],
                batch[keys.PATIENT_ID][number],
                labels,
                batch[keys.REFERENCE][number],
                batch[keys.GEOMETRY][number].source_spacing_mm,
                scheme.values,
                empty=self.scoring.empty,
                nsd_tolerance_mm=self.scoring.nsd_tolerance_mm,
                hd95_definition=self.scoring.hd95,
                ignore_label=scheme.ignore,
            )
            self.sheet.add(row)
        return maps

    def _scoring_facts(self) -> dict[str, Any]:
        """What the numbers depend on, for the summary."""
        return asdict(self.scoring)

    def _finish(self, verb: str) -> None:
        if self.trainer.state.fn != verb:  # fit validates on the prepared grid only, to watch
            return
        title = getattr(self.trainer.datamodule, "scored_title", "cases")  # type: ignore[attr-defined]
        folder = Path(self.trainer.log_dir or self.trainer.default_root_dir) / verb
        settings = {**self._scoring_facts(), "checkpoint": str(self.trainer.ckpt_path)}
        self.sheet.finish(folder, f"{verb}: {title}", settings)


def _levels(outputs: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    """The logits of each resolution, finest first.

    MONAI's DynUNet stacks them in one tensor (B, levels, K, D, H, W) while it trains.
    """
    if isinstance(outputs, Tensor):
        return outputs.unbind(1) if outputs.ndim == 6 else [outputs]
    return outputs


def deep_supervision(
    loss: Callable[[Tensor, Tensor], Tensor], levels: Sequence[Tensor], mask: Tensor
) -> Tensor:
    """Weighted mean of the loss over resolutions, each weighing half of the finer one.

    Args:
        loss: Takes logits and mask.
        levels: Logits (B, K, d, h, w), finest first.
        mask: Mask (B, 1 or K, D, H, W) at full resolution; shrunk by nearest neighbour.

    Returns:
        Scalar loss.

    Reference:
        Isensee et al. 2021, "nnU-Net", doi:10.1038/s41592-020-01008-z; the coarsest level takes no part
        (its parameters get a gradient of zero).
    """
    used = levels[:-1] if len(levels) > 2 else levels
    weights = [0.5**number for number in range(len(used))]
    total = sum(
        weight * loss(logits, shrink(mask, logits.shape[2:]))
        for weight, logits in zip(weights, used, strict=True)
    )
    # A parameter without a gradient would stop DistributedDataParallel at the next step.
    unused = sum(0.0 * logits.float().mean() for logits in levels[len(used) :])
    return torch.as_tensor(total) / sum(weights) + unused


def shrink(mask: Tensor, shape: Sequence[int]) -> Tensor:
    """Nearest-neighbour resize of a mask (B, K, D, H, W) of any type to a smaller (d, h, w)."""
    for axis, wanted in enumerate(shape, start=2):
        length = mask.shape[axis]
        if length != wanted:
            places = (torch.arange(wanted, device=mask.device) + 0.5) * length / wanted
            mask = mask.index_select(axis, places.long())
    return mask


def labels_on_source(logits: Tensor, geometry: Geometry, scheme: LabelScheme, head: str) -> Any:
    """Turn logits on the prepared grid into a label map on the grid of the file.

    Args:
        logits: Logits (K, d, h, w).
        geometry: The way back.
        scheme: Which label value each class or region is written as.
        head: ``softmax`` or ``sigmoid``.

    Returns:
        Label map (D, H, W).
    """
    written = [scheme.written[name] for name in scheme.names]
    shape = geometry.cropped_shape
    if head == "softmax":
        cropped = export_labels(logits, shape, activation="softmax", labels=[0, *written])
    else:
        order = [scheme.names.index(name) for name in scheme.written]
        cropped = export_labels(logits, shape, activation="sigmoid", labels=written, region_order=order)
    return geometry.to_source(cropped)
