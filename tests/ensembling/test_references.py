import numpy as np
import pytest

from medimg.ensembling.references import find_references, patients_beside
from medimg.errors import DataError
from medimg.io.nifti import write_image


def test_references_are_found_by_case(tmp_path):
    for name in ("a.nii.gz", "x/b-seg.nii.gz", "x/b-t1.nii.gz", "other.nii.gz", "._a.nii.gz"):
        write_image(tmp_path / name, np.zeros((2, 2, 2), np.uint8), np.eye(4))
    found = find_references(tmp_path, ["a", "b"])
    assert found == {"a": tmp_path / "a.nii.gz", "b": tmp_path / "x" / "b-seg.nii.gz"}
    with pytest.raises(DataError, match=r"found none for 1: c\."):
        find_references(tmp_path, ["a", "c"])
    write_image(tmp_path / "x" / "a_seg.nii.gz", np.zeros((2, 2, 2), np.uint8), np.eye(4))
    with pytest.raises(DataError, match="case a has two references"):
        find_references(tmp_path, ["a"])
    with pytest.raises(DataError, match="no such folder"):
        find_references(tmp_path / "nothing", ["a"])


def test_patients_come_from_the_table_beside_the_masks(tmp_path):
    assert patients_beside(tmp_path / "masks") == {}
    (tmp_path / "per_case.csv").write_text("case_id,patient_id,dice_a\nc1,p1,0.5\nc2,,0.5\n")
    assert patients_beside(tmp_path / "masks") == {"c1": "p1", "c2": ""}
