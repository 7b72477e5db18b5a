"""Folds of labelled images: a patient on one side, every label spread evenly."""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg.errors import DataError
from medimg.preparation.dealing import deal, expect_folds, hold_out, in_company_of, patient_groups
from medimg.preparation.splits import SPLIT_SEED, Split
from medimg.records import ImageIndex, Record

logger = logging.getLogger(__name__)

_BLOCK = 1 << 20


def image_folds(
    index: ImageIndex,
    num_folds: int,
    *,
    seed: int = SPLIT_SEED,
    keep_together: Sequence[Collection[str]] = (),
    official: bool = True,
) -> list[Split]:
    """Deal the patients into folds in which every label is as frequent as in all of them.

    Cases whose published split is ``test`` stand in no fold.

    Args:
        index: The data set.
        num_folds: Number of folds F, at least 2.
        seed: Breaks ties; one seed gives one split.
        keep_together: Sets of case ids that must share a fold, such as copies that `identical_files` found;
            ids that are not dealt are passed over.
        official: Return what the data set publishes, where it does: its folds, or train and validation as one.

    Returns:
        F splits; every case stands in the validation side of exactly one. Or the published ones.

    Raises:
        DataError: If there are fewer patients than folds, or a published split puts a patient or cases of one
            set on both sides.
    """
    published = official_splits(index) if official else []
    if published:
        for split in published:
            _check(index, split, keep_together)
        return published
    records = [record for record in index.records if record.split != "test"]
    groups = patient_groups(records, keep_together)
    expect_folds(num_folds, groups, index.name)
    counts = _label_counts(records, groups, index)
    fold_of_group = deal(counts, np.array([len(group) for group in groups]), num_folds, seed=seed)
    _warn_of_rare(index, counts, num_folds)
    fold_of = {case: fold for group, fold in zip(groups, fold_of_group, strict=True) for case in group}
    ids = [record.case_id for record in records]
    return [
        Split(tuple(i for i in ids if fold_of[i] != fold), tuple(i for i in ids if fold_of[i] == fold))
        for fold in range(num_folds)
    ]


def split_images(
    index: ImageIndex,
    num_folds: int,
    *,
    holdout: float = 0.0,
    seed: int = SPLIT_SEED,
    keep_together: Sequence[Collection[str]] = (),
) -> list[Split]:
    """Deal the patients into folds and, if asked for, keep some for a test, with every label evenly spread.

    Cases whose published split is ``test``, and those that stay together with one, are test cases.

    Args:
        index: The data set; what it publishes for training and validation is passed over.
        num_folds: Number of folds F, at least 2.
        holdout: Share of the patients to keep for a test.
        seed: Breaks ties; one seed gives one split.
        keep_together: Sets of case ids that must share a fold.

    Returns:
        F splits; every case stands in the validation side of exactly one, or is a test case of all.

    Raises:
        DataError: If there are fewer patients than folds, or ``holdout`` comes to none or all of them.
    """
    test = in_company_of(official_test(index), index.records, keep_together)
    records = tuple(record for record in index.records if record.case_id not in test)
    if holdout:
        groups = patient_groups(records, keep_together)
        aside = hold_out(_label_counts(records, groups, index), holdout, seed=seed)
        test |= {case for group, held in zip(groups, aside, strict=True) if held for case in group}
        records = tuple(record for record in records if record.case_id not in test)
    rest = replace(index, records=records)
    folds = image_folds(rest, num_folds, seed=seed, keep_together=keep_together, official=False)
    return [replace(fold, test=tuple(sorted(test))) for fold in folds]


def official_splits(index: ImageIndex) -> list[Split]:
    """Splits that the data set publishes for training and validation; empty if it publishes none.

    Args:
        index: The data set: its folds are returned, else its ``train`` and ``val`` cases if it has both.
    """
    if index.folds:
        return [Split(train, val) for train, val in index.folds]
    train = tuple(record.case_id for record in index.records if record.split == "train")
    val = tuple(record.case_id for record in index.records if record.split == "val")
    return [Split(train, val)] if train and val else []


def official_test(index: ImageIndex) -> tuple[str, ...]:
    """Cases that the data set keeps for the test."""
    return tuple(record.case_id for record in index.records if record.split == "test")


