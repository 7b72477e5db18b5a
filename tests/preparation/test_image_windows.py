"""Windows are what a radiologist's level and width say."""

import numpy as np
import pytest

from medimg.errors import DataError
from medimg.io.dicom.values import Window
from medimg.preparation.image_windows import show_window, show_windows


def test_windows_agree_with_the_standards_exact_function():
    units = np.linspace(-2000, 2000, 401)[None, None]
    pairs = [(-600, 1500), (100, 700), (40, 400)]  # level and width: lung, embolism, mediastinum
    found = show_windows(units, [(level - width / 2, level + width / 2) for level, width in pairs])
    expected = [Window(level, width, "LINEAR_EXACT")(units[0]) for level, width in pairs]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float32


def test_colours_have_no_windows():
    with pytest.raises(DataError, match="needs one channel; this file has colours"):
        show_windows(np.zeros((3, 2, 2)), [(0, 1)])
    assert show_window(np.full((3, 1, 1), 5), (0, 10)).ravel().tolist() == [0.5] * 3


def test_a_constant_window_divides_by_nothing():
    assert show_window(np.zeros(2), (0, 0)).tolist() == [0, 0]
