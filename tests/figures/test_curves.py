import numpy as np
import pytest
from matplotlib.colors import to_rgb

from medimg.figures.curves import LabelCurves, curve_panel, reliability_panel
from medimg.figures.overlay import COLOURS
from medimg.scoring.calibration import expected_calibration_error, reliability_points
from medimg.scoring.classification import auroc, average_precision, precision_recall_points, roc_points


def curves(target, prob):
    return LabelCurves(
        roc_points(target, prob),
        precision_recall_points(target, prob),
        reliability_points(target, prob),
        auroc(target, prob),
        average_precision(target, prob),
        expected_calibration_error(target, prob),
    )


@pytest.fixture
def label():
    """``label(separation, positives)`` of 300 cases."""

    def make(separation, positives=0.4):
        generator = np.random.default_rng(0)
        target = (generator.random(300) < positives).astype(float)
        return curves(target, 1 / (1 + np.exp(-generator.normal(separation * (target - 0.5), 1))))

    return make


def lit(panel, colour):
    """Rows and columns of the pixels of one colour."""
    return np.argwhere(np.abs(panel.astype(int) - np.array(to_rgb(colour)) * 255).max(-1) < 40)


def inside(points, plot):
    """Points in one of the three plots as (x, y) in its units."""
    x, y = (points[:, 1] - 66 - 390 * plot) / 310 * 1.04 - 0.02, 1.02 - (points[:, 0] - 62) / 310 * 1.04
    kept = (x > -0.02) & (x < 1.02) & (y > -0.02) & (y < 1.02)
    return np.column_stack([x, y])[kept]


def test_the_line_lies_where_the_curve_is(label):
    one = label(2.0)
    panel = curve_panel({"mass": one}, title="Fold 0")
    assert panel.dtype == np.uint8
    assert panel.shape[1:] == (1200, 3)
    points = inside(lit(panel, COLOURS[0]), 0)
    for x in (0.2, 0.5, 0.8):
        drawn = points[np.abs(points[:, 0] - x) < 0.004][:, 1]
        assert np.interp(x, *one.roc) == pytest.approx(drawn.mean(), abs=0.03)
    recall, precision = one.precision_recall
    points = inside(lit(panel, COLOURS[0]), 1)
    drawn = points[(np.abs(points[:, 0] - 0.5) < 0.004) & (points[:, 1] > 0.5)][:, 1]
    assert precision[np.searchsorted(recall, 0.5)] == pytest.approx(drawn.mean(), abs=0.03)


def test_a_better_label_lies_above(label):
    panel = curve_panel({"worse": label(0.5), "better": label(3.0)})
    means = [inside(lit(panel, COLOURS[number]), 0)[:, 1].mean() for number in range(2)]
    assert means[1] > means[0] + 0.1


def test_an_undefined_label_stands_in_the_table_alone(label):
    nothing = label(1.0, positives=0.0)
    assert np.isnan(nothing.auroc)
    panel = curve_panel({"absent": nothing, "there": label(1.0)})
    assert len(lit(panel, COLOURS[0])) == 0
    assert len(lit(panel, COLOURS[1])) > 500
    assert curve_panel({"absent": nothing}).shape[1] == 1200


def test_many_labels_make_the_table_longer(label):
    few, many = (curve_panel({f"label {i}": label(1.0) for i in range(n)}) for n in (2, 30))
    assert many.shape[0] > few.shape[0]
    assert few.shape[1] == many.shape[1]


def test_thin_bins_of_reliability_are_not_drawn():
    """Three cases at .95 are a share of noise; forty at .05 are drawn."""
    target = np.array([0, 1] * 20 + [0.0] * 3)
    prob = np.array([0.05] * 40 + [0.95] * 3)
    points = inside(lit(curve_panel({"a": curves(target, prob)}), COLOURS[0]), 2)
    assert len(points) > 0
    assert points[:, 0].max() < 0.2


def test_no_label_is_refused():
    with pytest.raises(ValueError, match="one label or more"):
        curve_panel({})


def test_two_stages_of_reliability_stand_side_by_side_and_undefined_labels_have_no_curve(label):
    points = {"a": label(2).reliability, "b": label(1).reliability}
    stages = {"before": points, "after": points}
    both = reliability_panel(stages, {"a": [0.1, 0.1], "b": [0.2, 0.1]})
    one = reliability_panel(stages, {"a": [0.1, 0.1], "b": [np.nan, np.nan]})

    def columns_of(picture, number):
        colour = np.round(255 * np.array(to_rgb(COLOURS[number]))).astype(int)
        return np.flatnonzero((np.abs(picture.astype(int) - colour) < 3).all(-1)[:380].any(0))

    for number in (0, 1):
        places = columns_of(both, number)
        assert (places < 600).any() and (places > 600).any()
    assert columns_of(one, 0).size and not columns_of(one, 1).size
    for faulty in ({"before": points}, {}):
        with pytest.raises(ValueError, match="two stages expected"):
            reliability_panel(faulty, {"a": [0.1, 0.1]})
