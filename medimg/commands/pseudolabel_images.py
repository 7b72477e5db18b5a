"""What ``medimg pseudolabel`` does with classifications: a table of sure labels."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medimg.commands.pseudolabel_checks import by_members, check_out, provenance, refuse_known_cases, report
from medimg.ensembling.members import Member, check_same_cases
from medimg.ensembling.pseudo_choice import (
    UNKNOWN,
    Changes,
    Choice,
    FloatArray,
    Rules,
    case_weights,
    choose,
    decisions_of,
    label_values,
    merge,
    named_numbers,
)
from medimg.ensembling.tables import MemberTable, read_member_table
from medimg.errors import ConfigError, DataError
from medimg.preparation.pseudo_leaks import expect_unlabelled
from medimg.preparation.pseudo_note import PseudoNote, read_note
from medimg.preparation.pseudo_table import read_pseudo_table, records_by_case, write_pseudo_table
from medimg.records import ImageIndex, Record, Task
from medimg.scoring.label_table import TARGET_PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medimg.records import TableColumns

_POSITIVE, _NEGATIVE = 0.95, 0.05


@dataclass(frozen=True, slots=True)
class ImageWords:
    """Thresholds and weights as they stand on the command line; see ``medimg pseudolabel``."""

    positive: list[str] | None = None
    negative: list[str] | None = None
    quota: list[str] | None = None
    max_spread: float | None = None
    soft: bool = False
    weight: float | None = 1.0
    task: Task | None = None


def label_images(
    members: Sequence[Member],
    out: Path,
    images: Path,
    split: Path,
    words: ImageWords,
    *,
    previous: Path | None = None,
    labelled: Path | None = None,
    skip_known: bool = False,
    config: Path | None = None,
    table: Path | None = None,
    columns: TableColumns | None = None,
    overwrite: bool = False,
) -> int:
    """Write the table; see ``medimg pseudolabel``.

    Returns:
        0.
    """
    check_out(out, overwrite)
    expect_unlabelled(members, split)
    tables = _tables(members)
    labels = tables[0].labels
    task = _task(members, words.task, labels)
    rules = rules_of(words, labels, exclusive=task == "multiclass")
    cases = check_same_cases([one.name for one in tables], [one.rows.keys() for one in tables])
    index = replace(_index(images, config, table, columns), task=task, classes=labels)
    earlier = None if previous is None else _Earlier(previous, index)
    found = records_by_case(index, cases)
    carried = {} if earlier is None else earlier.records_without(found, images)
    everyone = {record.case_id: record for group in (*found.values(), *carried.values()) for record in group}
    known = refuse_known_cases(list(everyone.values()), split, labelled, config, skip=skip_known)
    cases = [case for case in cases if not any(record.case_id in known for record in found[case])]
    if not cases:
        raise DataError("no case is left: all of them are known. Predict unlabelled cases.")
    choice = choose(np.stack([one.probs(cases, labels) for one in tables]), rules)
    sure = _decide(cases, choice, rules, words, earlier, [case for case in carried if case not in known])
    if not sure.values:
        raise DataError(
            f"no case of {len(cases)} is sure enough: the surest reaches {choice.certainty.max():.3g}. Lower "
            "--positive or raise --negative, or train longer first."
        )
    settings = provenance(members, split, previous) | {
        "thresholds": _thresholds(rules, labels),
        "words": asdict(words),
        "changes": asdict(sure.changes),
        "grouped": any(record.case_id != case for case in cases for record in found[case]),
    }
    middle = () if rules.exclusive else tuple(rules.middle.tolist())
    round_ = 1 if earlier is None else earlier.note.round + 1
    note = PseudoNote(round_, images.absolute(), settings, middle=middle)
    everything = replace(index, records=tuple(everyone[name] for name in sorted(everyone)))
    write_pseudo_table(out, everything, sure.values, sure.weights, note)
    print(f"{len(sure.values)} of {len(cases) + len(carried)} cases are sure, {by_members(members)}: {out}")
    print("\n".join(_counts(sure, labels, exclusive=rules.exclusive)))
    report(round_, sure.changes, out, split, "labels")
    return 0


def _tables(members: Sequence[Member]) -> list[MemberTable]:
    """The members' tables, of the same labels and without truth."""
    tables = []
    for member in members:
        if member.table is None:
            raise DataError(
                f"{member.name}: expected the per_case.csv of a classification, found none in {member.folder}. Give "
                "--out a folder for the masks of volumes."
            )
        tables.append(read_member_table(member.name, member.table))
    for one in tables:
        if set(one.labels) != set(tables[0].labels):
            raise DataError(
                f"expected the same labels in all members, found {', '.join(tables[0].labels)} in {tables[0].name} and "
                f"{', '.join(one.labels)} in {one.name}. Take members of one task only."
            )
        for case, row in one.rows.items():
            truth = [float(value) for name, value in row.items() if name.startswith(TARGET_PREFIX)]
            if any(value >= 0 for value in truth):
                raise DataError(
                    f"{one.name}: the case {case} has a label already (target_ columns): these are predictions of "
                    "labelled cases. Take those of predict, of unlabelled images."
                )
    return tables


