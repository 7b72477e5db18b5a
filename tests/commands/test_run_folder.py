import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from medimg.commands.run_folder import MetricsLogger, RunFolderCallback
from medimg.runs import RunFolder


def rows(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_metrics_go_on_where_they_ended(tmp_path: Path) -> None:
    for step in (0, 1):
        logger = MetricsLogger(save_dir=tmp_path, name="brats", version=0)
        logger.log_metrics({"loss": 0.5 - step / 4}, step=step)
        logger.save()
    path = tmp_path / "brats" / "version_0" / "metrics.csv"
    assert rows(path) == ["loss,step", "0.5,0", "0.25,1"]
    logger = MetricsLogger(save_dir=tmp_path, name="brats", version=0)
    logger.log_metrics({"dice": 0.75, "loss": 0.125}, step=2)
    logger.save()
    assert rows(path) == ["dice,loss,step", ",0.5,0", ",0.25,1", "0.75,0.125,2"]


@pytest.mark.parametrize("own", [True, False])
def test_paths_of_a_moved_run_are_renamed_and_those_of_another_kept(tmp_path: Path, own: bool) -> None:
    run = RunFolder(tmp_path / "here" / "brats" / "version_3")
    old = Path("/there/brats") / ("version_3" if own else "version_2") / "checkpoints"
    state = {
        "dirpath": str(old),
        "best_model_path": f"{old}/best.ckpt",
        "best_model_score": 0.9,
        "best_k_models": {f"{old}/best.ckpt": 0.9},
        "monitor": "val/dice",
    }
    checkpoint = {"callbacks": {"ModelCheckpoint{}": dict(state), "other": {"x": 1}, "plain": 3}}
    callback = RunFolderCallback(run, "", tmp_path / "config.yaml")
    trainer = SimpleNamespace(ckpt_path=tmp_path / "elsewhere" / "last.ckpt")
    callback.on_load_checkpoint(trainer, SimpleNamespace(), checkpoint)
    new = run.checkpoints
    expected = {
        "dirpath": str(new),
        "best_model_path": f"{new}/best.ckpt",
        "best_model_score": 0.9,
        "best_k_models": {f"{new}/best.ckpt": 0.9},
        "monitor": "val/dice",
    }
    assert checkpoint["callbacks"]["ModelCheckpoint{}"] == (expected if own else state)
    assert checkpoint["callbacks"]["other"] == {"x": 1}


def test_the_first_process_decides_for_all(tmp_path: Path) -> None:
    chosen = RunFolder(tmp_path / "brats" / "version_5")
    guess = RunFolder(tmp_path / "brats" / "version_4")
    logger = MetricsLogger(save_dir=tmp_path, name="brats", version=4)
    trainer = SimpleNamespace(
        strategy=SimpleNamespace(broadcast=lambda _: str(chosen.path)), loggers=[logger], is_global_zero=False
    )
    callback = RunFolderCallback(guess, "settings", guess.config)
    callback.setup(trainer, SimpleNamespace(), "fit")
    assert Path(logger.log_dir) == chosen.path
    assert not guess.config.exists()


@pytest.mark.parametrize("verb", ["fit", "test"])
def test_a_fit_says_beside_its_config_which_split_it_belongs_to(tmp_path: Path, verb: str) -> None:
    facts = {"split": "abc", "fold": 1}
    trainer = SimpleNamespace(
        strategy=SimpleNamespace(broadcast=lambda value: value),
        loggers=[],
        is_global_zero=True,
        state=SimpleNamespace(fn=verb),
        datamodule=SimpleNamespace(split_facts=lambda: facts),
    )
    run = RunFolder(tmp_path / "version_0")
    RunFolderCallback(run, "a: 1\n", run.config).setup(trainer, SimpleNamespace(), verb)
    path = run.path / "split.json"
    assert run.config.read_text() == "a: 1\n"
    assert path.is_file() == (verb == "fit")
    if verb == "fit":
        facts["split"] = "other"  # a resume that will be refused
        RunFolderCallback(run, "a: 1\n", run.config).setup(trainer, SimpleNamespace(), verb)
        assert json.loads(path.read_text()) == {"split": "abc", "fold": 1}
        trainer.datamodule = None
        other = RunFolder(tmp_path / "version_1")
        RunFolderCallback(other, "", other.config).setup(trainer, SimpleNamespace(), verb)
        assert not (other.path / "split.json").exists()
