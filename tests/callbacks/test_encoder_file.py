"""An encoder goes where it fits, and what it has seen is not scored unnoticed."""

import pytest
import torch
from lightning.pytorch import Trainer
from writers.views import ViewData

from medimg.callbacks import EncoderWeights
from medimg.errors import ConfigError
from medimg.models import TimmClassifier
from medimg.models.encoder_file import encoder_tensors, hashed_names, write_encoder
from medimg.tasks import SimCLRTask


def make_task(seed):
    torch.manual_seed(seed)
    return SimCLRTask(TimmClassifier("test_resnet", 0, in_channels=1), projection_dim=8)


def fit(folder, task, callback, data):
    Trainer(
        accelerator="cpu", max_epochs=0, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, use_distributed_sampler=False, callbacks=[callback],
    ).fit(task, datamodule=data)  # fmt: skip


@pytest.fixture
def write(tmp_path):
    """``write(data name, cases, patients)``: an encoder that has seen them."""

    def make(name="stripes", cases=(), patients=()):
        network = make_task(1).network
        path = tmp_path / "encoder.safetensors"
        facts = {"method": "SimCLR", "fold": 3, "whole": "abc"}
        facts |= {"cases": hashed_names(name, cases), "patients": hashed_names(name, patients)}
        write_encoder(path, encoder_tensors(network, network.state_dict()), facts)
        return path

    return make


def test_the_weights_are_the_files(write, tmp_path):
    task, source = make_task(2), make_task(1)
    fit(tmp_path, task, EncoderWeights(write(cases=["c001"], patients=["p001"])), ViewData(12))
    torch.testing.assert_close(task.network.state_dict(), source.network.state_dict())


@pytest.mark.parametrize("seen", [{"cases": ["c003"]}, {"patients": ["p003"]}], ids=["case", "patient"])
def test_an_encoder_that_saw_what_is_scored_is_refused(seen, write, tmp_path):
    path, data = write(**seen), ViewData(12)  # c003 validates
    with pytest.raises(
        ConfigError, match=r"trained on 1 of the cases or patients .* such as [cp]003 \(fold 3 of split abc"
    ):
        fit(tmp_path, make_task(2), EncoderWeights(path), data)


def test_it_may_be_meant_so(write, tmp_path, caplog):
    fit(tmp_path, make_task(2), EncoderWeights(write(cases=["c003"]), allow_seen=True), ViewData(12))
    assert "LEAKY ENCODER" in caplog.text


def test_the_same_names_in_another_data_set_are_others(write, tmp_path, caplog):
    fit(tmp_path, make_task(2), EncoderWeights(write("elsewhere", cases=["c003"])), ViewData(12))
    assert "LEAKY" not in caplog.text


def test_a_network_that_read_the_file_itself_is_compared_too(write, tmp_path):
    path = write(cases=["c003"])
    task = SimCLRTask(TimmClassifier("test_resnet", 0, in_channels=1, weights=str(path)), projection_dim=8)
    with pytest.raises(ConfigError, match="such as c003"):
        fit(tmp_path, task, EncoderWeights(), ViewData(12))
