"""Pseudo-labels of 2D images: a table as any other, and the note by which training finds the images."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg.datasets.table import index_table
from medimg.datasets.write_table import write_table
from medimg.errors import DataError
from medimg.preparation.pseudo_note import PseudoNote, labels_digest, note_path, read_note, write_note
from medimg.records import ImageIndex, Record

_SHOWN = 5


def records_by_case(index: ImageIndex, cases: Sequence[str]) -> dict[str, list[Record]]:
    """Find the images of predicted cases.

    Args:
        index: The unlabelled images.
        cases: Ids of the predictions: of an image, or of a group of images that were judged as one.

    Returns:
        The images of each case.

    Raises:
        DataError: If a case has no image there.
    """
    found: dict[str, list[Record]] = {}
    for record in index.records:
        for name in {record.case_id, record.group} - {None}:
            found.setdefault(str(name), []).append(record)
    if missing := [case for case in cases if case not in found]:
        raise DataError(
            f"{index.root}: {len(missing)} of {len(cases)} predicted cases have no image there, such as "
            f"{', '.join(missing[:_SHOWN])}. Give --images the folder that predict took (--data.predict_root), and, if "
            "a config or a table names the cases, --config or --table too."
        )
    return {case: found[case] for case in cases}


def write_pseudo_table(
    out: Path,
    index: ImageIndex,
    labels: Mapping[str, NDArray[np.float64]],
    weights: Mapping[str, float],
    note: PseudoNote,
) -> None:
    """Write the table that the data set ``ImageTable`` reads, and its note.

    Args:
        out: Table to write.
        index: The images with the task and the names of the K labels; its root is that of the paths.
        labels: Values (K,) of each case to write, NaN where unknown.
        weights: Weight of each of them in the loss.
        note: What stands beside it; the columns are filled in here.

    Raises:
        DataError: If the images are members of one file, cases have different numbers of files, or the data set has
            targets of several kinds.
        ResourceError: If a file cannot be written.
    """
    if index.task == "targets":
        raise DataError(
            f"{out}: pseudo-labels are labels, and {index.name} has targets of several kinds. Take a data set of "
            "labels, such as medimg.datasets.LIDC."
        )
    records = []
    for case, members in sorted(records_by_case(index, list(labels)).items()):
        values = {
            name: float(v) for name, v in zip(index.classes, labels[case], strict=True) if not np.isnan(v)
        }
        records += [replace(one, labels=values, weight=weights[case], split=None) for one in members]
    # The note goes first and comes last: a table with a note of another round would be read wrongly.
    path, table = note_path(out), replace(index, records=tuple(records), folds=())
    path.unlink(missing_ok=True)
    columns = write_table(out, table)
    write_note(path, replace(note, columns=columns, classes=index.classes, task=index.task))


def read_pseudo_table(path: Path, images: Path | None = None) -> ImageIndex:
    """Index a table of pseudo-labels.

    Args:
        path: What `medimg pseudolabel` wrote.
        images: Folder of the images, where they have been moved.

    Returns:
        The cases with their labels and weights, under a name that no other round has.

    Raises:
        DataError: If table, note or images are missing, or this is no table of images.
    """
    note = read_note(path)
    if note.columns is None or note.task is None:
        raise DataError(f"{path}: expected pseudo-labels of images, a table; found those of volumes.")
    root = images or note.images
    if not root.is_dir():
        raise DataError(
            f"{path}: its images lie below {root}, and there is no such folder. Name it anew (images)."
        )
    index = index_table(path, root, columns=note.columns, task=note.task, classes=note.classes)
    return replace(index, name=f"{path.stem}-{labels_digest(path)[:8]}")
