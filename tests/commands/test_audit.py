import csv

import numpy as np
import pytest

from medimg.commands.audit import audit
from medimg.errors import DataError


def test_good_set_ends_with_zero(tmp_path, write_decathlon, capsys):
    root = write_decathlon(tmp_path / "Task99_Fake", 3, tests=1, shape=(6, 8, 10))
    assert audit(root, out=tmp_path / "audit.csv") == 0
    said = capsys.readouterr().out
    assert "Task99_Fake" in said
    assert "3 with a mask, 1 without; 4 patients" in said
    assert "4 ok, 0 with warnings, 0 refused" in said
    assert "0 in 3, 1 in 3, 2 in 3" in said
    assert "6 8 10" in said
    assert "2.5 1 0.8" in said
    with (tmp_path / "audit.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 4


def test_only_cases_with_findings_are_listed_refused_first(tmp_path, write_decathlon, write_volume, capsys):
    root = write_decathlon(tmp_path, 4, tests=0, shape=(6, 8, 10))
    write_volume(root / "imagesTr/fake_001.nii.gz", np.full((6, 8, 10), 3, np.int16))
    write_volume(root / "labelsTr/fake_002.nii.gz", np.full((6, 8, 10), 9, np.uint8))
    write_volume(root / "labelsTr/fake_003.nii.gz", np.zeros((6, 8, 10), np.uint8))
    assert audit(root) == 1
    said = capsys.readouterr().out
    assert "fake_000" not in said
    assert said.index("fake_002  refuse") < said.index("fake_001  warn")
    assert "empty masks   1" in said
    assert "2 ok, 1 with warnings, 1 refused" in said


def test_warnings_alone_end_with_zero(tmp_path, write_decathlon, write_volume):
    root = write_decathlon(tmp_path, 2, tests=0, shape=(6, 8, 10))
    write_volume(root / "imagesTr/fake_001.nii.gz", np.full((6, 8, 10), 3, np.int16))
    assert audit(root) == 0


def test_unreadable_set_is_still_summed_up(tmp_path, write_decathlon, capsys):
    root = write_decathlon(tmp_path, 2, tests=0, shape=(6, 8, 10))
    for path in root.rglob("*.nii.gz"):
        path.write_bytes(b"")
    assert audit(root) == 1
    assert "no case could be read" in capsys.readouterr().out


def test_many_findings_are_cut(tmp_path, write_decathlon, capsys):
    root = write_decathlon(tmp_path, 45, tests=0, shape=(4, 4, 4))
    for path in (root / "imagesTr").iterdir():
        path.write_bytes(b"")
    assert audit(root) == 1
    assert "5 more cases with findings" in capsys.readouterr().out


def test_no_data_set(tmp_path):
    with pytest.raises(DataError, match="an empty folder"):
        audit(tmp_path)


def test_convention_reaches_the_reader(tmp_path, write_brats, write_volume):
    case = "BraTS-PED-00001-000"
    root = write_brats(tmp_path, [case], shape=(8, 8, 8))
    mask = np.zeros((8, 8, 8), np.uint8)
    mask[0, 0, :4] = 1, 2, 3, 4
    from writers.brats import AFFINE

    write_volume(root / case / f"{case}-seg.nii.gz", mask, AFFINE)
    assert audit(root) == 1
    assert audit(root, convention="brats2024-ped") == 0
