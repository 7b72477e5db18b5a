"""Dealing groups of cases into folds so that what is counted in them is spread evenly.

Reference:
    Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", ECML PKDD 2011: the rarest
    label is dealt first. Here whole patients are dealt instead of single cases.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from medimg.errors import DataError
from medimg.records import Record


def patient_groups(
    records: Sequence[Record], keep_together: Sequence[Collection[str]] = ()
) -> list[tuple[str, ...]]:
    """Join the cases of each patient, of each ``Record.group``, and of each set that must stay together.

    Args:
        records: Cases.
        keep_together: Further sets of case ids.

    Returns:
        Case ids of each group, groups and cases sorted.

    Example:
        >>> cases = [Record("c1", "p1", ()), Record("c2", "p2", ()), Record("c3", "p3", ())]
        >>> patient_groups(cases, [{"c1", "c3"}])
        [('c1', 'c3'), ('c2',)]
    """
    leader: dict[object, object] = {}

    def find(key: object) -> object:
        while (above := leader.setdefault(key, key)) != key:
            leader[key] = leader[above]  # halves the way for the next search
            key = above
        return key

    known = {record.case_id for record in records}
    for record in records:
        leader[find(("case", record.case_id))] = find(("patient", record.patient_id))
        if record.group is not None:
            leader[find(("case", record.case_id))] = find(("group", record.group))
    for cases in keep_together:
        together = sorted(known.intersection(cases))
        for case in together[1:]:
            leader[find(("case", case))] = find(("case", together[0]))
    groups: dict[object, list[str]] = defaultdict(list)
    for case in sorted(known):
        groups[find(("case", case))].append(case)
    return sorted(tuple(group) for group in groups.values())


def in_company_of(
    cases: Collection[str], records: Sequence[Record], keep_together: Sequence[Collection[str]] = ()
) -> set[str]:
    """Extend a set of cases by all that stay together with one of them.

    Args:
        cases: Case ids.
        records: All cases.
        keep_together: Sets of case ids that must stay together.

    Example:
        >>> records = [Record("c1", "p1", ()), Record("c2", "p1", ()), Record("c3", "p3", ())]
        >>> sorted(in_company_of({"c1"}, records))
        ['c1', 'c2']
    """
    wanted = set(cases)
    groups = patient_groups(records, keep_together) if wanted else []
    return {case for group in groups if not wanted.isdisjoint(group) for case in group}


def expect_folds(num_folds: int, groups: Sequence[Sequence[str]], name: str) -> None:
    """Refuse a number of folds that cannot be dealt.

    Args:
        num_folds: Number of folds.
        groups: Cases that stay together.
        name: Name of the data set, for the message.

    Raises:
        DataError: If there are fewer than 2 folds, or fewer groups than folds.
    """
    if num_folds < 2 or len(groups) < num_folds:
        raise DataError(
            f"{num_folds} folds: expected at least 2, and no more than the {len(groups)} groups of cases that stay "
            f"together in {name}. Set num_folds to another number."
        )


def deal(
    counts: NDArray[np.float64],
    sizes: NDArray[np.int_],
    num_folds: int,
    *,
    seed: int,
    shares: Sequence[float] | None = None,
) -> NDArray[np.int_]:
    """Deal groups into folds, those with the rarest label first, each to the fold that lacks it most.

    Args:
        counts: Cases of each group that have each label, shape (G, K); soft labels count in part.
        sizes: Cases of each group, shape (G,).
        num_folds: Number of folds F.
        seed: Breaks ties.
        shares: Share of all that each fold gets, shape (F,), summing to one; ``None``: the same for all.

    Returns:
        Fold of each group, shape (G,).

    Example:
        >>> deal(np.array([[1.0], [1.0], [0.0], [0.0]]), np.ones(4, int), 2, seed=0).tolist()
        [0, 1, 0, 1]
    """
    rng = np.random.default_rng(seed)
    # The last column is the plain number of cases: dealt last, and it breaks ties between labels.
    table = np.column_stack([counts, sizes]).astype(float)
    parts = np.full(num_folds, 1 / num_folds) if shares is None else np.array(shares)
    wanted = np.outer(parts, table.sum(axis=0))  # (F, K + 1)
    order = rng.permutation(len(table))
    fold_of = np.full(len(table), -1)
    while (fold_of < 0).any():
        open_groups = order[fold_of[order] < 0]
        left = (table[open_groups] > 0).sum(axis=0)
        labels = np.flatnonzero(left[:-1])
        label = int(labels[np.argmin(left[labels])]) if labels.size else table.shape[1] - 1
        having = open_groups[table[open_groups, label] > 0]
        # Large groups first, while there is room to make up for them; equal ones in shuffled order.
        for group in having[np.argsort(-table[having, label], kind="stable")]:
            lack, room = wanted[:, label], wanted[:, -1]
            best = np.flatnonzero(lack >= lack.max() - 1e-9)
            best = best[room[best] >= room[best].max() - 1e-9]
            fold = int(best[0] if len(best) == 1 else rng.choice(best))
            fold_of[group] = fold
            wanted[fold] -= table[group]
    return _fill_empty(fold_of, sizes, num_folds)


def hold_out(counts: NDArray[np.float64], share: float, *, seed: int) -> NDArray[np.bool_]:
    """Choose groups to be kept for a test, every label as frequent among them as in all.

    Args:
        counts: Cases of each group that have each label, shape (G, K).
        share: Share of the groups, between 0 and 1.
        seed: Breaks ties.

    Returns:
        Whether each group is held out, shape (G,).

    Raises:
        DataError: If the share is none, or comes to no group or to all of them.

    Example:
        >>> aside = hold_out(np.repeat([[1.0, 0.0], [0.0, 1.0]], 10, axis=0), 0.2, seed=0)
        >>> np.flatnonzero(aside).size, int(aside[:10].sum())
        (4, 2)
    """
    groups = len(counts)
    if not 0 < share < 1 or not 0 < round(share * groups) < groups:
        raise DataError(
            f"holdout {share:g}: expected a share between 0 and 1 that comes to at least one patient and not to all, "
            f"found {share * groups:.3g} of {groups} patients. Set holdout to another share."
        )
    ones = np.ones(groups, int)
    aside: NDArray[np.bool_] = deal(counts, ones, 2, seed=seed, shares=(1 - share, share)) == 1
    table = np.column_stack([counts, ones]).astype(float)
    totals = table.sum(axis=0)
    # Each label was rounded by itself, most of them down: make up for it in the number of groups.
    while abs(missing := round(share * groups) - int(aside.sum())) > 0:
        lack = share * totals - table[aside].sum(axis=0)  # (K + 1,)
        sign, open_groups = (1, np.flatnonzero(~aside)) if missing > 0 else (-1, np.flatnonzero(aside))
        cost = ((lack - sign * table[open_groups]) ** 2 / np.maximum(totals, 1)).sum(axis=1)
        aside[open_groups[np.argmin(cost)]] = missing > 0
    return aside


def _fill_empty(fold_of: NDArray[np.int_], sizes: NDArray[np.int_], num_folds: int) -> NDArray[np.int_]:
    """Give a fold that got nothing the smallest group of the fold with most groups."""
    for fold in range(num_folds):
        if not (fold_of == fold).any():
            fullest = np.flatnonzero(fold_of == np.bincount(fold_of, minlength=num_folds).argmax())
            fold_of[fullest[np.argmin(sizes[fullest])]] = fold
    return fold_of
