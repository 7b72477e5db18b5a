"""Pseudo-labels of volumes: masks in which what is not sure is ignored, beside images of any layout."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medimg.datasets.brats import patient_id_of
from medimg.errors import ConfigError, DataError
from medimg.io.files import safe_name
from medimg.io.nifti import is_nifti
from medimg.preparation.pseudo_note import PseudoNote, labels_digest
from medimg.records import DatasetIndex, Record
from medimg.scoring.pairs import case_id_of

IGNORE = 255
_CHANNEL = re.compile(r"(.+)_\d{4}")
_SHOWN = 5


def ignore_value(labels: Sequence[int]) -> int:
    """Value for voxels that are not sure: 255, or one above all labels if that is one of them.

    Example:
        >>> ignore_value([1, 2]), ignore_value([1, 255])
        (255, 256)
    """
    return IGNORE if max(labels, default=0) < IGNORE else max(labels) + 1


def loose_volumes(root: Path) -> list[Record]:
    """Cases of a folder of NIfTI files by their names, one file a case or, as nnU-Net has it, one a channel.

    Time points, which the names of BraTS tell, are of one patient; any other case is a patient of its own.

    Args:
        root: Folder; it is searched at any depth.
    """
    files: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*.nii*")):
        if is_nifti(path) and not path.name.startswith((".", "_")):
            case = case_id_of(path)
            match = _CHANNEL.fullmatch(case)
            files.setdefault(match[1] if match else case, []).append(path)
    return [Record(case, patient_id_of(case), tuple(paths)) for case, paths in sorted(files.items())]


def volumes_by_name(records: Sequence[Record], names: Sequence[str], root: Path) -> dict[str, Record]:
    """Find the images of predictions, whose files are named after cases.

    Args:
        records: Cases below the root.
        names: Names of the predictions' files, without their endings.
        root: Folder of the images, for the message.

    Raises:
        DataError: If a prediction has no image there.
    """
    found = {safe_name(record.case_id): record for record in records}
    if missing := [name for name in names if name not in found]:
        raise DataError(
            f"{root}: {len(missing)} of {len(names)} cases have no image there, such as "
            f"{', '.join(missing[:_SHOWN])}. Name the folder that predict took (--data.predict_root)."
        )
    return {name: found[name] for name in names}


def pseudo_volumes(folder: Path, note: PseudoNote, images: DatasetIndex, like: DatasetIndex) -> DatasetIndex:
    """Index a folder of pseudo-labels.

    Args:
        folder: What `medimg pseudolabel` wrote.
        note: Its note.
        images: All cases below the folder of images.
        like: The data set that is trained; its labels hold.

    Returns:
        The pseudo-labelled cases as records, under a name that no other round has.

    Raises:
        ConfigError: If these are labels of images, or of other classes.
        DataError: If an image or a mask is not there.
    """
    if note.ignore is None:
        raise ConfigError(f"{folder}: expected pseudo-labels of volumes, a folder of masks; found a table.")
    known = set(like.labels.values())
    if not set(note.labels.values()) <= known or note.ignore in known:
        raise ConfigError(
            f"{folder}: has the labels {dict(note.labels)} and ignores {note.ignore}, and {like.name} has "
            f"{dict(like.labels)}. Name pseudo-labels of the same classes."
        )
    found = volumes_by_name(images.all_records, list(note.weights), images.root)
    records = []
    for name, record in found.items():
        mask = folder / f"{name}.nii.gz"
        if not mask.is_file():
            raise DataError(f"{mask}: there is no such file. Run medimg pseudolabel again.")
        records.append(replace(record, mask=mask, weight=note.weights[name]))
    return replace(
        like,
        name=f"pseudo-{labels_digest(folder)[:8]}",
        root=images.root,
        records=tuple(records),
        test=(),
        unlabelled=(),
        folds=(),
        ignore_label=note.ignore,
        channel_order=images.channel_order,
    )
