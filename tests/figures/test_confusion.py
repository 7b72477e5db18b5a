import numpy as np
import pytest

from medimg.figures.confusion import confusion_panel


def fill(panel, k, row, column):
    """Brightness of a corner of a cell, where no number stands; cells are 130 pixels wide."""
    right, bottom = panel.shape[1] - 64, panel.shape[0] - 22
    y, x = bottom - 130 * (k - row) + 15, right - 130 * (k - column) + 15
    return panel[y, x].mean()


def test_rows_are_true_and_the_shade_is_the_share_of_the_row():
    """A rare class is as bright as a common one; mistakes stand where the matrix has them."""
    panel = confusion_panel(np.array([[900, 100, 0], [0, 9, 1], [5, 0, 5]]), ["a", "b", "c"], title="T")
    assert panel.dtype == np.uint8
    shade = np.array([[fill(panel, 3, row, column) for column in range(3)] for row in range(3)])
    assert shade[0, 0] == pytest.approx(shade[1, 1], abs=2)
    assert shade[0, 1] == pytest.approx(shade[1, 2], abs=2)
    assert shade[2, 0] == pytest.approx(shade[2, 2], abs=2)
    assert shade[0, 0] > shade[2, 0] > shade[0, 1] > shade[1, 0]


@pytest.mark.parametrize("k", [1, 2, 14, 60])
def test_any_number_of_classes_and_long_names(k):
    panel = confusion_panel(np.eye(k), [f"a finding with quite a long name {i}" for i in range(k)])
    assert panel.shape[2] == 3
    assert max(panel.shape) < 1300
    assert panel.max() > 200


def test_a_class_without_cases_is_dark():
    panel = confusion_panel(np.array([[5, 5], [0, 0]]), ["here", "absent"])
    assert fill(panel, 2, 1, 0) == fill(panel, 2, 1, 1) < 30


@pytest.mark.parametrize(("shape", "names"), [((2, 3), ["a", "b"]), ((2, 2), ["a"]), ((0, 0), [])])
def test_other_shapes_are_refused(shape, names):
    with pytest.raises(ValueError, match="a matrix of shape"):
        confusion_panel(np.zeros(shape), names)
