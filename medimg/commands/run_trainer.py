"""What a run's Trainer gets beside the config: loggers, checkpoints, guards and precision."""

import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from medimg.callbacks import (
    DataWait,
    EncoderWeights,
    FiniteLoss,
    GracefulStop,
    NarrowBar,
    PredictionWriter,
    ProgressLines,
    RankWatch,
)
from medimg.commands.plugins import complete_plugins
from medimg.commands.precision import resolve_precision
from medimg.commands.run_folder import MetricsLogger
from medimg.ensembling.calibration_file import Calibration
from medimg.errors import ConfigError
from medimg.io.mask_export import SaveAs, check_save_as
from medimg.runs import LAST, RunFolder
from medimg.tasks import ClassificationTask, MultiTargetTask, SegmentationTask
from medimg.tasks.self_supervised import SelfSupervisedTask


def complete_settings(settings: dict[str, Any], verb: str, run: RunFolder) -> dict[str, Any]:
    """Fill in what a config leaves to the command.

    Args:
        settings: The Trainer's arguments as the config gives them.
        verb: ``fit``, ``validate``, ``test`` or ``predict``.
        run: The run's folder.

    Returns:
        The arguments, ``callbacks`` among them as a list.
    """
    given = settings["callbacks"] or []
    callbacks: list[Callback] = list(given) if isinstance(given, list) else [given]
    checkpointing = settings["enable_checkpointing"] is not False
    if checkpointing and not any(getattr(callback, "filename", None) == LAST for callback in callbacks):
        # Lightning's save_last keeps the last *best* epoch. Mode: a state apart from a plain one's in the config.
        options: dict[str, Any] = {"enable_version_counter": False, "save_on_train_epoch_end": True}
        callbacks.append(ModelCheckpoint(filename=LAST, mode="max", **options))
    if verb == "fit":
        guards = (GracefulStop(), FiniteLoss(), DataWait(), RankWatch())
        callbacks += [guard for guard in guards if type(guard) not in map(type, callbacks)]
    if verb != "predict" and not any(isinstance(callback, EncoderWeights) for callback in callbacks):
        callbacks.append(EncoderWeights())  # an encoder must not have seen what will be scored
    if settings["enable_progress_bar"] is not False and not any(
        isinstance(c, ProgressBar) for c in callbacks
    ):
        callbacks.append(NarrowBar() if sys.stdout.isatty() else ProgressLines())
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
            callback.dirpath = str(run.checkpoints)
    return {
        **settings,
        "precision": resolve_precision(settings["precision"], str(settings["accelerator"])),
        "plugins": complete_plugins(settings["plugins"], settings["strategy"]),
        "logger": _loggers(settings["logger"], verb, run),
        "default_root_dir": settings["default_root_dir"] or run.path,
        "callbacks": callbacks,
        # network_line says what of Lightning's table is known before a batch is seen.
        "enable_model_summary": settings["enable_model_summary"] or False,
    }


def _loggers(given: Any, verb: str, run: RunFolder) -> list[Logger]:
    """TensorBoard and metrics.csv in the run's folder, and after them what the config adds."""
    if given is False:
        return []
    logs, name, version = str(run.logs), run.experiment, run.path.name
    own: list[Logger] = [TensorBoardLogger(logs, name, version)]
    if verb == "fit":
        # Scoring a run must not change the record of its training.
        own.append(MetricsLogger(logs, name, version))
    if given in (None, True):
        return own
    return own + (list(given) if isinstance(given, list) else [given])


def direct_predictions(
    callbacks: list[Callback],
    model: LightningModule,
    *,
    probabilities: bool,
    folder: Path | None,
    calibration: Calibration | None = None,
    save_as: SaveAs | None = None,
) -> None:
    """Let what was typed decide where predictions go, whether the config names a writer or not.

    Args:
        callbacks: The Trainer's; a writer is added for our own tasks if there is none.
        model: The task.
        probabilities: Also write probabilities.
        folder: Folder for the predictions instead of the run's.
        calibration: What the probabilities of a classification go through.
        save_as: Format of the masks instead of the config's.

    Raises:
        ConfigError: If the task is no classification, or the format needs a package that is not installed.
        DataError: If the calibration is for other labels.
    """
    if calibration is not None:
        if not isinstance(model, ClassificationTask):
            raise ConfigError(
                f"--calibration is for classifications, and {type(model).__name__} is none. Leave it away."
            )
        calibration.check(model.classes, model.task)
    if isinstance(model, SelfSupervisedTask):
        model.predictions_folder = folder or model.predictions_folder
    ours = isinstance(
        model, SegmentationTask | ClassificationTask | MultiTargetTask
    )  # others write for themselves
    if ours and not any(isinstance(callback, PredictionWriter) for callback in callbacks):
        callbacks.append(PredictionWriter())
    for callback in callbacks:
        if isinstance(callback, PredictionWriter):
            callback.probabilities = callback.probabilities or probabilities
            callback.folder = folder or callback.folder
            if save_as is not None:
                check_save_as(save_as)
                callback.save_as = save_as
            callback.calibration = calibration


def network_line(model: LightningModule) -> str:
    """One line about what is trained.

    Example:
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> network_line(BoringModel())
        'network: BoringModel, 66 parameters'
    """
    network = getattr(model, "network", model)
    count = sum(parameter.numel() for parameter in model.parameters())
    frozen = count - sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    held = f", {frozen:,} of them frozen" if frozen else ""
    return f"network: {type(network).__name__}, {count:,} parameters{held}"
