"""Volumes of a table, DICOM series among them, and folders of volumes for prediction."""

from pathlib import Path

import numpy as np
import pytest

from medimg.datasets import ImageTable, MedMNIST, TableColumns, VolumeTable
from medimg.datasets.volume_table import list_volumes, names_own_predictions
from medimg.errors import DataError
from medimg.io.dicom.write_series import write_series
from medimg.io.grid import Grid
from medimg.preparation.volume_voxels import VolumeOptions, read_voxels

COLUMNS = TableColumns(id="id", patient="patient", images=("image",), labels=("sick",), fold="fold")


@pytest.fixture
def root(tmp_path, write_volume, write_table, make_case):
    """A NIfTI file and a DICOM series of the same numbers."""
    image, _ = make_case((6, 8, 8))
    affine = np.diag([-1.0, -1, 2, 1])
    write_volume(tmp_path / "set" / "a.nii.gz", image[0], affine)
    write_series(tmp_path / "set" / "b", image[0], Grid((6, 8, 8), affine))
    rows = [["a", "p1", "a.nii.gz", "1", "0"], ["b", "p2", "b", "0", "1"]]
    write_table(tmp_path / "set" / "t.csv", ["id", "patient", "image", "sick", "fold"], rows)
    return tmp_path / "set"


def test_a_folder_is_the_series_in_it(root):
    index = VolumeTable(Path("t.csv"), COLUMNS).index(root)
    assert [len(record.images) for record in index.records] == [1, 6]
    assert [record.labels for record in index.records] == [{"sick": 1.0}, {"sick": 0.0}]
    options = VolumeOptions(size=(6, 8, 8), normalization="range")
    seen = [read_voxels(record, options) for record in index.records]
    np.testing.assert_allclose(seen[0], seen[1], atol=2e-3)


def test_volumes_that_are_not_there_are_named_together_or_left_out(root, caplog):
    (root / "a.nii.gz").unlink()
    with pytest.raises(
        DataError, match=r"1 of 2 volumes cannot be used:\n  a: there is no file .*a\.nii\.gz"
    ):
        VolumeTable(Path("t.csv"), COLUMNS).index(root)
    index = VolumeTable(Path("t.csv"), COLUMNS, missing="skip").index(root)
    assert [record.case_id for record in index.records] == ["b"]
    assert index.folds == (((), ("b",)), (("b",), ()))[::-1] or index.folds == ((("b",), ()), ((), ("b",)))
    assert "1 volumes are left out" in caplog.text
    (root / "b" / "note.txt").write_text("x")
    for path in (root / "b").glob("*.dcm"):
        path.unlink()
    with pytest.raises(DataError, match="2 of 2 volumes cannot be used"):
        VolumeTable(Path("t.csv"), COLUMNS, missing="skip").index(root)


def test_folders_of_volumes_are_listed_for_prediction(root):
    assert [record.case_id for record in list_volumes(root, ["image"]).records] == ["a"]
    (series,) = list_volumes(root / "b", ["image"]).records
    assert len(series.images) == 6
    with pytest.raises(DataError, match=r"a: expected 2 channels \(t1, t2\), found 1"):
        list_volumes(root, ["t1", "t2"])
    with pytest.raises(DataError, match="expected a folder of images, and there is none"):
        list_volumes(root / "nowhere", ["image"])


def test_a_layout_that_lists_predictions_itself_is_told(root):
    assert names_own_predictions(MedMNIST(name="nodulemnist3d"))
    assert not names_own_predictions(ImageTable(Path("t.csv"), COLUMNS))
