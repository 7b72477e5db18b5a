"""Rules chosen by what they do to unseen cases: greedy, and judged by nested cross-validation.

The whole search runs once on all cases, which gives the rules, and once without each fold of patients, which
gives each case a score under rules that it had no part in choosing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg.errors import DataError
from medimg.io.nifti import is_nifti, read_grid
from medimg.postprocessing.cases import read_labels
from medimg.postprocessing.rules import Rule, apply_rules
from medimg.scoring.empty import EmptyRule
from medimg.scoring.files import check_grids
from medimg.scoring.nested import nested_choice, nested_fit
from medimg.scoring.overlap import dice
from medimg.scoring.regions import region_mask

FloatArray = NDArray[np.float64]
Chain = tuple[Rule, ...]
Judge = Callable[[Chain, Sequence[Rule]], FloatArray]
"""Dice of every case under some rules, and under them and each of the candidates: (N, 1 + candidates, K)."""

# Below rounding, nothing was gained.
_GAIN = 1e-9
_MAX_RULES = 8


@dataclass(frozen=True, slots=True)
class Found:
    """What the search found.

    Attributes:
        rules: The rules that help, in the order in which they apply.
        before: Dice of each case without rules, shape (N, K); NaN where the empty-mask rule leaves it out.
        after: The same under the rules, which these very cases chose.
        honest: The same under the rules chosen without the case's fold.
        picks: Rules chosen without each fold.
        fold: Fold of each case, shape (N,).
    """

    rules: Chain
    before: FloatArray
    after: FloatArray
    honest: FloatArray
    picks: tuple[Chain, ...]
    fold: NDArray[np.intp]


def search_rules(
    judge: Judge,
    candidates: Sequence[Rule],
    patients: Sequence[str],
    *,
    folds: int = 5,
    seed: int = 0,
) -> Found:
    """Add rules one by one while that helps patients who had no part in the choice.

    Args:
        judge: Scores all cases under rules and under each candidate after them.
        candidates: Rules to try; those that change no case are left out after the first round.
        patients: Patient of each case, length N.
        folds: Folds of the nested cross-validation.
        seed: Seed of the dealing.

    Returns:
        The rules and the scores before and after.

    Raises:
        DataError: If there are fewer than three patients.
    """
    if len(set(patients)) < 3:
        raise DataError(
            f"a search needs three patients or more, found {len(set(patients))}: rules are chosen on some, compared "
            "on others and judged on the rest. Add out-of-fold masks of other patients."
        )
    # Searches without one fold mostly take the same way, so what was judged once is kept.
    known: dict[Chain, FloatArray] = {(): judge((), candidates)}
    moving = np.any(_differ(known[()]), axis=0)  # (candidates,)
    live = [rule for rule, moves in zip(candidates, moving, strict=True) if moves]
    known[()] = known[()][:, [True, *moving]]

    def scores_after(chain: Chain) -> FloatArray:
        if chain not in known:
            known[chain] = judge(chain, live)
        return known[chain]

    def grow(cases: NDArray[np.intp]) -> Chain:
        chain: Chain = ()
        names = [patients[case] for case in cases]
        while live and len(chain) < _MAX_RULES:
            scores = case_means(scores_after(chain)[cases])
            choice = nested_choice(scores, names, folds=folds, seed=seed)
            if choice.chosen == 0 or not defined_mean(choice.honest) > defined_mean(scores[:, 0]) + _GAIN:
                break
            chain = (*chain, live[choice.chosen - 1])
        return chain

    fitted = nested_fit(grow, patients, folds=folds, seed=seed)
    under = [scores_after(chain)[:, 0] for chain in fitted.without]  # each (N, K)
    honest = np.stack([under[fold][case] for case, fold in enumerate(fitted.fold)])
    return Found(
        fitted.final, known[()][:, 0], scores_after(fitted.final)[:, 0], honest, fitted.without, fitted.fold
    )


def case_means(scores: FloatArray) -> FloatArray:
    """Objective of each case: its mean Dice over the classes that count.

    Args:
        scores: Dice, shape (..., K), NaN where the empty-mask rule leaves it out.

    Returns:
        Shape (...); NaN for a case without any class.

    Example:
        >>> case_means(np.array([[1.0, np.nan], [0.5, 1.0]]))
        array([1.  , 0.75])
    """
    counted = np.logical_not(np.isnan(scores))
    sums = np.where(counted, scores, 0).sum(axis=-1)
    number = counted.sum(axis=-1)
    means: FloatArray = np.divide(sums, number, out=np.full(sums.shape, np.nan), where=number > 0)
    return means


def defined_mean(scores: FloatArray) -> float:
    """Mean of the scores that are defined, NaN if none is.

    Example:
        >>> defined_mean(np.array([0.5, np.nan, 1.0]))
        0.75
    """
    defined = scores[np.logical_not(np.isnan(scores))]
    return float(defined.mean()) if len(defined) else float("nan")


def _differ(scores: FloatArray) -> NDArray[np.bool_]:
    """Whether each candidate changes each case's score, (N, candidates)."""
    same = np.isclose(scores[:, 1:], scores[:, :1], rtol=0, atol=_GAIN, equal_nan=True)
    return np.logical_not(np.asarray(same).all(axis=2))


def judge_case(
    files: tuple[str, Path, Path],
    *,
    chain: Chain,
    candidates: Sequence[Rule],
    classes: Mapping[str, tuple[int, ...]],
    empty: EmptyRule,
) -> FloatArray:
    """Dice of one case under some rules, and under them and each candidate.

    Args:
        files: Case, prediction and reference.
        chain: Rules that apply in any case.
        candidates: Rules to try after them, one at a time.
        classes: Label values of each class or region.
        empty: What an empty mask scores.

    Returns:
        Shape (1 + candidates, K).

    Raises:
        DataError: If a file cannot be read or the grids differ.
    """
    case, pred_path, ref_path = files
    mask, reference = read_labels(pred_path), read_labels(ref_path)
    if is_nifti(pred_path) and is_nifti(ref_path):
        check_grids(case, read_grid(pred_path, form="sform"), read_grid(ref_path, form="sform"))
    elif mask.labels.shape != reference.labels.shape:
        raise DataError(
            f"case {case}: the prediction has shape {mask.labels.shape}, the reference {reference.labels.shape} "
            "(H, W). Bring both to one grid."
        )
    targets = [region_mask(reference.labels, values) for values in classes.values()]
    start = apply_rules(mask.labels, chain, voxel_mm3=mask.voxel_mm3)
    rows = []
    for rules in ((), *((rule,) for rule in candidates)):
        labels = apply_rules(start, rules, voxel_mm3=mask.voxel_mm3)
        preds = [region_mask(labels, values) for values in classes.values()]
        rows.append([dice(pred, target, empty=empty) for pred, target in zip(preds, targets, strict=True)])
    return np.array(rows, np.float64)
