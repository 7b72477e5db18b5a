from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from medimg.errors import DataError
from medimg.io.dicom.geometry import stack_slices
from medimg.io.dicom.slices import Slice

TURN = np.deg2rad(25)
ROW = np.array([np.cos(TURN), np.sin(TURN), 0.0])
COLUMN = np.array([-np.sin(TURN), np.cos(TURN), 0.0])
NORMAL = np.array([0.0, 0.0, 1.0])
SIZE, SPACING = (8, 9), (1.0, 0.8)
TILT = np.deg2rad(18.5)


def make(depths_mm, *, shear=0.0, **about):
    """Slices of the oblique stack at these depths, each moved along the columns by shear x depth."""
    return [
        Slice(
            path=Path("scan") / f"{number:02d}.dcm",
            frame=0,
            frames=1,
            sop_uid=str(number),
            series_uid="1.2",
            position=tuple(np.array([5.0, -3, 2]) + depth * NORMAL + shear * depth * COLUMN),
            orientation=(*ROW, *COLUMN),
            spacing_mm=SPACING,
            size=SIZE,
            thickness_mm=None,
            phase=(),
        )
        for number, depth in enumerate(depths_mm)
    ]


def change(one, **fields):
    return Slice(**{name: fields.get(name, getattr(one, name)) for name in Slice.__slots__})


def lps(grid, index):
    """Place of (d, h, w) in LPS."""
    d, h, w = index
    return (np.diag([-1.0, -1, 1, 1]) @ grid.affine @ [w, h, d, 1])[:3]


def test_slices_are_sorted_along_the_normal_and_every_pixel_keeps_its_place():
    slices = make([0, 5, 10, 15])
    stack = stack_slices([slices[at] for at in (2, 0, 3, 1)], "scan")
    assert stack.slices == tuple(slices)
    assert stack.grid.shape == (4, *SIZE)
    np.testing.assert_allclose(stack.grid.spacing_mm, (5, *SPACING))
    assert stack.resampled == ()
    for depth, one in enumerate(slices):
        expected = np.array(one.position) + 3 * SPACING[0] * COLUMN + 4 * SPACING[1] * ROW
        np.testing.assert_allclose(lps(stack.grid, (depth, 3, 4)), expected, atol=1e-9)


def test_one_slice_has_its_thickness():
    (one,) = make([0])
    assert stack_slices([change(one, thickness_mm=3.0)], "scan").grid.spacing_mm[0] == 3
    assert stack_slices([one], "scan").grid.spacing_mm[0] == 1


def test_rounded_positions_are_even():
    # 1.25 mm written with one decimal: steps of 1.2 and 1.3.
    stack = stack_slices(make(np.round(np.arange(40) * 1.25 + 1e-9, 1)), "scan")
    assert stack.grid.spacing_mm[0] == pytest.approx(1.25, abs=2e-3)


@pytest.mark.parametrize("lost", [(3,), (1,), (8,), (2, 6), (4, 5), (3, 4, 5)])
@pytest.mark.parametrize("resample", [False, True])
def test_fault_24_a_missing_slice_is_refused(lost, resample):
    slices = [one for at, one in enumerate(make(np.arange(10) * 2.5)) if at not in lost]
    before, after = min(lost) - 1, next(at for at in range(min(lost), 10) if at not in lost)
    with pytest.raises(
        DataError,
        match=rf"missing slices between .*{before:02d}\.dcm and .*{after:02d}\.dcm .*Get the missing",
    ):
        stack_slices(slices, "scan", resample=resample)


@pytest.mark.parametrize("lost", [5, 16])
def test_fault_24_a_slice_missing_among_two_distances(lost):
    depths = [*np.arange(12) * 4.0, *(44 + 1.1 + np.arange(12) * 7.0)]
    slices = [one for at, one in enumerate(make(depths)) if at != lost]
    with pytest.raises(DataError, match="missing slices"):
        stack_slices(slices, "scan", resample=True)


@pytest.mark.parametrize("copy", [{}, {"path": Path("scan/copy.dcm")}])
def test_fault_25_the_same_image_twice_is_refused(copy):
    slices = make([0, 5, 10])
    with pytest.raises(DataError, match=r"duplicate slices: .*01\.dcm and .* are the same image; keep one"):
        stack_slices([*slices, change(slices[1], **copy)], "scan")


def test_fault_25_two_images_of_one_place_are_refused_and_told_apart():
    slices = make([0, 5, 10])
    others = [change(one, sop_uid=f"x{one.sop_uid}", phase=("EchoTime 90",)) for one in slices]
    with pytest.raises(DataError, match=r"one place, and differ in EchoTime 90; .*\(3 such pairs\)"):
        stack_slices([*slices, *others], "scan")


def linear(places):
    """A field that linear interpolation reproduces, of places (..., 3) in LPS."""
    return places @ np.array([3.0, -2.0, 5.0]) + 7


def planes_of(slices):
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    offset = rows[..., None] * SPACING[0] * COLUMN + columns[..., None] * SPACING[1] * ROW
    return [linear(np.array(one.position) + offset).astype(np.float32) for one in slices]


