import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from medimg.scoring.medmnist import medmnist_scores

GENERATOR = np.random.default_rng(3)


def test_binary():
    target, prob = GENERATOR.integers(0, 2, 90), GENERATOR.random(90).round(1)  # ties, some at 0.5
    area, share = medmnist_scores(target[:, None], prob[:, None], "binary")
    assert area == pytest.approx(roc_auc_score(target, prob), rel=1e-12)
    assert share == pytest.approx(accuracy_score(target, prob > 0.5), rel=1e-12)


def test_multiclass_is_one_against_the_rest_and_the_most_probable_class():
    target, prob = GENERATOR.integers(0, 4, 120), GENERATOR.dirichlet(np.ones(4), 120)
    area, share = medmnist_scores(np.eye(4)[target], prob, "multiclass")
    assert area == pytest.approx(roc_auc_score(target, prob, multi_class="ovr", average="macro"), rel=1e-12)
    assert share == pytest.approx(accuracy_score(target, prob.argmax(axis=1)), rel=1e-12)


def test_multilabel_is_a_plain_mean():
    target, prob = GENERATOR.integers(0, 2, (80, 5)), GENERATOR.random((80, 5))
    area, share = medmnist_scores(target, prob, "multilabel")
    assert area == pytest.approx(roc_auc_score(target, prob, average="macro"), rel=1e-12)
    assert share == pytest.approx(np.mean(target == (prob > 0.5)), rel=1e-12)


def test_a_label_without_positives_leaves_the_plain_mean_undefined():
    assert math.isnan(medmnist_scores([[1, 0], [0, 0]], [[0.9, 0.1], [0.2, 0.1]], "multilabel")[0])


def test_labels_must_suit_the_task():
    with pytest.raises(ValueError, match="one label for a binary task"):
        medmnist_scores([[1, 0]], [[0.9, 0.1]], "binary")