def _task(members: Sequence[Member], given: Task | None, labels: Sequence[str]) -> Task:
    stated = {member.description.task for member in members} - {None}
    if given is not None:
        stated.add(given)
    if not stated and len(labels) == 1:
        return "binary"
    if len(stated) != 1 or (task := stated.pop()) not in ("binary", "multiclass", "multilabel"):
        found = ", ".join(sorted(map(str, stated))) or "nothing said by predictions.json"
        raise ConfigError(
            f"--task: expected one of binary, multiclass and multilabel for all members, found {found}."
        )
    return task  # type: ignore[return-value]


def rules_of(words: ImageWords, labels: Sequence[str], *, exclusive: bool) -> Rules:
    """Read the thresholds, each of a label or for all that are not named.

    Args:
        words: What stands on the command line.
        labels: Names of the K labels.
        exclusive: Whether exactly one of them is true.

    Raises:
        ConfigError: If a word makes no sense, or a label would be present and absent at once.

    Example:
        >>> rules_of(ImageWords(positive=["0.9", "b=0.8"]), ["a", "b"], exclusive=False).positive.tolist()
        [0.9, 0.8]
    """
    names = list(labels)
    given = named_numbers(words.positive or [], names, "--positive")
    positive = np.array([given.get(name, _POSITIVE) for name in names])
    if exclusive and words.negative is not None:
        raise ConfigError(
            "--negative is for labels that are told apart one by one; of exclusive classes one is true."
        )
    absent = named_numbers(words.negative or [], names, "--negative")
    negative = np.array([absent.get(name, _NEGATIVE) for name in names])
    for name, low, high in zip(names, negative, positive, strict=True):
        if low > high and not exclusive:
            raise ConfigError(
                f"{name}: expected --negative below --positive, found {low:g} and {high:g}: a case would be both."
            )
    if words.max_spread is not None and not 0 <= words.max_spread <= 1:
        raise ConfigError(
            f"--max_spread {words.max_spread:g}: expected a difference of probabilities in [0, 1]."
        )
    return Rules(exclusive, positive, negative, _quota(words.quota, names, exclusive), words.max_spread)


def _quota(words: list[str] | None, names: list[str], exclusive: bool) -> dict[tuple[int, int], float]:
    sides = [] if exclusive else [f"{name}:{value}" for name in names for value in (0, 1)]
    given = named_numbers(words or [], [*names, *sides], "--quota", top=np.inf)
    if exclusive:
        return {(0, names.index(name)): number for name, number in given.items()}
    found = {(names.index(name), value): given[name] for name in names if name in given for value in (0, 1)}
    one_sided = [word for text in words or [] for word in text.split(",") if word.partition("=")[0] in sides]
    alone = named_numbers(one_sided, sides, "--quota", top=np.inf)
    return found | {(names.index(side[:-2]), int(side[-1])): number for side, number in alone.items()}


def _index(images: Path, config: Path | None, table: Path | None, columns: TableColumns | None) -> ImageIndex:
    """The unlabelled images as predict listed them."""
    from medimg.datasets.image_set import list_images
    from medimg.datasets.table import index_table
    from medimg.preparation.settings import data_section

    if table is not None:
        if columns is None:
            raise ConfigError(
                "--table needs its columns: --columns.id, --columns.patient and --columns.images."
            )
        return index_table(table, images, columns=replace(columns, labels=()), task="multilabel")
    if config is None or "dataset" not in data_section(config)[1]:
        return list_images(images)
    from medimg.commands.prepare_images import read_image_set

    return read_image_set(config).unlabelled(images)


