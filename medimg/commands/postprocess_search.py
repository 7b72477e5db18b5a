"""The search of ``medimg postprocess``: candidates, scores, and the table that is printed."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medimg.datasets.brats import patient_id_of
from medimg.ensembling.references import patients_beside
from medimg.parallel import map_cases, raise_failures
from medimg.postprocessing.candidates import make_candidates, measure, with_foreground
from medimg.postprocessing.cases import find_references, pair_masks
from medimg.postprocessing.rules import RULES_FILE, Rule, write_rules
from medimg.postprocessing.search import FloatArray, Found, case_means, defined_mean, judge_case, search_rules
from medimg.scoring.bootstrap import Interval, mean_interval
from medimg.scoring.empty import EmptyRule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def find_rules(
    files: Mapping[str, Path],
    references: Path,
    objective: Mapping[str, tuple[int, ...]],
    classes: Mapping[str, tuple[int, ...]],
    empty: EmptyRule,
    folder: Path,
    workers: int,
    scheduler: str | None,
) -> tuple[tuple[Rule, ...], dict[str, tuple[Rule, ...]]]:
    """Search, print what was found, and write it.

    Args:
        files: Out-of-fold masks by case.
        references: Folder of the references.
        objective: Label values of the classes whose mean Dice counts.
        classes: Label values of all classes that rules may be about.
        empty: What an empty mask scores.
        folder: Where ``rules.json`` goes.
        workers: Processes that work side by side.
        scheduler: Address of a Dask scheduler.

    Returns:
        The rules that help, and by case those that were chosen without its fold.

    Raises:
        DataError: If a reference is missing, a file cannot be used, or there are too few patients.
    """
    pairs = pair_masks(files, find_references(references))
    names = [case for case, _, _ in pairs]
    known = patients_beside(next(iter(files.values())).parent)
    patients = [known.get(case) or patient_id_of(case) for case in names]
    ruled = with_foreground({**classes, **objective})
    measured = map_cases(
        partial(measure, classes=ruled),
        [pred for _, pred, _ in pairs],
        names=names,
        workers=workers,
        scheduler=scheduler,
        label="volumes",
    )
    candidates = make_candidates(ruled, raise_failures(measured))

    def judge(chain: tuple[Rule, ...], tried: Sequence[Rule]) -> FloatArray:
        one = partial(judge_case, chain=chain, candidates=tried, classes=objective, empty=empty)
        label = f"{len(tried)} rules after {len(chain)}"
        outcomes = map_cases(one, pairs, names=names, workers=workers, scheduler=scheduler, label=label)
        scores: list[FloatArray] = raise_failures(outcomes)
        return np.stack(scores)

    found = search_rules(judge, candidates, patients)
    gain = mean_interval(case_means(found.honest) - case_means(found.before), groups=patients)
    _print(found, list(objective), gain, len(candidates))
    write_rules(folder / RULES_FILE, found.rules, _facts(found, objective, gain, empty))
    return found.rules, {name: found.picks[fold] for name, fold in zip(names, found.fold, strict=True)}


def _print(found: Found, classes: Sequence[str], gain: Interval, tried: int) -> None:
    width = max(len("Dice"), *(len(name) for name in classes), len("mean"))
    print(f"{len(found.rules)} of {tried} rules kept, chosen on {len(found.before)} cases")
    print(f"{'Dice':<{width}}  before  after, in-sample  after, nested")
    rows = [*zip(classes, *(scores.T for scores in _tables(found)), strict=True)]
    rows.append(("mean", *(case_means(scores) for scores in _tables(found))))
    for name, before, after, honest in rows:
        print(
            f"{name:<{width}}  {defined_mean(before):6.4f}  {defined_mean(after):16.4f}  {defined_mean(honest):13.4f}"
        )
    print(
        f"honest gain in mean Dice: {gain.mean:+.4f} (95 % interval {gain.low:+.4f} to {gain.high:+.4f} over patients)"
    )
    ways = {" then ".join(map(str, pick)) or "no rule" for pick in found.picks}
    print(f"chosen without each fold: {'; '.join(sorted(ways))}")
    print("the masks written here are mended each by the rules chosen without its fold")


def _tables(found: Found) -> tuple[FloatArray, FloatArray, FloatArray]:
    return found.before, found.after, found.honest


def _facts(
    found: Found, objective: Mapping[str, tuple[int, ...]], gain: Interval, empty: EmptyRule
) -> dict[str, Any]:
    """How the rules were found, for ``rules.json``."""
    before, after, honest = (defined_mean(case_means(scores)) for scores in _tables(found))
    return {
        "classes": {name: list(values) for name, values in objective.items()},
        "empty": empty,
        "cases": len(found.before),
        "mean_dice": {"before": before, "after_in_sample": after, "after_nested": honest},
        "honest_gain": {"mean": gain.mean, "low": gain.low, "high": gain.high},
        "picks_without_each_fold": [[str(rule) for rule in pick] for pick in found.picks],
    }
