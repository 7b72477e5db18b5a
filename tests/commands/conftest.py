"""A tiny task in a package of its own, as a user would have one, and a config for it."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "tinypkg"

SOURCE = '''
import os
from collections.abc import Callable
from typing import Any, Literal

from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.demos.boring_classes import BoringDataModule
from torch import Tensor, nn


class Task(LightningModule):
    """A linear layer.

    Args:
        network: From 32 numbers to any.
        optimizer: Made from the parameters.
        fail_at: Epoch in which the machine breaks down.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable | None = None,
        kind: Literal["binary", "multiclass"] = "binary",
        transform: Callable[[Tensor], Tensor] | None = None,
        hook: Callable | None = None,
        anything: Any = None,
        lr: float = 0.1,
        fail_at: int | None = None,
    ) -> None:
        super().__init__()
        self.network, self.optimizer, self.fail_at = network, optimizer, fail_at

    def training_step(self, batch, batch_idx):
        if self.fail_at == self.current_epoch:
            raise RuntimeError("the machine broke down")
        loss = self.network(batch).square().mean()
        self.log("train/loss", loss)
        return loss

    def on_train_start(self):
        folders = [logger.log_dir for logger in self.trainer.loggers]
        say(f"ranks agree on {folders[:1]} rank {self.global_rank}")

    def on_validation_start(self):
        if self.trainer.state.fn == "validate":
            say(f"scoring {self.trainer.ckpt_path} rank {self.global_rank}")

    def validation_step(self, batch, batch_idx):
        self.log("val/dice", 1.0 - 0.1 * self.current_epoch, sync_dist=True)

    def test_step(self, batch, batch_idx):
        self.log("test/norm", self.network.weight.norm(), sync_dist=True)

    def predict_step(self, batch, batch_idx):
        return self.network(batch)

    def configure_optimizers(self):
        return self.optimizer(self.parameters())


class Data(BoringDataModule):
    def __init__(self, root: str = ".", batch_size: int = 2) -> None:
        super().__init__()


def say(line):
    # In one piece, so that lines of two processes do not mix.
    print(f"{line}\\n", end="", flush=True)


def function_that_makes_a_network() -> nn.Module:
    return nn.Linear(32, 2)
'''

CONFIG = f"""\
model:
  class_path: {PACKAGE}.Task
  init_args:
    network: {{class_path: torch.nn.Linear, init_args: {{in_features: 32, out_features: 2}}}}
    optimizer: {{class_path: torch.optim.SGD, init_args: {{lr: 0.01}}}}
data:
  class_path: {PACKAGE}.Data
trainer:
  accelerator: cpu
  max_epochs: 1
  limit_train_batches: 2
  limit_val_batches: 1
  limit_test_batches: 1
  limit_predict_batches: 1
  log_every_n_steps: 1
  enable_progress_bar: false
  enable_model_summary: false
  callbacks:
  - class_path: ModelCheckpoint
    init_args:
      monitor: val/dice
      mode: max
      filename: best
      enable_version_counter: false
"""


@dataclass(frozen=True)
class Tiny:
    """Where the config lies, and how to run it.

    Attributes:
        folder: Folder that the command is called from.
        config: The config.
        source: Folder of the package.
    """

    folder: Path
    config: Path
    source: Path

    def words(self, verb: str, *more: str, config: Path | None = None) -> list[str]:
        """A command line that trusts the tiny package."""
        return [verb, "--config", str(config or self.config), "--trust-package", PACKAGE, *more]

    def run_folder(self, version: int = 0) -> Path:
        """Folder of a run."""
        return self.folder / "lightning_logs" / "tiny" / f"version_{version}"


@pytest.fixture(scope="session")
def tiny_source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("source")
    (folder / f"{PACKAGE}.py").write_text(SOURCE)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    sys.modules.pop(PACKAGE, None)


@pytest.fixture
def tiny(tiny_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return Tiny(folder=tmp_path, config=config, source=tiny_source)
