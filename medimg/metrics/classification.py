"""Scores of labels for watching a run, equal to those of the table on any number of processes."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from medimg.scoring.classification import accuracy, auroc, average_precision, label_mean, per_label
from medimg.scoring.confusion import confusion_matrix, known_classes, matrix_accuracy


class LabelMetrics(Metric):
    """AUROC, average precision and accuracy, each the mean of the labels that are defined.

    torchmetrics counts a label without positives as 0, refuses NaN targets, and hangs or fails when a process
    saw no case; here such a label is left out, unknown targets are masked, and a process may be empty.

    Args:
        task: ``binary``, ``multiclass`` or ``multilabel``; tells how calls are made: above 0.5, or the most
            probable class.
        classes: Names of the labels, in the order of the network's outputs; one for a binary task.

    Example:
        >>> metric = LabelMetrics("multilabel", ["mass", "hernia"])
        >>> metric.update(torch.tensor([[0.9, 0.2], [0.4, 0.1]]), torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
        >>> metric.compute()
        {'auroc': tensor(1.), 'average_precision': tensor(1.), 'accuracy': tensor(1.),
         'labels_in_mean': tensor(1.)}
    """

    full_state_update = False
    probs: list[Tensor]
    target: list[Tensor]

    def __init__(self, task: Literal["binary", "multiclass", "multilabel"], classes: Sequence[str]) -> None:
        super().__init__()
        self.task, self.classes = task, tuple(classes)
        self.add_state("probs", [], dist_reduce_fx="cat")
        self.add_state("target", [], dist_reduce_fx="cat")
        self._start()

    def reset(self) -> None:
        """Forget all cases."""
        super().reset()
        self._start()

    def _start(self) -> None:
        """Begin with no case rather than no tensor: every process then takes part in the gathering."""
        for state in (self.probs, self.target):
            state.append(torch.zeros(0, len(self.classes), device=self.device))

    def update(self, probs: Tensor, target: Tensor) -> None:
        """Add cases.

        Args:
            probs: Probabilities (B, K), after the sigmoid or the softmax.
            target: 1, 0, a share between, NaN or -1 where unknown, (B, K); one-hot for exclusive classes. A
                soft target counts as positive from 0.5.
        """
        expected = (len(probs), len(self.classes))
        if tuple(probs.shape) != expected or tuple(target.shape) != expected:
            raise ValueError(
                f"probs and target of shape (B, {len(self.classes)}) expected, found {tuple(probs.shape)} and "
                f"{tuple(target.shape)}"
            )
        target = target.detach().float()
        self.probs.append(probs.detach().float())
        self.target.append(torch.where(target < 0, torch.nan, target))

    def compute(self) -> dict[str, Tensor]:
        """The scores over the cases of all processes.

        Returns:
            ``auroc``, ``average_precision`` and ``accuracy``, NaN where nothing is defined, and
            ``labels_in_mean``, the number of labels that the first two are the mean of.

        Raises:
            ValueError: If a probability is NaN or outside [0, 1].
        """
        probs, target = (dim_zero_cat(state).cpu().numpy().astype(np.float64) for state in self._states())
        if probs.size and not (probs.min() >= 0 and probs.max() <= 1):
            raise ValueError(
                f"probabilities in [0, 1] expected, found {probs.min():g} to {probs.max():g}. "
                "Apply the sigmoid or the softmax first."
            )
        if self.task == "multiclass":
            known, index = known_classes(target)
            probs, target = probs[known], np.eye(len(self.classes))[index]
            matrix = confusion_matrix(index, probs.argmax(axis=1), len(self.classes))
            right = float(matrix_accuracy(matrix))
        else:
            target = np.where(np.isnan(target), target, target >= 0.5)
            right = label_mean(per_label(accuracy, target, probs)).mean
        area = label_mean(per_label(auroc, target, probs))
        precision = label_mean(per_label(average_precision, target, probs))
        found = {"auroc": area.mean, "average_precision": precision.mean, "accuracy": right}
        found["labels_in_mean"] = float(area.n)
        return {name: torch.tensor(value, device=self.device) for name, value in found.items()}

    def _states(self) -> tuple[list[Tensor], list[Tensor]]:
        return self.probs, self.target
