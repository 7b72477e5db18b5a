"""Which prediction belongs to which reference, by the names of the files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from medimg.errors import ConfigError, DataError
from medimg.io.files import inside
from medimg.io.nifti import is_nifti

_MASK_ENDINGS = ("-seg", "_seg")
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Pair:
    """The two masks of one case.

    Attributes:
        case_id: Name of the case.
        patient_id: Name of its patient.
        pred: Predicted label map.
        ref: Reference label map.
    """

    case_id: str
    patient_id: str
    pred: Path
    ref: Path


def find_pairs(pred: Path, ref: Path, *, patient_id_of: Callable[[str], str]) -> list[Pair]:
    """Match predictions with references, each case exactly once.

    Args:
        pred: A mask, or a folder of masks.
        ref: A mask, or a folder of masks. Where a folder holds files that end in ``-seg`` or ``_seg``,
            at any depth, as BraTS folders do, only those are masks; else the masks lie in the folder itself.
        patient_id_of: Gives the patient of a case id.

    Returns:
        One pair a case, sorted by case id.

    Raises:
        ConfigError: If one is a file and the other a folder.
        DataError: If there is nothing at a path, a case stands twice, or one side lacks a case.
    """
    for path in (pred, ref):
        if not path.exists():
            raise DataError(f"{path}: there is no such file or folder. Expected NIfTI masks to score.")
    if pred.is_file() and ref.is_file():
        case_id = case_id_of(ref)
        return [Pair(case_id, patient_id_of(case_id), pred, ref)]
    if pred.is_file() or ref.is_file():
        raise ConfigError(f"expected two files or two folders, found a file and a folder: {pred} and {ref}.")
    preds, refs = _masks_by_case(pred), _masks_by_case(ref)
    _check_complete(preds, refs, pred, ref)
    return [Pair(case_id, patient_id_of(case_id), preds[case_id], refs[case_id]) for case_id in sorted(refs)]


def case_id_of(path: Path) -> str:
    """Name of the case that a mask belongs to: the file's name without its endings.

    Args:
        path: ``.nii`` or ``.nii.gz``.

    Example:
        >>> case_id_of(Path("BraTS-GLI-00001-000-seg.nii.gz")), case_id_of(Path("hippocampus_001.nii"))
        ('BraTS-GLI-00001-000', 'hippocampus_001')
    """
    stem = _stem(path)
    for ending in _MASK_ENDINGS:
        stem = stem.removesuffix(ending)
    return stem


def _stem(path: Path) -> str:
    name = path.name
    for ending in (".gz", ".nii"):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    return name


def _masks_by_case(folder: Path) -> dict[str, Path]:
    named = [
        path for path in folder.rglob("*.nii*") if _is_mask(path) and _stem(path).endswith(_MASK_ENDINGS)
    ]
    masks = named or [path for path in folder.glob("*.nii*") if _is_mask(path)]
    if not masks:
        raise DataError(
            f"{folder}: no mask found. Expected <case>.nii.gz in the folder itself, "
            "or <case>-seg.nii.gz or <case>_seg.nii.gz at any depth."
        )
    cases: dict[str, Path] = {}
    for path in sorted(masks):
        other = cases.setdefault(case_id_of(path), inside(folder, path.relative_to(folder)))
        if other != path:
            raise DataError(f"case {case_id_of(path)} stands twice: {other} and {path}. Keep one of them.")
    return cases


def _is_mask(path: Path) -> bool:
    # Names with a dot or an underscore in front are what systems leave behind beside a file.
    return is_nifti(path) and path.is_file() and not path.name.startswith((".", "_"))


def _check_complete(preds: Mapping[str, Path], refs: Mapping[str, Path], pred: Path, ref: Path) -> None:
    missing, extra = sorted(set(refs) - set(preds)), sorted(set(preds) - set(refs))
    if not missing and not extra:
        return
    lines = [f"{pred} and {ref} do not hold the same cases."]
    if missing:
        lines.append(f"  no prediction for {len(missing)} of {len(refs)} references: {_listed(missing)}")
    if extra:
        lines.append(f"  no reference for {len(extra)} of {len(preds)} predictions: {_listed(extra)}")
    lines.append("Add what is missing, or put the cases to score into folders of their own.")
    raise DataError("\n".join(lines))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
