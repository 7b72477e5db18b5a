import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from medimg.transforms.axes import filter_axes, gaussian_matrix, linear_matrix


@pytest.mark.parametrize(("size", "sigma"), [(20, 0.5), (20, 2.0), (7, 1.0)])
def test_gaussian_matrix_against_scipy(size: int, sigma: float) -> None:
    expected = gaussian_filter1d(np.eye(size), sigma, axis=0, mode="reflect", truncate=8)
    assert np.abs(gaussian_matrix(size, sigma).numpy() - expected).max() < 1e-5


def test_filter_axes_against_einsum() -> None:
    generator = torch.Generator().manual_seed(0)
    volume = torch.randn(3, 4, 5, generator=generator)
    matrices = [torch.randn(n + 1, n, generator=generator) for n in volume.shape]
    expected = torch.einsum("ad,bh,cw,dhw->abc", *matrices, volume)
    assert torch.allclose(filter_axes(volume, matrices), expected, atol=1e-5)


def test_linear_matrix_against_numpy() -> None:
    signal = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0])
    points = 2.2 - 0.5 + (np.arange(5) - 2) * -0.9
    expected = np.interp(points, np.arange(-1, 7), np.r_[0, signal, 0])
    found = linear_matrix(5, 6, centre=2.2, step=-0.9) @ torch.from_numpy(signal).float()
    assert np.allclose(found.numpy(), expected, atol=1e-5)


def test_a_blur_holds_no_denormal_numbers() -> None:
    matrix = gaussian_matrix(128, 0.7)
    assert matrix[matrix > 0].min() > 1e-10
