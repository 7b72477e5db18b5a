"""The search side of ``medimg ensemble``: which options fit, which cases may be searched on, what is printed."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from medimg.datasets.brats import patient_id_of
from medimg.ensembling.references import find_references, patients_beside
from medimg.ensembling.tables import read_member_table
from medimg.ensembling.unseen import names_a_test
from medimg.ensembling.volume_sample import LabelledCase
from medimg.ensembling.volume_search import search_volumes
from medimg.ensembling.weights_file import WEIGHTS, SearchedWeights, read_weights
from medimg.errors import ConfigError, DataError
from medimg.runs import CONFIG
from medimg.scoring.regions import BRATS_REGIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medimg.ensembling.description import Description, Kind
    from medimg.ensembling.members import Member, Method
    from medimg.ensembling.objectives import Objective
    from medimg.ensembling.volumes import CaseFiles, VolumeSettings
    from medimg.ensembling.weight_search import Search


def check_search_options(
    search: Search | None,
    kind: Kind,
    objective: Objective | None,
    references: Path | None,
    regions: str | None,
    calibration: Path | None,
) -> None:
    """Refuse options that do not go together.

    Raises:
        ConfigError: If an option belongs to a search and there is none, does not fit what is combined, or is missing.
    """
    if calibration is not None and kind != "table":
        raise ConfigError("--calibration is for tables: it maps the probabilities of a classification.")
    given = {"--objective": objective, "--references": references, "--regions": regions}
    if search is None:
        unused = next((name for name, value in given.items() if value is not None), None)
        if unused is not None:
            raise ConfigError(
                f"{unused} goes with a search: add --weights greedy or simplex, or leave it away."
            )
        return
    if calibration is not None:
        raise ConfigError(
            "--calibration: search weights first, then calibrate what comes out, then apply both."
        )
    if kind == "masks":
        raise ConfigError(
            f"--weights {search} averages probabilities: use --method mean, geometric or rank, or give numbers."
        )
    if kind == "table" and (references is not None or regions is not None):
        raise ConfigError("--references and --regions are for volumes: tables bring target_<label> columns.")
    if kind == "probabilities" and objective not in (None, "dice"):
        raise ConfigError(
            f"--objective {objective} is for tables. Volumes are searched for dice: leave it away."
        )
    if kind == "probabilities" and references is None:
        raise ConfigError(
            f"--weights {search} needs the reference masks of these cases: add --references FOLDER."
        )


def check_unseen(found: Sequence[Member], what: str = "weights", option: str = "--weights_from") -> None:
    """Refuse to search on cases that are to judge, or that members were trained on; say so where nothing is known.

    Args:
        found: The members.
        what: What is searched for.
        option: How it is applied to other cases.

    Raises:
        DataError: If a member's ``predictions.json``, or without one its name, says that its cases are such.
    """
    for member in found:
        part, trained = member.description.part, member.description.in_split
        said = None
        if part == "test" or (part == "predict" and trained):
            cases = "test cases" if part == "test" else f"{trained} cases that train or validate in its split"
            said = f"its predictions.json says that these are {cases}"
        elif part is None and _is_named_test(member):
            said = "its name says that these are test cases (if they are out of fold, give it another name)"
        if said is not None:
            raise DataError(
                f"{member.name}: {said}. {what.capitalize()} chosen on them could not be judged by them: search on "
                f"out-of-fold predictions, as `medimg crossval` gathers them, and apply the result here by {option}."
            )
        if part != "validation":
            sys.stderr.write(
                f"warning: {member.name}: nothing says which cases these are. The scores below hold only if no member "
                "was trained on them.\n"
            )


def _is_named_test(member: Member) -> bool:
    places = (member.folder, member.folder.parent, member.folder.parent.parent)
    if any((place / CONFIG).is_file() for place in places):
        return False  # a run's own folder of that name may hold validation cases
    return names_a_test(member.folder.name) or (member.table is not None and names_a_test(member.table.stem))


def known_weights(path: Path, found: Sequence[Member], method: Method, kind: Kind) -> tuple[float, ...]:
    """Weights that were searched before; prints which member gets which.

    Args:
        path: A ``weights.json``.
        found: The members.
        method: How they are averaged.
        kind: What is combined.

    Raises:
        ConfigError: If masks are combined, or the file is for other members or another method.
        DataError: If it cannot be read.
    """
    if kind == "masks":
        raise ConfigError("--weights_from averages probabilities: use --method mean, geometric or rank.")
    names = [member.name for member in found]
    known = read_weights(path, names, method)
    for name, other, weight in zip(names, known.members, known.weights, strict=True):
        print(f"weight {weight:.3g} for {name}, found for {other}")
    for member in found:
        cases = {*member.probs} if kind == "probabilities" else _cases_of(member)
        shared = len(known.cases & cases)
        if shared:
            sys.stderr.write(
                f"warning: {shared} of {len(cases)} cases of {member.name} are those that the weights were found on: "
                "their score flatters\n"
            )
            break
    return known.weights


def _cases_of(member: Member) -> set[str]:
    return set() if member.table is None else set(read_member_table(member.name, member.table).rows)


def search_on_volumes(
    found: Sequence[Member],
    files: Sequence[CaseFiles],
    settings: VolumeSettings,
    common: Description,
    search: Search,
    references: Path,
    regions: str | None,
    workers: int,
    scheduler: str | None,
) -> SearchedWeights:
    """Search weights for volumes; the patients come from a table beside the masks, or the names of the cases.

    Args:
        found: The members.
        files: Their files, case by case.
        settings: How they are averaged.
        common: What they agree on.
        search: How to search.
        references: Folder of the reference masks.
        regions: Challenge whose regions count; ``None`` takes each label.
        workers: Processes that read cases side by side.
        scheduler: Address of a Dask scheduler.

    Raises:
        ConfigError: If there is no such challenge.
        DataError: If a reference is missing, or a file cannot be used.
    """
    if regions is not None and regions not in BRATS_REGIONS:
        raise ConfigError(f"--regions: expected one of {', '.join(BRATS_REGIONS)}, found {regions}.")
    masks = find_references(references, [one.case_id for one in files])
    patients = patients_beside(found[0].folder)
    cases = [
        LabelledCase(one, masks[one.case_id], patients.get(one.case_id) or patient_id_of(one.case_id))
        for one in files
    ]
    classes = {name: (value,) for name, value in common.labels.items()} if common.labels else None
    return search_volumes(
        cases,
        [one.name for one in found],
        settings,
        search,
        classes=classes if regions is None else BRATS_REGIONS[regions],
        split=common.split,
        workers=workers,
        scheduler=scheduler,
    )


def with_fold_weights(files: Sequence[CaseFiles], searched: SearchedWeights) -> list[CaseFiles]:
    """Each case with the weights that were found without its fold.

    Args:
        files: The files, case by case.
        searched: What was found on these cases.
    """
    weights = {case: fold.weights for fold in searched.folds for case in fold.cases}
    return [replace(one, weights=weights[one.case_id]) for one in files]


def check_weights_file(out: Path, *, overwrite: bool) -> None:
    """Refuse to lose weights that were searched before.

    Args:
        out: Folder to write to.
        overwrite: Whether those of an earlier ensemble may go.

    Raises:
        ConfigError: If they may not, or the file is none of a search.
    """
    path = out / WEIGHTS
    if not path.exists():
        return
    try:
        ours = "search" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        ours = False
    if not overwrite or not ours:
        advice = "Give another --out, or --overwrite." if ours else "No search wrote it: give another --out."
        raise ConfigError(f"--out {out}: holds {WEIGHTS} already. {advice}")


def search_report(out: Path, method: Method, searched: SearchedWeights) -> str:
    """What a search found, and what to run next.

    Args:
        out: Folder that holds its ``weights.json``.
        method: How members are averaged.
        searched: What was found.
    """
    lines = [f"\n{searched.table()}", f"\n{searched.verdict()}"]
    lines.append("the predictions written here combine each case with the weights found without its fold")
    apply = f"--weights_from {shlex.quote(str(out / WEIGHTS))}"
    if not searched.gain.low > 0:  # as the verdict says
        apply = "--weights equal"
    lines.append(f"next: medimg ensemble TEST_PREDICTIONS... --method {method} {apply} --out DIR")
    return "\n".join(lines)
