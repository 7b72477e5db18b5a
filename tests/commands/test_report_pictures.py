from types import SimpleNamespace

import yaml
from writers.images import write_class_folders

from medimg.commands.report_pictures import find_pictures


def entry(folder, data=None):
    (folder / "test").mkdir(parents=True)
    if data is not None:
        (folder / "config.yaml").write_text(yaml.safe_dump({"data": data}))
    return SimpleNamespace(table=folder / "test" / "per_case.csv")


def test_records_are_those_of_the_data_set_wherever_it_is(tmp_path):
    write_class_folders(tmp_path / "moved", {"benign": 1, "malignant": 2})
    dataset = {"class_path": "medimg.datasets.ImageFolder", "init_args": {"positive": ["malignant"]}}
    args = {"root": str(tmp_path / "gone"), "dataset": dataset}
    run = entry(tmp_path / "run", {"class_path": "medimg.datamodules.ImageDataModule", "init_args": args})
    assert "name it as --data" in find_pictures(run, None).why_none
    assert len(find_pictures(run, tmp_path / "moved").records) == 3


def test_without_a_config_or_with_one_that_is_not_read_there_are_none(tmp_path):
    assert "no config beside" in find_pictures(entry(tmp_path / "a"), None).why_none
    other = {"class_path": "mylab.Own", "init_args": {"root": str(tmp_path)}}
    assert "not drawn" in find_pictures(entry(tmp_path / "b", other), None).why_none
