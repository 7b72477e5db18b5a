"""What SimCLR and MoCo share: two views of each case, an encoder file, and a linear probe as the score."""

import hashlib
import importlib
import json
import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, distributed, nn

from medimg import keys
from medimg.errors import ConfigError
from medimg.io.files import atomic_write
from medimg.models.encoder_file import ENCODER, encoder_tensors, hashed_names, head_of, write_encoder
from medimg.models.pooling import SIZES
from medimg.models.probes import LinearReadout, fit_linear
from medimg.runs import CONFIG, from_here
from medimg.scoring.label_table import label_row
from medimg.tasks.base import BaseTask
from medimg.tasks.label_sheet import LabelSheet
from medimg.tasks.schedules import Schedule

logger = logging.getLogger(__name__)

_TWO_VIEWS = "self-supervision compares two views of each case: set data.init_args.batch.views to 2"


@dataclass(frozen=True)
class ProbeOptions:
    """The logistic regression on frozen features that ``validate`` and ``test`` score an encoder by.

    Attributes:
        strength: Inverse of its L2 penalty, for standardised features.
        most_cases: Training cases that it is fitted to at most, taken evenly from all.
        resamples: Draws of the bootstrap over patients.
    """

    strength: float = 0.01
    most_cases: int = 20_000
    resamples: int = 1000


def default_optimizer(params: Any) -> torch.optim.Optimizer:
    """AdamW at 1e-3, for batches of a few dozen to a few hundred cases."""
    return torch.optim.AdamW(params, lr=1e-3, weight_decay=1e-4)


def part_of_lightly(module: str, name: str) -> Any:
    """A class or function of lightly, imported when it is first needed.

    Raises:
        ConfigError: If lightly is not installed.
    """
    try:
        return getattr(importlib.import_module(f"lightly.{module}"), name)
    except ImportError as error:
        raise ConfigError("SimCLR and MoCo need lightly: pip install 'medimg[ssl]'") from error


