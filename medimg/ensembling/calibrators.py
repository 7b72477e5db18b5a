"""Maps from a model's probabilities to ones that can be taken at their word, fitted on cases it never saw.

Each keeps the order of the cases. Where the cases cannot say which map is best, a fit is refused with the reason,
so that the label can stay as it is instead of getting an extreme one.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq, isotonic_regression, minimize
from scipy.special import expit, log_expit, logit, softmax

from medimg.errors import DataError
from medimg.records import Task
from medimg.scoring.classification import known_pairs
from medimg.scoring.confusion import known_classes
from medimg.scoring.ranking import BoolArray, FloatArray

Method = Literal["temperature", "platt", "isotonic"]

# Saturated and rounded probabilities of 0 and 1 have no logit: these count as 28.
_LEAST = 1e-12
_MOST_TEMPERATURE = 100.0
_UNINFORMATIVE = "higher probabilities do not go with more positive cases"


@dataclass(frozen=True, slots=True)
class Temperature:
    """Logits divided by one number: above 1 for a model that is too sure.

    Reference:
        Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599.

    Example:
        >>> Temperature(2.0).apply([0.5, 0.9]).round(6).tolist()
        [0.5, 0.75]
    """

    temperature: float

    def __post_init__(self) -> None:
        _require(0 < self.temperature < math.inf, "temperature above 0", self.temperature)

    def apply(self, prob: ArrayLike) -> FloatArray:
        """Calibrate the probabilities of one label, any shape."""
        return np.asarray(expit(_logits(prob) / self.temperature))

    def apply_classes(self, prob: ArrayLike) -> FloatArray:
        """Calibrate exclusive classes together, shape (N, K); rows add up to 1."""
        return np.asarray(softmax(_log_probs(prob) / self.temperature, axis=1))


@dataclass(frozen=True, slots=True)
class Platt:
    """The sigmoid of ``a`` times the logit plus ``b``: how sure, and how frequent.

    Reference:
        Platt 1999, "Probabilistic outputs for support vector machines".

    Example:
        >>> Platt(1.0, 0.0).apply([0.25]).round(6).tolist()
        [0.25]
    """

    a: float
    b: float

    def __post_init__(self) -> None:
        _require(
            0 < self.a < math.inf and math.isfinite(self.b), "a above 0 and a finite b", (self.a, self.b)
        )

    def apply(self, prob: ArrayLike) -> FloatArray:
        """Calibrate the probabilities of one label, any shape."""
        return np.asarray(expit(self.a * _logits(prob) + self.b))


@dataclass(frozen=True, slots=True)
class Isotonic:
    """Straight lines between points that never fall; before the first and after the last the same value.

    Attributes:
        prob: Probabilities of the model, rising.
        calibrated: What they become.

    Reference:
        Zadrozny and Elkan 2002, "Transforming classifier scores into accurate multiclass probability estimates".

    Example:
        >>> Isotonic((0.2, 0.6), (0.1, 0.3)).apply([0.0, 0.4, 1.0]).round(6).tolist()
        [0.1, 0.2, 0.3]
    """

    prob: tuple[float, ...]
    calibrated: tuple[float, ...]

    def __post_init__(self) -> None:
        rising = all(low < high for low, high in pairwise(self.prob))
        never_falling = all(low <= high for low, high in pairwise(self.calibrated))
        inside = all(0 <= value <= 1 for value in (*self.prob, *self.calibrated))
        same = len(self.prob) == len(self.calibrated) > 0
        _require(rising and never_falling and inside and same, "rising points in [0, 1]", self.prob[:5])

    def apply(self, prob: ArrayLike) -> FloatArray:
        """Calibrate the probabilities of one label, any shape."""
        return np.interp(np.asarray(prob, np.float64), self.prob, self.calibrated)


Calibrator = Temperature | Platt | Isotonic


def _require(fine: bool, expected: str, found: object) -> None:
    if not fine:
        raise ValueError(f"expected {expected}, found {found}")


def _logits(prob: ArrayLike) -> FloatArray:
    return np.asarray(logit(np.clip(np.asarray(prob, np.float64), _LEAST, 1 - _LEAST)))


def _log_probs(prob: ArrayLike) -> FloatArray:
    return np.log(np.maximum(np.asarray(prob, np.float64), _LEAST))


def fit_temperature(target: ArrayLike, prob: ArrayLike) -> Temperature:
    """Find the temperature of one label that makes its log loss least.

    Args:
        target: 1, 0, or NaN where unknown, shape (N,).
        prob: Probability of each case, shape (N,).

    Raises:
        DataError: If no temperature is best: one class alone, no errors at all, or no information.
        ValueError: As for ``known_pairs``.

    Example:
        >>> target = [1] * 3 + [0] + [1] + [0] * 3  # right in 3 of 4 cases, and 90 % sure each time
        >>> round(fit_temperature(target, [0.9] * 4 + [0.1] * 4).temperature, 6)
        2.0
    """
    positive, z = _informed(target, prob)
    return _best_temperature(lambda beta: float(np.sum((expit(beta * z) - positive) * z)))


def fit_joint_temperature(target: ArrayLike, prob: ArrayLike) -> Temperature:
    """Find the temperature of exclusive classes that makes their log loss least.

    Args:
        target: One-hot targets, NaN where unknown, shape (N, K).
        prob: Probabilities, shape (N, K).

    Raises:
        DataError: If no temperature is best: one class alone, no errors at all, or no information.
    """
    known, index = known_classes(target)
    if len(np.unique(index)) < 2:
        raise DataError(f"cases of two classes are needed, found {len(index)} of {len(np.unique(index))}")
    z = _log_probs(np.asarray(prob, np.float64)[known])  # (N, K)
    of_truth = np.take_along_axis(z, index[:, None], axis=1)[:, 0]
    return _best_temperature(
        lambda beta: float(np.sum((softmax(beta * z, axis=1) * z).sum(axis=1) - of_truth))
    )


def _best_temperature(slope: Callable[[float], float]) -> Temperature:
    """The temperature 1 / beta at which the derivative of the log loss, which rises with beta, is 0."""
    if slope(1 / _MOST_TEMPERATURE) >= 0:
        raise DataError(_UNINFORMATIVE)
    if slope(_MOST_TEMPERATURE) <= 0:
        raise DataError("no case is on the wrong side, so that there is no end to how sure to be")
    return Temperature(1 / float(brentq(slope, 1 / _MOST_TEMPERATURE, _MOST_TEMPERATURE, xtol=1e-13)))


def fit_platt(target: ArrayLike, prob: ArrayLike) -> Platt:
    """Fit slope and offset of the logit, with targets that Platt's rule keeps off 0 and 1.

    Args:
        target: 1, 0, or NaN where unknown, shape (N,).
        prob: Probability of each case, shape (N,).

    Raises:
        DataError: If there is one class alone, or no information.
        ValueError: As for ``known_pairs``.

    Example:
        >>> fit = fit_platt([1, 0, 1, 0], [0.9, 0.8, 0.6, 0.1])
        >>> round(fit.a, 3), round(fit.b, 3)
        (0.327, -0.155)
    """
    positive, z = _informed(target, prob)
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    goal = np.where(positive, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    middle, spread = float(z.mean()), float(z.std())
    basis = np.column_stack([(z - middle) / spread, np.ones(len(z))])  # (N, 2)

    def loss(x: FloatArray) -> tuple[float, FloatArray]:
        at = basis @ x
        value = -np.mean(goal * log_expit(at) + (1 - goal) * log_expit(-at))
        return float(value), basis.T @ (expit(at) - goal) / len(z)

    def curvature(x: FloatArray) -> FloatArray:
        prob = expit(basis @ x)
        return (basis.T * (prob * (1 - prob))) @ basis / len(z)

    start = np.array([0.0, math.log((n_positive + 1) / (n_negative + 1))])
    found = minimize(loss, start, jac=True, hess=curvature, method="trust-exact", options={"gtol": 1e-12})
    slope, offset = float(found.x[0]) / spread, float(found.x[1])
    if slope <= 0:
        raise DataError(_UNINFORMATIVE)
    return Platt(slope, offset - slope * middle)


def fit_isotonic(target: ArrayLike, prob: ArrayLike) -> Isotonic:
    """Fit the rising steps that are nearest to the targets, by pooling adjacent violators.

    They stay within 1 / (N + 2) of 0 and 1, Laplace's rule: N cases of one kind are no proof that the next is too,
    and a probability of 0 that turns out wrong has no finite log loss.

    Args:
        target: 1, 0, or NaN where unknown, shape (N,).
        prob: Probability of each case, shape (N,); equal ones are pooled.

    Raises:
        DataError: If there is one class alone, or no information.
        ValueError: As for ``known_pairs``.

    Example:
        >>> fit_isotonic([0, 1, 0, 1, 1, 1], [0.1, 0.3, 0.4, 0.6, 0.7, 0.9])
        Isotonic(prob=(0.1, 0.3, 0.4, 0.6, 0.9), calibrated=(0.125, 0.5, 0.5, 0.875, 0.875))
    """
    positive, _ = _informed(target, prob)
    _, probs = known_pairs(target, prob)
    levels, inverse, count = np.unique(probs, return_inverse=True, return_counts=True)
    share = np.bincount(inverse, weights=positive) / count
    steps = isotonic_regression(share, weights=count).x
    if steps[0] == steps[-1]:
        raise DataError(_UNINFORMATIVE)
    steps = np.clip(steps, 1 / (len(probs) + 2), 1 - 1 / (len(probs) + 2))
    # The inside of a step follows from its ends.
    inner = (steps[1:-1] != steps[:-2]) | (steps[1:-1] != steps[2:])
    kept = np.concatenate([[True], inner, [True]])
    return Isotonic(tuple(levels[kept].tolist()), tuple(steps[kept].tolist()))


def _informed(target: ArrayLike, prob: ArrayLike) -> tuple[BoolArray, FloatArray]:
    """Whether each known case is positive, and its logit, if both differ between cases."""
    positive, probs = known_pairs(target, prob)
    if positive.all() or not positive.any():
        found = f"{int(positive.sum())} positive and {int((~positive).sum())} negative ones"
        raise DataError(f"cases with and without the label are needed, found {found}")
    z = _logits(probs)
    if np.ptp(z) == 0:
        raise DataError("all cases have the same probability")
    return positive, z


_FITS: Mapping[Method, Callable[[ArrayLike, ArrayLike], Calibrator]] = {
    "temperature": fit_temperature,
    "platt": fit_platt,
    "isotonic": fit_isotonic,
}


def fit_labels(
    method: Method, task: Task, labels: Sequence[str], target: FloatArray, prob: FloatArray
) -> tuple[dict[str, Calibrator], dict[str, str]]:
    """Fit all labels of a table; exclusive classes share one temperature.

    Args:
        method: The kind of map.
        task: Kind of the labels.
        labels: Names of the K labels.
        target: 1, 0, or NaN where unknown, shape (N, K).
        prob: Probabilities, shape (N, K).

    Returns:
        The map of each label that has one, and for each other label why it stays as it is.
    """
    maps: dict[str, Calibrator] = {}
    reasons: dict[str, str] = {}
    if method == "temperature" and task == "multiclass":
        try:
            maps = dict.fromkeys(labels, fit_joint_temperature(target, prob))
        except DataError as fault:
            reasons = dict.fromkeys(labels, str(fault))
        return maps, reasons
    for name, truth, column in zip(labels, target.T, prob.T, strict=True):
        try:
            maps[name] = _FITS[method](truth, column)
        except DataError as fault:
            reasons[name] = str(fault)
    return maps, reasons


def apply_labels(
    maps: Mapping[str, Calibrator], task: Task, labels: Sequence[str], prob: NDArray[np.floating]
) -> FloatArray:
    """Calibrate all labels of a table.

    Args:
        maps: The map of each label that has one.
        task: Kind of the labels; exclusive classes are made to add up to 1.
        labels: Names of the K labels.
        prob: Probabilities, shape (N, K).

    Returns:
        Probabilities, shape (N, K).
    """
    result = np.array(prob, np.float64)  # a copy
    first = maps.get(labels[0])
    if task == "multiclass" and isinstance(first, Temperature):
        return first.apply_classes(result)
    for column, name in enumerate(labels):
        if name in maps:
            result[:, column] = maps[name].apply(result[:, column])
    if task == "multiclass" and maps:
        result /= np.maximum(result.sum(axis=1, keepdims=True), _LEAST)
    return result
