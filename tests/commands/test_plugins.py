import signal
from pathlib import Path

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import DDPStrategy

from medimg.callbacks.checkpoint_io import SafeCheckpointIO
from medimg.callbacks.graceful_stop import _signals
from medimg.cli import main
from medimg.commands.plugins import complete_plugins


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that srun sets for a job of one task."""
    variables = {
        "NTASKS": "1", "NTASKS_PER_NODE": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0", "NNODES": "1",
        "JOB_ID": "4711", "JOB_NAME": "train", "NODELIST": "127.0.0.1",
    }  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    # Lightning sets what is missing of these itself; this takes it back after the test.
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29511")


def environments(plugins: list[object]) -> list[SLURMEnvironment]:
    return [plugin for plugin in plugins if isinstance(plugin, SLURMEnvironment)]


def test_outside_slurm_only_the_checkpoints_are_ours() -> None:
    assert [type(plugin) for plugin in complete_plugins(None, "auto")] == [SafeCheckpointIO]
    own = TorchCheckpointIO()
    assert complete_plugins(own, "ddp") == [own]
    assert complete_plugins([], "fsdp") == []


@pytest.mark.usefixtures("slurm")
def test_under_slurm_nothing_is_requeued_unless_the_config_says_so() -> None:
    (added,) = environments(complete_plugins(None, "ddp"))
    assert added.auto_requeue is False
    assert len(environments(complete_plugins(None, "fsdp"))) == 1
    own = SLURMEnvironment(auto_requeue=True)
    assert environments(complete_plugins([own], "ddp")) == [own]
    assert environments(complete_plugins(LightningEnvironment(), "ddp")) == []
    assert environments(complete_plugins(None, DDPStrategy(cluster_environment=own))) == []


@pytest.mark.usefixtures("slurm")
def test_torchrun_inside_a_slurm_job_keeps_its_own_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    assert environments(complete_plugins(None, "ddp")) == []


@pytest.mark.usefixtures("slurm")
@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="the system has no SIGUSR1")
def test_a_slurm_job_stops_on_its_signal_and_goes_on_in_its_folder(
    tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    watched: list[list[int]] = []
    plain = Trainer.fit

    def signalled(self, *args, **kwargs):
        watched.append(_signals(self))
        module = kwargs["model"]
        step = module.training_step

        def training_step(batch, batch_idx):
            signal.raise_signal(signal.SIGUSR1)
            return step(batch, batch_idx)

        module.training_step = training_step
        return plain(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", signalled)
        assert main(tiny.words("fit")) == 128 + signal.SIGUSR1
    assert watched == [[signal.SIGTERM, signal.SIGUSR1]]
    run = tiny.run_folder()
    typed = "medimg fit --config lightning_logs/tiny/version_0/config.yaml --ckpt_path last"
    assert f"Go on with: {typed}\n" in capsys.readouterr().err
    assert (run / "checkpoints" / "last.ckpt").is_file()
    assert not list(Path(tiny.folder).rglob("hpc_ckpt*"))
    assert main(tiny.words("fit", "--ckpt_path", "last", config=run / "config.yaml")) == 0
    assert [path.name for path in run.parent.iterdir()] == ["version_0"]


@pytest.mark.usefixtures("slurm")
def test_an_environment_of_the_config_is_taken_as_it_is(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    overlay = tiny.folder / "overlay.yaml"
    overlay.write_text(
        "trainer:\n  plugins:\n  - class_path: lightning.pytorch.plugins.environments.SLURMEnvironment\n"
        "    init_args: {auto_requeue: true}\n"
    )
    watched: list[list[int]] = []
    monkeypatch.setattr(Trainer, "fit", lambda self, **kwargs: watched.append(_signals(self)))
    assert main(tiny.words("fit", "--config", str(overlay), "--score_best", "false")) == 0
    assert watched == [[signal.SIGTERM]]
