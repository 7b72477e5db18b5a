"""Masks of two readers: where they are in conflict, what the third decided, and the folder that comes out."""

import shutil
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.curation.adjudication import (
    Third,
    in_conflict,
    letters,
    read_decisions,
    refuse_missing,
    refuse_third,
    unread,
)
from medimg.curation.adjudication_rules import Rule
from medimg.curation.adjudication_trail import (
    CONFLICTS,
    TRAIL,
    check_evidence,
    evidence,
    write_folder,
    write_json,
)
from medimg.curation.consensus import half_mask
from medimg.curation.worklists import LABELS, MASKS, WORKLIST, code_of, in_own_order, write_worklist
from medimg.errors import ConfigError, DataError
from medimg.io.files import safe_name
from medimg.io.grid import Grid
from medimg.io.itksnap import write_label_descriptions
from medimg.io.mask_import import import_mask
from medimg.io.nifti import is_nifti, read_grid, write_image
from medimg.io.nrrd import SUFFIX
from medimg.io.segments import make_segments
from medimg.scoring.pairs import case_id_of

CHOICE = "choice"


def reader_files(folder: Path) -> dict[str, Path]:
    """Masks of a reader by case, in the folder or its ``masks``: NIfTI or ``.seg.nrrd``.

    Raises:
        DataError: If there is no such folder, or a case stands twice.
    """
    place = folder / MASKS if (folder / MASKS).is_dir() else folder
    if not place.is_dir():
        raise DataError(f"{folder}: there is no such folder. Expected the masks of one reader.")
    found: dict[str, Path] = {}
    for path in sorted(place.iterdir()):
        if path.name[0] in "._" or not (is_nifti(path) or path.name.endswith(SUFFIX)):
            continue
        case = path.name.removesuffix(SUFFIX) if path.name.endswith(SUFFIX) else case_id_of(path)
        if found.setdefault(case, path) != path:
            raise DataError(
                f"{place}: case {case} stands twice, {found[case].name} and {path.name}. Keep one."
            )
    return found


def mask_conflicts(
    folders: Sequence[Path], images: Mapping[str, Path], labels: Mapping[str, int], rule: Rule, third: Third
) -> dict[str, Any]:
    """Find the cases whose readers' masks are in conflict, one case in memory at a time.

    Args:
        folders: One a reader, called as the reader.
        images: Image of each case, whose grid masks must have.
        labels: Value of each label.
        rule: When masks are in conflict.
        third: Who decides.

    Returns:
        All that `apply_masks` needs.

    Raises:
        ConfigError: If the rule is for labels, a folder stands twice, or the third reader is one of the first.
        DataError: If a mask cannot be read, does not fit its image, or has none.
    """
    if rule.distance is not None:
        raise ConfigError(
            f"--rule {rule.text}: distance is for labels. Masks have differs, dice<D and lesion."
        )
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"expected a folder a reader, each of another name, found {', '.join(names)}. Rename one."
        )
    refuse_third(third.name, set(names), third.seed)
    found = {folder.name: reader_files(folder) for folder in folders}
    strange = sorted({case for files in found.values() for case in files} - set(images))
    if strange:
        raise DataError(
            f"masks of {', '.join(strange[:8])} have no image (--images). Name them as their images."
        )
    cases = []
    for case, image in sorted(images.items()):
        files = {reader: files[case] for reader, files in found.items() if case in files}
        grid = read_grid(image, form="sform")
        masks = [import_mask(path, grid, labels) for path in files.values()]
        reasons = [reason for a, b in combinations(masks, 2) for reason in rule.of_masks(a, b, labels)]
        answers = letters(case, {reader: evidence(path) for reader, path in files.items()}, third.seed)
        cases.append({"case_id": case, "image": evidence(image), "answers": answers, "conflict": reasons})
    return {
        "kind": "masks",
        "rule": rule.text,
        "third": third.name,
        "seed": third.seed,
        "labels": dict(labels),
        "cases": cases,
    }