def field_on(grid):
    d, h, w = np.meshgrid(*map(np.arange, grid.shape), indexing="ij")
    index = np.stack([w, h, d, np.ones_like(d)], axis=-1)
    return linear((index @ (np.diag([-1.0, -1, 1, 1]) @ grid.affine).T)[..., :3])


UNEVEN = [0, 4, 8, 9, 16, 23]


@pytest.mark.parametrize(
    ("depths", "tilt"),
    [(np.arange(6) * 2.0, TILT), (np.arange(6) * 2.0, -TILT), (UNEVEN, 0.0), (UNEVEN, TILT)],
)
def test_fault_26_and_41_true_positions_reproduce_a_linear_field(depths, tilt):
    shear = np.tan(tilt)
    stack = stack_slices(make(depths, shear=shear), "scan", resample=True)
    assert stack.resampled
    volume = stack.assemble(planes_of(stack.slices), np.nan)
    reached = np.isfinite(volume)
    assert reached.sum() >= 0.7 * SIZE[0] * SIZE[1] * len(depths)
    inner = ndimage.binary_erosion(reached, np.ones((1, 3, 1))) | (shear == 0)
    np.testing.assert_allclose(volume[inner & reached], field_on(stack.grid)[inner & reached], atol=1e-3)
    # The grid is straight: its third axis runs along the normal.
    axes = stack.grid.affine[:3, :3] / np.linalg.norm(stack.grid.affine[:3, :3], axis=0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-9)


def test_fault_26_a_tilt_is_named_and_holds_every_slice():
    stack = stack_slices(make(np.arange(6) * 2.0, shear=np.tan(TILT)), "scan")
    assert stack.resampled == ("slices shifted against each other (a tilt of 18.5 degrees)",)
    assert stack.grid.shape == (6, SIZE[0] + int(np.ceil(10 * np.tan(TILT))), SIZE[1])
    table = make([0, 2, 4, 6])
    table[2] = change(table[2], position=tuple(np.array(table[2].position) + 3 * ROW))
    assert stack_slices(table, "scan").resampled == ("slices shifted against each other (by up to 3.0 mm)",)


def test_fault_41_uneven_slices_are_refused_and_never_averaged():
    slices = make([0, 4, 8, 12, 13, 20, 27, 34])
    with pytest.raises(
        DataError, match=r"unevenly spaced, 3 x 4\.00, 3 x 7\.00, 1 x 1\.00 mm apart.*Give --resample"
    ):
        stack_slices(slices, "scan")
    stack = stack_slices(slices, "scan", resample=True)
    # The finest distance that is common, fitted to the extent, and not the mean of 4.86.
    assert stack.grid.spacing_mm[0] == pytest.approx(34 / 9)


def test_an_extra_slice_is_no_gap():
    with pytest.raises(DataError, match="unevenly spaced"):
        stack_slices(make([0, 5, 7.5, 12.5, 17.5]), "scan")
    assert stack_slices(make([0, 5, 7.5, 12.5, 17.5]), "scan", resample=True).grid.spacing_mm[0] == 4.375


def test_fault_41_two_regular_distances_are_no_gap():
    slices = make([*np.arange(6) * 5.0, *(25 + 10.0 * np.arange(1, 6))])
    with pytest.raises(DataError, match="unevenly spaced"):
        stack_slices(slices, "scan")
    assert stack_slices(slices, "scan", resample=True).grid.shape[0] == 16


def test_labels_go_back_to_the_slices():
    slices = make([0, 4, 8, 9, 16, 23], shear=np.tan(TILT))
    stack = stack_slices(slices, "scan", resample=True)
    # A label a half space: above a plane through the middle.
    middle = np.median(field_on(stack.grid))
    back = stack.to_slices((field_on(stack.grid) > middle).astype(np.uint8))
    assert back.shape == (6, *SIZE)
    truth = np.stack(planes_of(slices)) > middle
    # Nearest neighbours are off by half a voxel at most, of which the field changes by 15 over a slice.
    clear = np.abs(np.stack(planes_of(slices)) - middle) > 14
    assert clear.mean() > 0.6
    np.testing.assert_array_equal(back[clear], truth[clear])
    straight = stack_slices(make([0, 5, 10]), "scan")
    labels = np.arange(3 * 8 * 9).reshape(3, 8, 9)
    assert straight.to_slices(labels) is labels
    with pytest.raises(DataError, match=r"expected a mask of shape \(3, 8, 9\)"):
        straight.to_slices(labels[:2])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"size": (16, 9)}, "3 of 8 x 9 pixels of 1 x 0.8 mm in direction 1.*1 of 16 x 9"),
        ({"spacing_mm": (2.0, 2.0)}, "of 2 x 2 mm"),
        ({"orientation": (*ROW, *NORMAL)}, "in direction 2"),
    ],
)
def test_mixed_sizes_and_directions_are_refused(fields, words):
    slices = make([0, 5, 10, 15])
    with pytest.raises(DataError, match=rf"one size and one direction, found .*{words}.*03\.dcm.*Move those"):
        stack_slices([*slices[:3], change(slices[3], **fields)], "scan")
