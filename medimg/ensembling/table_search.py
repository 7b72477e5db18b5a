"""Weights of an ensemble of tables, searched and judged."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medimg.ensembling.members import Method
from medimg.ensembling.objectives import (
    LOWER_IS_BETTER,
    ORDER_ONLY,
    Objective,
    Truth,
    gain_interval,
    objective_value,
    truth_of,
)
from medimg.ensembling.tables import AlignedTables, averaged_form, from_average, fuse_probs
from medimg.ensembling.weight_search import Search, search_nested
from medimg.ensembling.weights_file import FoldWeights, SearchedWeights
from medimg.errors import ConfigError, DataError
from medimg.scoring.ranking import IndexArray


def search_tables(
    tables: AlignedTables,
    names: Sequence[str],
    *,
    method: Method,
    search: Search,
    objective: Objective,
    split: str | None = None,
) -> tuple[SearchedWeights, NDArray[np.float64]]:
    """Search weights on out-of-fold predictions.

    Args:
        tables: The members' tables, with targets.
        names: Name of each member.
        method: ``mean``, ``geometric`` or ``rank``.
        search: ``greedy`` or ``simplex``.
        objective: What to search for.
        split: Hash of the members' split.

    Returns:
        The weights and their scores, and the honest prediction: probabilities (N, K), each case under the weights
        found without its fold.

    Raises:
        ConfigError: If the objective does not fit.
        DataError: If there are no targets, the objective is not defined on them, or there is one patient only.
    """
    truth = _truth(tables, method, objective)
    stack = averaged_form(tables.probs, method)
    sign = -1.0 if objective in LOWER_IS_BETTER else 1.0

    def value(probs: NDArray[np.float64]) -> float:
        return float(objective_value(objective, truth, probs)[0])

    def score(total: NDArray[np.floating], cases: IndexArray) -> float:
        probs = from_average(np.asarray(total[cases], np.float64), method, tables.exclusive)
        return sign * float(objective_value(objective, truth.at(cases), probs)[0])

    def fused(weights: Sequence[float]) -> NDArray[np.float64]:
        return fuse_probs(stack, weights, method, tables.exclusive)

    equal = fused([1 / len(stack)] * len(stack))
    if np.isnan(value(equal)):
        raise DataError(
            f"--objective {objective} is not defined on these {len(tables.cases)} cases: it needs cases with and "
            "without a label. Search on more cases, or choose another --objective."
        )
    # A case without a patient id is its own patient.
    groups = [patient or case for patient, case in zip(tables.patients, tables.cases, strict=True)]
    fit = search_nested(stack, score, groups, search)
    honest = np.empty_like(equal)
    for number, weights in enumerate(fit.without):
        honest[fit.fold == number] = fused(weights)[fit.fold == number]
    found = SearchedWeights(
        search=search,
        method=method,
        objective=objective,
        members=tuple(names),
        weights=fit.final,
        folds=fold_weights(fit.without, fit.fold, tables.cases),
        singles=tuple(value(fused(one)) for one in np.eye(len(stack)).tolist()),
        equal=value(equal),
        in_sample=value(fused(fit.final)),
        nested=value(honest),
        gain=gain_interval(objective, truth, honest, equal, groups),
        split=split,
    )
    return found, honest


def fold_weights(
    weights: Sequence[tuple[float, ...]], fold: IndexArray, cases: Sequence[str]
) -> tuple[FoldWeights, ...]:
    """The weights found without each fold, with the cases of that fold.

    Args:
        weights: Weights found without each fold.
        fold: Fold of each case, shape (N,).
        cases: Name of each case.
    """
    return tuple(
        FoldWeights(one, tuple(case for case, where in zip(cases, fold, strict=True) if where == number))
        for number, one in enumerate(weights)
    )


def _truth(tables: AlignedTables, method: Method, objective: Objective) -> Truth:
    if objective == "dice":
        raise ConfigError(
            "--objective dice is for volumes. Use auroc, average_precision, log_loss, pf1 or kappa."
        )
    if method == "rank" and objective not in ORDER_ONLY:
        raise ConfigError(
            f"--objective {objective} judges probabilities, and --method rank gives none. "
            f"Use --objective {' or '.join(ORDER_ONLY)}, or --method mean or geometric."
        )
    if tables.target is None:
        reason = f": {tables.warnings[0]}" if tables.warnings else ""
        raise DataError(
            f"searching weights needs targets, found no target_<label> columns that all members share{reason}. "
            "Name predictions of labelled cases, such as the out_of_fold folder of a cross-validation."
        )
    return truth_of(tables.target, exclusive=tables.exclusive)
