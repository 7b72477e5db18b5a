"""Cases that may not be pseudo-labelled, because they are labelled, validate or test under some name."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medimg.datasets.image_set import image_files
from medimg.ensembling.members import Member
from medimg.errors import DataError
from medimg.io.nifti import is_nifti
from medimg.preparation.image_splits import identical_files
from medimg.preparation.split_table import read_split_table
from medimg.preparation.splits import read_split_file, split_hash
from medimg.records import Record

_SHOWN = 10


def split_sides(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Where each case, and each patient, of a split stands.

    Args:
        path: Table that `medimg split` wrote, or a JSON list of folds, which names no patients.

    Returns:
        By case and by patient: ``fold 2`` or ``the test``.

    Raises:
        DataError: If the file cannot be used.
    """
    if path.suffix.lower() == ".csv":
        rows = read_split_table(path)
        sides = {row.case_id: "the test" if row.fold is None else f"fold {row.fold}" for row in rows}
        return sides, {row.patient_id: sides[row.case_id] for row in rows}
    sides = {}
    for fold, split in enumerate(read_split_file(path)):
        sides |= dict.fromkeys(split.test, "the test") | dict.fromkeys(split.val, f"fold {fold}")
        sides = {**dict.fromkeys(split.train, "the training cases"), **sides}
    return sides, {}


def expect_unlabelled(members: Sequence[Member], split: Path) -> None:
    """Refuse predictions of validation or test cases, and those of networks that were trained by another split.

    Args:
        members: The predictions.
        split: Folds of the labelled data.

    Raises:
        DataError: If a ``predictions.json`` says so.
    """
    # A list of folds does not name the published test cases, which belong to the hash.
    whole = split_hash(read_split_file(split)) if split.suffix.lower() == ".csv" else None
    for member in members:
        part, stated = member.description.part, member.description.split
        if part not in (None, "predict"):
            raise DataError(
                f"{member.name}: these are predictions of {part} cases, which judge the model and may not train it. "
                "Take those of predict, of unlabelled images."
            )
        if None not in (whole, stated) and stated != whole:
            raise DataError(
                f"{member.name}: was trained by the split {stated}, and {split} is the split {whole}: the cases that "
                "judge it are others. Give --split the table that it was trained with."
            )


def known_cases(
    records: Sequence[Record],
    *,
    sides: Mapping[str, str] | None = None,
    patients: Mapping[str, str] | None = None,
    labelled: Iterable[Record] = (),
    where: str = "the split",
) -> dict[str, str]:
    """Find the cases that are known by their id, their patient, or the bytes of an image.

    Args:
        records: Cases to be pseudo-labelled.
        sides: Where each case of the split stands.
        patients: Where each patient of the split stands.
        labelled: Cases of the labelled data set; copies of their images are found under any name.
        where: What the split is called in messages.

    Returns:
        Why each of these cases is known; empty if all are fine.

    Raises:
        DataError: If a file cannot be read.

    Example:
        >>> known_cases([Record("a", "p", ()), Record("b", "q", ())], patients={"q": "fold 1"})
        {'b': 'its patient q stands in fold 1 of the split'}
    """
    labelled = list(labelled)
    ids = {record.case_id: "the labelled data" for record in labelled}
    owners = {record.patient_id: "the labelled data" for record in labelled}
    ids |= {case: f"{side} of {where}" for case, side in (sides or {}).items()}
    owners |= {patient: f"{side} of {where}" for patient, side in (patients or {}).items()}
    copies = _copies(records, labelled)
    found: dict[str, str] = {}
    for record in records:
        if record.case_id in ids:
            found[record.case_id] = f"it stands in {ids[record.case_id]}"
        elif record.patient_id in owners:
            found[record.case_id] = f"its patient {record.patient_id} stands in {owners[record.patient_id]}"
        elif record.case_id in copies:
            found[record.case_id] = f"an image of it is that of the labelled case {copies[record.case_id]}"
    return found


def _copies(records: Sequence[Record], labelled: Sequence[Record]) -> dict[str, str]:
    """Labelled case whose image, byte for byte, each case has."""
    # Two data sets may use one name, so cases are numbered for the comparison.
    numbered = [replace(record, case_id=str(number)) for number, record in enumerate((*records, *labelled))]
    own = len(records)
    found: dict[str, str] = {}
    for alike in identical_files(numbered):
        numbers = sorted(int(number) for number in alike)
        if numbers[-1] >= own:
            found |= {records[n].case_id: labelled[numbers[-1] - own].case_id for n in numbers if n < own}
    return found


def refuse_known(found: Mapping[str, str], advice: str) -> None:
    """Name the cases that may not be pseudo-labelled.

    Args:
        found: What `known_cases` returned.
        advice: The next step.

    Raises:
        DataError: If there is any.
    """
    if not found:
        return
    lines = [f"  {case}: {why}" for case, why in sorted(found.items())[:_SHOWN]]
    if len(found) > _SHOWN:
        lines.append(f"  and {len(found) - _SHOWN} more")
    raise DataError(
        f"expected cases that no fold and no test holds, since a model would be judged by cases it was trained on; "
        f"found {len(found)} that are known:\n" + "\n".join(lines) + f"\n{advice}"
    )


def loose_records(root: Path, own: Collection[Path] = ()) -> list[Record]:
    """Every image file below a folder as a case of its own, to look for copies in data of any layout.

    Args:
        root: Folder of the labelled data.
        own: Files to pass over, such as the unlabelled images where they lie below the same folder.
    """
    passed = {path.resolve() for path in own}
    files = [*image_files(root), *(path for path in sorted(root.rglob("*.nii*")) if is_nifti(path))]
    return [Record(str(path), str(path), (path,)) for path in files if path.resolve() not in passed]
