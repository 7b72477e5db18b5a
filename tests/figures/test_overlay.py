import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from medimg.figures.overlay import COLOURS, contour_panel, write_panel

CLASSES = {"rim": 1, "core": 2}


@pytest.fixture
def ball():
    """A bright ball of tissue off centre in black, with a core in a rim towards right, front and top."""
    d, h, w = np.indices((40, 50, 44))
    image = np.where((d - 20) ** 2 + (h - 25) ** 2 + (w - 22) ** 2 < 17**2, 100.0, 0.0)
    away = (d - 26) ** 2 + (h - 31) ** 2 + (w - 28) ** 2
    mask = np.where(away < 3**2, 2, np.where(away < 6**2, 1, 0)).astype(np.uint8)
    return image, mask


def _near(panel, colour, tolerance=60):
    return np.abs(panel.astype(int) - np.array(to_rgb(colour)) * 255).max(-1) < tolerance


def _tiles(panel):
    """The three planes, cut at the black columns between them, without title and legend."""
    body = panel[34:-34]
    lit = (body > 40).any(axis=(0, 2))
    runs = np.flatnonzero(np.diff(np.concatenate([[0], lit.astype(int), [0]]))).reshape(-1, 2)
    runs = [run for run in runs if run[1] - run[0] > 100]
    return [body[:, start:end] for start, end in runs]


def test_the_panel_is_a_picture_of_three_planes(ball):
    image, mask = ball
    panel = contour_panel(image, mask, mask, classes=CLASSES, spacing_mm=(1, 1, 1), title="case 1")
    assert panel.dtype == np.uint8
    assert panel.ndim == 3
    assert panel.shape[1:] == (1200, 3)
    assert len(_tiles(panel)) == 3


def test_the_right_is_left_and_front_and_top_are_up(ball):
    """The lesion lies right, in front and high: on every plane it shows up and to the left."""
    image, mask = ball
    panel = contour_panel(image, mask, None, classes=CLASSES, spacing_mm=(1, 1, 1))
    for tile in _tiles(panel):
        lesion = np.argwhere(_near(tile, COLOURS[0]))
        tissue = np.argwhere(tile.min(-1) > 120)
        assert lesion[:, 0].mean() < tissue[:, 0].mean() - 20
        assert lesion[:, 1].mean() < tissue[:, 1].mean() - 20


