import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.plugins.environments import SLURMEnvironment

from medimg.callbacks.checkpoint_io import SafeCheckpointIO
from medimg.callbacks.graceful_stop import GracefulStop


class _Signalled(BoringModel):
    """Sends a signal to its own process during one training or validation batch."""

    def __init__(self, number: int = 0, train_batch: int = -1, val_batch: int = -1) -> None:
        super().__init__()
        self.number, self.train_batch, self.val_batch = number, train_batch, val_batch
        self.seen: list[tuple[int, int]] = []
        self.validated: list[tuple[int, int]] = []

    def training_step(self, batch: torch.Tensor, batch_idx: int):
        if batch_idx == self.train_batch:
            os.kill(os.getpid(), self.number)
        self.seen.append((self.current_epoch, batch_idx))
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: torch.Tensor, batch_idx: int):
        if batch_idx == self.val_batch and not self.trainer.sanity_checking:
            os.kill(os.getpid(), self.number)
        self.validated.append((self.current_epoch, batch_idx))
        return super().validation_step(batch, batch_idx)


def _trainer(folder: Path, **options: object) -> Trainer:
    return Trainer(
        max_epochs=2,
        limit_train_batches=4,
        limit_val_batches=3,
        accelerator="cpu",
        logger=False,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        plugins=[SafeCheckpointIO()],
        callbacks=[GracefulStop(), ModelCheckpoint(folder / "checkpoints", save_last=True)],
        **options,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_the_fit_after_the_batch_and_the_run_goes_on_later(
    tmp_path: Path, number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    (tmp_path / "config.yaml").touch()
    module = _Signalled(number, train_batch=1)

    with pytest.raises(SystemExit) as stopped:
        _trainer(tmp_path).fit(module)

    last = tmp_path / "checkpoints" / "last.ckpt"
    assert stopped.value.code == 128 + number
    assert module.seen == [(0, 0), (0, 1)]
    told = capsys.readouterr().err
    assert f"Stopped by {number.name} after step 2; saved {last}" in told
    assert f"medimg fit --config {tmp_path / 'config.yaml'} --ckpt_path last" in told
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)] == before

    resumed, trainer = _Signalled(), _trainer(tmp_path)
    trainer.fit(resumed, ckpt_path=last)
    assert resumed.seen == [(0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)]
    assert resumed.validated == [(epoch, batch) for epoch in (0, 1) for batch in range(3)]
    assert trainer.global_step == 8
    # The resumed run goes on writing the same file.
    assert "last-v1.ckpt" not in {path.name for path in last.parent.iterdir()}


@pytest.mark.parametrize("when", [{"train_batch": 3}, {"val_batch": 0}])
def test_a_signal_in_the_last_step_or_the_validation_lets_the_validation_end(tmp_path: Path, when) -> None:
    module = _Signalled(signal.SIGTERM, **when)
    with pytest.raises(SystemExit):
        _trainer(tmp_path).fit(module)
    assert module.seen == [(0, batch) for batch in range(4)]
    assert module.validated == [(0, batch) for batch in range(3)]

    resumed, trainer = _Signalled(), _trainer(tmp_path)
    trainer.fit(resumed, ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    assert resumed.seen == [(1, batch) for batch in range(4)]
    assert resumed.validated == [(1, batch) for batch in range(3)]
    assert trainer.global_step == 8


def test_a_stop_in_a_validation_keeps_weights_and_their_average_apart(tmp_path: Path) -> None:
    def fit(module, *callbacks):
        trainer = _trainer(tmp_path)
        trainer.callbacks += [EMAWeightAveraging(decay=0.5), *callbacks]
        trainer.fit(module)

    weights = {}

    class Watch(Callback):
        def on_validation_start(
            self, trainer, pl_module
        ):  # before the average takes the place of the weights
            weights.update({name: value.clone() for name, value in pl_module.state_dict().items()})

    with pytest.raises(SystemExit):
        fit(_Signalled(signal.SIGTERM, val_batch=0), Watch())
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    for name, value in weights.items():
        torch.testing.assert_close(saved["current_model_state"][name], value)
        assert not torch.equal(saved["state_dict"][name], value)


def test_accumulated_gradients_are_not_lost(tmp_path: Path) -> None:
    module = _Signalled(signal.SIGTERM, train_batch=0)
    with pytest.raises(SystemExit):
        _trainer(tmp_path, accumulate_grad_batches=2).fit(module)
    assert module.seen == [(0, 0), (0, 1)]


def test_without_model_checkpoint_the_file_goes_to_the_root(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = _trainer(tmp_path)
    trainer.callbacks = [
        callback for callback in trainer.callbacks if not isinstance(callback, ModelCheckpoint)
    ]
    with pytest.raises(SystemExit):
        trainer.fit(_Signalled(signal.SIGTERM, train_batch=1))
    assert f"--ckpt_path {tmp_path / 'last.ckpt'}" in capsys.readouterr().err
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 2


def test_the_signal_of_an_automatic_slurm_requeue_is_left_to_lightning(tmp_path: Path) -> None:
    from medimg.callbacks.graceful_stop import _signals

    assert _signals(_trainer(tmp_path)) == [signal.SIGTERM, signal.SIGUSR1]
    trainer = _trainer(tmp_path)
    trainer._accelerator_connector.cluster_environment = SLURMEnvironment(auto_requeue=True)
    assert _signals(trainer) == [signal.SIGTERM]
    trainer._accelerator_connector.cluster_environment = SLURMEnvironment(auto_requeue=False)
    assert _signals(trainer) == [signal.SIGTERM, signal.SIGUSR1]


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "number"), [(0, signal.SIGTERM), (1, signal.SIGUSR1)])
def test_two_processes_stop_at_the_same_step_and_go_on(two_ranks, rank: int, number: signal.Signals) -> None:
    two_ranks.start()
    two_ranks.wait_for("training0", "training1")

    os.kill(two_ranks.pid(rank), number)

    assert two_ranks.seconds_to_end() < 20
    said = two_ranks.log.read_text()
    assert two_ranks.process.returncode == 128 + number, said
    assert f"Stopped by {number.name}" in said
    assert "Traceback" not in said
    last = two_ranks.folder / "checkpoints" / "last.ckpt"
    step = torch.load(last, weights_only=True)["global_step"]
    assert 0 < step < 100

    if rank == 1:
        return  # once is enough for what follows
    two_ranks.start(resume=str(step + 2))
    assert two_ranks.process.wait(60) == 0, two_ranks.log.read_text()
    assert [(two_ranks.folder / f"first_step{rank}").read_text() for rank in (0, 1)] == [str(step)] * 2


_WITH_WORKERS = """
import sys, time
from pathlib import Path
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel, RandomDataset
from torch.utils.data import DataLoader
from medimg.callbacks.graceful_stop import GracefulStop

class Module(BoringModel):
    def training_step(self, batch, batch_idx):
        if batch_idx == 3:
            Path(sys.argv[1], "in_step").touch()
            time.sleep(2)
        return super().training_step(batch, batch_idx)

if __name__ == "__main__":
    stop = GracefulStop()
    trainer = Trainer(accelerator="cpu", logger=False, default_root_dir=sys.argv[1], callbacks=[stop])
    trainer.fit(Module(), DataLoader(RandomDataset(32, 64), num_workers=1))
"""


@pytest.mark.slow
def test_a_signal_to_the_whole_process_group_lets_the_step_end(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(_WITH_WORKERS)
    package = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": package},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not (tmp_path / "in_step").exists():
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=60)

    assert process.returncode == 128 + signal.SIGTERM, said
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 4
