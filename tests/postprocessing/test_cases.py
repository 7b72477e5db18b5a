import nibabel
import numpy as np
import pytest

from medimg.errors import DataError
from medimg.io.nifti import read_mask
from medimg.io.raster import read_raster, write_png
from medimg.postprocessing.cases import (
    find_images,
    find_masks,
    find_references,
    mend_case,
    pair_masks,
    read_channels,
    read_labels,
)
from medimg.postprocessing.rules import Rule

OBLIQUE = np.array([[0.9, 0.1, 0, -12], [-0.1, 1.8, 0.2, 30], [0, -0.2, 2.9, 7], [0, 0, 0, 1]])
KEEP = (Rule("keep_largest", "1", (1,)),)


def two_parts(shape=(5, 6, 7)):
    mask = np.zeros(shape, np.uint8)
    mask[..., :2, :2], mask[..., -1, -1] = 1, 1
    return mask


def test_the_header_of_a_volume_stays(tmp_path):
    image = nibabel.Nifti1Image(two_parts().T, OBLIQUE)
    image.set_qform(OBLIQUE, code=2)
    image.set_sform(OBLIQUE, code=1)
    image.header.set_xyzt_units("mm")
    (tmp_path / "out").mkdir()
    nibabel.save(image, tmp_path / "a_seg.nii.gz")
    report = mend_case(("a", tmp_path / "a_seg.nii.gz"), rules=KEEP, out=tmp_path / "out")
    before, after = (nibabel.load(folder / "a_seg.nii.gz") for folder in (tmp_path, tmp_path / "out"))
    for name in (
        "pixdim",
        "qform_code",
        "sform_code",
        "xyzt_units",
        "srow_x",
        "srow_y",
        "srow_z",
        "quatern_b",
    ):
        np.testing.assert_array_equal(before.header[name], after.header[name])
    np.testing.assert_array_equal(before.affine, after.affine)
    assert read_mask(tmp_path / "out" / "a_seg.nii.gz", form="sform").sum() == 20
    assert (report.changed, report.emptied, report.grid["shape"]) == (5, False, [5, 6, 7])


def test_volumes_are_measured_on_the_file_own_grid(tmp_path):
    nibabel.save(nibabel.Nifti1Image(two_parts().T, OBLIQUE), tmp_path / "a.nii")
    voxel = read_labels(tmp_path / "a.nii").voxel_mm3
    assert voxel == pytest.approx(np.prod(np.linalg.norm(OBLIQUE[:3, :3], axis=0)))
    (tmp_path / "out").mkdir()
    for limit, changed in ((20.5 * voxel, 25), (19.5 * voxel, 5), (4.5 * voxel, 0)):
        rule = Rule("min_volume", "1", (1,), limit)
        assert mend_case(("a", tmp_path / "a.nii"), rules=[rule], out=tmp_path / "out").changed == changed


