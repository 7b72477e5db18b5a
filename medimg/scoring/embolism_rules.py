"""The rules by which the labels of one exam of the RSNA pulmonary embolism challenge must fit together."""

import numpy as np
import numpy.typing as npt

from medimg.scoring.embolism import EXAM_LABELS
from medimg.scoring.ranking import BoolArray

SIDES = ("central_pe", "leftsided_pe", "rightsided_pe")
RATIOS = ("rv_lv_ratio_gte_1", "rv_lv_ratio_lt_1")
CHRONIC = ("chronic_pe", "acute_and_chronic_pe")
WITHOUT = ("negative_exam_for_pe", "indeterminate")
"""Labels of an exam without embolism; the tuples above are those of one with it."""


def broken_rules(prob: npt.ArrayLike, highest_image: npt.ArrayLike) -> dict[str, BoolArray]:
    """Say which exams break which rule. A label or an image counts as positive above 0.5.

    Args:
        prob: Probabilities of each exam in the order of ``medimg.scoring.embolism.EXAM_LABELS``, shape (N, 9).
        highest_image: Highest probability among the images of each exam, shape (N,).

    Returns:
        By the rule's wording, whether each exam breaks it, shape (N,). The first four rules hold for exams
        with a positive image, the last two for the others.

    Raises:
        ValueError: If the shapes do not fit together.

    Example:
        >>> found = broken_rules(np.zeros((1, 9)), [0.1])  # no positive image: negative or indeterminate?
        >>> [rule for rule, broken in found.items() if broken.any()]
        ['no positive image: exactly one of negative and indeterminate']
    """
    called, highest = np.asarray(prob, np.float64) > 0.5, np.asarray(highest_image, np.float64)
    if called.shape != (len(highest), len(EXAM_LABELS)):
        raise ValueError(
            f"prob (N, {len(EXAM_LABELS)}) and highest_image (N,) expected, found {called.shape}, {highest.shape}"
        )
    positive = highest > 0.5

    def number(labels: tuple[str, ...]) -> npt.NDArray[np.intp]:
        columns = [EXAM_LABELS.index(label) for label in labels]
        total: npt.NDArray[np.intp] = np.sum(called[:, columns], axis=1, dtype=np.intp)
        return total

    return {
        "positive image: exactly one RV/LV ratio": positive & (number(RATIOS) != 1),
        "positive image: at least one of central, left and right": positive & (number(SIDES) == 0),
        "positive image: not both chronic and acute-and-chronic": positive & (number(CHRONIC) == 2),
        "positive image: neither negative nor indeterminate": positive & (number(WITHOUT) > 0),
        "no positive image: exactly one of negative and indeterminate": ~positive & (number(WITHOUT) != 1),
        "no positive image: none of the seven other labels": ~positive
        & (number(RATIOS + SIDES + CHRONIC) > 0),
    }
