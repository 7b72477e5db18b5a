"""A folder of DICOM series, as ``predict`` takes it: a case a series."""

import logging
from dataclasses import replace
from pathlib import Path

from medimg.datasets.problems import Problems
from medimg.errors import DataError
from medimg.io.dicom.grouping import find_series, series_names
from medimg.io.dicom.parse import is_dicom
from medimg.io.dicom.series import read_stack
from medimg.records import DatasetIndex, Record

logger = logging.getLogger(__name__)


def holds_dicom(root: Path) -> bool:
    """Return whether some file below a folder begins as DICOM files do."""
    return any(path.is_file() and is_dicom(path) for path in root.rglob("*"))


def index_dicom(root: Path, *, like: DatasetIndex) -> DatasetIndex:
    """Index the series below a folder, at any depth.

    The geometry of each is checked by its headers, so that a series that makes no volume is known before the first
    case is predicted. Uneven slices are read by their true positions.

    Args:
        root: Folder of the series.
        like: Data set that the network was trained on; it has one channel.

    Returns:
        A case a series, named by patient, series number and description, its images the files of the series.

    Raises:
        DataError: If there is no series, a file is damaged, the network takes several channels, or for all series
            that make no volume together.
    """
    if len(like.channels) != 1:
        raise DataError(
            f"{root}: the network takes {len(like.channels)} channels ({', '.join(like.channels)}), and a DICOM series "
            "is one. Convert them with medimg convert, and name them <case>_0000.nii.gz, <case>_0001.nii.gz."
        )
    found = find_series(root)
    problems = Problems(root, "DICOM")
    records = []
    for series, name in zip(found, series_names(found), strict=True):
        try:
            read_stack(series, resample=True)
        except DataError as error:
            problems.add(name, str(error))
        for one in series.set_aside:
            logger.warning("%s: left out: %s", one.path, one.reason)
        records.append(Record(name, series.patient_id or name, series.files))
    problems.raise_if_any()
    return replace(
        like, name=root.resolve().name, root=root, records=(), test=(), unlabelled=tuple(records), folds=()
    )
