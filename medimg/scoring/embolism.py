"""The weighted log loss of the RSNA pulmonary embolism challenge of 2020."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from medimg.scoring.log_loss import log_losses
from medimg.scoring.ranking import FloatArray

EXAM_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "negative_exam_for_pe": 0.0736196319,
        "indeterminate": 0.09202453988,
        "chronic_pe": 0.1042944785,
        "acute_and_chronic_pe": 0.1042944785,
        "central_pe": 0.1877300613,
        "leftsided_pe": 0.06257668712,
        "rightsided_pe": 0.06257668712,
        "rv_lv_ratio_gte_1": 0.2346625767,
        "rv_lv_ratio_lt_1": 0.0782208589,
    }
)
"""Weight of each label of an exam; they add up to 1 up to rounding."""

EXAM_LABELS = tuple(EXAM_WEIGHTS)
IMAGE_LABEL = "pe_present_on_image"
EXAM_WEIGHT = sum(EXAM_WEIGHTS.values())
IMAGE_WEIGHT = 0.07361963  # times the exam's fraction of positive images


def embolism_losses(
    target: npt.ArrayLike,
    prob: npt.ArrayLike,
    image_target: npt.ArrayLike,
    image_prob: npt.ArrayLike,
    exam: npt.ArrayLike,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Sum the weighted losses of each exam.

    Args:
        target: 1 or 0 for each label of each exam, in the order of ``EXAM_LABELS``, shape (N, 9).
        prob: Probabilities, shape (N, 9).
        image_target: Whether an embolism is seen on each image, 1 or 0, shape (M,).
        image_prob: Its probability, shape (M,).
        exam: Position in [0, N) of the exam that each image belongs to, shape (M,).

    Returns:
        For each exam, shape (N,): the weighted losses of its labels, which weigh ``EXAM_WEIGHT`` together; those of its
        images; and the weight of its images, 0 for an exam without a positive one.

    Raises:
        ValueError: As for ``log_losses``, or if shapes do not fit together.

    Example:
        >>> _, images, weight = embolism_losses(np.zeros((1, 9)), np.zeros((1, 9)), [1, 0], [0.5, 0.5], [0, 0])
        >>> weight.round(8), (images / weight).round(4)  # half of 0.07361963 for each of the two images
        (array([0.07361963]), array([0.6931]))
    """
    labels = log_losses(target, prob)
    if labels.ndim != 2 or labels.shape[1] != len(EXAM_LABELS):
        raise ValueError(f"exams of shape (N, {len(EXAM_LABELS)}) expected, found {labels.shape}")
    images, position = log_losses(image_target, image_prob), np.asarray(exam, np.intp)
    if images.ndim != 1 or images.shape != position.shape:
        raise ValueError(
            f"images and exams of one shape (M,) expected, found {images.shape}, {position.shape}"
        )
    n = len(labels)
    n_images = np.bincount(position, minlength=n)
    n_positive = np.bincount(position, np.asarray(image_target, np.float64), minlength=n)
    fraction = n_positive / np.maximum(n_images, 1)
    image_loss = IMAGE_WEIGHT * fraction * np.bincount(position, images, minlength=n)
    return labels @ np.array([*EXAM_WEIGHTS.values()]), image_loss, IMAGE_WEIGHT * fraction * n_images


def embolism_log_loss(
    target: npt.ArrayLike,
    prob: npt.ArrayLike,
    image_target: npt.ArrayLike,
    image_prob: npt.ArrayLike,
    exam: npt.ArrayLike,
) -> float:
    """The score: weighted losses of all rows over the sum of their weights; arguments as for ``embolism_losses``.

    Example:
        >>> round(embolism_log_loss(np.zeros((2, 9)), np.full((2, 9), 0.5), [1, 0], [0.5, 0.5], [0, 1]), 4)
        0.6931

    Reference:
        Colak et al., "The RSNA pulmonary embolism CT dataset", Radiology: Artificial Intelligence 2021.
    """
    labels, images, image_weight = embolism_losses(target, prob, image_target, image_prob, exam)
    weights = np.full(len(labels), EXAM_WEIGHT) + image_weight
    return float((labels + images).sum() / weights.sum())