class SelfSupervisedTask(BaseTask):
    """An encoder that learns from views of cases without their labels; subclasses say how views are compared.

    Each checkpoint also writes ``encoder.safetensors`` into the run's folder: the encoder's weights, and what they
    were fitted to. ``validate`` and ``test`` score the frozen encoder by a logistic regression that is fitted to the
    labelled training cases; ``predict`` writes the features of each case as ``features.npz``. There is no contrastive
    loss on validation cases: it depends on the batch and the augmentation, and it falls long after features have
    stopped to get better; the probes of :mod:`medimg.callbacks` watch what the features are for.

    Args:
        encoder: Has ``features``, which maps images to (B, F), and ``num_features``; a head that it may have is neither
            trained nor written.
        optimizer: Takes the parameters.
        scheduler: As in `BaseTask`.
        probe: The score.
        channels_last: Lay out weights and images with channels last.
        compile: Compile the way from image to features with torch.compile.
    """

    method = ""

    def __init__(
        self,
        encoder: nn.Module,
        *,
        optimizer: OptimizerCallable,
        scheduler: Schedule | LRSchedulerCallable | None,
        probe: ProbeOptions,
        channels_last: bool,
        compile: bool,
    ) -> None:
        if not callable(getattr(encoder, "features", None)) or not hasattr(encoder, "num_features"):
            raise ConfigError(
                "model.init_args.encoder: expected a network with features and num_features, such as "
                f"medimg.models.TimmClassifier or medimg.models.ResNet3D, found {type(encoder).__name__}"
            )
        if (head := head_of(encoder)) is not None:
            # Without a gradient they would stall the exchange between processes.
            head.requires_grad_(False)
        if not any(parameter.requires_grad for parameter in encoder.parameters()):
            raise ConfigError("model.init_args.encoder: it is frozen, so there is nothing to train")
        super().__init__(
            encoder, optimizer=optimizer, scheduler=scheduler, channels_last=channels_last, compile=False
        )
        # BaseTask would compile the way to the head. A function of the network, so that copies of the task share it.
        self._embed: Callable[[nn.Module, Tensor], Tensor] = (
            torch.compile(_features_of) if compile else _features_of
        )
        self.probe = probe
        self.sheet = LabelSheet()
        self.predictions_folder: Path | None = None
        self._readout: LinearReadout | None = None
        self._kept: tuple[int, tuple[Tensor, Tensor]] | None = None
        self._embedded: list[tuple[str, str, np.ndarray[Any, Any]]] = []
        self._written_at = -1

    @property
    def num_features(self) -> int:
        """Length F of a feature vector."""
        return int(self.network.num_features)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        """Features (B, F) of images (B, C, ...)."""
        features: Tensor = self.apply_network(image, partial(self._embed, self.network))
        return features

    @abstractmethod
    def contrast(self, image: Tensor) -> Tensor:
        """The loss of views (2B, C, ...), those of a case one after the other."""

    # ---- training ----------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Make sure of two views before any data is read.

        Raises:
            ConfigError: If the data give another number of views, or the initial weights are not there.
        """
        if stage != "fit":
            return
        check = getattr(self.network, "check_available", None)
        if self.trainer.ckpt_path is None and check is not None:
            check()
        batch = getattr(self.trainer.datamodule, "batch", None)  # type: ignore[attr-defined]
        if batch is not None and getattr(batch, "views", 2) != 2:
            raise ConfigError(f"{_TWO_VIEWS}, found {batch.views}")

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Loss of one batch.

        Raises:
            ConfigError: If a case comes in another number of views than two.
        """
        image, sizes = batch[keys.IMAGE], batch.get(SIZES)
        if sizes is None or bool((sizes != 2).any()) or len(image) != 2 * len(sizes):
            found = "none" if sizes is None else sorted(set(sizes.tolist()))
            raise ConfigError(f"{_TWO_VIEWS}; the batch has sizes {found} for {len(image)} images")
        loss = self.contrast(image)
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=len(sizes))
        return loss

    # ---- the encoder file --------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write the encoder beside each checkpoint; averaged weights where a callback averages them."""
        self._write_encoder(checkpoint["state_dict"])

    def on_fit_end(self) -> None:
        """Write the encoder of a run that keeps no checkpoints."""
        self._write_encoder(self.state_dict())

    def _write_encoder(self, state: dict[str, Tensor]) -> None:
        if self._written_at == self.trainer.global_step:
            return  # the best and the last checkpoint of one epoch
        folder = self._run_folder()  # all processes take part
        self._written_at = self.trainer.global_step
        if not self.trainer.is_global_zero or self.trainer.state.fn != TrainerFn.FITTING:
            return
        own = {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}
        write_encoder(folder / ENCODER, encoder_tensors(self.network, own), self._facts(folder))

    def _facts(self, folder: Path) -> dict[str, Any]:
        """How these weights came about, and digests of the cases and patients that they were fitted to."""
        config = folder / CONFIG
        facts: dict[str, Any] = {
            "method": self.method,
            "network": type(self.network).__name__,
            "architecture": str(getattr(self.network, "architecture", type(self.network).__name__)),
            "in_channels": getattr(self.network, "in_channels", None),
            "epoch": self.trainer.current_epoch,
            "step": self.trainer.global_step,
            "config": hashlib.sha256(config.read_bytes()).hexdigest() if config.is_file() else None,
        }
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        known = data.state_dict() if data is not None else {}
        if "train" not in known:
            return facts
        trained = {*known["train"], *known.get("pseudo_train", ())}
        records = getattr(getattr(data, "index", None), "records", ())
        patients = [record.patient_id for record in records if record.case_id in trained]
        return facts | {
            **{key: known.get(key) for key in ("data", "split", "whole", "fold")},
            "cases": hashed_names(known["data"], trained),
            "patients": hashed_names(known["data"], patients),
        }

    # ---- features and what they know ---------------------------------------------------------

    @property
    def _data(self) -> Any:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not hasattr(data, "index"):
            raise ConfigError(
                "a probe needs labelled cases: name medimg.datamodules.ImageDataModule or LabelledVolumeDataModule as "
                f"data.class_path, found {type(data).__name__}"
            )
        return data

    def training_features(self) -> tuple[Tensor, Tensor]:
        """Features (N, F) and labels (N, K) of labelled training cases as they are, of all processes, on the CPU.

        The pass over the cases is made once a step of the training, whoever asks.
        """
        if self._kept is None or self._kept[0] != self.trainer.global_step:
            data = self._data
            cases = sorted(data.split.train)
            cases = cases[:: -(-len(cases) // self.probe.most_cases)]
            parts: list[tuple[Tensor, Tensor]] = []
            with _evaluating(self), torch.no_grad(), self.trainer.precision_plugin.forward_context():
                for raw in data.scored_cases(tuple(cases)):
                    batch = self.trainer.strategy.batch_to_device(raw)
                    parts.append((self(batch[keys.IMAGE]).float().cpu(), batch[keys.LABEL].cpu()))
            self._kept = (self.trainer.global_step, _joined(parts))
        return self._kept[1]

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Features of a batch, for the probes; scored where a score was asked for."""
        features = self(batch[keys.IMAGE]).float()
        if self._readout is not None:
            self._add(batch, features)
        return {"features": features, "target": batch[keys.LABEL]}

    def on_validation_start(self) -> None:
        """Fit the probe, unless this is a look between epochs."""
        super().on_validation_start()
        if self.trainer.state.fn == TrainerFn.VALIDATING:
            self._fit_probe()

    def on_validation_epoch_end(self) -> None:
        """Write the scores where they were asked for."""
        if self.trainer.state.fn == TrainerFn.VALIDATING:
            self._finish("validate")

    def on_validation_end(self) -> None:
        """Let go of the training cases' features."""
        super().on_validation_end()
        self._kept = None

    def on_test_start(self) -> None:
        """Fit the probe."""
        self._fit_probe()

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Score a batch of cases."""
        self._add(batch, self(batch[keys.IMAGE]).float())

    def on_test_epoch_end(self) -> None:
        """Write the scores."""
        self._finish("test")

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Keep the features of a batch."""
        features = self(batch[keys.IMAGE]).float().cpu()
        self._embedded += zip(batch[keys.CASE_ID], batch[keys.PATIENT_ID], features.numpy(), strict=True)
        return {"features": features}

    def on_predict_epoch_end(self) -> None:
        """Write the features of all cases: ``case_id``, ``patient_id`` and ``features`` (N, F) in one file."""
        folder = self.predictions_folder or self._run_folder() / "predict"
        rows = sorted({row[0]: row for part in _gathered(self._embedded) for row in part}.values())
        self._embedded = []
        if self.trainer.is_global_zero and rows:
            names, patients, features = zip(*rows, strict=True)
            with atomic_write(folder / "features.npz") as temporary:
                np.savez(
                    temporary,
                    case_id=np.array(names),
                    patient_id=np.array(patients),
                    features=np.stack(features),
                )
            logger.info("features of %d cases in %s", len(rows), from_here(folder / "features.npz"))

    def _fit_probe(self) -> None:
        features, labels = self.training_features()
        self._readout = fit_linear(features, labels, self._data.index.task, strength=self.probe.strength)
        self._kept = None

    def _add(self, batch: dict[str, Any], features: Tensor) -> None:
        assert self._readout is not None
        classes = self._data.index.classes
        names = zip(batch[keys.CASE_ID], batch[keys.PATIENT_ID], strict=True)
        probs, targets = self._readout.probs(features.cpu()).numpy(), batch[keys.LABEL].cpu().numpy()
        for (case_id, patient_id), prob, target in zip(names, probs, targets, strict=True):
            self.sheet.add(label_row(case_id, patient_id, classes, prob, target))

    def _finish(self, verb: str) -> None:
        data = self._data
        folder = self.predictions_folder or self._run_folder() / verb
        checkpoint = str(self.trainer.ckpt_path)
        title = f"{verb}, linear probe: {getattr(data, 'scored_title', 'cases')}"
        settings = {"probe_strength": self.probe.strength, "checkpoint": checkpoint}
        self.sheet.finish(folder, title, data.index.task, settings=settings, resamples=self.probe.resamples)
        self._readout = None
        facts = {
            "classes": list(data.index.classes),
            "checkpoint": checkpoint,
            **getattr(data, "prediction_facts", lambda: {"split": None})(),
            "tta": "none",
            "task": data.index.task,
            "probe": self.method,
        }
        if self.trainer.is_global_zero:
            with atomic_write(folder / "predictions.json") as temporary:
                temporary.write_text(json.dumps(facts, indent=2), encoding="utf-8")

    def _run_folder(self) -> Path:
        return Path(self.trainer.log_dir or self.trainer.default_root_dir)


def _features_of(network: nn.Module, image: Tensor) -> Tensor:
    features: Tensor = network.features(image)  # type: ignore[operator]
    return features


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, and afterwards for each layer the mode that it had."""
    modes = [(layer, layer.training) for layer in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for layer, mode in modes:
            layer.training = mode


def _gathered(rows: Any) -> list[Any]:
    """What each process has, in the order of the processes."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return [rows]
    parts: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, rows)
    return parts


def _joined(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    every = [pair for part in _gathered(parts) for pair in part]
    return torch.cat([features for features, _ in every]), torch.cat([labels for _, labels in every])
