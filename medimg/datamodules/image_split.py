"""Which labelled images train and which validate: from a file, as published, or dealt by patient."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from medimg.errors import DataError
from medimg.preparation.image_splits import image_folds, official_splits, official_test
from medimg.preparation.splits import Split, read_split_file, split_hash
from medimg.records import ImageIndex


def choose_image_split(
    index: ImageIndex,
    *,
    fold: int,
    num_folds: int,
    split_file: Path | None = None,
    by: Literal["patient", "case"] = "patient",
    allow_leaky: bool = False,
    copies: Callable[[], Sequence[Collection[str]]] = tuple,
) -> Split:
    """The split of one fold, checked.

    Args:
        index: The data set.
        fold: Fold whose cases validate, from 0.
        num_folds: Folds to deal where neither a file nor the data set names them.
        split_file: Table or JSON list of folds, see `medimg.preparation.splits.read_split_file`.
        by: ``case`` deals cases whatever their patient, group and published folds; the run is marked if that leaks.
        allow_leaky: Accept a split that puts one patient on both sides; the run is marked.
        copies: Finds sets of cases that are one picture; called only where folds are dealt.

    Raises:
        DataError: If the fold does not exist, names unknown cases, or puts a case or a patient on two sides,
            the test among them.
    """
    if split_file is not None:
        splits = read_split_file(split_file)
    elif by == "case":
        lone = (replace(record, patient_id=record.case_id, group=None) for record in index.records)
        splits = image_folds(replace(index, records=tuple(lone)), num_folds, official=False)
    elif allow_leaky and official_splits(index):
        splits = official_splits(index)
    else:
        splits = image_folds(index, num_folds, keep_together=[] if official_splits(index) else copies())
    if not 0 <= fold < len(splits):
        raise DataError(f"fold {fold} does not exist: expected 0 to {len(splits) - 1}")
    chosen = replace(splits[fold], whole=split_hash(splits, official_test(index)), folds=len(splits))
    return _checked(chosen, index, allow_leaky or by == "case")


def _checked(split: Split, index: ImageIndex, allow_leaky: bool) -> Split:
    patient_of = {record.case_id: record.patient_id for record in index.records}
    if unknown := sorted({*split.train, *split.val} - patient_of.keys()):
        raise DataError(
            f"the split names {len(unknown)} cases that {index.root} does not have, such as {unknown[0]!r}"
        )
    if not split.train or not split.val:
        raise DataError("the split leaves train or val empty")
    sides = {"train": split.train, "val": split.val, "test": (*official_test(index), *split.test)}
    leaky: set[str] = set()
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        if both := sorted(set(sides[one]) & set(sides[other])):
            raise DataError(
                f"the split puts {len(both)} cases into both {one} and {other}, such as {both[0]!r}"
            )
        shared = {patient_of[case] for case in sides[one]} & {patient_of[case] for case in sides[other]}
        if shared and not allow_leaky:
            raise DataError(
                f"the split puts {len(shared)} patients into both {one} and {other}, such as {min(shared)!r}: scores "
                "would be too good. Split by patient, or set data.init_args.split.allow_leaky to true to have the "
                "run marked."
            )
        leaky |= shared
    return replace(split, leaky=tuple(sorted(leaky)))
