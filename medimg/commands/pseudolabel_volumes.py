"""What ``medimg pseudolabel`` does with volumes: masks of sure voxels, all others ignored."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medimg.commands.pseudolabel_checks import by_members, check_out, provenance, refuse_known_cases, report
from medimg.ensembling.description import Description, agreed_description, channel_scheme
from medimg.ensembling.members import Member, kind_of
from medimg.ensembling.output import staged
from medimg.ensembling.pseudo_choice import Changes, named_numbers
from medimg.ensembling.pseudo_volumes import CaseLabels, VolumeRules, label_case
from medimg.ensembling.volumes import CaseFiles, case_files
from medimg.errors import ConfigError, DataError
from medimg.parallel import map_cases, raise_failures
from medimg.preparation.image_splits import file_hash
from medimg.preparation.pseudo_leaks import expect_unlabelled
from medimg.preparation.pseudo_note import NOTE, PseudoNote, note_path, read_note, write_note
from medimg.preparation.pseudo_volumes import ignore_value, loose_volumes, volumes_by_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medimg.records import Record

_POSITIVE = 0.95
BACKGROUND = "background"


@dataclass(frozen=True, slots=True)
class VolumeWords:
    """Thresholds and weights as they stand on the command line; see ``medimg pseudolabel``."""

    positive: list[str] | None = None
    quota: list[str] | None = None
    weight: float | None = 1.0
    min_confidence: float = 0.0
    min_dice: float = 0.0


def label_volumes(
    members: Sequence[Member],
    out: Path,
    images: Path,
    split: Path,
    words: VolumeWords,
    *,
    previous: Path | None = None,
    labelled: Path | None = None,
    skip_known: bool = False,
    config: Path | None = None,
    overwrite: bool = False,
    workers: int = 1,
    scheduler: str | None = None,
) -> int:
    """Write the masks; see ``medimg pseudolabel``.

    Returns:
        0.
    """
    check_out(out, overwrite)
    expect_unlabelled(members, split)
    _check_words(words, len(members))
    if kind_of(members, "mean") != "probabilities":
        raise ConfigError(f"--out {out}: the members hold a table; give it a name that ends in .csv.")
    names, said = [one.name for one in members], [one.description for one in members]
    common = agreed_description(names, said, "probabilities", mixed_splits=True)  # --split is checked above
    rules = volume_rules(words, common)
    files = {one.case_id: one for one in case_files(members, "probabilities")}
    note, earlier = _earlier(previous, rules)
    carried = [case for case in earlier if case not in files]
    records = volumes_by_name(_records(images, labelled, config), [*files, *carried], images)
    known = refuse_known_cases(list(records.values()), split, labelled, config, skip=skip_known)
    files = {case: one for case, one in files.items() if records[case].case_id not in known}
    carried = [case for case in carried if records[case].case_id not in known]
    if not files:
        raise DataError("no case is left: all of them are known. Predict unlabelled cases.")
    round_ = 1 if note is None else note.round + 1
    with staged(out) as folder:
        found = _label(list(files.values()), earlier, replace(rules, out=folder), workers, scheduler)
        written = _choose(found, folder, words)
        for case in carried:
            shutil.copy(earlier[case], folder / f"{case}.nii.gz")
            written.weights[case] = note.weights[case] if note is not None else 1.0
        _expect_some(written, found)
        masks = _hash([folder / f"{case}.nii.gz" for case in sorted(written.weights)])
        stale = _stale(out, written.weights)
        (out / NOTE).unlink(missing_ok=True)
    facts = {"words": asdict(words), "changes": asdict(written.changes), "masks": masks}
    settings = provenance(members, split, previous) | facts | {"confidence": written.confidence}
    labels = common.labels or {}
    new = PseudoNote(
        round_, images.absolute(), settings, labels=labels, ignore=rules.ignore, weights=written.weights
    )
    write_note(note_path(out), new)
    for path in stale:
        path.unlink(missing_ok=True)
    total = len(found) + len(carried)
    print(f"{len(written.weights)} of {total} cases are taken, {by_members(members)}: {out}")
    print(
        f"  {100 * written.share:.1f} % of the voxels predicted now have a label; {rules.ignore} is ignored"
    )
    report(round_, written.changes, out, split, "voxels")
    return 0


@dataclass(frozen=True, slots=True)
class _Written:
    """What is written: weight of each case, and how sure and how changed those of this round are."""

    weights: dict[str, float]
    confidence: dict[str, float]
    changes: Changes
    share: float


def _choose(found: dict[str, CaseLabels], folder: Path, words: VolumeWords) -> _Written:
    """Keep the masks within the quota, and remove the others."""
    taken = _within_quota(found, words.quota)
    for case in set(found) - taken:
        (folder / f"{case}.nii.gz").unlink(missing_ok=True)
    kept = {case: found[case] for case in sorted(taken)}
    weights = {case: one.confidence if words.weight is None else words.weight for case, one in kept.items()}
    confidence = {case: round(one.confidence, 4) for case, one in kept.items()}
    share = float(np.mean([one.share for one in kept.values()])) if kept else 0.0
    return _Written(weights, confidence, _sum([one.changes for one in kept.values()]), share)


def _expect_some(written: _Written, found: dict[str, CaseLabels]) -> None:
    if not written.weights:
        surest = max(one.confidence for one in found.values())
        raise DataError(
            f"no case of {len(found)} is sure enough: the surest has a confidence of {surest:.3g}. Lower --positive, "
            "--min_confidence or --min_dice, or train longer first."
        )


def _check_words(words: VolumeWords, num_members: int) -> None:
    for name, value in (("min_confidence", words.min_confidence), ("min_dice", words.min_dice)):
        if not 0 <= value <= 1:
            raise ConfigError(f"--{name} {value:g}: expected a number in [0, 1].")
    if words.min_dice and num_members < 2:
        raise ConfigError("--min_dice compares members: name two or more, or leave it away.")


def volume_rules(words: VolumeWords, common: Description) -> VolumeRules:
    """Read the thresholds, each of a class or for all that are not named.

    Args:
        words: What stands on the command line.
        common: What the members say of their channels.

    Raises:
        ConfigError: If a word makes no sense, or nothing says what the channels mean.
    """
    if not common.labels:
        raise ConfigError(
            "predictions.json: expected labels, the value of each class in the masks, in one member at least, and "
            "found none: nobody would know which class a mask means."
        )
    scheme = channel_scheme(common)
    classes = list(common.classes or common.labels)
    names = [BACKGROUND, *classes] if scheme.head == "softmax" else classes
    given = named_numbers(words.positive or [], names, "--positive")
    least = tuple(given.get(name, _POSITIVE) for name in names)
    if scheme.head == "sigmoid" and min(least) < 0.5:
        raise ConfigError(
            f"--positive {min(least):g}: expected 0.5 or more for regions, absent below 1 less."
        )
    ignore = ignore_value(list(common.labels.values()))
    return VolumeRules(scheme, least, ignore, Path(), words.min_confidence, words.min_dice)


def _records(images: Path, labelled: Path | None, config: Path | None) -> list[Record]:
    """The unlabelled cases as predict listed them, else by the names of their files."""
    if config is None:
        return loose_volumes(images)
    from medimg.datasets.plain import index_plain
    from medimg.preparation.settings import data_section, read_data_settings

    settings = read_data_settings(config)
    if settings.data_module == "BraTSDataModule" or (images / "dataset.json").is_file():
        return list(settings.index(images).all_records)
    root = labelled or Path(str(data_section(config)[1].get("root")))
    return (
        list(index_plain(images, like=settings.index(root)).all_records)
        if root.is_dir()
        else loose_volumes(images)
    )


def _earlier(previous: Path | None, rules: VolumeRules) -> tuple[PseudoNote | None, dict[str, Path]]:
    """Note and masks of the round before."""
    if previous is None:
        return None, {}
    note = read_note(previous)
    if note.ignore != rules.ignore:
        raise ConfigError(
            f"--previous {previous}: ignores {note.ignore}, expected {rules.ignore}: it has other labels."
        )
    masks = {case: previous / f"{case}.nii.gz" for case in note.weights}
    if missing := [case for case, path in masks.items() if not path.is_file()]:
        raise DataError(f"--previous {previous}: {len(missing)} masks are missing, such as {missing[0]}.")
    return note, masks


def _label(
    files: list[CaseFiles], earlier: dict[str, Path], rules: VolumeRules, workers: int, scheduler: str | None
) -> dict[str, CaseLabels]:
    names = [one.case_id for one in files]
    items = [(one, earlier.get(one.case_id)) for one in files]
    work = partial(label_case, rules=rules)
    found = raise_failures(map_cases(work, items, names=names, workers=workers, scheduler=scheduler))
    return dict(zip(names, found, strict=True))


def _within_quota(found: dict[str, CaseLabels], words: list[str] | None) -> set[str]:
    """The most confident cases, and those of the round before."""
    taken = [case for case, one in found.items() if one.taken]
    if words is None:
        return set(taken)
    quota = named_numbers(words, ["cases"], "--quota", top=np.inf).get("cases", np.inf)
    number = int(min(quota, len(taken)) if quota >= 1 else quota * len(taken) + 1e-6)
    fresh = [case for case in taken if not found[case].earlier]
    order = sorted(fresh, key=lambda case: (-found[case].confidence, case))
    return {case for case in taken if found[case].earlier} | set(order[:number])


def _sum(changes: list[Changes]) -> Changes:
    return Changes(
        *(sum(getattr(one, name) for one in changes) for name in ("kept", "new", "dropped", "flipped"))
    )


def _hash(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name} {file_hash(path)}\n".encode())
    return digest.hexdigest()[:12]


def _stale(out: Path, weights: dict[str, Any]) -> list[Path]:
    """Masks of an earlier call in the same folder that are not written again."""
    if not note_path(out).is_file():
        return []
    return [out / f"{case}.nii.gz" for case in read_note(out).weights if case not in weights]
