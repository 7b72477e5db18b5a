"""Choose on some cases and judge on others, so that a printed gain is not the gain of having chosen.

A choice made on the cases that it is judged by flatters itself. Here the patients are dealt into folds; each
fold is judged under the choice made on all other folds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from medimg.errors import DataError
from medimg.scoring.bootstrap import FloatArray
from medimg.scoring.ranking import IndexArray

T = TypeVar("T")

# Columns of the same numbers summed in another order differ by far less.
_TIE = 1e-12


@dataclass(frozen=True, slots=True)
class NestedChoice:
    """What was chosen among candidates, and what that is worth on cases that had no part in it.

    Attributes:
        chosen: Number of the candidate that is best on all cases.
        honest: Score of each case under the candidate chosen without its fold, shape (N,).
        picks: Candidate chosen without each fold.
        fold: Fold of each case, shape (N,).
    """

    chosen: int
    honest: FloatArray
    picks: tuple[int, ...]
    fold: IndexArray


@dataclass(frozen=True, slots=True)
class NestedFit(Generic[T]):
    """What was fitted to all cases and to all but each fold.

    Attributes:
        final: Fitted to all cases.
        without: Fitted without each fold, in the order of the folds.
        fold: Fold of each case, shape (N,).
    """

    final: T
    without: tuple[T, ...]
    fold: IndexArray


def deal_folds(groups: Sequence[str], *, folds: int = 5, seed: int = 0) -> IndexArray:
    """Deal cases into folds, all cases of a patient into one.

    Patients are shuffled and, the ones with most cases first, each put into the smallest fold. The order of the
    cases does not matter.

    Args:
        groups: Patient of each case, length N.
        folds: Number of folds; with fewer patients, one fold a patient.
        seed: Seed of the shuffling.

    Returns:
        Fold of each case, shape (N,), from 0.

    Raises:
        DataError: If there are fewer than two patients.
        ValueError: If there are fewer than two folds.

    Example:
        >>> fold = deal_folds(["p", "p", "q", "r"], folds=2)
        >>> bool(fold[0] == fold[1]), sorted(np.bincount(fold).tolist())
        (True, [2, 2])
    """
    if folds < 2:
        raise ValueError(f"two folds or more expected, found {folds}")
    names, patient, cases = np.unique(np.asarray(groups, np.str_), return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise DataError(
            f"a nested judgement needs two patients or more, found {len(names)}: what is chosen on a patient cannot be "
            "judged on the same one. Add cases of other patients."
        )
    shuffled = np.random.default_rng(seed).permutation(len(names))
    order = shuffled[np.argsort(-cases[shuffled], kind="stable")]
    sizes = np.zeros(min(folds, len(names)), np.intp)
    fold_of = np.empty(len(names), np.intp)
    for name in order:
        fold_of[name] = sizes.argmin()
        sizes[fold_of[name]] += cases[name]
    return np.asarray(fold_of[patient], np.intp)


def nested_fit(
    fit: Callable[[IndexArray], T], groups: Sequence[str], *, folds: int = 5, seed: int = 0
) -> NestedFit[T]:
    """Fit to all cases, and to all but each fold.

    It serves metrics that are no mean over cases, such as the area under the ROC curve: predict each fold with what
    was fitted without it, put the folds together, and score all cases at once.

    Args:
        fit: Makes something of the cases whose positions it is given, looking at no other.
        groups: Patient of each case, length N.
        folds: Number of folds; with fewer patients, one fold a patient.
        seed: Seed of the dealing.

    Returns:
        What was fitted, and the fold of each case.

    Raises:
        DataError: If there are fewer than two patients.
        ValueError: If there are fewer than two folds.

    Example:
        >>> scores = np.array([1.0, 2.0, 6.0])
        >>> means = nested_fit(lambda cases: float(scores[cases].mean()), ["p", "q", "r"])
        >>> means.final, [means.without[fold] for fold in means.fold]
        (3.0, [4.0, 3.5, 1.5])
    """
    fold = deal_folds(groups, folds=folds, seed=seed)
    without = tuple(fit(np.flatnonzero(fold != number)) for number in range(int(fold.max()) + 1))
    return NestedFit(fit(np.arange(len(fold))), without, fold)


def nested_choice(
    scores: npt.ArrayLike, groups: Sequence[str], *, folds: int = 5, seed: int = 0
) -> NestedChoice:
    """Choose the candidate with the highest mean score, and judge the choosing.

    Args:
        scores: Score of each case under each candidate, higher being better, shape (N, C); NaN is left out of
            means. Candidate 0 changes nothing: of equal candidates the first wins.
        groups: Patient of each case, length N.
        folds: Number of folds; with fewer patients, one fold a patient.
        seed: Seed of the dealing.

    Returns:
        The choice, and each case's score under the candidate chosen without its fold; compare its mean with
        that of column 0.

    Raises:
        DataError: If there are fewer than two patients.
        ValueError: If the scores have another shape, or there are fewer than two folds.

    Example:
        >>> found = nested_choice([[0.5, 0.9], [0.5, 0.4], [0.5, 0.4]], ["p", "q", "r"])
        >>> found.chosen, found.honest.tolist()  # the gain comes from p alone, and p does not see it
        (1, [0.5, 0.4, 0.4])

    Reference:
        Stone, "Cross-validatory choice and assessment of statistical predictions", JRSS B 1974.
    """
    table = np.asarray(scores, np.float64)
    if table.ndim != 2 or table.shape[1] < 1 or len(table) != len(groups):
        raise ValueError(
            f"scores of shape ({len(groups)}, C), a row for each group, expected, found {table.shape}"
        )
    fitted = nested_fit(lambda cases: _best(table[cases]), groups, folds=folds, seed=seed)
    picks = np.array(fitted.without)
    honest = table[np.arange(len(table)), picks[fitted.fold]]
    return NestedChoice(fitted.final, honest, fitted.without, fitted.fold)


def _best(scores: FloatArray) -> int:
    """First of the candidates with the highest mean; the first of all if no case has a score."""
    defined = ~np.isnan(scores)
    sums = np.nansum(scores, axis=0)
    means = np.divide(sums, defined.sum(axis=0), out=np.full(len(sums), -np.inf), where=defined.any(axis=0))
    return int(np.argmax(means >= means.max() - _TIE))
