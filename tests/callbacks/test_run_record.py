import json
import sys
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from medimg.callbacks.run_record import RunRecord, joules


class Small(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch, _):
        return self.layer(batch).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(folder, epochs, **options):
    trainer = Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[RunRecord(folder), *options.values()],
    )  # fmt: skip
    trainer.fit(Small(), DataLoader(torch.zeros(4, 2), batch_size=2))
    return json.loads((folder / "record.json").read_text())


def test_a_fit_writes_versions_device_time_and_steps_and_a_resumed_one_adds_its_time(tmp_path):
    first = fit(tmp_path, 2)
    assert first["packages"]["torch"] == torch.__version__.split("+")[0] or first["packages"]["torch"]
    assert (first["device"], first["devices"], first["joules"]) == ("CPU", 1, None)
    assert (first["epochs"], first["steps"]) == (2, 4)
    (tmp_path / "record.json").write_text(json.dumps(first | {"seconds": 100.0}))
    assert 100 < fit(tmp_path, 1)["seconds"] < 200


def test_it_stands_after_each_epoch_so_that_a_kill_loses_one(tmp_path):
    from lightning.pytorch import Callback

    class Killed(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(tmp_path, 3, killed=Killed())
    assert json.loads((tmp_path / "record.json").read_text())["epochs"] == 1


def test_energy_is_that_of_the_gpus_of_the_run(monkeypatch):
    energy = {"GPU-a": 5_000, "GPU-c": 7_000}
    fake = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=energy.__getitem__,
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid="abc"[index]))
    strategy = SimpleNamespace(root_device=torch.device("cuda", 0))
    trainer = SimpleNamespace(strategy=strategy, num_nodes=1, device_ids=[0, 2])
    assert joules(trainer) == 12.0
    trainer.num_nodes = 2
    assert joules(trainer) is None
    trainer.num_nodes, energy["GPU-a"] = 1, None  # a device that does not count
    assert joules(trainer) is None
