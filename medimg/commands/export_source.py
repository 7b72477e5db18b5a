"""The task of a trained run, built from its ``config.yaml`` with the weights of a checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from medimg.callbacks.checkpoint_io import load_checkpoint
from medimg.commands.parts import check_parts
from medimg.commands.run import RunParser
from medimg.commands.suggestions import shorten
from medimg.errors import CheckpointError, ConfigError, MedimgError
from medimg.runs import BEST, CONFIG, LAST
from medimg.tasks import ClassificationTask, MultiTargetTask, SegmentationTask

_NETWORK = "network."


@dataclass(frozen=True)
class Trained:
    """A trained task and where it came from.

    Attributes:
        task: The task, in evaluation mode, on the CPU.
        settings: The run's whole config.
        checkpoint: File of the weights.
    """

    task: LightningModule
    settings: dict[str, Any]
    checkpoint: Path

    @property
    def network(self) -> nn.Module:
        """The task's network."""
        network: nn.Module = self.task.network  # type: ignore[assignment]
        return network

    def answer(self, inputs: dict[str, Tensor]) -> Tensor:
        """Logits as the task itself computes them.

        Args:
            inputs: Tensors by name; ``image`` alone, (B, C, ...), for the tasks of medimg.
        """
        image, pooling = inputs.get("image"), getattr(self.task, "pooling", None)
        if image is None or set(inputs) != {"image"}:
            return _logits(self.network(**inputs))
        if pooling is not None:  # all images are one case's
            return _logits(self.task(image, torch.tensor([len(image)])))
        if isinstance(self.task, SegmentationTask | ClassificationTask | MultiTargetTask):
            return _logits(self.task(image))
        return _logits(self.network(image))


def _logits(outputs: Any) -> Tensor:
    logits: Tensor = outputs if isinstance(outputs, Tensor) else outputs[0]
    return logits


def find_checkpoint(source: Path, which: str) -> tuple[Path, Path]:
    """Checkpoint and config that a run's folder or one of its checkpoints stands for.

    Args:
        source: Folder of a run, or a checkpoint in one.
        which: ``best`` or ``last``, for a folder; the last one also stands in for a best one that a run never had.

    Raises:
        CheckpointError: If there is no such checkpoint, or no config beside it.
    """
    if source.is_dir():
        folder = source
        names = (BEST, LAST) if which == BEST else (which,)
        files = [folder / "checkpoints" / f"{name}.ckpt" for name in names]
        checkpoint = next((file for file in files if file.is_file()), files[0])
    else:
        folder, checkpoint = source.absolute().parent.parent, source
    if not checkpoint.is_file():
        raise CheckpointError(
            f"{source}: expected a checkpoint, or the folder of a run that holds one; found no {checkpoint}. Runs "
            "stand in lightning_logs/<experiment>/version_<k>."
        )
    config = folder / CONFIG
    if not config.is_file():
        raise CheckpointError(
            f"{source}: expected the run's config.yaml at {config}, found none. Put the checkpoint back into its run, "
            "as version_<k>/checkpoints/best.ckpt."
        )
    return checkpoint, config


def read_trained(checkpoint: Path, config: Path) -> Trained:
    """Build a run's task and load its weights; data are neither needed nor read.

    Args:
        checkpoint: File of the weights.
        config: The run's config.

    Raises:
        CheckpointError: If the weights do not fit.
        ConfigError: If the config cannot be built.
    """
    settings = _read_yaml(config)
    task = _build(settings, config)
    content = load_checkpoint(checkpoint)
    task.on_load_checkpoint(content)  # refuses weights whose outputs mean something else
    own = getattr(task, "network", None)
    if not isinstance(own, nn.Module):
        raise ConfigError(f"{config}: {type(task).__name__} holds no network to export")
    parts = {_NETWORK: own, "pooling.": getattr(task, "pooling", None)}
    for prefix, part in parts.items():
        if not isinstance(part, nn.Module):
            continue
        weights = {
            name.removeprefix(prefix): value
            for name, value in content.get("state_dict", {}).items()
            if name.startswith(prefix)
        }
        try:
            part.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(
                f"{checkpoint} was made by another configuration than {config}:\n{shorten(str(error))}"
            ) from error
    return Trained(task.eval(), settings, checkpoint)


def _read_yaml(config: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{config}: cannot be read: {str(error)[:200]}") from error
    if not isinstance(settings, dict) or "model" not in settings:
        raise ConfigError(f"{config}: expected the config of a run, found no model in it")
    return settings


def _build(settings: dict[str, Any], config: Path) -> LightningModule:
    parser = RunParser(allow_abbrev=False, default_env=False, prog="medimg export")
    parser.add_lightning_class_args(LightningModule, "model", subclass_mode=True)
    parsed = parser.parse_object({"model": settings["model"]})
    check_parts(parsed)
    try:
        task: LightningModule = parser.instantiate(parsed).model
    except MedimgError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{config}: a part of it cannot be built: {shorten(str(error))}") from error
    return task
