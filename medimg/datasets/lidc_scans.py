"""Which XML of LIDC-IDRI belongs to which CT series."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from medimg.datasets.lidc_xml import read_xml
from medimg.errors import DataError
from medimg.io.dicom.parse import is_dicom
from medimg.io.dicom.slices import FileHeader, read_slices
from medimg.io.files import inside

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scan:
    """One CT series and its annotations.

    Attributes:
        case_id: Patient and the last five digits of the series, since eight patients have two scans.
        patient_id: Patient ID of the images.
        series_uid: Series Instance UID.
        folder: Folder of the slices.
        xml: The annotations.
    """

    case_id: str
    patient_id: str
    series_uid: str
    folder: Path
    xml: Path


def find_scans(root: Path, *, xml: Path | None = None) -> tuple[Scan, ...]:
    """Find every CT series that has annotations, by the UIDs in the files and never by their names.

    Args:
        root: Folder of the images, as downloaded: one folder a series, at any depth.
        xml: Folder of the XML files where they were downloaded apart; by default they lie among the images.

    Returns:
        The scans, sorted by case id. Series without annotations, such as chest films, and annotations without
        series are left out, and their numbers logged.

    Raises:
        DataError: If a folder is missing, no series has annotations, or two files annotate one series.
    """
    root = Path(root)
    readings = _readings(xml if xml is not None else root)
    scans, bare = [], 0
    for folder, header in _series(root):
        file = readings.pop(header.series_uid, None)
        if file is None:
            bare += 1
            continue
        case_id = f"{header.patient_id}-{header.series_uid[-5:].replace('.', '')}"
        scans.append(Scan(case_id, header.patient_id, header.series_uid, folder, file))
    if not scans:
        raise DataError(
            f"{root}: expected CT series of LIDC-IDRI with their XML, found {bare} series and {len(readings)} "
            "annotation files, none of which belong together. Name the folder of the XML files if it is another."
        )
    if bare or readings:
        logger.warning(
            "%s: %d series without annotations and %d annotation files without series are left out.",
            root,
            bare,
            len(readings),
        )
    return tuple(sorted(scans, key=lambda scan: scan.case_id))


def _readings(folder: Path) -> dict[str, Path]:
    """The annotation file of each CT series."""
    if not Path(folder).is_dir():
        raise DataError(f"{folder}: expected a folder with XML files, and there is none. Check the path.")
    found: dict[str, Path] = {}
    for path in sorted(Path(folder).rglob("*.xml")):
        inside(folder, path.relative_to(folder))
        reading = read_xml(path)
        if reading.readers == 0:  # a chest film's
            continue
        if reading.series_uid in found:
            raise DataError(
                f"{path}: annotates the series {reading.series_uid}, as {found[reading.series_uid]} does. Keep one."
            )
        found[reading.series_uid] = path
    return found


def _series(root: Path) -> list[tuple[Path, FileHeader]]:
    """Each folder with DICOM files and the header of its first slice."""
    if not root.is_dir():
        raise DataError(f"{root}: expected a folder of DICOM series, and there is none. Check the path.")
    found = []
    for place, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(place) / name
            if name.startswith(".") or not is_dicom(path):
                continue
            inside(root, path.relative_to(root))
            found.append((Path(place), read_slices(path)))
            break
    return found
