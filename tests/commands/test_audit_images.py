import csv
import os
from pathlib import Path

import numpy as np
import pytest

from medimg.cli import main
from medimg.commands.audit import audit
from medimg.commands.audit_images import audit_image_set
from medimg.datasets.folder import ImageFolder
from medimg.errors import ConfigError
from medimg.records import TableColumns


def test_good_set_ends_with_zero(tmp_path, write_class_folders, capsys):
    root = write_class_folders(tmp_path / "set", {"benign": 3, "malignant": 2})
    assert audit(root, out=tmp_path / "audit.csv") == 0
    said = capsys.readouterr().out
    assert "5 of 5 patients, multiclass; 5 could be read" in said
    assert "32 x 40 5" in said and "uint8 x 1 5" in said
    assert "5 ok, 0 with warnings, 0 refused" in said
    with (tmp_path / "audit.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 5


def test_refused_and_conflicting_cases_come_first(tmp_path, write_class_folders, write_picture, capsys):
    root = write_class_folders(tmp_path, {"a": 4, "b": 3})
    write_picture(root / "a" / "0.png", np.full((20, 50), 3, np.uint8))
    (root / "b" / "b (3).png").write_bytes(b"")
    (root / "b" / "copy.png").write_bytes((root / "a" / "a (4).png").read_bytes())
    assert audit(root) == 1
    said = capsys.readouterr().out
    places = [said.index(f"\n{case} ") for case in ("b/b (3).png", "a/a (4).png", "b/copy.png", "a/0.png")]
    assert places == sorted(places)
    assert "conflicts       2 cases, the first a/a (4).png" in said
    assert "keep them in one fold" in said
    assert "5 ok, 3 with warnings, 1 refused" in said


def test_missing_images_are_counted_and_not_listed(tmp_path, write_table, write_picture, capsys):
    rows = [[f"c{n}", f"p{n}", f"{n}.png", n % 2] for n in range(50)]
    table = write_table(tmp_path / "cases.csv", ["id", "patient", "file", "x"], rows)
    for number in range(2):
        write_picture(tmp_path / f"{number}.png", seed=number)
    columns = TableColumns("id", "patient", ("file",), ("x",))
    assert audit(tmp_path, table=table, columns=columns) == 1
    said = capsys.readouterr().out
    assert "missing         48 cases, the first c10" in said
    assert "2 ok, 0 with warnings, 48 refused" in said
    assert len(said.splitlines()) < 20
    with pytest.raises(ConfigError, match=r"--columns\.id"):
        audit(tmp_path, table=table)


def test_columns_on_the_command_line(tmp_path, write_table, write_picture, capsys):
    table = write_table(tmp_path / "cases.csv", ["id", "x"], [["0", "0.5"]])
    write_picture(tmp_path / "0.png")
    words = [
        "--columns.id=id",
        "--columns.patient=id",
        "--columns.images=['{id}.png']",
        "--columns.labels=[x]",
    ]
    assert main(["audit", str(tmp_path), "--table", str(table), *words]) == 0
    said = capsys.readouterr().out
    assert "1 of 1 patients, binary" in said
    assert "  x         0       0       1        0\n" in said


def test_many_sizes_and_findings_are_cut(tmp_path, write_class_folders, write_picture, capsys):
    root = write_class_folders(tmp_path, {"a": 1, "b": 1})
    for number in range(45):
        write_picture(root / "a" / f"{number}.png", np.full((20 + number, 30), number, np.uint8))
    assert audit_image_set(ImageFolder().index(root), look_alikes=False) == 0
    said = capsys.readouterr().out
    assert "46 sizes: smallest 20 x 30" in said or "45 sizes: smallest 20 x 30" in said
    assert "... and 5 more cases with findings" in said


@pytest.mark.real
def test_real_sets(capsys):
    root = Path(os.environ["MEDIMG_REAL_DATA"])
    assert audit(root / "BUSI") == 0
    said = capsys.readouterr().out
    assert said.index("benign/benign (433).png  ") < said.index("benign/benign (1).png  ")
    assert audit(root / "NIH-ChestXray14") == 1
    assert "copies          396 cases" in capsys.readouterr().out
