"""What the weights of an ensemble of tables are searched for: one number from targets and probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medimg.scoring.bootstrap import Interval
from medimg.scoring.classification import Counts, divide
from medimg.scoring.confusion import known_classes, matrix_kappa
from medimg.scoring.label_bootstrap import PatientDraws, interval_of
from medimg.scoring.probabilistic_f1 import pf1_from_sums
from medimg.scoring.ranking import BoolArray, FloatArray, IndexArray, rank_scores

Objective = Literal["auroc", "average_precision", "log_loss", "pf1", "kappa", "dice"]

LOWER_IS_BETTER = ("log_loss",)
ORDER_ONLY = ("auroc", "average_precision")
"""Objectives that need no probabilities, only the order of the cases, so that ranks serve as well."""

# A float32 sigmoid reaches 0 and 1; a sure mistake costs 16 and not infinity.
_LEAST = 1e-7


@dataclass(frozen=True, slots=True)
class Truth:
    """Targets of a table.

    Attributes:
        positive: Whether a case has a label, shape (N, K); unknown ones do not.
        known: Whether that is known, shape (N, K).
        exclusive: Whether each case has exactly one of the labels.
    """

    positive: BoolArray
    known: BoolArray
    exclusive: bool

    def at(self, cases: IndexArray) -> "Truth":
        """The targets of some cases, by their positions."""
        return Truth(self.positive[cases], self.known[cases], self.exclusive)


def truth_of(target: FloatArray, *, exclusive: bool) -> Truth:
    """Read targets; a soft one counts as positive from 0.5, of exclusive classes the largest share.

    Args:
        target: 1, 0, a share between, or NaN where unknown, shape (N, K).
        exclusive: Whether each case has exactly one of the labels.

    Example:
        >>> truth_of(np.array([[0.2, 0.8], [np.nan, 1.0]]), exclusive=True).positive.tolist()
        [[False, True], [False, False]]
    """
    if not exclusive:
        return Truth(np.nan_to_num(target) >= 0.5, ~np.isnan(target), exclusive)
    known, classes = known_classes(target)
    positive = np.zeros(target.shape, bool)
    positive[np.flatnonzero(known), classes] = True
    return Truth(positive, np.repeat(known[:, None], target.shape[1], axis=1), exclusive)


def objective_value(
    objective: Objective, truth: Truth, probs: FloatArray, times: FloatArray | None = None
) -> FloatArray:
    """Value of an objective on cases that count different times.

    Args:
        objective: ``auroc``, ``average_precision``, ``pf1``: mean over the labels that are defined; ``kappa``: of the
            most probable class where classes are exclusive, else mean over labels called above 0.5;
            ``log_loss``: of the class or, where labels are told apart one by one, mean over labels.
        truth: Targets of N cases.
        probs: Probabilities, shape (N, K).
        times: How often each case counts, shape (N, R) for R sets; ``None`` counts each once.

    Returns:
        One value a set, shape (R,); NaN where it is not defined.

    Raises:
        ValueError: If the objective is one for volumes.

    Example:
        >>> truth = truth_of(np.array([[1.0], [0.0], [1.0]]), exclusive=False)
        >>> objective_value("auroc", truth, np.array([[0.9], [0.5], [0.5]]))
        array([0.75])
    """
    times = np.ones((len(probs), 1)) if times is None else times
    if truth.exclusive and objective in ("kappa", "log_loss"):
        return _together(objective, truth, probs, times)
    columns = zip(truth.positive.T, truth.known.T, probs.T, strict=True)
    values = np.stack([_of_label(objective, *column, times) for column in columns])  # (K, R)
    return divide(np.nansum(values, axis=0), (~np.isnan(values)).sum(axis=0).astype(np.float64))


def _together(objective: Objective, truth: Truth, probs: FloatArray, times: FloatArray) -> FloatArray:
    """Scores that exclusive classes have in common."""
    known = truth.known[:, 0]
    times, probs, true = times[known], probs[known], truth.positive[known].argmax(axis=1)
    rows, k = np.arange(len(true)), probs.shape[1]
    if objective == "log_loss":
        loss = -np.log(np.clip(probs[rows, true], _LEAST, 1))
        return divide(loss @ times, times.sum(axis=0))
    cells = np.zeros((len(true), k * k))
    cells[rows, true * k + probs.argmax(axis=1)] = 1
    return matrix_kappa((times.T @ cells).reshape(-1, k, k))


def _of_label(
    objective: Objective, positive: BoolArray, known: BoolArray, prob: FloatArray, times: FloatArray
) -> FloatArray:
    """Score of one label, shape (R,)."""
    match objective:
        case "auroc":
            return rank_scores(positive, prob, known).auroc(times)
        case "average_precision":
            return rank_scores(positive, prob, known).average_precision(times)
        case "dice":
            raise ValueError("dice is an objective of volumes")
    here, there = known & positive, known & ~positive
    n_here, n_there = here @ times, there @ times
    match objective:
        case "log_loss":
            right = np.clip(np.where(positive, prob, 1 - prob), _LEAST, 1)
            return divide((-np.log(right) * known) @ times, n_here + n_there)
        case "pf1":
            both = np.asarray((n_here > 0) & (n_there > 0))
            return pf1_from_sums((prob * here) @ times, (prob * there) @ times, n_here, both)
        case "kappa":
            called = prob > 0.5
            tp, fp = (here & called) @ times, (there & called) @ times
            return Counts(tp, fp, n_here - tp, n_there - fp).kappa()


def gain_interval(
    objective: Objective,
    truth: Truth,
    probs: FloatArray,
    base: FloatArray,
    groups: Sequence[str],
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """How much better one prediction is than another, with a paired bootstrap interval over patients.

    Args:
        objective: What is compared.
        truth: Targets of N cases.
        probs: Probabilities of the one prediction, shape (N, K).
        base: Probabilities of the other.
        groups: Patient of each case, length N.
        level: Share of the resampled differences inside the interval.
        resamples: Number of draws.
        seed: Seed of the draws.

    Returns:
        ``probs`` less ``base``, turned round where lower is better, so that a gain is positive; ``n`` counts
        patients.

    Example:
        >>> truth = truth_of(np.array([[1.0], [0.0], [1.0], [0.0]]), exclusive=False)
        >>> sure, unsure = np.array([[0.9], [0.1], [0.8], [0.3]]), np.full((4, 1), 0.5)
        >>> gain_interval("auroc", truth, sure, unsure, list("abcd"), resamples=50).mean
        0.5
    """
    draws = PatientDraws(groups, resamples=resamples, seed=seed)
    parts = []
    for times in draws.chunks():
        weights = times[draws.patient]  # (N, R)
        values = (objective_value(objective, truth, one, weights) for one in (probs, base))
        parts.append(next(values) - next(values))
    sign = -1.0 if objective in LOWER_IS_BETTER else 1.0
    mean, low, high = interval_of(sign * np.concatenate(parts), level)
    return Interval(mean, low, high, draws.n_patients, 0)
