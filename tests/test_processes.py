"""Whole runs as a user starts them: on two processes, killed and gone on with."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from medimg.cli import main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "tests" / "conf" / "softmax.yaml"
TWO = ("--config", str(ROOT / "configs" / "overlays" / "ddp.yaml"), "--trainer.accelerator", "cpu")


@dataclass(frozen=True)
class Place:
    """A folder with 14 cases, 7 on each side of the fold.

    Attributes:
        folder: Where commands are called.
        root: The data.
    """

    folder: Path
    root: Path

    def run(self, version=0):
        return self.folder / "lightning_logs" / "softmax" / f"version_{version}"

    def words(self, verb, *more, config=CONFIG):
        return [verb, "--config", str(config), *more, "--data.root", str(self.root)]

    def start(self, *words):
        """The command in a process of its own, in a session of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "medimg", *words], cwd=self.folder, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip


@pytest.fixture
def place(tmp_path, write_decathlon, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, write_decathlon(tmp_path / "Task", cases=14, tests=1))


def finish(process, seconds=240):
    try:
        shown, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        shown, _ = process.communicate()
        raise AssertionError(f"still running after {seconds} s:\n{shown}") from None
    return shown


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def epochs_trained(path):
    return sorted(int(row["epoch"]) for row in rows_of(path) if row["train/loss_epoch"])


def wait_for(condition, process, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.05)


def test_two_processes_score_as_one_does(place):
    assert main(place.words("fit", "--trainer.max_epochs", "1")) == 0
    config = place.run() / "config.yaml"
    assert main(place.words("test", "--ckpt_path", "best", config=config)) == 0
    shutil.copytree(place.run() / "test", place.folder / "one")
    shutil.rmtree(place.run() / "test")
    process = place.start(*place.words("test", *TWO, "--ckpt_path", "best", config=config))
    shown = finish(process)
    assert process.returncode == 0, shown
    one, two = rows_of(place.folder / "one" / "per_case.csv"), rows_of(place.run() / "test" / "per_case.csv")
    assert len(one) == 7
    assert [row["case_id"] for row in one] == [row["case_id"] for row in two]
    for a, b in zip(one, two, strict=True):
        for key in a.keys() - {"case_id", "patient_id"}:
            assert float(b[key]) == pytest.approx(float(a[key]), abs=1e-6, nan_ok=True)
    summaries = [
        json.loads(path.read_text())
        for path in (place.folder / "one" / "summary.json", place.run() / "test" / "summary.json")
    ]
    for name in ("anterior", "posterior"):
        means = [summary["metrics"]["dice"][name]["mean"] for summary in summaries]
        assert means[1] == pytest.approx(means[0], abs=1e-6)
    assert len(list((place.run() / "test" / "masks").glob("*.nii.gz"))) == 7
    assert shown.count("row by row") == 1  # one table, by one process


@pytest.mark.parametrize("norm", ["INSTANCE", "BATCH"])
def test_fit_on_two_processes(place, norm):
    # 7 cases for 2 processes: one validates a batch more, while batch norm shares its buffers.
    process = place.start(*place.words("fit", *TWO, "--model.network.norm_name", norm))
    shown = finish(process)
    assert process.returncode == 0, shown
    assert (place.run() / "checkpoints" / "best.ckpt").is_file()
    assert epochs_trained(place.run() / "metrics.csv") == [0, 1]
    assert shown.count("run folder:") == 1
    alone = ("--trainer.devices", "1", "--trainer.strategy", "auto", "--ckpt_path", "last")
    assert main(place.words("predict", *alone, config=place.run() / "config.yaml")) == 0
    assert len(list((place.run() / "predict").glob("*.nii.gz"))) == 15


def test_killed_and_gone_on_with(place):
    process = place.start(*place.words("fit", "--trainer.max_epochs", "500"))
    last = place.run() / "checkpoints" / "last.ckpt"
    wait_for(last.exists, process)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    kept = torch.load(last, weights_only=True)
    end = kept["epoch"] + 3
    config = place.run() / "config.yaml"
    words = ("--ckpt_path", "last", "--trainer.max_epochs", str(end))
    assert main(place.words("fit", *words, config=config)) == 0
    after = torch.load(last, weights_only=True)
    # 4 batches an epoch, two to a step.
    assert after["global_step"] == 2 * end
    assert epochs_trained(place.run() / "metrics.csv")[-1] == end - 1
    assert [path.name for path in place.run().parent.iterdir()] == ["version_0"]


def workers_of(pid):
    """Forked children, which bear the command line of their parent."""
    own = Path(f"/proc/{pid}/cmdline").read_bytes()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if Path(f"/proc/{child}/cmdline").read_bytes() == own]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for children in /proc")
def test_a_killed_worker_ends_the_run_with_the_case(place):
    words = ("--data.num_workers", "2", "--data.patches.batches_per_epoch", "100000")
    process = place.start(*place.words("fit", *words))
    wait_for(lambda: len(workers_of(process.pid)) >= 2 and (place.run() / "metrics.csv").exists(), process)
    begin = time.monotonic()
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    shown = finish(process, 60)
    assert time.monotonic() - begin < 30
    assert process.returncode == 2, shown
    (line,) = [line for line in shown.splitlines() if line.startswith("error:")]
    assert "a data worker was killed while reading one of fake_0" in line
    assert "Traceback" not in shown
