import numpy as np
import pytest
from sklearn import metrics

from medimg.ensembling.objectives import gain_interval, objective_value, truth_of


@pytest.fixture
def labels():
    """Targets (N, 2) told apart one by one, with unknown ones, and probabilities."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, (80, 2)).astype(float)
    probs = np.clip(0.3 * target + 0.7 * rng.random((80, 2)), 0.01, 0.99).round(2)
    target[rng.random((80, 2)) < 0.1] = np.nan
    return target, probs


def mean_over_labels(score, target, probs):
    known = ~np.isnan(target)
    return np.mean([score(target[known[:, k], k], probs[known[:, k], k]) for k in range(2)])


@pytest.mark.parametrize(
    ("objective", "reference"),
    [
        ("auroc", metrics.roc_auc_score),
        ("average_precision", metrics.average_precision_score),
        ("log_loss", metrics.log_loss),
        ("kappa", lambda t, p: metrics.cohen_kappa_score(t, p > 0.5)),
        ("pf1", lambda t, p: 2 * p[t == 1].sum() / (p.sum() + t.sum())),
    ],
)
def test_values_of_labels_are_those_of_scikit_learn(labels, objective, reference):
    target, probs = labels
    found = objective_value(objective, truth_of(target, exclusive=False), probs)
    assert found == pytest.approx(mean_over_labels(reference, target, probs), abs=1e-12)


def test_values_of_exclusive_classes_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    classes = rng.integers(0, 3, 60)
    probs = rng.dirichlet([1, 1, 1], 60) * 0.6 + np.eye(3)[classes] * 0.4
    truth = truth_of(np.eye(3)[classes], exclusive=True)
    loss = objective_value("log_loss", truth, probs)
    assert loss == pytest.approx(metrics.log_loss(classes, probs, labels=[0, 1, 2]))
    assert objective_value("kappa", truth, probs) == pytest.approx(
        metrics.cohen_kappa_score(classes, probs.argmax(1))
    )
    assert objective_value("auroc", truth, probs) == pytest.approx(
        metrics.roc_auc_score(classes, probs, multi_class="ovr", average="macro")
    )


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("objective", ["auroc", "average_precision", "log_loss", "kappa", "pf1"])
def test_a_case_that_counts_twice_is_a_case_that_stands_twice(exclusive, objective):
    rng = np.random.default_rng(2)
    target, probs = np.eye(2)[rng.integers(0, 2, 40)], rng.dirichlet([1, 1], 40)
    times = rng.integers(0, 3, (40, 2)).astype(float)
    found = objective_value(objective, truth_of(target, exclusive=exclusive), probs, times)
    for column, value in zip(times.T.astype(int), found, strict=True):
        again = truth_of(np.repeat(target, column, axis=0), exclusive=exclusive)
        assert value == pytest.approx(objective_value(objective, again, np.repeat(probs, column, axis=0))[0])


def test_a_label_without_both_kinds_of_cases_is_left_out():
    truth = truth_of(np.array([[1.0, 1.0], [0.0, 1.0]]), exclusive=False)
    probs = np.array([[0.9, 0.2], [0.1, 0.3]])
    assert objective_value("auroc", truth, probs)[0] == 1
    assert np.isnan(objective_value("auroc", truth_of(np.ones((2, 1)), exclusive=False), probs[:, :1])[0])


def test_volumes_have_an_objective_of_their_own():
    with pytest.raises(ValueError, match="objective of volumes"):
        objective_value("dice", truth_of(np.ones((2, 1)), exclusive=False), np.ones((2, 1)))


def test_a_gain_is_positive_whichever_way_the_objective_points():
    rng = np.random.default_rng(3)
    target = rng.integers(0, 2, (200, 1)).astype(float)
    truth, groups = truth_of(target, exclusive=False), [f"p{n // 2}" for n in range(200)]
    good = np.clip(0.5 * target + 0.5 * rng.random((200, 1)), 0.01, 0.99)
    poor = rng.random((200, 1)).clip(0.01, 0.99)
    for objective in ("auroc", "log_loss"):
        gain = gain_interval(objective, truth, good, poor, groups, resamples=200)
        values = [objective_value(objective, truth, one)[0] for one in (good, poor)]
        assert gain.mean == pytest.approx(abs(values[0] - values[1]))
        assert 0 < gain.low < gain.mean < gain.high
        assert gain.n == 100
        assert gain_interval(objective, truth, poor, good, groups, resamples=200).mean == pytest.approx(
            -gain.mean
        )
    same = gain_interval("auroc", truth, good, good, groups, resamples=200)
    assert (same.mean, same.low, same.high) == (0, 0, 0)