def _label_counts(
    records: Sequence[Record], groups: Sequence[Sequence[str]], index: ImageIndex
) -> NDArray[np.float64]:
    """Positives of each label, known negatives where that matters, and cases without any label, (G, K')."""
    group_of = {case: number for number, group in enumerate(groups) for case in group}
    nan = float("nan")
    values = np.array([[r.labels.get(name, nan) for name in index.classes] for r in records]).reshape(
        len(records), len(index.classes)
    )
    known = ~np.isnan(values)
    if index.task == "targets":
        # Numbers are spread by whether they are large; of 1 and 0 this changes nothing.
        middle = np.array([_middle(column) for column in values.T])
        values = np.where(known, values > middle, nan)
    positive = np.where(known, values, 0.0)
    columns = [positive, ~known.any(axis=1, keepdims=True)]
    if index.task != "multiclass":
        # Blank labels make negatives rare too; of a class, the negatives are the other classes.
        columns.append(known - positive)
    counts = np.zeros((len(groups), sum(column.shape[1] for column in columns)))
    np.add.at(counts, [group_of[record.case_id] for record in records], np.hstack(columns))
    return counts


def _middle(column: NDArray[np.float64]) -> float:
    """What parts the values of a column in two: 0.5 for labels, the median for numbers."""
    known = column[~np.isnan(column)]
    return 0.5 if np.isin(known, (0.0, 1.0)).all() else float(np.median(known))


def _warn_of_rare(index: ImageIndex, counts: NDArray[np.float64], num_folds: int) -> None:
    patients = (counts[:, : len(index.classes)] > 0).sum(axis=0)
    rare = [f"{name} ({n})" for name, n in zip(index.classes, patients, strict=True) if 0 < n < num_folds]
    if rare:
        logger.warning(
            "%s: fewer patients than folds have %s; its score is undefined in some folds",
            index.name,
            ", ".join(rare),
        )


def _check(index: ImageIndex, split: Split, keep_together: Sequence[Collection[str]]) -> None:
    patient_of = {record.case_id: record.patient_id for record in index.records}
    if unknown := sorted({*split.train, *split.val} - patient_of.keys()):
        raise DataError(
            f"the split of {index.name} names {len(unknown)} unknown cases, such as {unknown[0]!r}"
        )
    train, val = set(split.train), set(split.val)
    both = {patient_of[case] for case in train} & {patient_of[case] for case in val}
    if both:
        raise DataError(
            f"the published split of {index.name} puts {len(both)} patients on both sides, such as {min(both)!r}: "
            "scores would be too good. Give folds of your own as data.init_args.split.file, or set "
            "data.init_args.split.allow_leaky to true to have the run marked."
        )
    for cases in keep_together:
        if train.intersection(cases) and val.intersection(cases):
            raise DataError(
                f"the published split of {index.name} puts copies on both sides: {', '.join(sorted(cases))}. "
                "Leave one out, or give folds of your own as data.init_args.split.file."
            )


def identical_files(records: Iterable[Record]) -> list[set[str]]:
    """Cases whose files are the same, byte for byte, under whatever names.

    Only files of one size are read. Members of one file, as in ``.npz``, are not compared here.

    Args:
        records: Cases; those with several images count as the same if any image is.

    Returns:
        Sets of two or more case ids, for ``keep_together``; sorted by their first case.

    Raises:
        DataError: If a file cannot be read.
    """
    cases_of: dict[Path, set[str]] = defaultdict(set)
    for record in records:
        if record.member is None:
            for path in record.images:
                cases_of[path].add(record.case_id)
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in cases_of:
        by_size[_size(path)].append(path)
    by_content: dict[str, set[str]] = defaultdict(set)
    for paths in by_size.values():
        for path in paths:
            content = file_hash(path) if len(paths) > 1 else str(path)
            by_content[content] |= cases_of[path]
    return sorted((cases for cases in by_content.values() if len(cases) > 1), key=min)


def file_hash(path: Path) -> str:
    """Hash of a file's bytes.

    Args:
        path: The file.

    Raises:
        DataError: If it cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Check the file.") from error
    return digest.hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
