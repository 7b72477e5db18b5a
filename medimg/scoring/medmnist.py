"""AUC and accuracy as the MedMNIST collection defines them."""

import numpy as np
import numpy.typing as npt

from medimg.records import Task
from medimg.scoring.classification import accuracy, auroc, per_label
from medimg.scoring.confusion import known_classes


def medmnist_scores(target: npt.ArrayLike, prob: npt.ArrayLike, task: Task) -> tuple[float, float]:
    """Score one data set.

    Args:
        target: 1 or 0 of each label, one-hot for exclusive classes, shape (N, K); K is 1 for a binary task,
            whose score is that of label 1.
        prob: Probabilities, shape (N, K).
        task: ``binary``, ``multiclass`` or ``multilabel``.

    Returns:
        AUC, the plain mean over labels, or over classes each against the rest; and ACC, the share of cases
        whose most probable class is right or, label by label, of calls above 0.5 that are right. Both are
        NaN if a label lacks positives or negatives.

    Raises:
        ValueError: If the shapes are not one (N, K), or K does not suit the task.

    Example:
        >>> medmnist_scores([[1], [0], [0]], [[0.9], [0.95], [0.5]], "binary")
        (0.5, 0.6666666666666666)

    Reference:
        Yang et al., "MedMNIST v2", Scientific Data 2023, doi:10.1038/s41597-022-01721-8.
    """
    areas = per_label(auroc, target, prob)
    if (len(areas) == 1) != (task == "binary"):
        raise ValueError(f"one label for a binary task and several else expected, found {len(areas)}")
    area = float(areas.mean())
    if np.isnan(area):
        return area, area
    if task != "multiclass":
        return area, float(per_label(accuracy, target, prob).mean())
    known, index = known_classes(target)
    return area, float(np.mean(np.asarray(prob)[known].argmax(axis=1) == index))
