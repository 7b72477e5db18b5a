import numpy as np
import pytest
import torch
from sklearn import metrics

from medimg.metrics.targets import ValueMetrics


def test_batches_score_as_one():
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(30, 2, generator=generator) * 4
    preds = target + torch.randn(30, 2, generator=generator)
    target[:5, 0] = torch.nan
    metric = ValueMetrics(["z", "y"])
    for part in (slice(0, 7), slice(7, 7), slice(7, 30)):
        metric.update(preds[part], target[part])
    errors = [
        metrics.mean_absolute_error(target[start:, k], preds[start:, k]) for k, start in enumerate((5, 0))
    ]
    assert float(metric.compute()["mae"]) == pytest.approx(np.mean(errors), rel=1e-5)
    metric.reset()
    assert all(value.isnan() for value in metric.compute().values())


def test_another_number_of_columns_is_refused():
    with pytest.raises(ValueError, match=r"shape \(B, 1\) expected, found \(3, 2\) and \(3, 1\)"):
        ValueMetrics(["z"]).update(torch.zeros(3, 2), torch.zeros(3, 1))
