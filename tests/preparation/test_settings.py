import inspect

import pytest

from medimg.datamodules import BraTSDataModule
from medimg.datasets import index_dataset
from medimg.errors import ConfigError
from medimg.preparation.prepare import Preparation
from medimg.preparation.settings import DataSettings, read_data_settings

FORMS = {
    "decathlon": "medimg.datamodules.DecathlonDataModule",
    "nnunet": "medimg.datamodules.NNUNetDataModule",
    "brats": "medimg.datamodules.BraTSDataModule",
}


def write(path, class_path, init_args="{}"):
    path.write_text(f"data:\n  class_path: {class_path}\n  init_args: {init_args}\n")
    return path


def test_what_a_config_names_is_read(tmp_path):
    options = "{store: here, preparation: {spacing_mm: [1.0, 2.0, 2.0], normalization: [none], form: qform}}"
    settings = read_data_settings(write(tmp_path / "a.yaml", FORMS["nnunet"], options))
    assert settings.preparation == Preparation((1.0, 2.0, 2.0), normalization=("none",), form="qform")
    assert settings.store.name == "here"
    assert settings.data_module == "NNUNetDataModule"


def test_what_a_config_leaves_out_is_the_data_modules_default(tmp_path):
    from medimg.datamodules import BraTSDataModule, DecathlonDataModule

    for key, module in (("brats", BraTSDataModule), ("decathlon", DecathlonDataModule)):
        settings = read_data_settings(write(tmp_path / "a.yaml", FORMS[key]))
        parameters = inspect.signature(module).parameters
        assert settings.preparation == parameters["preparation"].default
        assert settings.store == parameters["store"].default
    part = read_data_settings(
        write(tmp_path / "a.yaml", FORMS["brats"], "{preparation: {crop_nonzero: false}}")
    )
    assert part.preparation == Preparation(crop_nonzero=False, normalization=("zscore_nonzero",))


def test_the_config_says_how_to_index(tmp_path, write_decathlon, write_nnunet, write_brats):
    folders = {
        "decathlon": write_decathlon(tmp_path / "d"),
        "nnunet": write_nnunet(tmp_path / "n"),
        "brats": write_brats(tmp_path / "b"),
    }
    for key, folder in folders.items():
        index = read_data_settings(write(tmp_path / "a.yaml", FORMS[key])).index(folder)
        assert index == DataSettings().index(folder)
    task01 = write_decathlon(tmp_path / "t", channels=("FLAIR", "T1w", "t1gd", "T2w"))
    settings = read_data_settings(write(tmp_path / "a.yaml", FORMS["brats"]))
    # The store's name hangs on it: prepared under another index, a run would not find its cases.
    assert settings.index(task01) == BraTSDataModule(task01).read_index(task01) != index_dataset(task01)
    ped = read_data_settings(write(tmp_path / "a.yaml", FORMS["brats"], "{convention: brats2024-ped}"))
    assert ped.index(folders["brats"]).labels != DataSettings().index(folders["brats"]).labels


@pytest.mark.parametrize("text", ["", "- a", "data: 3", "data: {class_path: [x", "data: {init_args: {}}"])
def test_what_is_no_config_is_refused(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="expected the config of a run"):
        read_data_settings(path)
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        read_data_settings(tmp_path / "none.yaml")


@pytest.mark.parametrize("options", ["{spacing: [1, 1, 1]}", "{spacing_mm: [1, 1]}"])
def test_a_wrong_option_is_named(tmp_path, options):
    path = write(tmp_path / "a.yaml", FORMS["decathlon"], f"{{preparation: {options}}}")
    with pytest.raises(ConfigError, match=r"a\.yaml: data\.init_args\.preparation: .*spacing"):
        read_data_settings(path)
