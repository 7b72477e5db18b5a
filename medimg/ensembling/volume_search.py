"""Weights of an ensemble of volumes, searched and judged by mean Dice.

While weights are searched, a random part of the voxels may stand for all; what is reported is computed from all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from medimg.ensembling.averages import place_values, winners
from medimg.ensembling.table_search import fold_weights
from medimg.ensembling.volume_sample import (
    DiceRules,
    DiceSample,
    LabelledCase,
    confusion,
    read_truth,
    sample_case,
)
from medimg.ensembling.volumes import VolumeSettings, average_case, common_grid, open_members
from medimg.ensembling.weight_search import Search, search_nested
from medimg.ensembling.weights_file import SearchedWeights
from medimg.errors import DataError
from medimg.io.probs import open_probs
from medimg.parallel import map_cases, raise_failures
from medimg.scoring.bootstrap import FloatArray, mean_interval
from medimg.scoring.nested import NestedFit
from medimg.scoring.ranking import IndexArray

MOST_VALUES = 32_000_000
"""Probabilities of all members and cases that are held at a time, in float32: 128 MB, however many there are."""

MOST_VOXELS = 2_000_000
"""Voxels of all cases that a candidate is tried on."""


def search_volumes(
    cases: Sequence[LabelledCase],
    names: Sequence[str],
    settings: VolumeSettings,
    search: Search,
    *,
    classes: Mapping[str, tuple[int, ...]] | None = None,
    split: str | None = None,
    workers: int = 1,
    scheduler: str | None = None,
) -> SearchedWeights:
    """Search weights for the mean Dice over classes and cases.

    Args:
        cases: Cases with out-of-fold predictions and references.
        names: Name of each member.
        settings: How members are averaged, and what their channels mean.
        search: ``greedy`` or ``simplex``.
        classes: Label values of each class that counts; ``None`` takes each label but the background.
        split: Hash of the members' split.
        workers: Processes that read cases side by side.
        scheduler: Address of a Dask scheduler.

    Returns:
        The weights, and exact scores.

    Raises:
        DataError: If a case cannot be read, a reference holds another label, or there is one patient only.
    """
    ids = [case.files.case_id for case in cases]
    rules = dice_rules(cases[0], settings, classes)
    read = partial(sample_case, rules=rules, most=_voxels_a_case(cases))
    samples = raise_failures(map_cases(read, cases, names=ids, workers=workers, scheduler=scheduler))
    singles = np.mean([one.singles for one in samples], axis=0)  # (M,)
    sample = DiceSample(samples, rules)
    samples.clear()  # the stack holds the values now
    groups = [case.patient for case in cases]
    fit = search_nested(sample.stack, lambda total, of: float(sample.dice(total)[of].mean()), groups, search)
    equal, in_sample, nested = _exact(cases, sample, fit, rules, workers, scheduler).T
    return SearchedWeights(
        search=search,
        method=settings.method,
        objective="dice",
        members=tuple(names),
        weights=fit.final,
        folds=fold_weights(fit.without, fit.fold, ids),
        singles=tuple(float(value) for value in singles),
        equal=float(equal.mean()),
        in_sample=float(in_sample.mean()),
        nested=float(nested.mean()),
        gain=mean_interval(nested - equal, groups=groups),
        split=split,
    )


def dice_rules(
    case: LabelledCase, settings: VolumeSettings, classes: Mapping[str, tuple[int, ...]] | None
) -> DiceRules:
    """How members are scored, by the labels that they write.

    Args:
        case: Any case.
        settings: What the channels mean.
        classes: Label values of each class that counts; ``None`` takes each label but the background.

    Raises:
        DataError: If the probabilities cannot be read, or a class holds a label that is never written.
    """
    opened = open_members(case.files, settings.scheme, common_grid(case.files.masks))
    labels = tuple(sorted({0, *place_values(opened[0].shape[0], settings.scheme)}))
    classes = classes or {str(label): (label,) for label in labels if label}
    unknown = sorted({value for values in classes.values() for value in values} - set(labels))
    if unknown:
        raise DataError(
            f"expected classes of the label values {', '.join(map(str, labels))}, which these members write, found "
            f"{', '.join(map(str, unknown))}. Name the --regions of the members' labels."
        )
    return DiceRules(settings, labels, dict(classes))


def _voxels_a_case(cases: Sequence[LabelledCase]) -> int:
    """Voxels to keep of each case, so that all fit, and trying a candidate takes milliseconds."""
    first = cases[0].files.probs
    values = len(first) * open_probs(first[0]).shape[0]  # of all members and channels in a voxel
    return max(1, min(MOST_VALUES // values, MOST_VOXELS) // len(cases))


def _exact(
    cases: Sequence[LabelledCase],
    sample: DiceSample,
    fit: NestedFit[tuple[float, ...]],
    rules: DiceRules,
    workers: int,
    scheduler: str | None,
) -> FloatArray:
    """Dice of each case under equal weights, those of all cases, and those without its fold, shape (N, 3)."""
    members = len(fit.final)
    equal = (1 / members,) * members
    scores = np.empty((len(cases), 3))
    scores[:, 0], scores[:, 1] = sample.dice_by(equal), sample.dice_by(fit.final)
    for number, weights in enumerate(fit.without):
        inside = fit.fold == number
        scores[inside, 2] = sample.dice_by(weights)[inside]
    sampled: IndexArray = np.flatnonzero(~sample.complete)
    work = [(cases[n], (equal, fit.final, fit.without[fit.fold[n]])) for n in sampled]
    score = partial(_dice, rules=rules)
    ids = [cases[n].files.case_id for n in sampled]
    if work:
        outcomes = map_cases(score, work, names=ids, workers=workers, scheduler=scheduler)
        scores[sampled] = raise_failures(outcomes)
    return scores


def _dice(work: tuple[LabelledCase, tuple[tuple[float, ...], ...]], *, rules: DiceRules) -> list[float]:
    """Dice of a case, from all voxels, under each of several sets of weights."""
    case, sets = work
    opened, truth = read_truth(case, rules)
    number, grid = rules.numbers(opened[0].shape[0]), common_grid(case.files.masks)
    found = []
    for weights in sets:
        probs = average_case(replace(case.files, weights=weights), rules.settings, grid)
        pred = number[winners(probs, rules.settings.scheme)]
        found.append(float(rules.mean_dice(confusion(truth, pred, len(rules.labels)))))
    return found
