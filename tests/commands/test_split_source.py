import pytest
import yaml

from medimg.commands.split_source import index_to_split
from medimg.errors import ConfigError, DataError
from medimg.records import DatasetIndex, ImageIndex, TableColumns

COLUMNS = TableColumns("id", "patient", ("file",), ("label",))


def write_config(path, **arguments):
    module = (
        "medimg.datamodules.ImageDataModule"
        if "dataset" in arguments
        else "medimg.datamodules.BraTSDataModule"
    )
    path.write_text(yaml.safe_dump({"data": {"class_path": module, "init_args": arguments}}))
    return path


def test_volumes_and_images_are_told_apart(tmp_path, write_brats, write_nnunet, write_class_folders):
    for root in (write_brats(tmp_path / "brats", 2), write_nnunet(tmp_path / "nnunet", 2)):
        index, copies = index_to_split(root)
        assert isinstance(index, DatasetIndex)
        assert len(index.records) == 2 and not copies()
    index, _ = index_to_split(write_class_folders(tmp_path / "images", {"benign": 2, "malignant": 1}))
    assert isinstance(index, ImageIndex)
    assert len(index.records) == 3


def test_copies_are_found(tmp_path, write_class_folders):
    root = write_class_folders(tmp_path / "images", {"benign": 2, "malignant": 1})
    (root / "malignant" / "again.png").write_bytes((root / "benign" / "benign (1).png").read_bytes())
    assert index_to_split(root)[1]() == [{"benign/benign (1).png", "malignant/again.png"}]


def test_a_table(tmp_path, write_table, write_picture):
    write_picture(tmp_path / "a.png")
    table = write_table(tmp_path / "cases.csv", ["id", "patient", "file", "label"], [["a", "p", "a.png", 1]])
    index, copies = index_to_split(tmp_path, None, table, COLUMNS)
    assert [record.patient_id for record in index.records] == ["p"]
    assert not copies()
    with pytest.raises(ConfigError, match="--table needs its columns: --columns"):
        index_to_split(tmp_path, None, table)
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match="1 of 1 cases have no image"):
        index_to_split(tmp_path, None, table, COLUMNS)


def test_a_config_says_how_the_data_are_read(tmp_path, write_class_folders, write_brats):
    images = write_class_folders(tmp_path / "images", {"benign": 2, "malignant": 2})
    dataset = {"class_path": "medimg.datasets.ImageFolder", "init_args": {"patient": r"\((\d+)\)"}}
    config = write_config(tmp_path / "images.yaml", dataset=dataset)
    index, copies = index_to_split(images, config)
    assert {record.patient_id for record in index.records} == {"1", "2"}
    assert not copies()
    config = write_config(tmp_path / "brats.yaml", convention="brats2024-ped")
    root = write_brats(tmp_path / "brats", ["BraTS-PED-00001-000"])
    assert (
        index_to_split(root, config)[0].labels == index_to_split(root, convention="brats2024-ped")[0].labels
    )
    with pytest.raises(ConfigError, match="give one of them, found both"):
        index_to_split(images, config, tmp_path / "cases.csv", COLUMNS)


def test_no_data_set(tmp_path):
    with pytest.raises(DataError, match="an empty folder"):
        index_to_split(tmp_path)
