"""The reference masks and the patients of the cases that weights are searched on."""

from collections.abc import Sequence
from pathlib import Path

from medimg.ensembling.members import TABLE
from medimg.errors import DataError
from medimg.io.nifti import is_nifti
from medimg.scoring.pairs import case_id_of
from medimg.scoring.table import CASE_COLUMN, PATIENT_COLUMN, read_per_case


def find_references(folder: Path, cases: Sequence[str]) -> dict[str, Path]:
    """The reference mask of each case: ``<case>.nii.gz``, or with ``-seg`` or ``_seg``, at any depth.

    Args:
        folder: Where the masks lie; it may hold those of other cases too.
        cases: The cases.

    Raises:
        DataError: If there is no such folder, a case has no reference, or has two.
    """
    if not folder.is_dir():
        raise DataError(f"--references {folder}: there is no such folder. Expected the reference masks.")
    wanted = set(cases)
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if is_nifti(path) and path.is_file() and path.name[0] not in "._" and case_id_of(path) in wanted:
            other = found.setdefault(case_id_of(path), path)
            if other != path:
                raise DataError(
                    f"case {case_id_of(path)} has two references: {other} and {path}. Keep one of them."
                )
    missing = sorted(wanted - set(found))
    if missing:
        raise DataError(
            f"--references {folder}: expected <case>.nii.gz for each of {len(wanted)} cases, found none for "
            f"{len(missing)}: {', '.join(missing[:10])}. Add what is missing, or name another folder."
        )
    return found


def patients_beside(folder: Path) -> dict[str, str]:
    """Patient of each case, from the ``per_case.csv`` beside a member's masks; empty where there is none.

    Args:
        folder: Folder of the masks; `medimg test` puts the table into the one above.

    Raises:
        DataError: If there is a table that cannot be read.
    """
    for table in (folder / TABLE, folder.parent / TABLE):
        if table.is_file():
            return {str(row[CASE_COLUMN]): str(row.get(PATIENT_COLUMN) or "") for row in read_per_case(table)}
    return {}
