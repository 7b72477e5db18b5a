import sys

import numpy as np
import pytest
import torch

from medimg.errors import ConfigError
from medimg.explain.pixels import (
    cells_of,
    gradient_shap,
    integrated_gradients,
    kernel_shap,
    make_baseline,
    occlusion,
)

WEIGHTS = torch.linspace(-1, 1, 2 * 8 * 8).view(1, 2, 8, 8)


def linear(cases):
    return (cases * WEIGHTS).flatten(1).sum(1)


def sets(seed=0):
    torch.manual_seed(seed)
    return torch.randn(1, 2, 8, 8), torch.randn(1, 2, 8, 8)


def test_of_a_linear_answer_every_method_gives_weight_times_change():
    case, baseline = sets()
    exact = (WEIGHTS * (case - baseline)).sum(1)
    found = integrated_gradients(linear, case, baseline, 2, batch=4)
    assert torch.allclose(found.values, exact, atol=1e-4)
    assert found.steps == 32 and found.completeness < 1e-3
    shap = kernel_shap(linear, case, baseline, 2, samples=400, batch=64)  # 64 cells of one pixel
    assert torch.allclose(shap.values, exact, atol=0.05)
    assert shap.values.sum().item() == pytest.approx(exact.sum().item(), abs=1e-3)
    one = occlusion(linear, case, baseline, 2, batch=4)  # an eighth of 8 is a pixel
    assert torch.allclose(one.values, exact, atol=1e-4)
    assert torch.equal(
        gradient_shap(linear, case, baseline, 2, samples=4).values,
        gradient_shap(linear, case, baseline, 2, samples=4).values,
    )


def test_steps_are_doubled_until_the_sum_is_the_change():
    case, baseline = torch.full((1, 1, 2, 2), 3.0), torch.zeros(1, 1, 2, 2)

    def steep(cases):
        return torch.sigmoid(400 * (cases.mean((1, 2, 3)) - 0.777))

    found = integrated_gradients(steep, case, baseline, 2, batch=8)
    assert found.steps > 32 and found.completeness <= 0.01
    assert found.values.sum().item() == pytest.approx(1.0, abs=0.01)


def test_what_no_number_of_steps_reaches_is_reported():
    def jump(cases):  # the gradient is that of a line, the values have a step
        mean = cases.mean((1, 2, 3))
        return mean + 10 * (mean > 1.2345).float()

    found = integrated_gradients(jump, torch.full((1, 1, 2, 2), 3.0), torch.zeros(1, 1, 2, 2), 2, batch=64)
    assert found.steps == 1024 and found.completeness == pytest.approx(10 / 13, rel=0.01)


def test_baselines():
    case = torch.randn(1, 3, 16, 16) + 5
    assert not make_baseline(case, 2, "zero").any()
    assert torch.equal(make_baseline(case, 2, "min")[0, 1], torch.full((16, 16), case[0, 1].min().item()))
    blurred = make_baseline(case, 2, "blur")
    assert blurred.std() < 0.3 * case.std() and blurred.mean().item() == pytest.approx(
        case.mean().item(), abs=0.1
    )


def test_groups_are_cut_image_by_image():
    group = torch.randn(1, 3, 1, 8, 8)
    cells = cells_of(group, 2)
    assert cells.shape == (3, 8, 8) and [len(np.unique(one)) for one in cells] == [16, 16, 16]
    assert len(np.unique(cells_of(torch.zeros(1, 20, 1, 8, 8), 2))) == 20

    def second(cases):
        return cases[:, 1].flatten(1).sum(1)

    base = torch.zeros_like(group)
    for found in (
        occlusion(second, group, base, 2, batch=2),
        kernel_shap(second, group, base, 2, samples=300, batch=8),
        integrated_gradients(second, group, base, 2, batch=2),
    ):
        assert found.values.shape == (1, 3, 8, 8)
        assert found.values[0, 1].abs().max() > 100 * found.values[0, [0, 2]].abs().max().clamp(min=1e-4)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "shap", None)
    case, baseline = sets()
    with pytest.raises(ConfigError, match=r"captum, which is not installed: install medimg\[explain\]"):
        integrated_gradients(linear, case, baseline, 2, batch=1)
    with pytest.raises(ConfigError, match=r"shap, which is not installed: install medimg\[explain\]"):
        kernel_shap(linear, case, baseline, 2, samples=8, batch=1)
