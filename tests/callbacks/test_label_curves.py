"""Curves agree with scikit-learn, and the worst mistakes come first."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medimg.callbacks.label_curves import label_curves, worst_mistakes
from medimg.datamodules import ImageDataModule
from medimg.datasets import ImageFolder
from medimg.scoring.label_table import label_arrays, label_row

NAN = float("nan")


class Pictures(ImageDataModule):
    """Each case is an image of its own."""

    def __init__(self):
        super().__init__(dataset=ImageFolder())

    def pixels(self, case_id):
        return [np.full((1, 4, 4), len(case_id), np.float32)]


def arrays(target, prob, labels):
    pairs = zip(target, prob, strict=True)
    return label_arrays([label_row(f"c{i}", f"c{i}", labels, p, t) for i, (t, p) in enumerate(pairs)])


def test_curves_of_each_label_and_none_of_an_undefined_one():
    rng = np.random.default_rng(0)
    target = np.column_stack(
        [np.arange(30) % 2, np.zeros(30), np.where(np.arange(30) < 5, NAN, np.arange(30) % 3 == 0)]
    )
    prob = rng.random((30, 3))
    found = label_curves(arrays(target, prob, ("a", "never", "c")))
    assert found["a"].auroc == pytest.approx(roc_auc_score(target[:, 0], prob[:, 0]))
    assert found["c"].auroc == pytest.approx(roc_auc_score(target[5:, 2], prob[5:, 2]))
    assert np.isnan(found["never"].auroc) and found["never"].roc[0].size == 0


def test_the_worst_mistakes_of_labels():
    target = [[1, 0], [1, NAN], [0, 0], [0, 1]]
    prob = [[0.9, 0.6], [0.1, 0.99], [0.2, 0.3], [0.7, 0.02]]
    tiles = worst_mistakes(arrays(target, prob, ("mass", "clip")), "multilabel", Pictures(), 3)
    assert [(t.case_id, t.truth, t.call) for t in tiles] == [
        ("c3", "clip", "no clip"), ("c1", "mass", "no mass"), ("c3", "no mass", "mass"),
    ]  # fmt: skip
    assert [t.prob for t in tiles] == pytest.approx([0.98, 0.9, 0.7])


def test_the_worst_mistakes_of_exclusive_classes():
    target = np.eye(3)[[0, 1, 2, 0]]
    prob = [[0.8, 0.1, 0.1], [0.5, 0.3, 0.2], [0.9, 0.06, 0.04], [0.4, 0.3, 0.3]]
    tiles = worst_mistakes(arrays(target, prob, ("a", "b", "c")), "multiclass", Pictures(), 5)
    assert [(t.case_id, t.truth, t.call, round(t.prob, 3)) for t in tiles] == [
        ("c2", "c", "a", 0.9),
        ("c1", "b", "a", 0.5),
    ]
