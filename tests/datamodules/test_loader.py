import multiprocessing
import os
import signal
import time

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import Dataset

from medimg.callbacks.graceful_stop import GracefulStop
from medimg.datamodules.loader import CurrentCase, WatchedLoader
from medimg.datamodules.samplers import PatchSampler
from medimg.errors import DataError, ResourceError


class Slow(Dataset):
    """Sixty cases at 50 ms each."""

    def __init__(self, current):
        self.current = current

    def __len__(self):
        return 60

    def __getitem__(self, number):
        self.current.note(f"case_{number:03d}")
        time.sleep(0.05)
        return torch.tensor([number])


class Bad(Slow):
    def __getitem__(self, number):
        raise RuntimeError("the file is bad")


def loader(dataset=Slow, num_workers=2):
    current = CurrentCase(num_workers)
    return WatchedLoader(dataset(current), current=current, num_workers=num_workers, batch_size=2)


def kill_a_worker(before):
    worker = next(child for child in multiprocessing.active_children() if child.pid not in before)
    os.kill(worker.pid, signal.SIGKILL)


def pids():
    return {child.pid for child in multiprocessing.active_children()}


def assert_names_a_case(error):
    text = str(error.value)
    assert "case_0" in text
    assert "num_workers" in text
    assert "killed" in text


def test_a_worker_killed_while_the_loader_waits(monkeypatch):
    before, begin = pids(), time.monotonic()
    batches = iter(loader())
    next(batches)
    kill_a_worker(before)
    with pytest.raises(ResourceError) as error:
        for _ in batches:
            pass
    assert_names_a_case(error)
    assert time.monotonic() - begin < 30


def test_a_worker_killed_while_the_network_computes():
    before = pids()
    batches = iter(loader())
    next(batches)
    with pytest.raises(ResourceError) as error:
        kill_a_worker(before)
        for _ in range(200):  # torch raises in here, far from the loader
            time.sleep(0.05)
        raise AssertionError("nobody noticed")
    assert_names_a_case(error)
    del batches


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_are_those_of_the_plain_loader(num_workers):
    class Quick(Slow):
        def __getitem__(self, number):
            return torch.tensor([number])

    found = [batch.flatten().tolist() for batch in loader(Quick, num_workers)]
    assert found == [[number, number + 1] for number in range(0, 60, 2)]


def test_an_error_of_the_data_stays_what_it_is():
    with pytest.raises(RuntimeError, match="the file is bad"):
        list(loader(Bad, 0))
    with pytest.raises(RuntimeError, match="the file is bad"):
        list(loader(Bad, 1))


class Unreadable(Slow):
    def __getitem__(self, number):
        raise DataError("case_007: the file is bad.\nGet it again: pages 1: and 2")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_error_for_the_user_comes_without_the_workers_traceback(num_workers):
    with pytest.raises(DataError) as error:
        list(loader(Unreadable, num_workers))
    assert str(error.value) == "case_007: the file is bad.\nGet it again: pages 1: and 2"


def test_the_board_cuts_long_names_and_forgets_old_ones():
    current = CurrentCase(0)
    assert current.read() == []
    current.note("é" * 300)
    assert current.read()[0].startswith("é" * 100)
    current.note("b")
    assert current.read() == ["b"]


# ---- going on where a run was stopped -----------------------------------------------------------


class Keys(Dataset):
    """Gives back what the sampler asks for."""

    def __getitem__(self, key):
        return torch.tensor([key.case, key.seed])


class Reader(LightningModule):
    """Notes every sample; sends itself a signal after some batch."""

    def __init__(self, sampler, num_workers, stop_after=None):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.sampler, self.num_workers, self.stop_after = sampler, num_workers, stop_after
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen += [tuple(row) for row in batch.tolist()]
        if (self.current_epoch, batch_idx) == self.stop_after:
            os.kill(os.getpid(), signal.SIGTERM)
        return self.layer(torch.ones(1, 1)).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        options = {"num_workers": self.num_workers, "batch_size": 3}
        return WatchedLoader(Keys(), current=CurrentCase(self.num_workers), sampler=self.sampler, **options)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("stop_after", [(0, 0), (1, 1), (1, 3), (2, 2)])
def test_a_resumed_run_sees_every_sample_once(tmp_path, stop_after, num_workers, recwarn):
    def fit(stop_after=None, checkpoint=None):
        model = Reader(PatchSampler(5, 12, seed=1), num_workers, stop_after)
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = Trainer(
            accelerator="cpu", max_epochs=3, callbacks=[GracefulStop()], default_root_dir=tmp_path, **quiet
        )
        try:
            trainer.fit(model, ckpt_path=checkpoint, weights_only=True)
        except SystemExit:
            assert stop_after is not None
        return model.seen

    whole = fit()
    assert len(whole) == 36
    before = fit(stop_after)
    after = fit(checkpoint=next(tmp_path.rglob("last.ckpt")))
    assert before + after == whole
    assert not [warning for warning in recwarn if "not resumable" in str(warning.message)]
