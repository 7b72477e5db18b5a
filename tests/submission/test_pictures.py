import numpy as np
import pytest

from medimg.errors import DataError
from medimg.submission.pictures import find_planes, plane_shape, read_plane


def test_pictures_and_slices_have_their_ids(write_picture, write_volume, tmp_path):
    mask = np.zeros((3, 4, 5), np.uint8)
    mask[1] = 2
    write_volume(tmp_path / "case1_day2.nii.gz", mask)
    write_picture(tmp_path / "case1" / "case1_day3" / "scans" / "slice_0007_4_5_1.50_1.50.png", mask[1])
    write_picture(tmp_path / "tile.png", mask[1])
    write_picture(tmp_path / ".hidden.png", mask[1])
    (tmp_path / "notes.txt").touch()
    planes = dict(find_planes(tmp_path))
    slices = [f"case1_day2_slice_000{n}" for n in (1, 2, 3)]
    assert sorted(planes) == [*slices, "case1_day3_slice_0007", "tile"]
    for name in (slices[1], "tile"):
        assert (read_plane(planes[name]) == 2).all()
        assert plane_shape(planes[name]) == (4, 5)


def test_colours_and_missing_folders_are_refused(write_picture, tmp_path):
    write_picture(tmp_path / "a.png", np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(DataError, match="expected a mask of one channel, found 3"):
        read_plane(dict(find_planes(tmp_path))["a"])
    with pytest.raises(DataError, match="no such folder"):
        list(find_planes(tmp_path / "none"))
