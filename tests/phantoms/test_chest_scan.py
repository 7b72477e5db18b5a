import csv

import numpy as np
import pytest

from medimg.errors import ConfigError
from medimg.io.dicom.series import find_series, read_series
from medimg.io.nifti import read_mask
from medimg.phantoms.chest_scan import draw_chest, truth_file, write_ct

SMALL = (24, 64, 64)


def contents(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_the_series_hold_the_chests_that_the_truth_describes(tmp_path):
    folders = write_ct(tmp_path / "ct", cases=2, seed=1, size=(40, 96, 96))
    rows = list(csv.DictReader((tmp_path / "ct" / "truth.csv").open(newline="")))
    for folder in folders:
        (series,) = find_series(folder)
        volume = read_series(series)
        assert volume.voxels.shape == (40, 96, 96)
        assert volume.grid.spacing_mm == pytest.approx((7.5, 340 / 96, 340 / 96))
        truth = read_mask(truth_file(tmp_path / "ct", folder.name))
        own = [row for row in rows if row["case_id"] == folder.name]
        assert set(np.unique(truth).tolist()) == {0, *(int(row["nodule"]) for row in own)}
        to_voxel = np.linalg.inv(volume.grid.affine)
        for row in own:
            place = [float(row[f"{axis}_mm"]) for axis in "xyz"]
            w, h, d = np.rint((to_voxel @ [*place, 1])[:3]).astype(int)
            middle = np.argwhere(truth == int(row["nodule"])).mean(axis=0)
            assert np.abs(middle - [d, h, w]).max() < 1.5
            # A nodule is denser than the lung around it.
            assert volume.voxels[truth == int(row["nodule"])].mean() > -700


def test_same_seed_same_bytes_and_a_case_depends_on_nothing_else(tmp_path):
    write_ct(tmp_path / "a", cases=2, seed=4, size=SMALL)
    write_ct(tmp_path / "b", cases=1, seed=4, size=SMALL)
    one, other = contents(tmp_path / "a"), contents(tmp_path / "b")
    shared = [name for name in other if name.startswith(("CT-9001", "truth/"))]
    assert len(shared) == SMALL[0] + 1
    assert all(one[name] == other[name] for name in shared)
    write_ct(tmp_path / "b", cases=2, seed=4, size=SMALL, workers=2)  # goes on
    assert contents(tmp_path / "b") == one
    assert (
        draw_chest(0, seed=5, size=SMALL).nodules[0].centre
        != draw_chest(0, seed=4, size=SMALL).nodules[0].centre
    )


def test_no_nodule_is_smaller_than_asked_for(tmp_path):
    size = (60, 68, 68)
    drawn = [
        2 * one.radius_mm
        for index in range(20)
        for one in draw_chest(index, seed=0, size=size, smallest_mm=12.0, vessels=False).nodules
    ]
    assert 12 <= min(drawn) < 13
    assert max(drawn) > 16
    write_ct(tmp_path / "ct", cases=1, size=size, smallest_mm=12.0)
    rows = list(csv.DictReader((tmp_path / "ct" / "truth.csv").open(newline="")))
    assert [float(row["diameter_mm"]) for row in rows] == pytest.approx(
        [2 * n.radius_mm for n in draw_chest(0, seed=0, size=size, smallest_mm=12.0).nodules], abs=1e-3
    )
    with pytest.raises(ConfigError, match="other settings"):
        write_ct(tmp_path / "ct", cases=1, size=size)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"cases": 0}, "cases: expected 1 to 999, found 0"),
        ({"seed": -1}, "seed: expected a number from 0 on"),
        ({"size": (8, 64, 64)}, "size: expected at least"),
        ({"smallest_mm": 30}, "smallest_mm: expected 3 to 20, found 30"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path, arguments, said):
    with pytest.raises(ConfigError, match=said):
        write_ct(tmp_path / "x", **arguments)
    assert not (tmp_path / "x").exists()
