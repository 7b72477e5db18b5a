from pathlib import Path

import pytest
import torch

from medimg.cli import main
from medimg.commands.pseudolabel import config_of, find_predictions, weight_of
from medimg.ensembling.description import Description
from medimg.ensembling.members import Member
from medimg.errors import ConfigError, DataError


def member(name, folder):
    return Member(str(name), folder, {}, {}, None, Description())


def test_one_member_is_enough_and_none_counts_twice(tmp_path):
    (tmp_path / "a").mkdir()
    assert [one.name for one in find_predictions([tmp_path / "a"])] == [str(tmp_path / "a")]
    with pytest.raises(ConfigError, match="is the same member as"):
        find_predictions([tmp_path / "a", tmp_path / "a"])
    with pytest.raises(DataError, match="there is no such folder"):
        find_predictions([tmp_path / "b"])


def test_the_config_of_a_run_is_found_from_its_predictions(tmp_path):
    run = tmp_path / "version_0"
    (run / "predict").mkdir(parents=True)
    assert config_of(member(run, run / "predict"), None) is None
    (run / "config.yaml").write_text("")
    for name in (run, run / "predict"):
        assert config_of(member(name, run / "predict"), None) == run / "config.yaml"
    assert config_of(member(run, run / "predict"), Path("mine.yaml")) == Path("mine.yaml")


def test_weights_are_numbers_or_a_word():
    assert weight_of("confidence") is None
    assert weight_of("0.5") == 0.5
    for text in ("-1", "inf", "nan"):
        with pytest.raises(ConfigError, match="expected a number above 0"):
            weight_of(text)


@pytest.mark.slow
def test_from_a_run_to_the_next_round_and_a_leaderboard(tmp_path, write_class_folders, monkeypatch, capsys):
    root = write_class_folders(tmp_path / "set", {"benign": 8, "malignant": 8})
    write_class_folders(tmp_path / "new", {"x": 6}, prefix="new ")
    config = Path(__file__).parents[1] / "conf" / "classification.yaml"
    monkeypatch.chdir(tmp_path)
    assert main(["split", str(root), "--config", str(config), "--folds", "2", "--out", "splits.csv"]) == 0
    words = ["--data.root", str(root), "--data.split.file", "splits.csv", "--data.num_workers", "0"]
    assert main(["fit", "--config", str(config), *words]) == 0
    run = Path("lightning_logs/classification/version_0")
    assert main(["test", "--config", str(run / "config.yaml"), "--ckpt_path", "best"]) == 0
    predict = ["predict", "--config", str(run / "config.yaml"), "--ckpt_path", "best"]
    assert main([*predict, "--data.predict_root", "new"]) == 0
    label = ["pseudolabel", str(run), "--out", "labels.csv", "--images", "new", "--split", "splits.csv"]
    assert main([*label, "--positive", "0.5", "--negative", "0.5", "--weight", "0.5"]) == 0
    assert "6 of 6 cases are sure" in capsys.readouterr().out
    assert main(["fit", "--config", str(config), *words, "--data.pseudo.path", "labels.csv"]) == 0
    second = Path("lightning_logs/classification/version_1")
    assert "pseudo" in torch.load(second / "checkpoints" / "best.ckpt", weights_only=True)["ImageDataModule"]
    assert main(["test", "--config", str(second / "config.yaml"), "--ckpt_path", "best"]) == 0
    capsys.readouterr()
    assert main(["leaderboard", "lightning_logs", "--resamples", "50", "--out", "board.csv"]) == 0
    out = capsys.readouterr().out
    assert "Group 1: 2 runs on the same 8 cases" in out
    assert "data.pseudo.path=labels.csv" in out
    # Labelled cases are no pseudo-labels, whoever predicted them.
    assert main([*predict, "--data.predict_root", str(root)]) == 0
    label[label.index("labels.csv")], label[label.index("new")] = "again.csv", str(root)
    assert main(label) == 2
    assert "found 16 that are known" in capsys.readouterr().err


@pytest.mark.slow
def test_volumes_from_a_run_to_the_next_round(tmp_path, write_decathlon, monkeypatch, capsys):
    root = write_decathlon(tmp_path / "set", 4, tests=2)
    config = Path(__file__).parents[1] / "conf" / "softmax.yaml"
    monkeypatch.chdir(tmp_path)
    assert main(["split", str(root), "--folds", "2", "--out", "splits.csv"]) == 0
    words = ["--data.root", str(root), "--data.split.file", "splits.csv"]
    assert main(["fit", "--config", str(config), *words]) == 0
    run = Path("lightning_logs/softmax/version_0")
    assert main(["predict", "--config", str(run / "config.yaml"), "--ckpt_path", "best"]) == 0
    label = ["pseudolabel", str(run), "--images", str(root), "--split", "splits.csv", "--out"]
    assert main([*label, "masks"]) == 2  # predict took the labelled cases too
    assert "found 4 that are known" in capsys.readouterr().err
    least = ["--positive", "0.4", "--skip_known"]
    assert main([*label, "masks", *least]) == 0
    assert "2 of 2 cases are taken" in capsys.readouterr().out
    assert main([*label, "second", *least, "--previous", "masks"]) == 0
    assert "0 new, 0 dropped, 0 flipped" in capsys.readouterr().out
    assert main(["fit", "--config", str(config), *words, "--data.pseudo.path", "second"]) == 0
    second = Path("lightning_logs/softmax/version_1")
    losses = [line.split(",") for line in (second / "metrics.csv").read_text().splitlines()]
    column = losses[0].index("train/loss_epoch" if "train/loss_epoch" in losses[0] else "train/loss")
    found = [float(line[column]) for line in losses[1:] if line[column]]
    assert found and all(value == value for value in found)
