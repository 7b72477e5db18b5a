"""Splits as the rows of a table, checked against the data set they are meant for."""

from collections import defaultdict
from collections.abc import Collection, Sequence

from medimg.errors import DataError
from medimg.preparation.split_table import SplitRow
from medimg.preparation.splits import Split
from medimg.records import Record

_ANEW = "Deal new folds with --folds."


def rows_of_splits(
    splits: Sequence[Split], records: Sequence[Record], *, published_test: Collection[str], source: str
) -> list[SplitRow]:
    """Say of each case where it stands, and refuse what is no split of these cases.

    Cases that train in every fold, as those of a published training and validation part do, become a last fold of
    their own: the other folds stay exactly what they were.

    Args:
        splits: Training, validation and test cases of each fold.
        records: All cases that a split may name.
        published_test: Ids of those that the data set itself keeps for the test.
        source: Where the splits come from, for messages.

    Returns:
        A row a case, sorted by case.

    Raises:
        DataError: If the splits name unknown cases, use those of the published test, leave cases out, put a case or
            a patient on two sides, or cannot be written as one fold a case.
    """
    patient_of = {record.case_id: record.patient_id for record in records}
    test = {*published_test, *(case for split in splits for case in split.test)}
    _expect_known(splits, test, patient_of, source)
    fold_of: dict[str, int | None] = dict.fromkeys(sorted(test))
    for fold, split in enumerate(splits):
        for case in split.val:
            if case in fold_of:
                raise DataError(
                    f"{source}: expected each case to validate in one fold, and no test case to do so; found "
                    f"{case} in fold {fold} and also {_place(fold_of[case])}. Use the file as it is with "
                    f"--data.split.file if that is meant. {_ANEW}"
                )
            fold_of[case] = fold
    always = {case for split in splits for case in split.train} - fold_of.keys()
    fold_of |= dict.fromkeys(sorted(always), len(splits))
    if missing := sorted(patient_of.keys() - fold_of.keys()):
        raise DataError(
            f"{source}: leaves out {len(missing)} of {len(patient_of)} cases, such as {missing[0]}. Add them, in a "
            f"table to a fold or as test. {_ANEW}"
        )
    _expect_complements(splits, fold_of, source)
    rows = [SplitRow(case, patient_of[case], fold_of[case]) for case in sorted(fold_of)]
    _expect_whole_patients(rows, source)
    return rows


def _expect_known(
    splits: Sequence[Split], test: Collection[str], patient_of: Collection[str], source: str
) -> None:
    if not splits:
        raise DataError(f"{source}: expected one fold or more, found none. {_ANEW}")
    named = {*test, *(case for split in splits for case in (*split.train, *split.val))}
    if unknown := sorted(named.difference(patient_of)):
        raise DataError(
            f"{source}: names {len(unknown)} cases that the data set does not have, or has no mask for, such as "
            f"{unknown[0]}. Check that the file belongs to these data."
        )


def _expect_complements(splits: Sequence[Split], fold_of: dict[str, int | None], source: str) -> None:
    """Refuse folds that train on something else than all cases of the other folds."""
    for fold, split in enumerate(splits):
        expected = {case for case, own in fold_of.items() if own not in (None, fold)}
        if odd := sorted(expected.symmetric_difference(split.train)):
            where = "trains on" if odd[0] in split.train else "does not train on"
            raise DataError(
                f"{source}: fold {fold} {where} {odd[0]}, which stands {_place(fold_of[odd[0]])}. In a table of folds "
                "each fold trains on all cases of the others. Use the file as it is with --data.split.file if that "
                f"is meant. {_ANEW}"
            )
        if not split.train or not split.val:
            raise DataError(f"{source}: fold {fold} leaves train or val empty. {_ANEW}")


def _expect_whole_patients(rows: Sequence[SplitRow], source: str) -> None:
    folds: dict[str, set[int | None]] = defaultdict(set)
    for row in rows:
        folds[row.patient_id].add(row.fold)
    if torn := sorted(patient for patient, found in folds.items() if len(found) > 1):
        places = " and ".join(sorted(_place(fold) for fold in folds[torn[0]]))
        raise DataError(
            f"{source}: puts {len(torn)} patients on two sides, such as {torn[0]}, who stands {places}: scores would "
            f"be too good. {_ANEW}"
        )


def _place(fold: int | None) -> str:
    return "in the test" if fold is None else f"in fold {fold}"
