from pathlib import Path

import pytest
import yaml

from medimg.commands.prepare_images import prepare_image_set
from medimg.datasets.folder import ImageFolder
from medimg.datasets.table import ImageTable
from medimg.errors import DataError
from medimg.preparation.image_prepare import ImagePreparation
from medimg.records import TableColumns


def test_the_table_leads_to_the_prepared_images(tmp_path, write_class_folders, capsys):
    index = ImageFolder().index(write_class_folders(tmp_path / "raw", {"no": 2, "yes": 1}))
    out = tmp_path / "out"
    assert prepare_image_set(index, out, ImagePreparation(longest_side=20)) == 0
    assert "3 cases prepared now, 0 were up to date, 0 failed" in capsys.readouterr().out
    assert prepare_image_set(index, out, ImagePreparation(longest_side=20)) == 0
    said = capsys.readouterr().out
    assert "0 cases prepared now, 3 were up to date" in said
    section = yaml.safe_load(said.partition("a config reads it with:")[2])["data"]["init_args"]
    assert section["dataset"]["class_path"] == "medimg.datasets.ImageTable"
    options = section["dataset"]["init_args"]
    columns = TableColumns(**options.pop("columns"))
    again = ImageTable(Path(options.pop("file")), columns, **options).index(Path(section["root"]))
    assert [record.case_id for record in again.records] == [record.case_id for record in index.records]
    assert all(path.parent == out for record in again.records for path in record.images)


def test_failing_files(tmp_path, write_class_folders, capsys):
    index = ImageFolder().index(write_class_folders(tmp_path / "raw", {"no": 2, "yes": 1}))
    index.records[0].images[0].write_bytes(b"")
    with pytest.raises(DataError, match=r"no/no \(1\)\.png"):
        prepare_image_set(index, tmp_path / "out", ImagePreparation())
    assert prepare_image_set(index, tmp_path / "out", ImagePreparation(), on_bad="skip") == 0
    assert "2 were up to date, 1 failed" in capsys.readouterr().out
