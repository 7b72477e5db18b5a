"""Which predictions are sure enough to be labels.

A decision is one number for each entry of a case: of labels that are told apart one by one each label is an entry, 1
or 0; exclusive classes are one entry together, the number of the class. -1 is no label.

Reference:
    Lee, "Pseudo-label: the simple and efficient semi-supervised learning method for deep neural networks", ICML
    workshop 2013; Cascante-Bonilla et al., "Curriculum labeling", AAAI 2021, for rounds and shares of a class.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from medimg.errors import ConfigError

FloatArray = NDArray[np.float64]
Decisions = NDArray[np.int64]
IntT = TypeVar("IntT", bound=np.integer[Any])

UNKNOWN = -1
# Tables hold float32: 0.95 is then a little less than 0.95.
_DUST = 1e-6


@dataclass(frozen=True, slots=True)
class Rules:
    """What a prediction must fulfil to be a label.

    Attributes:
        exclusive: Whether exactly one of the K classes is true.
        positive: Least mean probability of each label, or of each class where they exclude each other, (K,).
        negative: Highest mean probability at which a label is called absent, (K,); not used for exclusive classes.
        quota: Most certain ones to take of an (entry, value): a number from 1 on, or a share below 1.
        max_spread: Largest difference between two members' probabilities.
    """

    exclusive: bool
    positive: FloatArray
    negative: FloatArray
    quota: Mapping[tuple[int, int], float] = field(default_factory=dict)
    max_spread: float | None = None

    @property
    def middle(self) -> FloatArray:
        """Where a label changes from absent to present, (K,): in the middle between its thresholds."""
        result: FloatArray = (self.positive + self.negative) / 2
        return result


@dataclass(frozen=True, slots=True)
class Choice:
    """What was decided of N cases in E entries.

    Attributes:
        taken: Labels to train with, (N, E).
        called: What the mean says whether or not it is sure, (N, E).
        certainty: Mean probability of what is called, (N, E).
        mean: Mean probabilities over members, (N, K).
    """

    taken: Decisions
    called: Decisions
    certainty: FloatArray
    mean: FloatArray


def choose(probs: FloatArray, rules: Rules) -> Choice:
    """Take what the members' mean is sure of and every member says by itself.

    Args:
        probs: Probabilities of M members, (M, N, K).
        rules: Thresholds, quotas and spread.

    Returns:
        The decisions; of equally certain ones at the edge of a quota the first cases are taken.

    Example:
        >>> rules = Rules(False, np.array([0.9]), np.array([0.1]))
        >>> choose(np.array([[[0.95], [0.6], [0.02]]]), rules).taken.ravel().tolist()
        [1, -1, 0]
    """
    mean = probs.mean(axis=0)
    called = _call(mean, rules)
    sure = np.all([_call(one, rules) == called for one in probs], axis=0)
    spread = probs.max(axis=0) - probs.min(axis=0)
    if rules.exclusive:
        certainty = np.take_along_axis(mean, called, axis=1)
        sure &= certainty >= rules.positive[called] - _DUST
        spread = np.take_along_axis(spread, called, axis=1)
    else:
        certainty = np.where(called == 1, mean, 1 - mean)
        sure &= np.where(called == 1, mean >= rules.positive - _DUST, mean <= rules.negative + _DUST)
    if rules.max_spread is not None:
        sure &= spread <= rules.max_spread + _DUST
    taken = np.where(sure, called, UNKNOWN)
    for (entry, value), quota in rules.quota.items():
        _keep_most_certain(taken[:, entry], certainty[:, entry], value, quota)
    return Choice(taken, called, certainty, mean)


def _call(probs: FloatArray, rules: Rules) -> Decisions:
    """What probabilities (N, K) say, (N, E)."""
    if rules.exclusive:
        return np.asarray(probs.argmax(axis=1)[:, None], np.int64)
    return (probs >= rules.middle).astype(np.int64)


def _keep_most_certain(taken: Decisions, certainty: FloatArray, value: int, quota: float) -> None:
    """Give up all cases of one value but the most certain ones, in place."""
    having = np.flatnonzero(taken == value)
    number = int(min(quota, len(having)) if quota >= 1 else np.floor(quota * len(having) + _DUST))
    order = having[np.argsort(-certainty[having], kind="stable")]
    taken[order[number:]] = UNKNOWN


@dataclass(frozen=True, slots=True)
class Changes:
    """How many labels of an earlier round stayed, and what came in.

    Attributes:
        kept: As before.
        new: Had no label before.
        dropped: Had one that is now contradicted, though not surely.
        flipped: Had another one.
    """

    kept: int
    new: int
    dropped: int
    flipped: int


def merge(
    taken: NDArray[IntT], called: NDArray[IntT], earlier: NDArray[IntT], unknown: int = UNKNOWN
) -> tuple[NDArray[IntT], Changes]:
    """Let earlier labels stay unless they are now contradicted.

    Args:
        taken: What is sure now, any shape.
        called: What is said now, sure or not, same shape.
        earlier: Labels of the round before, same shape.
        unknown: Value that stands for no label.

    Returns:
        The labels, and how many changed.

    Example:
        >>> now, said, before = np.array([1, -1, -1, 0, 1]), np.array([1, 1, 0, 0, 1]), np.array([1, 1, 1, 1, -1])
        >>> merged, changes = merge(now, said, before)
        >>> merged.tolist(), changes
        ([1, 1, -1, 0, 1], Changes(kept=2, new=1, dropped=1, flipped=1))
    """
    had = earlier != unknown
    stays = had & (earlier == called)
    merged = np.where(taken == unknown, np.where(stays, earlier, taken), taken)
    has, same = merged != unknown, merged == earlier
    return merged, Changes(
        kept=int((had & same).sum()),
        new=int((has & ~had).sum()),
        dropped=int((had & ~has).sum()),
        flipped=int((had & has & ~same).sum()),
    )


def label_values(labels: Decisions, mean: FloatArray, rules: Rules, *, soft: bool) -> FloatArray:
    """Values to train with.

    Args:
        labels: Decisions, (N, E).
        mean: Mean probabilities, (N, K).
        rules: Which kind of labels these are.
        soft: Give the mean probability in place of 1 and 0.

    Returns:
        Values (N, K), NaN where there is no label; exclusive classes add up to 1.
    """
    known = np.broadcast_to(labels != UNKNOWN, mean.shape)
    if soft:
        values = mean / mean.sum(axis=1, keepdims=True) if rules.exclusive else mean
    elif rules.exclusive:
        values = (labels == np.arange(mean.shape[1])).astype(np.float64)
    else:
        values = labels.astype(np.float64)
    return np.where(known, values, np.nan)


def decisions_of(values: FloatArray, rules: Rules) -> Decisions:
    """Read decisions back from the values (N, K) of an earlier table, (N, E)."""
    if rules.exclusive:
        known = ~np.isnan(values).any(axis=1, keepdims=True)
        return np.where(known, np.nan_to_num(values).argmax(axis=1)[:, None], UNKNOWN).astype(np.int64)
    return np.where(np.isnan(values), UNKNOWN, np.nan_to_num(values) >= rules.middle).astype(np.int64)


def case_weights(labels: Decisions, certainty: FloatArray, weight: float | None) -> FloatArray:
    """Weight of each case in the loss, (N,).

    Args:
        labels: Decisions, (N, E); every case has a label.
        certainty: Mean probability of what is called, (N, E).
        weight: One for all; ``None`` takes the mean certainty of the case's labels.
    """
    if weight is not None:
        return np.full(len(labels), weight)
    known = labels != UNKNOWN
    result: FloatArray = (certainty * known).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return result


def named_numbers(words: list[str], names: list[str], option: str, *, top: float = 1.0) -> dict[str, float]:
    """Read ``0.9``, ``mass=0.8`` or both, separated by blanks or commas; a bare number is for all not named.

    Args:
        words: What stands behind the option.
        names: Names that may be used.
        option: Name of the option, for messages.
        top: Highest number that makes sense.

    Raises:
        ConfigError: If a word is no number in [0, top], a name is unknown, or one is given twice.

    Example:
        >>> named_numbers(["0.9,b=0.8"], ["a", "b"], "--positive")
        {'a': 0.9, 'b': 0.8}
    """
    given: dict[str, float] = {}
    for word in (part for text in words for part in text.split(",") if part):
        name, _, text = word.rpartition("=")
        if name and name not in names:
            raise ConfigError(f"{option} {word}: there is no {name!r}; expected one of {', '.join(names)}.")
        if name in given:
            raise ConfigError(f"{option}: {name or 'the number for all'} is given twice; keep one.")
        try:
            given[name] = float(text)
        except ValueError:
            given[name] = np.nan
        if not 0 <= given[name] <= top:
            most = f"up to {top:g}" if np.isfinite(top) else "from 0 on"
            raise ConfigError(f"{option} {word}: expected a number {most}, alone or as name=number.")
    common = dict.fromkeys(names, given[""]) if "" in given else {}
    return common | {name: value for name, value in given.items() if name}
