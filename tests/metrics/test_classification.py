import math
import pickle

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import multiprocessing

from medimg.metrics.classification import LabelMetrics

NAMES = ["a", "b", "c"]
NAN = math.nan


def cases(n=41, seed=0):
    """Probabilities and labels (N, 3), some unknown, the last never positive."""
    generator = torch.Generator().manual_seed(seed)
    target = (torch.rand(n, 3, generator=generator) < torch.tensor([0.3, 0.5, 0.0])).float()
    probs = (0.6 * torch.rand(n, 3, generator=generator) + 0.3 * target).round(decimals=2)
    target[:5, 0], target[5:9, 1] = NAN, -1
    return probs, target


def scored(metric, *parts):
    for probs, target in parts:
        metric.update(probs, target)
    return {name: float(value) for name, value in metric.compute().items()}


def expected_labels(probs, target):
    known = [(target[:, k] >= 0).numpy() for k in range(2)]
    pairs = [(target[known[k], k].numpy(), probs[known[k], k].numpy()) for k in range(2)]
    right = [((p > 0.5) == t).mean() for t, p in pairs] + [float((probs[:, 2] <= 0.5).float().mean())]
    return {
        "auroc": np.mean([metrics.roc_auc_score(*pair) for pair in pairs]),
        "average_precision": np.mean([metrics.average_precision_score(*pair) for pair in pairs]),
        "accuracy": np.mean(right),
        "labels_in_mean": 2,
    }


def test_labels_equal_scikit_learn_over_the_defined_ones():
    probs, target = cases()
    found = scored(LabelMetrics("multilabel", NAMES), (probs, target))
    assert found == pytest.approx(expected_labels(probs, target), rel=1e-6)


def test_classes_equal_scikit_learn():
    generator = torch.Generator().manual_seed(1)
    probs = torch.randn(50, 3, generator=generator).softmax(1)
    index = torch.randint(0, 3, (50,), generator=generator)
    target = torch.eye(3)[index]
    unknown = (torch.full((2, 3), 1 / 3), torch.tensor([[-1.0, -1, -1], [NAN, 0, 0]]))
    found = scored(LabelMetrics("multiclass", NAMES), (probs, target), unknown)
    assert found["auroc"] == pytest.approx(
        metrics.roc_auc_score(index, probs.double() / probs.double().sum(1, keepdim=True), multi_class="ovr")
    )
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(index, probs.argmax(1)))


def test_batches_half_precision_and_reset():
    probs, target = cases()
    whole = scored(LabelMetrics("multilabel", NAMES), (probs, target))
    metric = LabelMetrics("multilabel", NAMES)
    batches = [(probs[start : start + 7], target[start : start + 7]) for start in range(0, 41, 7)]
    assert scored(metric, *batches) == whole
    metric.reset()
    assert scored(metric, *batches) == whole
    for batch in batches:
        assert set(metric(*batch)) == set(whole)  # the score of one batch, while the others stay
    again = LabelMetrics("binary", ["a"])
    again.update(probs[:, :1].bfloat16(), target[:, :1])
    assert math.isfinite(again.compute()["auroc"])


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_seen_is_undefined(task):
    metric = LabelMetrics(task, NAMES[:1] if task == "binary" else NAMES)
    found = scored(metric)
    assert all(math.isnan(found[name]) for name in ("auroc", "average_precision", "accuracy"))
    assert found["labels_in_mean"] == 0


def test_soft_targets_count_from_one_half_and_shapes_are_checked():
    metric = LabelMetrics("binary", ["a"])
    assert scored(metric, (torch.tensor([[0.9], [0.2]]), torch.tensor([[0.7], [0.3]])))["accuracy"] == 1
    with pytest.raises(ValueError, match=r"shape \(B, 1\) expected, found \(2, 2\)"):
        metric.update(torch.zeros(2, 2), torch.zeros(2, 2))
    metric.update(torch.tensor([[-3.0]]), torch.tensor([[0.0]]))
    with pytest.raises(ValueError, match=r"found -3 to 0\.9\. Apply the sigmoid"):
        metric.compute()


def test_a_metric_can_be_copied_and_pickled():
    probs, target = cases()
    metric = LabelMetrics("multilabel", NAMES)
    assert scored(pickle.loads(pickle.dumps(metric)), (probs, target)) == scored(metric, (probs, target))
    copied = metric.clone()
    copied.reset()
    assert len(metric.probs) > len(copied.probs)


def _score_share(rank, folder, shares):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    probs, target = cases()
    found = []
    for share in shares:
        metric = LabelMetrics("multilabel", NAMES)
        for index in share[rank]:
            metric.update(probs[index], target[index])
        found.append({name: float(value) for name, value in metric.compute().items()})
    torch.save(found, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    """Uneven shares, an empty process on either side, and two empty ones."""
    everything = [slice(0, 16), slice(16, 41)]
    shares = [
        ([slice(0, 8), slice(8, 13)], [slice(13, 41)]),
        (everything, []),
        ([], everything),
        ([], []),
    ]
    multiprocessing.spawn(_score_share, (str(tmp_path), shares), nprocs=2)
    alone = scored(LabelMetrics("multilabel", NAMES), cases())
    for rank in range(2):
        *found, nothing = torch.load(tmp_path / f"{rank}.pt")
        for one in found:
            assert one == pytest.approx(alone, abs=1e-6)
        assert math.isnan(nothing["auroc"])
