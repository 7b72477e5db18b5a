import numpy as np
import pytest
import SimpleITK
from writers.grids import make_grid

from medimg.errors import DataError
from medimg.io.nrrd import write_seg_nrrd
from medimg.io.segments import make_segments

SEGMENTS = make_segments({"liver": 1, "tumour": 3})


def make_mask():
    mask = np.zeros((5, 6, 7), np.int16)
    mask[1:3, 2:5, 3:5] = 1
    mask[2, 3, 4] = 3
    return mask


def test_an_independent_reader_finds_voxels_grid_and_segments(tmp_path):
    path, grid = tmp_path / "a.seg.nrrd", make_grid()
    write_seg_nrrd(path, make_mask(), grid, SEGMENTS, source="1.2.3")
    image = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), make_mask())
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ affine, grid.affine, atol=1e-9)
    about = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    assert (about["Segment1_Name"], about["Segment1_LabelValue"], about["Segment1_Layer"]) == (
        "tumour",
        "3",
        "0",
    )
    assert about["Segment0_Extent"] == "3 4 2 4 1 2"  # W, H, D
    assert "SCT^10200004^Liver" in about["Segment0_Tags"]
    assert [float(part) * 255 for part in about["Segment0_Color"].split()] == pytest.approx(
        SEGMENTS[0].colour, abs=1e-3
    )
    assert about["SourceSeries"] == "1.2.3"


def test_nothing_found_is_written_and_the_bytes_are_the_same(tmp_path):
    for name in "ab":
        write_seg_nrrd(tmp_path / f"{name}.seg.nrrd", np.zeros((5, 6, 7), np.uint8), make_grid(), SEGMENTS)
    image = SimpleITK.ReadImage(str(tmp_path / "a.seg.nrrd"))
    assert image.GetMetaData("Segment0_Extent") == "0 -1 0 -1 0 -1"
    assert (tmp_path / "a.seg.nrrd").read_bytes() == (tmp_path / "b.seg.nrrd").read_bytes()


@pytest.mark.parametrize(
    ("name", "mask", "words"),
    [
        ("a.nrrd", make_mask(), "ends in .seg.nrrd"),
        ("a.seg.nrrd", make_mask()[1:], "has shape"),
        ("a.seg.nrrd", make_mask() * 2, r"also holds \[2, 6\]"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, name, mask, words):
    with pytest.raises(DataError, match=words):
        write_seg_nrrd(tmp_path / name, mask, make_grid(), SEGMENTS)
    assert list(tmp_path.iterdir()) == []
