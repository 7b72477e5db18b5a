import numpy as np
import pytest

from medimg.commands.prepare import prepare
from medimg.datasets import index_dataset
from medimg.errors import DataError
from medimg.io.raster import read_raster, write_png
from medimg.io.store import PatchStore
from medimg.preparation.prepare import Preparation, stale_cases, store_folder

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