def write_mask_conflicts(
    out: Path, content: dict[str, Any], third: Third, *, overwrite: bool = False
) -> bool:
    """Write the conflicts, and the third reader's worklist with the answers as ``<case>_A`` and so on.

    The third reader writes the letter of the better one into ``choice``, or saves an own mask in ``masks/``.

    Raises:
        DataError: If the folder holds something else.
        ResourceError: If a file cannot be written.
    """
    conflicts = in_conflict(content)
    order, code = in_own_order(list(conflicts), third.name, third.seed), code_of(third.name, third.seed)
    labels: dict[str, int] = content["labels"]

    def make(folder: Path) -> None:
        write_json(folder / CONFLICTS, content)
        desk = folder / code
        write_worklist(desk / WORKLIST, code, order, {CHOICE: [""] * len(order)})
        write_label_descriptions(desk / LABELS, make_segments(labels))
        (desk / MASKS).mkdir()
        for case in () if third.hide_answers else order:
            one = conflicts[case]
            grid = read_grid(check_evidence(one["image"]), form="sform")
            for letter, answer in one["answers"].items():
                # Written anew, because headers and file dates may tell whose it is.
                mask = import_mask(check_evidence(answer["labels"]), grid, labels)
                write_image(desk / "answers" / f"{safe_name(case)}_{letter}.nii.gz", mask, grid.affine)

    return write_folder(out, make, overwrite=overwrite)


def apply_masks(
    content: dict[str, Any], desk: Path, out: Path, *, leave_out: bool = False, overwrite: bool = False
) -> bool:
    """Merge agreement and decisions into one folder of masks, ready as labels for training, with its trail.

    Masks that are not in conflict become the voxels that at least half of the readers give to a label.

    Args:
        content: What `mask_conflicts` found.
        desk: The third reader's folder.
        out: Folder for ``masks/`` and ``trail.json``.
        leave_out: Leave cases out that nobody decided or fewer than two read, instead of refusing.
        overwrite: Replace other content of the folder.

    Returns:
        Whether anything changed.

    Raises:
        DataError: If a mask has changed or does not fit, or cases are undecided, decided twice, or not in conflict.
    """
    conflicts, labels = in_conflict(content), content["labels"]
    chosen = {
        case: row.get(CHOICE, "").upper() for case, row in read_decisions(desk / WORKLIST, conflicts).items()
    }
    drawn = reader_files(desk)
    double = [case for case in conflicts if chosen.get(case) and case in drawn]
    wrong = [
        case for case in conflicts if chosen.get(case) and chosen[case] not in conflicts[case]["answers"]
    ]
    other = sorted(set(drawn) - set(conflicts))
    if double or wrong or other:
        raise DataError(
            f"{desk}: expected a letter or a mask for each case in conflict; both: {', '.join(double) or 'none'}; an "
            f"unknown letter: {', '.join(wrong) or 'none'}; masks not in conflict: {', '.join(other) or 'none'}. "
            "Nothing was written. Mend the worklist or the masks."
        )
    missing = [case for case in conflicts if not chosen.get(case) and case not in drawn]
    absent = refuse_missing(missing, unread(content), leave_out=leave_out)
    if len(absent) == len(content["cases"]):
        raise DataError(f"{desk}: no case is decided. Have cases read and decided first.")

    def make(folder: Path) -> None:
        trail = []
        for one in (one for one in content["cases"] if one["case_id"] not in absent):
            case = one["case_id"]
            grid = read_grid(check_evidence(one["image"]), form="sform")
            mask, how = _decided(one, grid, labels, chosen.get(case, ""), drawn.get(case))
            write_image(folder / MASKS / f"{safe_name(case)}.nii.gz", mask, grid.affine)
            trail.append({**one, **how, "written": f"{MASKS}/{safe_name(case)}.nii.gz"})
        facts = {key: value for key, value in content.items() if key != "cases"}
        write_json(
            folder / TRAIL,
            {
                **facts,
                "decisions": evidence(desk / WORKLIST),
                "left_out": sorted(absent),
                "agreement": "voxels of half of the readers or more",
                "cases": trail,
            },
        )
        shutil.copyfile(desk / LABELS, folder / LABELS)

    return write_folder(out, make, overwrite=overwrite)


def _decided(
    one: Mapping[str, Any], grid: Grid, labels: Mapping[str, int], letter: str, drawn: Path | None
) -> tuple[NDArray[np.int16], dict[str, Any]]:
    """The mask of a case, and how it came about."""
    files = {key: check_evidence(answer["labels"]) for key, answer in one["answers"].items()}
    if drawn is not None:
        return import_mask(drawn, grid, labels), {"decided_by": "third", "decision": evidence(drawn)}
    if letter:
        return import_mask(files[letter], grid, labels), {"decided_by": "third", "decision": letter}
    masks = [import_mask(path, grid, labels) for path in files.values()]
    return half_mask(masks), {"decided_by": "agreement", "decision": "half"}