def test_spacing_gives_the_true_aspect():
    """A box of 30 mm a side is square on every plane, however thick the slices."""
    image = np.zeros((20, 60, 60))
    image[5:15, 15:45, 15:45] = 1  # 10 x 3 mm, 30 x 1 mm, 30 x 1 mm
    panel = contour_panel(image, None, None, classes={}, spacing_mm=(3.0, 1.0, 1.0))
    for tile in _tiles(panel):
        lit = tile.min(-1) > 127
        # Through the middle, and off the middle where the marks R and L do not stand.
        rows, columns = lit[:, tile.shape[1] // 2].sum(), lit[tile.shape[0] // 3].sum()
        assert rows == pytest.approx(columns, rel=0.03)


def test_contours_lie_on_the_border_of_the_mask():
    image = np.ones((30, 30, 30))
    image[::2] = 2
    mask = np.zeros((30, 30, 30), np.uint8)
    mask[10:20, 10:20, 10:20] = 1
    panel = contour_panel(image, mask, None, classes={"box": 1}, spacing_mm=(1, 1, 1))
    body = panel[34:-34]
    found = np.argwhere(_near(body, COLOURS[0], 30))
    side = body.shape[0] / 30  # the image fills its tile: 30 voxels high
    assert found[:, 0].max() - found[:, 0].min() == pytest.approx(10 * side, abs=4)


def test_the_planes_pass_through_the_largest_cross_section(ball):
    """A small distant speck does not draw the planes away from the lesion."""
    image, mask = ball
    mask = mask.copy()
    mask[14, 20, 20] = 1
    speckless = contour_panel(image, ball[1], None, classes=CLASSES, spacing_mm=(1, 1, 1))
    np.testing.assert_array_equal(
        contour_panel(image, mask, None, classes=CLASSES, spacing_mm=(1, 1, 1)), speckless
    )


def test_reference_and_prediction_look_different(ball):
    image, mask = ball
    solid = contour_panel(image, mask, None, classes=CLASSES, spacing_mm=(1, 1, 1))[34:-34]
    dashed = contour_panel(image, None, mask, classes=CLASSES, spacing_mm=(1, 1, 1))[34:-34]
    pixels = [_near(panel, COLOURS[0]).sum() for panel in (solid, dashed)]
    assert 0 < pixels[1] < 0.7 * pixels[0]


def test_a_class_within_another_is_seen(ball):
    image, mask = ball
    panel = contour_panel(image, mask, None, classes=CLASSES, spacing_mm=(1, 1, 1))[34:-34]
    assert all(_near(panel, colour).sum() > 200 for colour in COLOURS[:2])


def test_values_that_are_no_class_are_not_drawn(ball):
    image, mask = ball
    panel = contour_panel(image, mask, None, classes={"core": 2}, spacing_mm=(1, 1, 1))[34:-34]
    assert not _near(panel, COLOURS[1]).any()
    assert _near(panel, COLOURS[0]).any()


def test_many_classes_empty_masks_and_flat_images_are_drawn():
    flat = np.zeros((12, 12, 12))
    empty = np.zeros((12, 12, 12), np.uint8)
    many = {f"organ {n}": n for n in range(1, 31)}
    for reference, prediction in ((empty, empty), (None, None), (None, empty)):
        panel = contour_panel(flat, reference, prediction, classes=many, spacing_mm=(1, 1, 1))
        assert panel.shape[1] == 1200
    speckled = np.full((12, 12, 12), np.nan)
    assert contour_panel(speckled, None, None, classes={}, spacing_mm=(1, 1, 1)).shape[1] == 1200


def test_normalised_images_keep_a_black_surrounding():
    """After z-scoring the outside is 0, which lies in the middle of the tissue's values."""
    rng = np.random.default_rng(0)
    d, h, w = np.indices((40, 50, 44))
    brain = (d - 20) ** 2 + (h - 25) ** 2 + (w - 22) ** 2 < 17**2
    image = np.where(brain, rng.normal(size=brain.shape), 0)
    panel = contour_panel(image, None, None, classes={}, spacing_mm=(1, 1, 1))
    assert all((tile[:8, :8] == 0).all() for tile in _tiles(panel))
    assert all(
        tile[tile.shape[0] // 2, tile.shape[1] // 2 - 40 : tile.shape[1] // 2 + 40].mean() > 60
        for tile in _tiles(panel)
    )


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"expected shape \(D, H, W\), found \(4, 4\)"):
        contour_panel(np.zeros((4, 4)), None, None, classes={}, spacing_mm=(1, 1, 1))
    with pytest.raises(
        ValueError, match=r"prediction: expected the image's shape \(4, 4, 4\), found \(4, 4, 5\)"
    ):
        contour_panel(
            np.zeros((4, 4, 4)), None, np.zeros((4, 4, 5), np.uint8), classes={}, spacing_mm=(1, 1, 1)
        )


def test_the_png_holds_the_panel(tmp_path, ball):
    image, mask = ball
    arguments = {"classes": CLASSES, "spacing_mm": (1.0, 1.0, 1.0), "title": "case"}
    write_panel(tmp_path / "new" / "case.png", image, mask, None, **arguments)
    read = np.rint(imread(tmp_path / "new" / "case.png")[..., :3] * 255).astype(np.uint8)
    np.testing.assert_array_equal(read, contour_panel(image, mask, None, **arguments))
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["case.png"]


def test_drawing_leaves_matplotlib_as_it_was(ball):
    image, mask = ball
    before = dict(matplotlib.rcParams)
    contour_panel(image, mask, mask, classes=CLASSES, spacing_mm=(1, 1, 1))
    assert dict(matplotlib.rcParams) == before
