"""Probes against scikit-learn, and what they do with labels that nobody knows."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from medimg.errors import DataError
from medimg.models.probes import fit_linear, neighbour_probs


@pytest.fixture
def cases():
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 90)
    features = rng.normal(size=(90, 12)) * rng.uniform(0.1, 9, 12) + 0.9 * np.eye(3, 12)[kind] * 3
    features[:, 11] = 2.5  # a feature that says nothing
    return torch.tensor(features, dtype=torch.float32), torch.eye(3)[kind]


def reference(features, classes, strength, unseen):
    scaler = StandardScaler().fit(features)
    model = LogisticRegression(C=strength, tol=1e-10, max_iter=5000).fit(scaler.transform(features), classes)
    return model.predict_proba(scaler.transform(unseen))


@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_exclusive_classes_are_those_of_scikit_learn(cases, strength):
    features, labels = cases
    probs = fit_linear(features[:60], labels[:60], "multiclass", strength=strength).probs(features[60:])
    wanted = reference(features[:60].double(), labels[:60].argmax(1), strength, features[60:].double())
    np.testing.assert_allclose(probs, wanted, atol=1e-4)


def test_each_label_is_fitted_on_the_cases_where_it_is_known(cases):
    features, labels = cases
    labels = labels.clone()
    labels[::4, 0], labels[1::5, 2] = torch.nan, -1
    probs = fit_linear(features[:60], labels[:60], "multilabel", strength=0.1).probs(features[60:])
    scaler = StandardScaler().fit(features[:60].double())
    for column in range(3):
        known = labels[:60, column] >= 0
        model = LogisticRegression(C=0.1, tol=1e-10, max_iter=5000)
        model.fit(scaler.transform(features[:60].double())[known], labels[:60, column][known])
        wanted = model.predict_proba(scaler.transform(features[60:].double()))[:, 1]
        np.testing.assert_allclose(probs[:, column], wanted, atol=1e-4)


def test_exclusive_classes_leave_unknown_cases_out(cases):
    features, labels = cases
    spoilt = labels[:60].clone()
    spoilt[:10] = torch.nan
    readout = fit_linear(features[:60], spoilt, "multiclass")
    # They take part in the scaling of features, which needs no label, so another scale makes no exact equal.
    close = fit_linear(features[10:60], labels[10:60], "multiclass")
    assert (
        readout.probs(features[60:]).argmax(1) == close.probs(features[60:]).argmax(1)
    ).float().mean() > 0.9


def test_it_is_fitted_within_a_validation_pass(cases):
    features, labels = cases
    wanted = fit_linear(features, labels, "multilabel").probs(features)
    with torch.inference_mode():
        probs = fit_linear(features.clone(), labels.clone(), "multilabel").probs(features)
    torch.testing.assert_close(probs, wanted)


def test_a_label_that_every_case_has_does_no_harm(cases):
    features, _ = cases
    probs = fit_linear(features, torch.ones(90, 1), "binary").probs(features)
    assert probs.isfinite().all()
    assert (probs > 0.9).all()


def test_without_labels_or_with_a_diverged_encoder_it_says_so(cases):
    features, labels = cases
    with pytest.raises(DataError, match="no training case has a known one"):
        fit_linear(features, labels * torch.nan, "multilabel")
    with pytest.raises(DataError, match="Lower the learning rate"):
        fit_linear(features / 0, labels, "multilabel")


def test_neighbours_are_those_of_scikit_learn(cases):
    features, labels = cases
    # At an endless temperature all neighbours count alike.
    probs = neighbour_probs(features[60:], features[:60], labels[:60], neighbours=7, temperature=1e6)
    model = KNeighborsClassifier(7, metric="cosine").fit(features[:60], labels[:60].argmax(1))
    np.testing.assert_allclose(probs, model.predict_proba(features[60:]), atol=1e-5)


def test_near_neighbours_count_more_and_unknown_ones_not():
    known = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    labels = torch.tensor([[1.0, torch.nan], [0.0, torch.nan], [torch.nan, torch.nan]])
    found = neighbour_probs(torch.tensor([[2.0, 0.0]]), known, labels, neighbours=9, temperature=0.5)
    weights = np.exp([1 / 0.5, np.sqrt(0.5) / 0.5])
    np.testing.assert_allclose(found, [[weights[0] / weights.sum(), 0.5]], atol=1e-6)


def test_no_case_has_no_neighbours():
    assert neighbour_probs(torch.zeros(0, 2), torch.eye(2), torch.eye(2)).shape == (0, 2)
