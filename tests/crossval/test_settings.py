import pytest
import yaml

from medimg.crossval.settings import (
    chosen_by,
    expect_fold_setting,
    first_difference,
    flat,
    machine_words,
    read_settings,
)
from medimg.errors import ConfigError, DataError


def test_a_config_becomes_dotted_names(tmp_path):
    content = {"a": {"b": 1, "c": [{"d": None}, 2], "e": {}, "f": []}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    expected = {"a.b": 1, "a.c.0.d": None, "a.c.1": 2, "a.e": {}, "a.f": []}
    assert read_settings(tmp_path / "config.yaml") == flat(content) == expected


@pytest.mark.parametrize("text", ["[1]", "a: [", "\udcff"])
def test_a_damaged_config_is_refused(tmp_path, text):
    (tmp_path / "config.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"config\.yaml: (expected settings|cannot be read)"):
        read_settings(tmp_path / "config.yaml")


def test_the_machine_and_the_fold_may_differ_and_nothing_else():
    one = {
        "data.init_args.fold": 0,
        "data.init_args.root": "/a",
        "trainer.devices": 1,
        "trainer.max_epochs": 2,
    }
    other = {
        "data.init_args.fold": 1,
        "data.init_args.root": "/b",
        "trainer.devices.0": 3,
        "trainer.max_epochs": 2,
    }
    assert first_difference(one, other) is None
    assert first_difference(one, {**other, "trainer.max_epochs": 3}) == "trainer.max_epochs is 2 and 3"
    assert (
        first_difference(one, {**other, "data.init_args.roots": 1}) == "data.init_args.roots is not set and 1"
    )
    assert first_difference(one, {**other, "data.init_args.newer": None}) is None


def test_a_run_from_elsewhere_gets_the_paths_of_here():
    now = {
        "data.init_args.root": "/a",
        "data.init_args.num_workers": 4,
        "data.init_args.fold": 0,
        "logs": "x",
    }
    now |= {"trainer.accelerator": "cpu", "trainer.default_root_dir": None}
    then = {
        **now,
        "data.init_args.root": "/b",
        "data.init_args.num_workers": 0,
        "data.init_args.fold": 3,
        "logs": "y",
    }
    then["trainer.default_root_dir"] = "/c"
    assert sorted(machine_words(now, then)) == [
        "--data.init_args.num_workers=4",
        "--data.init_args.root=/a",
        "--trainer.default_root_dir=null",
    ]


def test_a_data_module_without_folds_is_refused():
    expect_fold_setting({"data.init_args.fold": 0})
    with pytest.raises(ConfigError, match=r"my\.Data has no argument `fold`"):
        expect_fold_setting({"data.class_path": "my.Data"})


def test_a_test_may_look_otherwise_with_the_same_weights_and_in_nothing_else():
    then = {"tta": None, "model.init_args.scoring.inferer": None, "model.init_args.lr": 1}
    now = {"tta": "mirror", "model.init_args.scoring.inferer.class_path": "A", "model.init_args.lr": 1}
    assert first_difference(then, now) == "tta is None and 'mirror'"
    assert first_difference(then, now, same_test=False) is None
    for name in ("model.init_args.lr", "model.init_args.inferer.overlap", "calibration", "ttab"):
        assert name in first_difference(then, {**now, name: 2}, same_test=False)


def test_an_epoch_that_was_chosen_is_found():
    assert chosen_by({"trainer.callbacks.0.init_args.monitor": None, "monitor": "x"}) is None
    names = ("trainer.callbacks.0.init_args.filename", "trainer.callbacks.11.init_args.monitor")
    assert chosen_by(dict.fromkeys(names, "val/auroc")) == "val/auroc"
