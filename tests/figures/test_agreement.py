import numpy as np
import pytest

from medimg.figures.agreement import agreement_panel, pairs_panel


def test_a_row_a_label():
    rows = {f"label {n}": {"Fleiss kappa": (0.5, 0.4, 0.6), "alpha": (np.nan,) * 3} for n in range(4)}
    few, many = agreement_panel(rows), agreement_panel({**rows, "other": {"alpha": (-0.2, -0.3, 0.1)}})
    assert few.shape[1:] == many.shape[1:] == (900, 3)
    assert many.shape[0] - few.shape[0] == 36
    assert few.max() > 200


def test_a_higher_figure_lies_further_right():
    def middle(value):
        panel = agreement_panel({"x": {"alpha": (value, np.nan, np.nan)}}).astype(int)
        blue = (panel[80:-50, 150:800] == (86, 180, 233)).all(axis=2)
        return np.nonzero(blue)[1].mean()

    assert middle(0.2) < middle(0.5) < middle(0.9)


def test_readers_by_readers():
    values = np.array([[np.nan, 0.9, 0.1], [0.9, np.nan, np.nan], [0.1, np.nan, np.nan]])
    panel = pairs_panel(values, ["anna", "ben", "carla"], measure="kappa")
    light = panel.astype(int).sum(axis=2) > 600
    assert light.any()
    large = pairs_panel(np.full((17, 17), 0.4), [f"R{n}" for n in range(17)], measure="kappa")
    assert large.shape[0] < 1000


def test_what_is_refused():
    with pytest.raises(ValueError, match="one label and one measure"):
        agreement_panel({})
    with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
        pairs_panel(np.zeros((3, 3)), ["a", "b"], measure="kappa")