@pytest.mark.parametrize("ending", [".nii.gz", ".png"])
def test_a_mask_that_stays_is_copied_byte_by_byte(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    if ending == ".png":
        write_png(path, two_parts((6, 7)))
    else:
        nibabel.save(nibabel.Nifti1Image(two_parts().T.astype(np.int32), OBLIQUE), path)
    (tmp_path / "out").mkdir()
    report = mend_case(("a", path), rules=[Rule("keep_largest", "2", (2,))], out=tmp_path / "out")
    assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    assert report.changed == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pictures_keep_their_type(tmp_path, dtype):
    write_png(tmp_path / "a.png", two_parts((6, 7)).astype(dtype))
    (tmp_path / "out").mkdir()
    assert mend_case(("a", tmp_path / "a.png"), rules=KEEP, out=tmp_path / "out").changed == 1
    mended = read_raster(tmp_path / "out" / "a.png")
    assert (mended.dtype, mended.sum()) == (dtype, 4)


def test_a_case_that_is_empty_afterwards_is_told(tmp_path):
    write_png(tmp_path / "a.png", two_parts((6, 7)))
    (tmp_path / "out").mkdir()
    rule = Rule("replace_small", "1", (1,), 6.0, (0,), "0")
    assert mend_case(("a", tmp_path / "a.png"), rules=[rule], out=tmp_path / "out").emptied
    write_png(tmp_path / "a.png", np.zeros((6, 7), np.uint8))
    assert not mend_case(("a", tmp_path / "a.png"), rules=[rule], out=tmp_path / "out").emptied


def test_a_label_that_a_picture_cannot_hold_is_refused(tmp_path):
    write_png(tmp_path / "a.png", two_parts((6, 7)))
    with pytest.raises(DataError, match="label 300 does not fit a picture of uint8"):
        mend_case(
            ("a", tmp_path / "a.png"),
            rules=[],
            out=tmp_path,
            relabel=lambda case, mask: np.full((6, 7), 300, np.int16),
        )


def test_colour_pictures_are_no_masks(tmp_path):
    write_png(tmp_path / "a.png", np.zeros((3, 6, 7), np.uint8))
    with pytest.raises(DataError, match="expected a grey picture whose values are labels, found 3 channels"):
        read_labels(tmp_path / "a.png")


def test_folders_hold_masks_of_one_kind(tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        find_masks(tmp_path / "none")
    with pytest.raises(DataError, match="found none"):
        find_masks(tmp_path)
    for name in ("b.nii.gz", "a_seg.nii.gz", "._b.nii.gz"):
        (tmp_path / name).touch()
    assert list(find_masks(tmp_path)) == ["a", "b"]
    (tmp_path / "a.nii").touch()
    with pytest.raises(DataError, match="case a stands twice"):
        find_masks(tmp_path)
    (tmp_path / "c.png").touch()
    with pytest.raises(DataError, match=r"found both, such as a\.nii and c\.png"):
        find_masks(tmp_path)


def test_references_may_lie_deep(tmp_path):
    (tmp_path / "c1").mkdir()
    for name in ("c1-seg.nii.gz", "c1-t1c.nii.gz"):
        (tmp_path / "c1" / name).touch()
    references = find_references(tmp_path)
    assert references == {"c1": tmp_path / "c1" / "c1-seg.nii.gz"}
    pred = tmp_path / "p.nii.gz"
    assert pair_masks({"c1": pred}, {**references, "c2": pred}) == [("c1", pred, references["c1"])]
    with pytest.raises(DataError, match="no reference for 1 of 2 predictions: c9"):
        pair_masks({"c1": pred, "c9": pred}, references)


def test_images_are_found_by_case(tmp_path):
    names = ["a.nii.gz", "a_1.nii.gz", "b_0001.nii.gz", "b_0000.nii.gz", "b_1_0000.nii.gz", "c[1].png"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "d").mkdir()
    for word in ("t2w", "seg", "t1c"):
        (tmp_path / "d" / f"d-{word}.nii.gz").touch()
    found = {case: [path.name for path in find_images(tmp_path, case)] for case in ("a", "b", "c[1]", "d")}
    assert found == {
        "a": ["a.nii.gz"],
        "b": ["b_0000.nii.gz", "b_0001.nii.gz"],
        "c[1]": ["c[1].png"],
        "d": ["d-t1c.nii.gz", "d-t2w.nii.gz"],
    }
    with pytest.raises(DataError, match="no image of case e"):
        find_images(tmp_path, "e")


def test_channels_are_divided_by_their_spread(tmp_path):
    picture = np.zeros((3, 8, 9), np.uint8)
    picture[0, 2:6], picture[1, 2:5], picture[1, 5:] = 7, 10, 30
    write_png(tmp_path / "a.png", picture)
    channels = read_channels([tmp_path / "a.png"], (8, 9))
    np.testing.assert_array_equal(channels[0], picture[0])  # one value only: no spread to divide by
    assert channels[1][channels[1] != 0].std() == pytest.approx(1)
    assert channels[1][2, 0] * 3 == pytest.approx(channels[1][6, 0])
    with pytest.raises(DataError, match=r"expected the shape of the mask, \(8, 8\), found \(8, 9\)"):
        read_channels([tmp_path / "a.png"], (8, 8))


def test_a_case_with_two_references_is_refused(tmp_path):
    for place in ("new", "old"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "a-seg.nii.gz").touch()
    with pytest.raises(DataError, match=r"case a has two references: .*new.*a-seg\.nii\.gz and .*old"):
        find_references(tmp_path)
