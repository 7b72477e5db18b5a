import csv

import nibabel as nib
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medimg.errors import ConfigError
from medimg.phantoms.nodules import draw_nodule, nodule_row, write_nodules


def test_cubes_show_the_nodule_where_the_table_says(tmp_path):
    files = write_nodules(tmp_path / "n", nodules=4, seed=2, size=24)
    rows = list(csv.DictReader((tmp_path / "n" / "nodules.csv").open(newline="")))
    assert [tmp_path / "n" / row["image"] for row in rows] == files
    for row, file in zip(rows, files, strict=True):
        image = nib.load(file)
        assert image.shape == (24, 24, 24)
        assert image.header.get_zooms() == pytest.approx((2, 2, 2))
        place = [float(row[f"{axis}_mm"]) for axis in "xyz"]
        voxel = (np.linalg.inv(image.affine) @ [*place, 1])[:3]
        offset = (image.affine[:3, :3] @ (voxel - 11.5)).tolist()
        assert offset == pytest.approx([float(row[f"offset_{a}_mm"]) for a in "xyz"], abs=0.02)
        w, h, d = np.rint(voxel).astype(int)
        assert np.asarray(image.dataobj)[w, h, d] > -700


def test_the_cube_alone_tells_malignancy_though_not_by_size_alone():
    """Bright volume in the cube is a crude size; the truth is in size and shape."""
    rows = [nodule_row(index, seed=0) for index in range(90)]
    kept = [row for row in rows if row["malignant"]]
    target = [int(row["malignant"]) for row in kept]
    assert 0.25 < np.mean(target) < 0.75
    size = roc_auc_score(target, [float(row["diameter_mm"]) for row in kept])
    spicules = roc_auc_score(target, [float(row["spiculation"]) for row in kept])
    assert 0.75 < size < 0.97
    assert spicules > 0.75


def test_same_seed_same_cube_and_patients_hold_three():
    one, grid = draw_nodule(5, seed=1, size=16)
    other, _ = draw_nodule(5, seed=1, size=16)
    np.testing.assert_array_equal(one, other)
    assert grid.shape == (16, 16, 16)
    patients = [nodule_row(index, seed=1)["patient_id"] for index in range(7)]
    assert patients == ["PHANTOM-9001"] * 3 + ["PHANTOM-9002"] * 3 + ["PHANTOM-9003"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"nodules": 0}, "nodules: expected 1 to 9999, found 0"),
        ({"size": 8}, "size: expected 16 to 256 voxels"),
        ({"seed": -1}, "seed: expected a number from 0 on"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path, arguments, said):
    with pytest.raises(ConfigError, match=said):
        write_nodules(tmp_path / "x", **arguments)
