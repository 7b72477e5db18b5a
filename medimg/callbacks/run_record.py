"""What a fit ran on and how long it took, kept beside its config for reports."""

import importlib.metadata
import json
import platform
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from medimg import __version__
from medimg.io.files import atomic_write
from medimg.runs import RECORD, read_record

PACKAGES = ("torch", "lightning", "torchmetrics", "monai", "timm", "albumentations", "numpy")
"""Whose versions are written down."""


class RunRecord(Callback):
    """Writes ``record.json``: versions, device, seconds of fitting and, where the device counts it, energy.

    It is brought up to date after every epoch, so that a killed fit loses the time of one. A resumed fit adds to
    what stands there. Energy is that of the GPUs alone, by NVIDIA's counter (package ``nvidia-ml-py``), and is left
    empty on processors and on several machines.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / RECORD
        self._started = 0.0
        self._joules: float | None = None
        self._before: dict[str, Any] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; what stands in the record of an earlier part is kept."""
        self._before = read_record(self.path)
        self._started, self._joules = time.monotonic(), joules(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the record up to date."""
        self._write(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the record up to date for the last time."""
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        if not trainer.is_global_zero:
            return
        epochs: Any = trainer.fit_loop.epoch_progress.current  # its type does not name all it counts
        record = machine(trainer) | {
            "seconds": self._before.get("seconds", 0.0) + time.monotonic() - self._started,
            "joules": self._energy(trainer),
            "epochs": epochs.processed,
            "steps": trainer.global_step,
        }
        with atomic_write(self.path, durable=False) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    def _energy(self, trainer: Trainer) -> float | None:
        now, before = joules(trainer), self._before.get("joules", 0.0)
        return None if now is None or self._joules is None or before is None else before + now - self._joules


def machine(trainer: Trainer) -> dict[str, Any]:
    """Versions and devices of this process's run.

    Args:
        trainer: The run's Trainer.
    """
    installed = {name: importlib.metadata.version(name) for name in PACKAGES}
    on_gpu = trainer.strategy.root_device.type == "cuda"
    device = torch.cuda.get_device_name(trainer.strategy.root_device) if on_gpu else "CPU"
    return {
        "medimg": __version__,
        "python": platform.python_version(),
        "packages": installed,
        "system": f"{platform.system()} {platform.machine()}",
        "device": device,
        "devices": trainer.world_size,
        "threads": torch.get_num_threads(),
        "precision": str(trainer.precision),
    }


def joules(trainer: Trainer) -> float | None:
    """Energy that this machine's GPUs of the run have drawn since their driver started; ``None`` if not counted.

    Args:
        trainer: The run's Trainer.
    """
    if trainer.strategy.root_device.type != "cuda" or trainer.num_nodes > 1:
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = [
            pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(index).uuid}")
            for index in trainer.device_ids
        ]
        return float(sum(pynvml.nvmlDeviceGetTotalEnergyConsumption(one) for one in handles)) / 1000
    except Exception:  # no package, no permission or an older device: a record must not end a fit
        return None
