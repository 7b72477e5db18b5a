"""A run of two processes, as Lightning launches it from a script."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_SCRIPT = """
import os, sys, time
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from medimg.callbacks.checkpoint_io import SafeCheckpointIO
from medimg.callbacks.finite_loss import FiniteLoss
from medimg.callbacks.graceful_stop import GracefulStop
from medimg.callbacks.rank_watch import RankWatch

FOLDER, BAD_CASE, RESUME = Path(sys.argv[1]), sys.argv[2], sys.argv[3]


class Module(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def on_train_start(self):
        (FOLDER / f"first_step{self.global_rank}").write_text(str(self.global_step))
        (FOLDER / f"pid{self.global_rank}").write_text(str(os.getpid()))

    def training_step(self, batch, batch_idx):
        time.sleep(0.02)
        loss = self.layer(batch["image"]).square().mean()
        (FOLDER / f"training{self.global_rank}").touch()
        return loss * float("nan") if BAD_CASE in batch["case_id"] else loss

    def validation_step(self, batch, batch_idx):
        (FOLDER / f"validating{self.global_rank}").touch()
        time.sleep(0.1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

    def train_dataloader(self):
        cases = [{"image": torch.ones(1), "case_id": f"case_{n}"} for n in range(200)]
        return DataLoader(cases, batch_size=2)

    def val_dataloader(self):
        # Two minutes without a collective call.
        return DataLoader([{"image": torch.ones(1)}] * 2400)


if __name__ == "__main__":
    trainer = Trainer(
        max_steps=int(RESUME or 10**6),
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0.0 if RESUME else 1.0,
        default_root_dir=FOLDER,
        plugins=[SafeCheckpointIO()],
        callbacks=[
            GracefulStop(),
            FiniteLoss(),
            RankWatch(),
            ModelCheckpoint(FOLDER / "checkpoints", save_last=True),
        ],
    )
    trainer.fit(Module(), ckpt_path=FOLDER / "checkpoints" / "last.ckpt" if RESUME else None)
"""


class TwoRanks:
    """The two processes, their files and what they said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        (folder / "script.py").write_text(_SCRIPT)
        self.process: subprocess.Popen | None = None

    def start(self, *, bad_case: str = "-", resume: str = "") -> None:
        """Start, or resume from ``last.ckpt`` up to a number of steps."""
        for name in ("pid0", "pid1", "training0", "training1"):
            (self.folder / name).unlink(missing_ok=True)
        package = Path(__file__).parents[2]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(self.folder / "script.py"), str(self.folder), bad_case, resume],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"},
            )

    def wait_for(self, *names: str, seconds: float = 100) -> None:
        """Wait until the processes have written these files."""
        end = time.monotonic() + seconds
        while not all((self.folder / name).exists() for name in names):
            if time.monotonic() > end or self.process.poll() is not None:
                raise AssertionError(f"no {names} yet:\n{self.log.read_text()}")
            time.sleep(0.05)

    def pid(self, rank: int) -> int:
        return int((self.folder / f"pid{rank}").read_text())

    def seconds_to_end(self, limit: float = 60) -> float:
        """Seconds until both processes are gone."""
        start = time.monotonic()
        while time.monotonic() - start < limit:
            self.process.poll()
            if not any(_runs(self.pid(rank)) for rank in (0, 1)):
                self.process.wait()
                return time.monotonic() - start
            time.sleep(0.05)
        raise AssertionError(f"still running after {limit} s:\n{self.log.read_text()}")

    def clean(self) -> None:
        for path in self.folder.glob("pid*"):
            if _runs(int(path.read_text())):
                os.kill(int(path.read_text()), 9)
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


@pytest.fixture
def two_ranks(tmp_path: Path) -> Iterator[TwoRanks]:
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc to see which processes run")
    ranks = TwoRanks(tmp_path)
    yield ranks
    ranks.clean()
