"""The members of an ensemble: which files they bring, and whether those are of the same cases."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medimg.ensembling.description import Description, Kind, read_description
from medimg.errors import ConfigError, DataError
from medimg.io.nifti import is_nifti
from medimg.runs import CONFIG
from medimg.scoring.label_table import PROB_PREFIX
from medimg.scoring.pairs import case_id_of

Part = Literal["test", "predict"]
Method = Literal["mean", "geometric", "rank", "majority", "staple"]

TABLE = "per_case.csv"
OUT_OF_FOLD = "out_of_fold"
"""Where a cross-validation puts what each fold predicted of cases it was not trained on."""
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Member:
    """A folder of predictions.

    Attributes:
        name: The member as the user named it.
        folder: Folder that holds the files.
        masks: ``<case>.nii.gz`` by case.
        probs: ``<case>.npz`` by case.
        table: ``per_case.csv`` of a classification, if there is one.
        description: What its ``predictions.json`` says.
    """

    name: str
    folder: Path
    masks: Mapping[str, Path]
    probs: Mapping[str, Path]
    table: Path | None
    description: Description


def find_members(paths: Sequence[Path], *, part: Part = "test") -> list[Member]:
    """Look into the folders that the user named.

    Args:
        paths: Folders of predictions, run folders, folders of cross-validations, or tables.
        part: Which predictions of a run folder to take.

    Returns:
        The members, in the order given.

    Raises:
        ConfigError: If there are fewer than two, or one is named twice.
        DataError: If there is nothing at a path, a run has no such predictions, or a case stands twice.
    """
    if len(paths) < 2:
        raise ConfigError(f"an ensemble needs two members or more, found {len(paths)}. Name their folders.")
    members = [find_member(path, part=part) for path in paths]
    seen: dict[Path, str] = {}
    for member in members:
        place = (member.table or member.folder).resolve()
        if place in seen:
            raise ConfigError(
                f"{member.name} is the same member as {seen[place]}. Name each once; --weights lets one count more."
            )
        seen[place] = member.name
    return members


def find_member(path: Path, *, part: Part = "test") -> Member:
    """Look into one folder; see ``find_members``.

    Args:
        path: Folder of predictions, run folder, folder of a cross-validation, or table.
        part: Which predictions of a run folder to take.

    Raises:
        DataError: If there is nothing at the path, the run has no such predictions, or a case stands twice.
    """
    if path.is_file():
        if path.suffix.lower() != ".csv":
            raise DataError(f"{path}: expected a folder of predictions or a {TABLE}, found another file.")
        return Member(str(path), path.parent, {}, {}, path, read_description(path.parent))
    if not path.is_dir():
        raise DataError(f"{path}: there is no such folder. Expected the predictions of a member.")
    folder = path
    if (path / CONFIG).is_file():
        folder = _part_of_run(path, part)
    elif (path / OUT_OF_FOLD).is_dir():
        folder = path / OUT_OF_FOLD
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and file.name[0] not in "._"]
    table = folder / TABLE
    return Member(
        name=str(path),
        folder=folder,
        masks=_by_case([file for file in files if is_nifti(file)]),
        probs={file.stem: file for file in files if file.suffix.lower() == ".npz"},
        table=table if table.is_file() and _has_probs(table) else None,
        description=read_description(folder),
    )


def _part_of_run(run: Path, part: Part) -> Path:
    """Folder into which ``test`` or ``predict`` of a run wrote."""
    places = [run / "test" / "masks", run / "test"] if part == "test" else [run / "predict"]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None and (run / TABLE).is_file():
        return run  # what a run wrote: it holds its config too
    if folder is None:
        raise DataError(
            f"{run}: this run has no predictions of {part}: no folder {places[-1]}. "
            f"Make them with `medimg {part} --config {run / CONFIG} --ckpt_path best`."
        )
    return folder


def _has_probs(table: Path) -> bool:
    """Whether the table is of a classification; that of a segmentation holds scores."""
    with table.open(encoding="utf-8", errors="replace") as stream:
        return any(column.startswith(PROB_PREFIX) for column in stream.readline().strip().split(","))


def _by_case(masks: Sequence[Path]) -> dict[str, Path]:
    cases: dict[str, Path] = {}
    for path in masks:
        other = cases.setdefault(case_id_of(path), path)
        if other != path:
            raise DataError(f"case {case_id_of(path)} stands twice: {other} and {path}. Keep one of them.")
    return cases


def kind_of(members: Sequence[Member], method: Method) -> Kind:
    """What the method combines, checked to be there in every member.

    Args:
        members: The members.
        method: ``mean`` and ``geometric`` take probabilities, of volumes or tables; ``rank`` tables;
            ``majority`` and ``staple`` masks.

    Raises:
        DataError: If a member lacks such files.
    """
    if method in ("majority", "staple"):
        _require(members, [bool(member.masks) for member in members], f"{method} needs <case>.nii.gz")
        return "masks"
    if method == "rank" or all(member.table is not None and not member.probs for member in members):
        _require(
            members,
            [member.table is not None for member in members],
            f"{method} needs a {TABLE} of a classification, with {PROB_PREFIX}<label> columns",
        )
        return "table"
    needed = f"{method} needs probabilities: <case>.npz beside <case>.nii.gz, or a {TABLE} in every member"
    _require(members, [bool(member.probs) for member in members], needed)
    for member in members:
        lacking = sorted(set(member.masks) ^ set(member.probs))
        if lacking:
            raise DataError(
                f"{member.name}: expected <case>.npz and <case>.nii.gz of every case, found only one of them "
                f"for {_listed(lacking)}. Predict again with --probabilities."
            )
    return "probabilities"


def _require(members: Sequence[Member], present: Sequence[bool], needed: str) -> None:
    for member, here in zip(members, present, strict=True):
        if here:
            continue
        found = [
            f"{len(member.masks)} masks" if member.masks else "",
            f"{len(member.probs)} .npz" if member.probs else "",
            f"a {TABLE} of probabilities" if member.table else "",
        ]
        raise DataError(
            f"{member.name}: {needed}; found {' and '.join(filter(None, found)) or 'no predictions'} in "
            f"{member.folder}. Predict again with --probabilities, or choose another --method or folder."
        )


def check_same_cases(names: Sequence[str], cases: Sequence[Collection[str]]) -> list[str]:
    """Refuse members of different cases, and say which are missing where.

    Args:
        names: Name of each member.
        cases: Cases of each member.

    Returns:
        The cases, sorted.

    Raises:
        DataError: If a member lacks a case that another has.

    Example:
        >>> check_same_cases(["A", "B"], [["b", "a"], ["a", "b"]])
        ['a', 'b']
    """
    everything = sorted({case for of_one in cases for case in of_one})
    lines = [
        f"  {name} lacks {len(missing)} of {len(everything)}: {_listed(missing)}"
        for name, of_one in zip(names, cases, strict=True)
        if (missing := sorted(set(everything) - set(of_one)))
    ]
    if not lines:
        return everything
    advice = "Predict what is missing, or leave the member out."
    if sum(len(set(of_one)) for of_one in cases) == len(everything):
        advice = (
            "No two members share a case: folds that each predict cases of their own are put side by side, "
            "and not averaged."
        )
    raise DataError("\n".join(["expected the same cases in all members.", *lines, advice]))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
