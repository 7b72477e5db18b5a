import csv
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import SingleDeviceStrategy

from medimg import runs
from medimg.cli import main
from medimg.commands.run import RunCLI

OVERLAYS = Path(__file__).parents[2] / "configs" / "overlays"


def epochs_in(path: Path) -> list[int]:
    with path.open(newline="") as file:
        return sorted({int(row["epoch"]) for row in csv.DictReader(file)})


def fit(tiny, *more: str, config: Path | None = None, version: int = 0) -> Path:
    """Train to the end; the folder that the run should have taken."""
    assert main(tiny.words("fit", *more, config=config)) == 0
    return tiny.run_folder(version)


def refused(capsys: pytest.CaptureFixture[str], words: list[str]) -> list[str]:
    """Lines of the error that a command line is refused with."""
    capsys.readouterr()
    assert main(words) == 2
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if line.strip()]


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_fit_test_predict_and_resume_share_one_folder(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    run = fit(tiny)
    shown = capsys.readouterr()
    assert "run folder: lightning_logs/tiny/version_0" in shown.out
    assert "medimg test --config lightning_logs/tiny/version_0/config.yaml --ckpt_path best" in shown.out
    assert "tensorboard --logdir lightning_logs/tiny/version_0" in shown.out
    assert not [line for line in shown.err.splitlines() if "arn" in line or "Tip" in line], shown.err
    names = names_in(run)
    assert {"config.yaml", "checkpoints", "metrics.csv"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    checkpoints = {"best.ckpt", "last.ckpt"}  # of one epoch
    assert names_in(run / "checkpoints") == checkpoints
    settings = yaml.safe_load((run / "config.yaml").read_text())
    assert settings["experiment"] == "tiny"
    assert settings["seed_everything"] == 0
    assert settings["ckpt_path"] is None
    assert settings["trainer"]["use_distributed_sampler"] is False
    before = (run / "config.yaml").read_bytes(), (run / "metrics.csv").read_bytes()

    for verb in ("validate", "test", "predict"):
        assert main(tiny.words(verb, config=run / "config.yaml")) == 0
        assert "taking the best checkpoint of lightning_logs/tiny/version_0" in capsys.readouterr().out
        assert (run / verb / "config.yaml").is_file()
    assert ((run / "config.yaml").read_bytes(), (run / "metrics.csv").read_bytes()) == before

    fit(tiny, "--ckpt_path", "last", "--trainer.max_epochs", "3", config=run / "config.yaml")
    assert (run / "config.yaml").read_bytes() == before[0]
    assert names_in(run / "checkpoints") == {*checkpoints, "last-previous.ckpt"}
    assert yaml.safe_load((run / "resumed_0.yaml").read_text())["trainer"]["max_epochs"] == 3
    assert epochs_in(run / "metrics.csv") == [0, 1, 2]
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert (last["global_step"], best["global_step"]) == (6, 2)  # val/dice falls from epoch to epoch
    assert names_in(run.parent) == {"version_0"}

    # The same settings, another run.
    assert fit(tiny, config=run / "config.yaml", version=1).is_dir()


@pytest.mark.parametrize("place", ["tiny/version_0", "from the cluster"])
def test_a_moved_run_keeps_its_best_score_when_resumed(tiny, place: str, capsys) -> None:
    run, moved = fit(tiny), tiny.folder / "elsewhere" / place
    moved.parent.mkdir(parents=True)
    shutil.move(run, moved)
    fit(tiny, "--ckpt_path", "last", "--trainer.max_epochs", "2", config=moved / "config.yaml")
    # The second epoch is worse: the best checkpoint is still that of the first.
    assert torch.load(moved / "checkpoints" / "best.ckpt", weights_only=True)["epoch"] == 0
    assert {path.name for path in (moved / "checkpoints").glob("best*")} == {"best.ckpt"}
    assert epochs_in(moved / "metrics.csv") == [0, 1]
    following = next(line for line in capsys.readouterr().out.splitlines()[::-1] if line.startswith("next: "))
    assert shlex.split(following)[4] == f"elsewhere/{place}/config.yaml"
    assert main(tiny.words("test", config=moved / "config.yaml")) == 0
    assert (moved / "test").is_dir()
    assert not run.exists()


def test_test_scores_the_trained_weights(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    run = fit(tiny, "--trainer.max_epochs", "2")
    seen = {}
    plain = Trainer.test

    def watch(self, *args, **kwargs):
        result = plain(self, *args, **kwargs)
        seen["norm"] = self.callback_metrics["test/norm"].item()
        seen["weights_only"] = kwargs["weights_only"]
        return result

    monkeypatch.setattr(Trainer, "test", watch)
    for which in ("best", "last"):
        assert main(tiny.words("test", "--ckpt_path", which, config=run / "config.yaml")) == 0
        stored = torch.load(run / "checkpoints" / f"{which}.ckpt", weights_only=True)
        assert seen["norm"] == pytest.approx(stored["state_dict"]["network.weight"].norm().item(), rel=1e-6)
        assert seen["weights_only"] is True


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
@pytest.mark.parametrize("which", [None, "best", "last", "nothing.ckpt"])
def test_without_the_checkpoint_nothing_is_scored(
    tiny, verb: str, which: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tiny.run_folder(4)
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text("{}")
    lines = refused(capsys, tiny.words(verb, *(["--ckpt_path", which] if which else [])))
    assert "lightning_logs/tiny/version_4" in " ".join(lines)  # the newest run
    assert len(lines) < 10
    assert names_in(run.parent) == {"version_4"}


def test_a_run_without_best_refuses(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    run = fit(tiny)
    (run / "checkpoints" / "best.ckpt").unlink()
    said = " ".join(refused(capsys, tiny.words("test", config=run / "config.yaml")))
    assert "best.ckpt: the run has " in said
    assert "last.ckpt" in said


def test_a_checkpoint_of_another_network_is_refused(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    config = fit(tiny) / "config.yaml"
    words = tiny.words("test", "--model.network.out_features", "3", config=config)
    said = " ".join(refused(capsys, words))
    assert "made by another configuration" in said
    assert "torch.Size([2, 32])" in said


def test_a_path_of_another_run_starts_a_new_folder(tiny) -> None:
    run = fit(tiny)
    assert main(tiny.words("test", "--ckpt_path", str(run / "checkpoints" / "best.ckpt"))) == 0
    assert (tiny.run_folder(1) / "config.yaml").is_file()
    assert not (run / "test").exists()


def test_a_malicious_checkpoint_is_refused_before_anything_runs(
    tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    planted = tiny.folder / "planted"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {planted}",)

    path = tiny.folder / "evil.ckpt"
    torch.save({"state_dict": {}, "callbacks": Evil()}, path)
    refused(capsys, tiny.words("test", "--ckpt_path", str(path)))
    assert not planted.exists()
    torch.save({"state_dict": {}, "hyper_parameters": {"_instantiator": "os.system"}}, path)
    assert "_instantiator" in " ".join(refused(capsys, tiny.words("fit", "--ckpt_path", str(path))))
    assert not (tiny.folder / "lightning_logs").exists()


def test_a_truncated_last_checkpoint_falls_back_and_says_so(
    tiny, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    run = fit(tiny, "--trainer.max_epochs", "2")
    last = run / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-200])
    fit(tiny, "--ckpt_path", "last", "--trainer.max_epochs", "3", config=run / "config.yaml")
    assert "Going on from the checkpoint before it" in caplog.text
    assert torch.load(last, weights_only=True)["global_step"] == 6
    best = run / "checkpoints" / "best.ckpt"
    best.write_bytes(best.read_bytes()[:-200])
    words = tiny.words("test", "--ckpt_path", "best", config=run / "config.yaml")
    assert "Beside it stand: last" in " ".join(refused(capsys, words))


def test_an_unusable_run_folder_fails_before_anything_is_built(
    tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(runs.tempfile, "mkstemp", refuse)
    said = " ".join(refused(capsys, tiny.words("fit", "--model.fail_at", "0")))
    assert "Read-only file system" in said


def test_a_run_that_cannot_be_built_leaves_no_folder(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    lines = refused(capsys, tiny.words("fit", "--model.network.out_features=-1"))
    assert "cannot be built" in lines[0]
    assert len(lines) < 10
    assert not tiny.run_folder().parent.exists()


def test_a_late_refusal_of_an_optimizer_is_no_traceback(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    said = " ".join(refused(capsys, tiny.words("fit", "--model.optimizer.lr=-1")))
    assert "Invalid learning rate: -1.0" in said


def test_a_fault_of_the_code_keeps_its_traceback(tiny) -> None:
    with pytest.raises(RuntimeError, match="the machine broke down"):
        main(tiny.words("fit", "--model.fail_at", "0"))
    assert "MEDIMG_RUN_VERSION" not in os.environ


def test_a_metric_that_is_never_logged_is_a_short_error(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.config.write_text(tiny.config.read_text().replace("val/dice", "val/dcie"))
    lines = refused(capsys, tiny.words("fit"))
    assert "val/dcie" in " ".join(lines)
    assert len(lines) < 10


def test_without_a_checkpoint_callback_the_last_weights_are_kept(tiny) -> None:
    text = tiny.config.read_text()
    tiny.config.write_text(text[: text.index("  callbacks:")])
    assert names_in(fit(tiny) / "checkpoints") == {"last.ckpt"}


def test_names_of_folders_come_from_the_options(tiny) -> None:
    fit(tiny, "--experiment", "other", "--logs", "runs")
    run = tiny.folder / "runs" / "other" / "version_0"
    assert (run / "checkpoints" / "best.ckpt").is_file()
    # The run's own config brings both names along, wherever it is called from.
    assert main(tiny.words("test", config=run / "config.yaml")) == 0
    fit(tiny, config=run / "config.yaml")
    assert (run.parent / "version_1").is_dir()
    assert not (tiny.folder / "lightning_logs").exists()


def test_loggers_of_the_config_come_after_the_runs_own(tiny) -> None:
    text = tiny.config.read_text()
    tiny.config.write_text(text + "  logger:\n    class_path: CSVLogger\n    init_args: {save_dir: extra}\n")
    assert (fit(tiny) / "metrics.csv").is_file()
    assert list(tiny.folder.glob("extra/**/metrics.csv"))
    tiny.config.write_text(text + "  logger: false\n")
    assert names_in(fit(tiny, version=1)) == {"checkpoints", "config.yaml", "record.json"}


def test_overlays_are_laid_over_the_config(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    overlay = tiny.folder / "overlay.yaml"
    overlay.write_text(
        "trainer: {max_epochs: 7}\n"
        "model: {init_args: {optimizer: {init_args: {momentum: 0.9}}, kind: multiclass}}\n"
    )
    assert main(tiny.words("fit", "--config", str(overlay), "--print_config")) == 0
    settings = yaml.safe_load(capsys.readouterr().out)
    arguments = settings["model"]["init_args"]
    assert settings["trainer"]["max_epochs"] == 7
    assert arguments["kind"] == "multiclass"
    assert arguments["network"]["init_args"]["in_features"] == 32
    optimizer = arguments["optimizer"]["init_args"]
    assert (optimizer["lr"], optimizer["momentum"]) == (0.01, 0.9)
    assert not (tiny.folder / "lightning_logs").exists()


@pytest.mark.parametrize("name", ["cpu", "ddp", "slurm"])
def test_the_overlays_fit_any_config(tiny, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tiny.words("fit", "--config", str(OVERLAYS / f"{name}.yaml"), "--print_config")) == 0
    shown = yaml.safe_load(capsys.readouterr().out)["trainer"]
    asked = yaml.safe_load((OVERLAYS / f"{name}.yaml").read_text())["trainer"]
    assert {key: shown[key] for key in asked} == asked


def test_automatic_precision_runs(tiny) -> None:
    run = fit(tiny, "--config", str(OVERLAYS / "cpu.yaml"))
    assert (run / "checkpoints" / "best.ckpt").is_file()


def test_print_config_without_a_config_shows_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--print_config"]) == 0
    settings = yaml.safe_load(capsys.readouterr().out)
    assert {"trainer", "model", "data", "experiment", "logs", "seed_everything"} <= set(settings)


def test_the_sampler_of_lightning_is_refused(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    words = tiny.words("fit", "--trainer.use_distributed_sampler=true")
    assert "must stay false" in refused(capsys, words)[0]


def test_a_calibration_is_read_before_anything_is_built_and_not_for_a_fit(
    tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tiny.folder / "calibration.json"
    file.write_text("{}")
    lines = refused(capsys, tiny.words("fit", "--calibration", str(file)))
    assert "--calibration is for test and predict, not for fit" in lines[0]
    lines = refused(capsys, tiny.words("predict", "--calibration", str(file)))
    assert f"{file}: expected a file that `medimg calibrate` wrote" in lines[0]
    assert not (tiny.folder / "lightning_logs").exists()


def test_environment_variables_change_nothing(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_TRAINER__MAX_EPOCHS", "5")
    monkeypatch.setenv("MEDIMG_TRAINER__MAX_EPOCHS", "5")
    assert epochs_in(fit(tiny) / "metrics.csv") == [0]


def test_the_callback_for_checkpoints_writes_into_the_run_by_default(
    tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = []
    plain = Trainer.fit

    def watch(self, *args, **kwargs):
        folders.extend(c.dirpath for c in self.callbacks if isinstance(c, ModelCheckpoint))
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "fit", watch)
    run = fit(tiny)
    assert set(folders) == {str(run / "checkpoints")}


def test_a_process_that_guessed_another_folder_scores_the_best_of_the_first(
    tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own, guessed = tiny.run_folder(8), tiny.run_folder(7)
    guessed.mkdir(parents=True)
    monkeypatch.setattr(RunCLI, "_choose_run_folder", lambda self: runs.RunFolder(guessed))

    def broadcast(self, obj, src=0):
        return obj.replace("version_7", "version_8") if isinstance(obj, str) else obj

    monkeypatch.setattr(SingleDeviceStrategy, "broadcast", broadcast)
    fit(tiny)
    assert f"scoring {own / 'checkpoints' / 'best.ckpt'} rank 0" in capsys.readouterr().out

    # Where the first process has no best checkpoint, nobody scores.
    def nobody_scores(self, obj, src=0):
        return False if isinstance(obj, bool) else broadcast(self, obj)

    monkeypatch.setattr(SingleDeviceStrategy, "broadcast", nobody_scores)
    fit(tiny)
    assert "scoring" not in capsys.readouterr().out


def launch(tiny, *command: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(tiny.source), "OMP_NUM_THREADS": "1"}
    pipe, words = subprocess.PIPE, [sys.executable, *command]
    return subprocess.Popen(
        words, cwd=tiny.folder, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher", [["-m", "medimg"], ["-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "medimg"]]
)
def test_two_processes_agree_on_one_folder(tiny, launcher: list[str]) -> None:
    # An older run, which a process that starts by itself may take for its own.
    older = tiny.run_folder(0) / "checkpoints"
    older.mkdir(parents=True)
    (older / "best.ckpt").write_text("of another network")
    words = tiny.words("fit", "--config", str(OVERLAYS / "ddp.yaml"), "--trainer.accelerator", "cpu")
    process = launch(tiny, *launcher, *words)
    shown, _ = process.communicate(timeout=120)
    assert process.returncode == 0, shown
    folder = tiny.run_folder(1)
    for rank in (0, 1):
        assert f"ranks agree on ['{folder}'] rank {rank}" in shown
        assert f"scoring {folder / 'checkpoints' / 'best.ckpt'} rank {rank}" in shown
    assert names_in(folder.parent) == {"version_0", "version_1"}
    assert (folder / "checkpoints" / "best.ckpt").is_file()
    assert shown.count("run folder:") == 1


@pytest.mark.slow
def test_an_interrupted_run_ends_with_130(tiny) -> None:
    process = launch(
        tiny, "-m", "medimg", *tiny.words("fit", "--trainer.max_epochs", "100000", "--model.optimizer.lr=0")
    )
    best = tiny.run_folder() / "checkpoints" / "best.ckpt"
    until = time.monotonic() + 60
    while not best.exists() and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 130, shown
    assert "Traceback" not in shown


def test_last_is_the_last_epoch_even_if_it_was_not_the_best(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ModelCheckpoint.check_monitor_top_k
    # Only the first epoch is ever good enough for best.ckpt.
    monkeypatch.setattr(
        ModelCheckpoint,
        "check_monitor_top_k",
        lambda self, trainer, current=None: trainer.current_epoch == 0 and plain(self, trainer, current),
    )
    checkpoints = fit(tiny, "--trainer.max_epochs", "3") / "checkpoints"
    for name, epoch in {"best": 0, "last": 2}.items():
        assert torch.load(checkpoints / f"{name}.ckpt", weights_only=True)["epoch"] == epoch
