from pathlib import Path

import pytest
import yaml

from medimg.cli import main
from medimg.commands.plan import plan
from medimg.errors import ConfigError, DataError

SHAPE = (16, 20, 24)


def test_a_config_is_written_and_the_next_step_shown(tmp_path, write_decathlon, capsys):
    root = write_decathlon(tmp_path / "Task99_Fake", 3, shape=SHAPE)
    out = tmp_path / "configs" / "mine.yaml"
    assert plan(root, out=out, workers=1, max_epochs=7) == 0
    said = capsys.readouterr().out
    assert "Task99_Fake: 3 labelled cases, MRI" in said
    assert said.endswith(f"next: medimg fit --config {out}\n")
    config = yaml.safe_load(out.read_text())
    assert config["trainer"]["max_epochs"] == 7
    assert config["data"]["init_args"]["root"] == str(root)


def test_an_existing_config_is_never_overwritten(tmp_path, write_decathlon):
    root = write_decathlon(tmp_path / "Task99_Fake", 2, shape=SHAPE)
    out = tmp_path / "mine.yaml"
    out.write_text("mine")
    with pytest.raises(ConfigError, match="exists, and may hold your changes"):
        plan(root, out=out)
    assert out.read_text() == "mine"


def test_a_broken_case_leaves_no_config(tmp_path, write_decathlon):
    root = write_decathlon(tmp_path / "Task99_Fake", 2, shape=SHAPE)
    (root / "imagesTr/fake_001.nii.gz").write_bytes(b"")
    with pytest.raises(DataError, match="fake_001"):
        plan(root, out=tmp_path / "mine.yaml", workers=1)
    assert not (tmp_path / "mine.yaml").exists()


def test_memory_is_heeded(tmp_path, write_decathlon):
    root = write_decathlon(tmp_path / "Task99_Fake", 2, shape=(64, 64, 64))
    sizes = []
    for memory in (1.2, 8.0):
        out = tmp_path / f"{memory}.yaml"
        plan(root, out=out, memory_gb=memory, workers=1)
        sizes.append(yaml.safe_load(out.read_text())["data"]["init_args"]["patches"]["size"])
    assert sizes[1] == [64, 64, 64]
    assert sum(sizes[0]) < sum(sizes[1])
    with pytest.raises(ConfigError, match="--max_epochs"):
        plan(root, out=tmp_path / "none.yaml", max_epochs=0)


def test_from_the_command_line(tmp_path, write_decathlon, capsys):
    root = write_decathlon(tmp_path / "Task99_Fake", 2, shape=SHAPE)
    out = tmp_path / "mine.yaml"
    assert main(["plan", str(root), "--out", str(out), "--memory_gb", "4", "--workers", "1"]) == 0
    assert "for a GPU of 4 GB" in out.read_text()
    assert main(["plan", str(root), "--out", str(out)]) == 2
    assert "exists" in capsys.readouterr().err


def layouts(tmp_path: Path, write_decathlon, write_nnunet, write_brats) -> dict[str, Path]:
    labels = {"background": 0, "whole": [1, 2], "core": [2]}
    more = {"regions_class_order": [1, 2]}
    return {
        "decathlon": write_decathlon(tmp_path / "decathlon", 5, channels=("CT",), shape=SHAPE),
        "nnunet": write_nnunet(tmp_path / "nnunet", 5, labels=labels, more=more, shape=SHAPE),
        "brats": write_brats(tmp_path / "brats", 5, shape=SHAPE),
        "flat": write_decathlon(tmp_path / "flat", 5, shape=(1, 32, 32)),
    }


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["decathlon", "nnunet", "brats", "flat"])
def test_fit_takes_the_config_as_it_is(
    layout, tmp_path, monkeypatch, write_decathlon, write_nnunet, write_brats, capsys
):
    monkeypatch.chdir(tmp_path)
    root = layouts(tmp_path, write_decathlon, write_nnunet, write_brats)[layout]
    assert plan(root, out=Path("mine.yaml"), workers=1, max_epochs=1) == 0
    short = ["--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1", "--data.num_workers=0"]
    status = main(["fit", "--config", "mine.yaml", "--trainer.accelerator=cpu", *short])
    assert status == 0, capsys.readouterr().err
    assert list(tmp_path.glob("lightning_logs/*/version_0/checkpoints/last.ckpt"))
