import numpy as np
import pytest

from medimg.errors import ConfigError
from medimg.preparation.normalize import normalize, window, zscore


@pytest.fixture
def image():
    values = np.random.default_rng(0).normal(100, 20, (2, 4, 5, 6)).astype(np.float32)
    values[:, 0] = 0
    return values


def test_zscore_over_everything(image):
    result = zscore(image[0])
    assert abs(result.mean()) < 1e-5
    assert abs(result.std() - 1) < 1e-5


def test_zscore_over_what_is_not_zero(image):
    result = zscore(image[0], nonzero=True)
    assert (result[0] == 0).all()
    assert abs(result[1:].mean()) < 1e-5
    assert abs(result[1:].std() - 1) < 1e-5


def test_constant_and_empty_images_become_zero():
    assert (zscore(np.full((2, 2, 2), 7, np.float32)) == 0).all()
    assert (zscore(np.zeros((2, 2, 2), np.float32), nonzero=True) == 0).all()


def test_millions_keep_their_precision():
    values = (1_700_000 + np.arange(27).reshape(3, 3, 3)).astype(np.float32)
    expected = (values.astype(np.float64) - values.mean(dtype=np.float64)) / values.std(dtype=np.float64)
    np.testing.assert_allclose(zscore(values), expected, atol=1e-3)


def test_window_clips_then_standardises():
    result = window(np.array([[[-1000.0, 0.0, 3000.0]]], np.float32), (-160, 240), 40, 100)
    np.testing.assert_allclose(result.ravel(), [-2.0, -0.4, 2.0], rtol=1e-6)


def test_each_channel_has_its_own_way(image):
    result = normalize(image, ("none", "ct"), (80.0, 120.0), (100.0, 10.0))
    np.testing.assert_array_equal(result[0], image[0])
    np.testing.assert_allclose(result[1], (image[1].clip(80, 120) - 100) / 10, rtol=1e-5)
    np.testing.assert_array_equal(
        normalize(image, ("zscore",), None, None), normalize(image, ("zscore", "zscore"), None, None)
    )


def test_what_does_not_fit_is_refused(image):
    with pytest.raises(ConfigError, match="3 ways for 2 channels"):
        normalize(image, ("none",) * 3, None, None)
    with pytest.raises(ConfigError, match="needs window_hu and mean_std"):
        normalize(image, ("ct",), None, None)
