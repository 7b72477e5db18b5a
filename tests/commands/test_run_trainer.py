import sys

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import nn

from medimg.callbacks import NarrowBar, PredictionWriter, ProgressLines
from medimg.commands.run_folder import MetricsLogger
from medimg.commands.run_trainer import complete_settings, direct_predictions, network_line
from medimg.ensembling.calibration_file import Calibration
from medimg.errors import ConfigError, DataError
from medimg.runs import RunFolder
from medimg.tasks import ClassificationTask, SegmentationTask

GIVEN = {
    "callbacks": None,
    "enable_checkpointing": None,
    "enable_progress_bar": None,
    "enable_model_summary": None,
    "precision": None,
    "accelerator": "cpu",
    "plugins": None,
    "strategy": "auto",
    "logger": None,
    "default_root_dir": None,
}


def settings(tmp_path, verb="fit", **given):
    return complete_settings({**GIVEN, **given}, verb, RunFolder(tmp_path / "logs" / "x" / "version_3"))


def bars(completed):
    return [type(callback) for callback in completed["callbacks"] if isinstance(callback, ProgressBar)]


@pytest.mark.parametrize(("terminal", "expected"), [(True, NarrowBar), (False, ProgressLines)])
def test_progress_suits_the_output(tmp_path, monkeypatch, terminal, expected):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    assert bars(settings(tmp_path)) == [expected]
    assert bars(settings(tmp_path, enable_progress_bar=False)) == []
    given = ProgressLines()
    assert [
        bar for bar in settings(tmp_path, callbacks=[given])["callbacks"] if isinstance(bar, ProgressBar)
    ] == [given]


def test_checkpoints_go_to_the_runs_folder_and_the_last_is_kept_once(tmp_path):
    run = tmp_path / "logs" / "x" / "version_3"
    best, elsewhere = (
        ModelCheckpoint(filename="best"),
        ModelCheckpoint(dirpath=tmp_path / "other", filename="best"),
    )
    callbacks = settings(tmp_path, callbacks=[best, elsewhere])["callbacks"]
    writers = [callback for callback in callbacks if isinstance(callback, ModelCheckpoint)]
    assert [writer.filename for writer in writers] == ["best", "best", "last"]
    assert best.dirpath == writers[2].dirpath == str(run / "checkpoints")
    assert elsewhere.dirpath == str(tmp_path / "other")
    own = ModelCheckpoint(filename="last")
    again = settings(tmp_path, callbacks=own)["callbacks"]
    assert [callback for callback in again if isinstance(callback, ModelCheckpoint)] == [own]
    none = settings(tmp_path, enable_checkpointing=False)["callbacks"]
    assert not any(isinstance(callback, ModelCheckpoint) for callback in none)


def test_only_a_fit_writes_metrics(tmp_path):
    extra = CSVLogger(tmp_path)
    assert [type(log) for log in settings(tmp_path, verb="test")["logger"]] == [TensorBoardLogger]
    assert [type(log) for log in settings(tmp_path)["logger"]] == [TensorBoardLogger, MetricsLogger]
    assert settings(tmp_path, logger=extra)["logger"][-1] is extra
    assert settings(tmp_path, logger=False)["logger"] == []


def test_what_was_typed_decides_where_predictions_go(tmp_path):
    task = SegmentationTask(nn.Conv3d(1, 2, 1), classes=["a"])
    callbacks = []
    direct_predictions(callbacks, task, probabilities=True, folder=tmp_path)
    assert [type(callback) for callback in callbacks] == [PredictionWriter]
    assert callbacks[0].probabilities
    assert callbacks[0].folder == tmp_path
    given = [PredictionWriter(probabilities=True, folder=tmp_path)]
    direct_predictions(given, task, probabilities=False, folder=None)
    assert len(given) == 1
    assert given[0].probabilities
    assert given[0].folder == tmp_path
    others = []
    direct_predictions(others, BoringModel(), probabilities=True, folder=tmp_path)
    assert others == []


def test_network_line_counts_what_is_frozen():
    task = SegmentationTask(nn.Sequential(nn.Conv3d(1, 2, 1), nn.Conv3d(2, 2, 1)), classes=["a"])
    assert network_line(task) == "network: Sequential, 10 parameters"
    task.network[0].requires_grad_(False)
    assert network_line(task) == "network: Sequential, 10 parameters, 4 of them frozen"


def test_a_calibration_goes_to_the_writer_of_a_classification_with_its_labels():
    task = ClassificationTask(nn.Linear(2, 1), task="binary", classes=["cancer"])
    known = Calibration("platt", "binary", ("cancer",))
    own = PredictionWriter()
    direct_predictions([own], task, probabilities=False, folder=None, calibration=known)
    assert own.calibration is known
    other = Calibration("platt", "binary", ("mass",))
    with pytest.raises(
        DataError, match="for binary with the labels mass, the predictions are binary with cancer"
    ):
        direct_predictions([], task, probabilities=False, folder=None, calibration=other)
    masks = SegmentationTask(nn.Conv3d(1, 2, 1), classes=["a"])
    with pytest.raises(
        ConfigError, match="--calibration is for classifications, and SegmentationTask is none"
    ):
        direct_predictions([], masks, probabilities=False, folder=None, calibration=known)
