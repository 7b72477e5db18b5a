import numpy as np
import pytest
from sklearn.metrics import log_loss

from medimg.scoring.embolism import (
    EXAM_LABELS,
    EXAM_WEIGHTS,
    IMAGE_WEIGHT,
    embolism_log_loss,
    embolism_losses,
)


def test_weights_of_an_exam_add_up_to_one():
    assert sum(EXAM_WEIGHTS.values()) == pytest.approx(1.0, abs=1e-9)
    assert len(EXAM_LABELS) == 9


def test_two_exams_by_hand():
    target = np.zeros((2, 9))
    target[0, EXAM_LABELS.index("central_pe")] = 1  # 3 images, 2 of them positive
    target[1, EXAM_LABELS.index("negative_exam_for_pe")] = 1  # 2 images, none positive
    prob = np.where(target == 1, 0.8, 0.1)
    images, image_prob, exam = [1, 1, 0, 0, 0], [0.9, 0.4, 0.2, 0.3, 0.1], [0, 0, 0, 1, 1]
    of_labels = [
        -(w * np.log(0.8) + (1 - w) * np.log(0.9)) for w in (0.1877300613, 0.0736196319)
    ]  # the weights of an exam's other labels add up to 1 - w
    of_images = 0.07361963 * 2 / 3 * -(np.log(0.9) + np.log(0.4) + np.log(0.8))
    expected = (sum(of_labels) + of_images) / (2 + 0.07361963 * 2 / 3 * 3)
    assert embolism_log_loss(target, prob, images, image_prob, exam) == pytest.approx(expected, rel=1e-9)
    labels, parts, weight = embolism_losses(target, prob, images, image_prob, exam)
    assert labels == pytest.approx(of_labels, rel=1e-9)
    assert parts == pytest.approx([of_images, 0.0])
    assert weight == pytest.approx([0.14723926, 0.0])


def test_it_is_the_weighted_log_loss_of_all_rows():
    generator = np.random.default_rng(1)
    n, m = 20, 300
    exam = np.sort(generator.integers(0, n, m))
    target, prob = generator.integers(0, 2, (n, 9)), generator.random((n, 9))
    image_target, image_prob = generator.integers(0, 2, m), generator.random(m)
    fraction = np.array([image_target[exam == e].mean() for e in range(n)])
    weights = np.concatenate([np.tile([*EXAM_WEIGHTS.values()], n), IMAGE_WEIGHT * fraction[exam]])
    expected = log_loss(
        np.concatenate([target.ravel(), image_target]),
        np.concatenate([prob.ravel(), image_prob]),
        sample_weight=weights,
    )
    order = generator.permutation(m)  # images come in any order
    found = embolism_log_loss(target, prob, image_target[order], image_prob[order], exam[order])
    assert found == pytest.approx(expected, rel=1e-12)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(N, 9\) expected"):
        embolism_losses(np.zeros((1, 8)), np.zeros((1, 8)), [0], [0.5], [0])
    with pytest.raises(ValueError, match="images and exams"):
        embolism_losses(np.zeros((1, 9)), np.zeros((1, 9)), [0, 1], [0.5, 0.5], [0])
