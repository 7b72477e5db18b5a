"""Who trains and who validates: folds that keep each patient on one side."""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from medimg.errors import DataError
from medimg.preparation.split_table import SplitRow, read_split_table
from medimg.records import DatasetIndex, Record

# nnU-Net's seed: where every case is a patient of its own, the folds are those of its default split.
SPLIT_SEED = 12345

SPLIT_FILE = "split.json"
"""Beside a run's ``config.yaml``: hash of the split, the fold, and the cases that it validates and tests."""


@dataclass(frozen=True, slots=True)
class Split:
    """Case ids on each side of one fold.

    Attributes:
        train: Cases that the weights are fitted to.
        val: Cases that epochs and settings are chosen on.
        leaky: Patients that stand on both sides; empty unless a split file asked for it by case.
        test: Cases that a split file keeps for a test, and so on neither side.
        whole: Hash of the split of which this is a fold, see `split_hash`; empty until a fold is chosen.
        folds: Number of its folds; 0 until one is chosen.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    leaky: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    whole: str = field(default="", compare=False)
    folds: int = field(default=0, compare=False)

    @property
    def digest(self) -> str:
        """Short hash of both sides of this fold alone: what a resumed run must have in common with its checkpoint."""
        return _short_hash([self.train, self.val])


def split_hash(splits: Sequence[Split], published_test: Collection[str] = ()) -> str:
    """Short hash of a whole split, the same for all of its folds and on every machine.

    It is that of the rows of a table of folds: each case with the fold in which it validates, or ``test``. So a table
    that `medimg split` wrote and the same folds out of a JSON list, or dealt by a data module, have one hash.
    As in the table, cases that train in every fold stand in a last fold of their own.

    Args:
        splits: All folds.
        published_test: Cases that the data set itself keeps for a test.

    Returns:
        12 hexadecimal digits.

    Example:
        >>> folds = [Split(("a",), ("b",)), Split(("b",), ("a",))]
        >>> split_hash(folds) == split_hash([Split(("a",), ("b",))])  # "a" stands in fold 1 either way
        True
        >>> split_hash(folds) == split_hash(folds, ["c"])
        False
    """
    rows = {(case, fold) for fold, split in enumerate(splits) for case in split.val}
    dealt = {case for split in splits for case in (*split.train, *split.val)}
    rows |= {(case, len(splits)) for case in dealt - {case for case, _ in rows}}
    test = {*published_test, *(case for split in splits for case in split.test)}
    places = [(case, str(fold)) for case, fold in rows] + [(case, "test") for case in test]
    # Not in tables, where a fold trains on all others; a JSON list may leave cases out of one.
    for fold, split in enumerate(splits):
        places += [(case, f"not in {fold}") for case in dealt.difference(split.train, split.val)]
    return _short_hash(sorted(places))


def _short_hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


def patient_folds(records: Sequence[Record], num_folds: int) -> list[Split]:
    """Shuffle the patients with a fixed seed and deal them into folds of nearly equal size.

    Args:
        records: Labelled cases.
        num_folds: Number of folds F.

    Returns:
        F splits; every case stands in the validation side of exactly one.

    Raises:
        DataError: If there are fewer than 2 folds, or fewer patients than folds.

    Example:
        >>> cases = [Record(f"c{i}", f"p{i // 2}", ()) for i in range(4)]
        >>> [split.val for split in patient_folds(cases, 2)]
        [('c2', 'c3'), ('c0', 'c1')]
    """
    patients = sorted({record.patient_id for record in records})
    if num_folds < 2:
        raise DataError(
            f"expected at least 2 folds, found num_folds {num_folds}: one side trains, the other validates"
        )
    if len(patients) < num_folds:
        raise DataError(
            f"{num_folds} folds need at least {num_folds} patients, found {len(patients)}: "
            f"{', '.join(patients[:5])}. Set num_folds lower, or, to split one patient's cases "
            "knowingly, set data.init_args.split.by to case (the run is marked as leaky)."
        )
    order = np.random.RandomState(SPLIT_SEED).permutation(len(patients))
    splits = []
    for part in np.array_split(order, num_folds):
        held = {patients[i] for i in part}
        train = sorted(record.case_id for record in records if record.patient_id not in held)
        val = sorted(record.case_id for record in records if record.patient_id in held)
        splits.append(Split(tuple(train), tuple(val)))
    return splits


def read_split_file(path: Path) -> list[Split]:
    """Read the folds of a file.

    Args:
        path: ``.csv`` as `medimg split` writes it, whose column ``fold`` says where a case validates, or that it is
            a ``test`` case; else JSON ``[{"train": [ids], "val": [ids]}, ...]``, the form of nnU-Net's
            ``splits_final.json``.

    Raises:
        DataError: If the file is missing or has another form.
    """
    if path.suffix.lower() == ".csv":
        return splits_of_rows(read_split_table(path))
    try:
        folds = json.loads(path.read_text())
        return [Split(tuple(sorted(fold["train"])), tuple(sorted(fold["val"]))) for fold in folds]
    except FileNotFoundError:
        raise DataError(f"no split file at {path}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f'{path}: expected a JSON list of {{"train": [case ids], "val": [case ids]}}, found {error!r}. '
            "Mend it, or make a table of folds with medimg split, whose name ends in .csv."
        ) from error


def splits_of_rows(rows: Sequence[SplitRow]) -> list[Split]:
    """The split of each fold: its cases validate, those of the other folds train.

    Args:
        rows: A row a case; folds run from 0.

    Example:
        >>> rows = [SplitRow("a", "p", 0), SplitRow("b", "q", 1), SplitRow("c", "r", None)]
        >>> [(split.train, split.val, split.test) for split in splits_of_rows(rows)]
        [(('b',), ('a',), ('c',)), (('a',), ('b',), ('c',))]
    """
    ordered = sorted(rows, key=lambda row: row.case_id)
    test = tuple(row.case_id for row in ordered if row.fold is None)
    dealt = [(row.case_id, row.fold) for row in ordered if row.fold is not None]
    return [
        Split(
            tuple(case for case, own in dealt if own != fold),
            tuple(case for case, own in dealt if own == fold),
            test=test,
        )
        for fold in range(1 + max(own for _, own in dealt))
    ]


def choose_split(
    index: DatasetIndex,
    *,
    fold: int,
    num_folds: int,
    split_file: Path | None = None,
    by: Literal["patient", "case"] = "patient",
    allow_leaky: bool = False,
) -> Split:
    """The split of one fold: from a file, else as published, else dealt by patient.

    Args:
        index: The data set.
        fold: Fold whose cases validate, from 0.
        num_folds: Folds to deal where neither a file nor the data set names them.
        split_file: Table or JSON list of folds, see `read_split_file`.
        by: ``case`` deals cases whatever their patient and published folds; the run is marked if that leaks.
        allow_leaky: Accept a split that puts one patient on both sides; the run is marked.

    Raises:
        DataError: If the fold does not exist, names unknown cases, repeats a case on both sides,
            or splits a patient without ``allow_leaky``.
    """
    if split_file is not None:
        splits = read_split_file(split_file)
    elif by == "case":
        lone = [replace(record, patient_id=record.case_id) for record in index.records]
        splits = patient_folds(lone, num_folds)
    elif index.folds:
        splits = [Split(train, val) for train, val in index.folds]
    else:
        splits = patient_folds(index.records, num_folds)
    if not 0 <= fold < len(splits):
        raise DataError(f"fold {fold} does not exist: expected 0 to {len(splits) - 1}")
    whole = split_hash(splits, [record.case_id for record in index.test])
    chosen = replace(splits[fold], whole=whole, folds=len(splits))
    return _checked(chosen, index, allow_leaky or by == "case")


def _checked(split: Split, index: DatasetIndex, allow_leaky: bool) -> Split:
    patient_of = {record.case_id: record.patient_id for record in index.records}
    unknown = sorted({*split.train, *split.val} - patient_of.keys())
    if unknown:
        raise DataError(
            f"the split names {len(unknown)} cases that {index.root} has no mask for, such as {unknown[0]!r}"
        )
    both = sorted(set(split.train) & set(split.val))
    if both:
        raise DataError(f"the split puts {len(both)} cases into both train and val, such as {both[0]!r}")
    if not split.train or not split.val:
        raise DataError("the split leaves train or val empty")
    tested = {patient_of[case] for case in split.test if case in patient_of}
    held_out = (
        {patient_of[case] for case in split.val} | {record.patient_id for record in index.test} | tested
    )
    leaky = {patient_of[case] for case in split.train} & held_out
    if leaky and not allow_leaky:
        raise DataError(
            f"the split puts {len(leaky)} patients on both sides, such as {min(leaky)!r}: scores would be "
            "too good. Split by patient, or set data.init_args.split.allow_leaky to true to have the run marked."
        )
    return replace(split, leaky=tuple(sorted(leaky)))
