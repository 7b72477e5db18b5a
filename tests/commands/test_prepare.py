import numpy as np
import pytest

from medimg.commands.prepare import prepare
from medimg.commands.trust import set_policy
from medimg.datasets import index_dataset
from medimg.errors import ConfigError, DataError, ResourceError
from medimg.io.raster import read_raster, write_png
from medimg.io.store import PatchStore
from medimg.preparation.prepare import Preparation, stale_cases, store_folder
from medimg.scoring.label_forms import RANZCR_LABELS as LABELS

SHAPE = (6, 8, 10)


def test_cases_are_prepared_once(tmp_path, write_decathlon, capsys):
    root = write_decathlon(tmp_path / "Task99_Fake", 3, shape=SHAPE)
    store = tmp_path / "store"
    assert prepare(root, store=store, workers=1) == 0
    assert "3 of 3 cases prepared now" in capsys.readouterr().out
    index = index_dataset(root)
    folder = store_folder(store, index, Preparation())
    assert stale_cases(index, Preparation(), PatchStore(folder)) == []
    assert prepare(root, store=store, workers=1) == 0
    said = capsys.readouterr().out
    assert f"0 of 3 cases prepared now, the others were up to date: {folder}" in said
    assert f"next: medimg fit --config CONFIG --data.root {root} --data.store {store}" in said


def test_the_config_decides(tmp_path, write_brats, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = write_brats(tmp_path / "brats", 2)
    config = tmp_path / "mine.yaml"
    config.write_text(
        "data:\n  class_path: medimg.datamodules.BraTSDataModule\n"
        "  init_args: {store: kept, preparation: {spacing_mm: [2.0, 2.0, 2.0]}}\n"
    )
    assert prepare(root, config=config, workers=1) == 0
    said = capsys.readouterr().out
    assert f"next: medimg fit --config {config} --data.root {root}\n" in said
    expected = Preparation(spacing_mm=(2.0, 2.0, 2.0), normalization=("zscore_nonzero",))
    folder = store_folder(tmp_path / "kept", index_dataset(root), expected)
    assert PatchStore(folder).image("BraTS-GLI-00000-000").shape == (4, 8, 8, 8)


def test_2d_images_become_small_png_and_a_table(tmp_path, capsys):
    for name, value in (("ill", 200), ("well", 60)):
        for number in range(2):
            picture = np.full((1, 40, 20), value + number, dtype=np.uint8)
            write_png(tmp_path / "images" / name / f"{number}.png", picture)
    assert prepare(tmp_path / "images", out=tmp_path / "small", longest_side=10, workers=1) == 0
    assert "4 cases prepared now" in capsys.readouterr().out
    sizes = {read_raster(path).shape for path in (tmp_path / "small").rglob("*.png")}
    assert sizes == {(1, 10, 5)}
    with pytest.raises(DataError, match="no set of 2D images"):
        prepare(tmp_path / "small" / "nothing", out=tmp_path / "other")


def test_2d_images_follow_the_layout_of_a_config(tmp_path, capsys):
    set_policy([])
    for name, value in (("ill", 200), ("well", 60), ("odd", 90)):
        write_png(tmp_path / "images" / name / f"pat1_{name}.png", np.full((1, 20, 20), value, np.uint8))
    config = tmp_path / "mine.yaml"
    options = "{positive: [ill, odd], patient: '(pat\\d)_'}"
    config.write_text(
        "data:\n  class_path: medimg.datamodules.ImageDataModule\n  init_args:\n    dataset:\n"
        f"      class_path: medimg.datasets.ImageFolder\n      init_args: {options}\n"
    )
    assert prepare(tmp_path / "images", config=config, out=tmp_path / "small", workers=1) == 0
    rows = (tmp_path / "small" / "cases.csv").read_text().splitlines()
    assert len(rows) == 4
    assert all("pat1" in row.split(",") for row in rows[1:])
    config.write_text(config.read_text().replace("ImageFolder", "ImageFoldr"))
    with pytest.raises(ConfigError, match="Did you mean"):
        prepare(tmp_path / "images", config=config, out=tmp_path / "other")
    config.write_text("data: {class_path: medimg.datamodules.DecathlonDataModule}")
    with pytest.raises(ConfigError, match=r"expected data\.init_args\.dataset"):
        prepare(tmp_path / "images", config=config, out=tmp_path / "other")
    with pytest.raises(ConfigError, match="--store is where volumes go"):
        prepare(tmp_path / "images", store=tmp_path / "store", out=tmp_path / "other")


def test_an_image_that_is_not_there_is_named_and_listed(tmp_path, write_table):
    write_table(tmp_path / "raw" / "train.csv", ["StudyInstanceUID", *LABELS, "PatientID"], [
        ["a", *[0] * 11, "p"], ["b", *[1] * 11, "q"],
    ])  # fmt: skip
    write_png(tmp_path / "raw" / "train" / "a.jpg", np.full((1, 20, 20), 9, np.uint8))
    with pytest.raises(DataError, match=r"b.*b\.jpg"):
        prepare(tmp_path / "raw", out=tmp_path / "small", workers=1)
    assert "b" in (tmp_path / "small" / "failed.csv").read_text()
    assert prepare(tmp_path / "raw", out=tmp_path / "small", workers=1, on_bad="skip") == 0


def test_a_store_that_cannot_be_written_is_a_short_error(tmp_path, write_decathlon):
    root = write_decathlon(tmp_path / "Task99_Fake", 2, shape=SHAPE)
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="prepared cases cannot be written there"):
        prepare(root, store=tmp_path / "file" / "store", workers=1)
