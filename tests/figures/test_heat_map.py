import numpy as np
import pytest
from PIL import Image

from medimg.figures.heat_map import HeatTile, heat_panel, write_heat_panel


def tile(**changes):
    heat = np.zeros((40, 60))
    heat[10:20, 30:45] = 1
    return HeatTile(np.tile(np.linspace(0, 1, 60), (40, 1)), heat, **changes)


def test_colour_stands_where_heat_is_and_nowhere_else():
    panel = heat_panel([tile()], title="case", answer="cyst", prob=0.7).astype(int)
    colour = np.ptp(panel[62:-44], axis=2) > 60
    plain, warm = colour[:, :500], colour[:, 500:]
    assert not plain.any()
    rows, columns = np.nonzero(warm)
    assert 0.2 < rows.mean() / warm.shape[0] < 0.5 and 0.5 < columns.mean() / 500 < 0.75


def test_contours_and_heat_of_nothing():
    mask = tile().heat > 0
    panel = heat_panel(
        [HeatTile(np.zeros((40, 60)), np.zeros((40, 60)), {"reference": mask, "prediction": ~mask}, "caption")],
        title="case", answer="cyst", prob=0.0,
    ).astype(int)  # fmt: skip
    assert ((panel[..., 2] > 150) & (panel[..., 0] < 130)).sum() > 100  # the reference's blue


def test_planes_images_of_a_group_and_colours():
    three = heat_panel([tile(), tile(pixel_mm=(3, 1)), tile()], title="v", answer="a", prob=0.5)
    many = heat_panel([tile()] * 8, title="g", answer="a", prob=0.5)
    assert three.shape[1] == many.shape[1] == 1000
    coloured = HeatTile(np.random.default_rng(0).normal(size=(20, 20, 3)), np.eye(20))
    assert heat_panel([coloured], title="c", answer="a", prob=1.0).dtype == np.uint8


def test_sizes_that_differ_are_refused():
    with pytest.raises(ValueError, match="expected the image's size"):
        heat_panel([HeatTile(np.zeros((4, 4)), np.zeros((5, 4)))], title="", answer="", prob=0)
    with pytest.raises(ValueError, match="expected one or more"):
        heat_panel([], title="", answer="", prob=0)


def test_the_file_is_what_was_drawn(tmp_path):
    panel = heat_panel([tile()], title="case", answer="cyst", prob=0.7)
    write_heat_panel(tmp_path / "a.png", panel)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png").convert("RGB")), panel)