class _Earlier:
    """Labels of the round before."""

    def __init__(self, previous: Path, index: ImageIndex) -> None:
        self.path, self.note, before = previous, read_note(previous), read_pseudo_table(previous)
        if (before.task, before.classes) != (index.task, index.classes):
            raise ConfigError(
                f"--previous {previous}: is {before.task} with {', '.join(before.classes)}, and these predictions are "
                f"{index.task} with {', '.join(index.classes)}. Name the earlier labels of the same task."
            )
        grouped = bool(self.note.settings.get("grouped"))
        self.records: dict[str, list[Record]] = {}
        for record in before.records:
            name = record.group if grouped and record.group is not None else record.case_id
            self.records.setdefault(name, []).append(record)
        first = {case: records[0] for case, records in self.records.items()}
        self.values = {
            c: np.array([r.labels.get(k, np.nan) for k in before.classes]) for c, r in first.items()
        }
        self.weights = {case: record.weight for case, record in first.items()}

    def records_without(self, found: dict[str, list[Record]], images: Path) -> dict[str, list[Record]]:
        """Images of the cases that were not predicted this time, which stay as they are."""
        carried = {case: records for case, records in self.records.items() if case not in found}
        if carried and self.note.images.resolve() != images.resolve():
            raise ConfigError(
                f"--previous {self.path}: {len(carried)} of its cases were not predicted now, such as {min(carried)}, "
                f"and lie below {self.note.images}, not {images}. Predict them too, or give a folder above both."
            )
        # Paths as the images of this round have them.
        old = self.note.images
        return {
            case: [
                replace(r, images=tuple(images / path.relative_to(old) for path in r.images)) for r in records
            ]
            for case, records in carried.items()
        }

    def values_of(self, cases: Sequence[str], num_labels: int) -> FloatArray:
        """Values (N, K), NaN for cases without."""
        nothing = np.full(num_labels, np.nan)
        return np.array([self.values.get(case, nothing) for case in cases])


@dataclass(frozen=True, slots=True)
class _Sure:
    """What is written: values (K,) and weight of each case, and how they differ from the round before."""

    values: dict[str, FloatArray]
    weights: dict[str, float]
    changes: Changes


def _decide(
    cases: Sequence[str],
    choice: Choice,
    rules: Rules,
    words: ImageWords,
    earlier: _Earlier | None,
    carried: Sequence[str],
) -> _Sure:
    taken = choice.taken
    before = np.full_like(taken, UNKNOWN)
    if earlier is not None:
        middle = np.array(earlier.note.middle)  # as the earlier values were meant
        then = Rules(rules.exclusive, middle, middle)
        before = decisions_of(earlier.values_of(cases, choice.mean.shape[1]), then)
    taken, changes = merge(taken, choice.called, before)
    values = label_values(taken, choice.mean, rules, soft=words.soft)
    weights = case_weights(taken, choice.certainty, words.weight)
    having = np.flatnonzero((taken != UNKNOWN).any(axis=1)).tolist()
    sure = {cases[n]: values[n] for n in having}
    weight = {cases[n]: float(weights[n]) for n in having}
    if earlier is not None and carried:
        sure |= {case: earlier.values[case] for case in carried}
        weight |= {case: earlier.weights[case] for case in carried}
        known = sum(
            1 if rules.exclusive else int((~np.isnan(earlier.values[case])).sum()) for case in carried
        )
        changes = replace(changes, kept=changes.kept + known)
    return _Sure(sure, weight, changes)


def _thresholds(rules: Rules, labels: Sequence[str]) -> dict[str, dict[str, float]]:
    found = {"positive": dict(zip(labels, rules.positive.tolist(), strict=True))}
    return (
        found
        if rules.exclusive
        else found | {"negative": dict(zip(labels, rules.negative.tolist(), strict=True))}
    )


def _counts(sure: _Sure, labels: Sequence[str], *, exclusive: bool) -> list[str]:
    """A line for each label: how many cases have it, do not, or are not sure."""
    values = np.array(list(sure.values.values()))
    width = max(map(len, labels))
    if exclusive:
        number = np.bincount(values.argmax(axis=1), minlength=len(labels))
        return [f"  {name:<{width}}  {n} cases" for name, n in zip(labels, number, strict=True)]
    return [
        f"  {name:<{width}}  {(one >= 0.5).sum()} positive, {(one < 0.5).sum()} negative, {np.isnan(one).sum()} blank"
        for name, one in zip(labels, values.T, strict=True)
    ]
