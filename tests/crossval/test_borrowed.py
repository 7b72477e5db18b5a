import json
import os

import pytest
import yaml
from writers.folds import write_fold

from medimg.crossval.borrowed import borrow_fold
from medimg.crossval.folds import find_fold
from medimg.errors import ConfigError, DataError


@pytest.fixture
def lender(tmp_path):
    """An experiment with a trained fold 1, and the settings of one that is to test it."""
    run = write_fold(tmp_path / "a", 1, upto="fitted")
    (run / "checkpoints" / "last.ckpt").write_text("last")
    (run / "checkpoints" / "best.ckpt").write_text("best")
    settings = yaml.safe_load((run / "config.yaml").read_text())
    settings["data"]["init_args"]["fold"] = 0
    (tmp_path / "crossval.yaml").write_text(yaml.safe_dump({**settings, "tta": "mirror"}))
    return run


def borrow(tmp_path, number=1):
    return borrow_fold(tmp_path / "a", number, tmp_path / "b", tmp_path / "crossval.yaml")


def test_a_borrowed_fold_is_a_run_that_is_trained(tmp_path, lender):
    fold = borrow(tmp_path)
    assert fold == find_fold(tmp_path / "b", 1)
    assert (fold.number, fold.fitted, fold.finished, fold.weights_of) == (1, True, False, "a")
    assert fold.checkpoint == "best"  # the one that the lender is judged by, and no other comes along
    assert [path.name for path in fold.run.checkpoints.iterdir()] == ["best.ckpt"]
    assert (fold.run.checkpoints / "best.ckpt").samefile(lender / "checkpoints" / "best.ckpt")
    assert fold.split == find_fold(tmp_path / "a", 1).split
    settings = yaml.safe_load(fold.run.config.read_text())
    assert (settings["tta"], settings["data"]["init_args"]["fold"]) == ("mirror", 1)
    assert json.loads((fold.run.path / "fitted.json").read_text())["run"] == str(lender)
    before = sorted(path.stat().st_mtime_ns for path in fold.run.path.iterdir())
    assert borrow(tmp_path) == fold
    assert sorted(path.stat().st_mtime_ns for path in fold.run.path.iterdir()) == before


def test_weights_are_copied_where_links_cannot_be_made_and_outlive_the_lenders(tmp_path, lender, monkeypatch):
    def refuse(source, target):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    fold = borrow(tmp_path)
    (lender / "checkpoints" / "best.ckpt").unlink()
    assert (fold.run.checkpoints / "best.ckpt").read_text() == "best"


def test_a_folder_that_was_not_laid_out_whole_does_not_count(tmp_path, lender):
    half = borrow(tmp_path).run.path
    (half / "split.json").unlink()  # it is written last
    assert borrow(tmp_path).run.path == half.with_name("version_1")


def test_weights_that_changed_are_refused(tmp_path, lender):
    borrow(tmp_path)
    (lender / "checkpoints" / "best.ckpt").unlink()
    (lender / "checkpoints" / "best.ckpt").write_text("better")
    with pytest.raises(
        DataError, match=r"b/fold_1: was tested with other weights than .*a/fold_1.*Remove the folder"
    ):
        borrow(tmp_path)


def test_folds_that_cannot_be_lent_are_refused(tmp_path, lender):
    with pytest.raises(ConfigError, match=r"--weights_of a: fold 2 is not trained in .*--folds"):
        borrow(tmp_path, 2)
    settings = yaml.safe_load((tmp_path / "crossval.yaml").read_text())
    settings["trainer"]["max_epochs"] = 9
    (tmp_path / "crossval.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(
        ConfigError, match=r"was trained with other settings: trainer\.max_epochs is 2 and 9 now"
    ):
        borrow(tmp_path)
    (lender / "fitted.json").unlink()
    with pytest.raises(ConfigError, match="fold 1 is not trained"):
        borrow(tmp_path)
    assert not (tmp_path / "b").exists()
