"""Choose the probability above which a case is called positive, on validation cases."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from medimg.errors import ConfigError, DataError
from medimg.scoring.classification import counts_at, divide, known_pairs
from medimg.scoring.ranking import FloatArray, cut_counts

RuleName = Literal["f1", "fbeta", "pf1", "youden", "sensitivity"]


@dataclass(frozen=True, slots=True)
class ThresholdRule:
    """What a threshold is chosen for.

    Attributes:
        name: ``f1`` or ``fbeta``: highest F-score; ``pf1``: highest probabilistic F1 of calls of 0 and 1, which is
            their F1; ``youden``: highest sensitivity plus specificity; ``sensitivity``: highest threshold that
            still finds the wished share of the positive cases.
        beta: How much more recall counts than precision, for ``fbeta``.
        target: The wished sensitivity, in (0, 1].

    Raises:
        ConfigError: If ``beta`` or ``target`` is out of range.

    Example:
        >>> rule = ThresholdRule("sensitivity", target=0.5)
        >>> rule.choose([1, 1, 0, 0], [0.75, 0.5, 0.25, 0.125])
        0.625
        >>> rule.score([1, 1, 0, 0], [1, 0, 0, 0])
        0.5
    """

    name: RuleName
    beta: float = 1.0
    target: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.beta < math.inf:
            raise ConfigError(
                f"--beta: expected a number above 0, found {self.beta:g}; 2 weighs recall higher."
            )
        if not 0 < self.target <= 1:
            raise ConfigError(f"--target: expected a sensitivity above 0, up to 1, found {self.target:g}.")

    def __str__(self) -> str:
        """The rule in short, as it is printed and kept."""
        more = {"fbeta": f" {self.beta:g}", "sensitivity": f" {self.target:g}"}
        return self.name + more.get(self.name, "")

    def choose(self, target: npt.ArrayLike, score: npt.ArrayLike) -> float:
        """The threshold that serves the rule best; arguments and errors as for ``max_f1_threshold``."""
        match self.name:
            case "youden":
                return youden_threshold(target, score)
            case "sensitivity":
                return sensitivity_threshold(target, score, self.target)
            case "fbeta":
                return max_fbeta_threshold(target, score, self.beta)
            case "f1" | "pf1":
                return max_f1_threshold(target, score)

    def score(self, target: npt.ArrayLike, called: npt.ArrayLike) -> float:
        """What the rule makes as high as it can, of calls of 0 and 1, shape (N,); NaN without both classes."""
        counts = counts_at(target, called)
        sensitivity = divide(counts.tp, counts.tp + counts.fn, counts.both)
        match self.name:
            case "youden":
                return float(2 * counts.balanced_accuracy() - 1)
            case "sensitivity":
                return float(sensitivity)
            case "f1" | "pf1" | "fbeta":
                square = self.beta**2 if self.name == "fbeta" else 1.0
                part = (1 + square) * counts.tp
                return float(divide(part, part + square * counts.fn + counts.fp, counts.both))


def max_f1_threshold(target: npt.ArrayLike, score: npt.ArrayLike) -> float:
    """The threshold with the highest F1.

    Fit it on validation cases and apply it to others: chosen on the cases that it is judged on, it flatters.

    Args:
        target: 1, 0, or NaN where unknown, shape (N,).
        score: Score of each case, shape (N,).

    Returns:
        A threshold; cases that score above it are called positive. It lies halfway between two scores, so
        that small changes of the scores do not turn calls. Among equals the highest.

    Raises:
        DataError: If the known cases are all positive or all negative.
        ValueError: If shapes differ, a target is not 0, 1 or NaN, or a known case has no score.

    Example:
        >>> max_f1_threshold([1, 1, 0, 0], [0.75, 0.5, 0.25, 0.125])
        0.375
    """
    return max_fbeta_threshold(target, score, 1.0)


def max_fbeta_threshold(target: npt.ArrayLike, score: npt.ArrayLike, beta: float) -> float:
    """The threshold with the highest F-beta.

    Args:
        target: 1, 0, or NaN where unknown, shape (N,).
        score: Score of each case, shape (N,).
        beta: How much more recall counts than precision: 2 is common for screening.

    Returns:
        A threshold as ``max_f1_threshold`` gives it.

    Raises:
        DataError: If the known cases are all positive or all negative.
        ValueError: As for ``max_f1_threshold``.

    Example:
        >>> max_fbeta_threshold([1, 0, 0, 1], [0.875, 0.75, 0.5, 0.25], 0.5)
        0.8125
        >>> max_fbeta_threshold([1, 0, 0, 1], [0.875, 0.75, 0.5, 0.25], 2) < 0.25
        True
    """
    scores, true, false, n_positive, _ = _cuts(target, score)
    return _below(scores, int(np.argmax((1 + beta**2) * true / (true + false + beta**2 * n_positive))))


def sensitivity_threshold(target: npt.ArrayLike, score: npt.ArrayLike, least: float) -> float:
    """The highest threshold that still finds a wished share of the positive cases.

    Args:
        target: 1, 0, or NaN where unknown, shape (N,).
        score: Score of each case, shape (N,).
        least: Sensitivity to keep, in (0, 1].

    Returns:
        A threshold as ``max_f1_threshold`` gives it.

    Raises:
        DataError: If the known cases are all positive or all negative.
        ValueError: As for ``max_f1_threshold``.

    Example:
        >>> sensitivity_threshold([1, 0, 1, 0], [0.875, 0.5, 0.375, 0.125], 0.9)
        0.25
    """
    scores, true, _, n_positive, _ = _cuts(target, score)
    enough = true >= least * n_positive - 1e-9 * n_positive  # 0.95 * 20 is a little more than 19
    return _below(scores, int(np.argmax(enough)))


def youden_threshold(target: npt.ArrayLike, score: npt.ArrayLike) -> float:
    """The threshold with the highest sum of sensitivity and specificity, and so of balanced accuracy.

    Fit it on validation cases and apply it to others.

    Args:
        target: 1, 0, or NaN where unknown, shape (N,).
        score: Score of each case, shape (N,).

    Returns:
        A threshold as ``max_f1_threshold`` gives it.

    Raises:
        DataError: If the known cases are all positive or all negative.
        ValueError: If shapes differ, a target is not 0, 1 or NaN, or a known case has no score.

    Example:
        >>> youden_threshold([1, 0, 1, 0], [0.875, 0.5, 0.375, 0.125])
        0.6875

    Reference:
        Youden 1950, "Index for rating diagnostic tests".
    """
    scores, true, false, n_positive, n_negative = _cuts(target, score)
    return _below(scores, int(np.argmax(true * n_negative - false * n_positive)))


def _cuts(
    target: npt.ArrayLike, score: npt.ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray, float, float]:
    positive, scores = known_pairs(target, score)
    if positive.all() or not positive.any():
        found = f"{int(positive.sum())} positive and {int((~positive).sum())} negative"
        raise DataError(
            f"a threshold needs cases with and without the label, found {found} ones. "
            "Choose it on a larger validation split, or keep 0.5."
        )
    distinct, true, false = cut_counts(positive, scores)
    return distinct, true.astype(float), false.astype(float), float(true[-1]), float(false[-1])


def _below(scores: FloatArray, index: int) -> float:
    """A threshold between the score at this index and the next lower one."""
    if index + 1 == len(scores):
        return float(np.nextafter(scores[index], -np.inf))
    high, low = float(scores[index]), float(scores[index + 1])
    middle = low + (high - low) / 2
    return middle if middle < high else low  # neighbouring floats have no middle
