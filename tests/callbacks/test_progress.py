import io
import re
from pathlib import Path

import pytest
import rich
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

from medimg.callbacks import progress
from medimg.callbacks.progress import NarrowBar, ProgressLines


class _Logging(BoringModel):
    def training_step(self, batch, batch_idx):
        out = super().training_step(batch, batch_idx)
        self.log("train/loss", out["loss"], prog_bar=True, on_step=True, on_epoch=True)
        return out

    def validation_step(self, batch, batch_idx):
        self.log("val/dice", torch.tensor(0.875), prog_bar=True)


def _trainer(tmp_path: Path, *callbacks, **options) -> Trainer:
    usual = {
        "default_root_dir": tmp_path,
        "max_epochs": 3,
        "limit_train_batches": 4,
        "limit_val_batches": 2,
        "limit_test_batches": 5,
        "limit_predict_batches": 5,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
    }
    return Trainer(callbacks=list(callbacks), **(usual | options))


def test_each_epoch_is_a_line_with_its_numbers(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN", 0.0)
    _trainer(tmp_path, ProgressLines()).fit(_Logging())
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert [line.split(",")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert "step 4, " in lines[0]
    assert re.search(r", loss \d", lines[0])
    assert "dice 0.875" in lines[0]
    assert lines[0].endswith("left")
    assert lines[2].endswith("gone")  # nothing is left after the last


def test_short_epochs_are_told_every_ten_seconds_only(tmp_path, capsys):
    _trainer(tmp_path, ProgressLines()).fit(_Logging())
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert [line.split(",")[0] for line in lines] == ["epoch 1/3", "epoch 3/3"]


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_verbs_count_their_batches(tmp_path, capsys, verb):
    getattr(_trainer(tmp_path, ProgressLines()), verb)(_Logging())
    whole = 2 if verb == "validate" else 5
    assert f"{verb}: {whole}/{whole}, 0:00:0" in capsys.readouterr().out


def test_other_processes_are_silent(tmp_path, capsys):
    lines = ProgressLines()
    trainer = _trainer(tmp_path, lines)
    lines.disable()
    trainer.fit(_Logging())
    assert "epoch" not in capsys.readouterr().out


def test_bar_shows_one_loss_under_a_short_name(tmp_path):
    seen = []

    class Spy(NarrowBar):
        def on_train_epoch_end(self, trainer, pl_module):
            seen.append(set(self.get_metrics(trainer, pl_module)))
            super().on_train_epoch_end(trainer, pl_module)

    _trainer(tmp_path, Spy()).fit(_Logging())
    assert seen[-1] == {"loss", "dice"}


def test_names_that_would_be_alike_stay_long():
    assert progress._short({"train/loss": 1.0, "val/loss": 2.0}) == {"train/loss": 1.0, "val/loss": 2.0}


def test_loss_and_dice_stand_on_one_line_of_80_columns(tmp_path, monkeypatch):
    monkeypatch.setattr(rich, "_console", None)  # the bar makes one for all, which ends with this test
    shown = io.StringIO()

    class Shown(NarrowBar):
        def _init_progress(self, trainer):
            self._console_kwargs = {"file": shown, "width": 80, "force_terminal": True}
            super()._init_progress(trainer)

    _trainer(tmp_path, Shown(), max_epochs=11, limit_train_batches=20).fit(_Logging())
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.getvalue()))
    assert any(re.search(r"Epoch 10/10 .* 20/20 .*loss: .*dice: 0\.875", line) for line in lines)
    assert not [line for line in lines if line.lstrip().startswith("0.875") or len(line) > 80]
