import pytest

from medimg.datasets.image_masks import MaskFiles
from medimg.datasets.tiles import HistologyTiles, tile_masks
from medimg.errors import DataError


def test_table_of_codes(tmp_path, write_table, write_picture):
    table = write_table(
        tmp_path / "train.csv", ["id", "organ", "rle"], [["10044", "prostate", "1 3 10 5"], ["2", "lung", ""]]
    )
    for name in ("10044", "2"):
        write_picture(tmp_path / "train_images" / f"{name}.tiff")
    index = HistologyTiles(label="unit").index(tmp_path)
    assert [(r.case_id, r.labels["unit"], r.images[0].name) for r in index.records] == [
        ("10044", 1.0, "10044.tiff"),
        ("2", 0.0, "2.tiff"),
    ]
    assert tile_masks(table) == {"10044": "1 3 10 5", "2": ""}


def test_patients_by_column_or_pattern(tmp_path, write_table):
    write_table(
        tmp_path / "train.csv",
        ["id", "encoding", "patient_number"],
        [["s1_0", "", "7"], ["s1_1", "1 2", "7"]],
    )
    assert {r.patient_id for r in HistologyTiles(missing="keep").index(tmp_path).records} == {"7"}
    by_name = HistologyTiles(patient=r"(s\d+)_", missing="keep").index(tmp_path)
    assert {r.patient_id for r in by_name.records} == {"s1"}
    with pytest.raises(DataError, match="finds no patient"):
        HistologyTiles(patient=r"(t\d+)_", missing="keep").index(tmp_path)


def test_folders_of_images_and_masks(tmp_path, write_picture):
    for name in ("a", "b"):
        write_picture(tmp_path / "images" / f"{name}.png")
    write_picture(tmp_path / "masks" / "a.png")
    with pytest.raises(DataError, match=r"images/b\.png: has no mask"):
        HistologyTiles().index(tmp_path)
    write_picture(tmp_path / "masks" / "b_mask.png")
    index = HistologyTiles().index(tmp_path)
    assert [r.mask.name for r in index.records] == ["a.png", "b_mask.png"]
    assert index.records[0].labels == {}


def test_what_cannot_be_used(tmp_path, write_table):
    with pytest.raises(DataError, match="found neither"):
        HistologyTiles().index(tmp_path)
    table = write_table(tmp_path / "train.csv", ["id", "rle"], [["a", "1 2 3"]])
    with pytest.raises(DataError, match="line 2: expected pairs of a start and a length"):
        HistologyTiles(missing="keep").index(tmp_path)
    write_table(tmp_path / "train.csv", ["id", "rle"], [["a", ""], ["a", ""]])
    with pytest.raises(DataError, match="line 3: the id a stands twice"):
        tile_masks(table)
    write_table(tmp_path / "train.csv", ["id", "x"], [["a", ""]])
    with pytest.raises(DataError, match="expected a column of run-length codes"):
        tile_masks(table)


def test_masks_come_from_codes_or_files(tmp_path, write_table, write_picture):
    write_table(tmp_path / "t" / "train.csv", ["id", "rle"], [["a", "1 3 10 5"], ["b", ""]])
    for name in ("a", "b"):
        write_picture(tmp_path / "t" / "train_images" / f"{name}.tiff")
        write_picture(tmp_path / "f" / "images" / f"{name}.png")
        write_picture(tmp_path / "f" / "masks" / f"{name}.png")
    data = HistologyTiles()
    coded = data.masks(data.index(tmp_path / "t"))
    assert coded["a"].read((5, 4)).sum() == 8 and not coded["b"].read((5, 4)).any()
    filed = data.masks(data.index(tmp_path / "f"))
    assert filed["b"] == MaskFiles((tmp_path / "f" / "masks" / "b.png",))
