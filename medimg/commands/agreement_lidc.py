"""The readers of LIDC-IDRI, as ``medimg agreement --lidc`` compares them."""

from collections import Counter
from pathlib import Path

import numpy as np

from medimg.curation.alpha import Kind
from medimg.curation.readings import Readings
from medimg.datasets.lidc_consensus import MOST_READERS, group_annotations
from medimg.datasets.lidc_xml import CHARACTERISTICS, Annotation, read_xml
from medimg.errors import DataError

_NAMES = ("internalStructure", "calcification")
KINDS: dict[str, Kind] = {name: "nominal" if name in _NAMES else "ordinal" for name in CHARACTERISTICS}
"""Level of measurement of each characteristic: two of them number kinds and no grades."""

# The files do not say how wide a pixel is. Outlines on one slice are compared in pixels whatever it is, and those of
# neighbouring slices lie farther apart than any pixel is wide.
_PIXEL_MM = 0.7


def lidc_readings(folder: Path) -> tuple[Readings, Counter[int]]:
    """Read what the readers of all scans said of each nodule of 3 mm or more.

    A nodule is a case, a scan stands for a patient, and a reader is the number of the session in its file: who that
    was is not published. A reader who did not outline a nodule, or gave no score, has no reading of it; of two
    outlines by one reader the one on more slices counts.

    Args:
        folder: Folder with the XML files, at any depth.

    Returns:
        The readings, and the number of nodules by how many readers outlined them.

    Raises:
        DataError: If there are no such files, or none holds a nodule, or one cannot be read.
    """
    files = sorted(folder.rglob("*.xml"))
    cases: list[str] = []
    scans: list[str] = []
    rows: list[np.ndarray[tuple[int, int], np.dtype[np.float64]]] = []
    seen: Counter[int] = Counter()
    for path in files:
        reading = read_xml(path)
        if reading.readers > MOST_READERS:
            raise DataError(
                f"{path}: expected up to {MOST_READERS} reading sessions, found {reading.readers}. Get the file again."
            )
        groups = group_annotations(reading.annotations, (_PIXEL_MM, _PIXEL_MM))
        for number, group in enumerate(groups, start=1):
            cases.append(f"{reading.series_uid}-n{number:02d}")
            scans.append(reading.series_uid)
            rows.append(_scores(group))
            seen[len({one.reader for one in group})] += 1
    if not cases:
        raise DataError(
            f"{folder}: expected LIDC-IDRI's XML files with outlined nodules, found {len(files)} files and none. "
            "Unpack the archive of annotations and give its folder."
        )
    readers = tuple(f"session {number + 1}" for number in range(MOST_READERS))
    return Readings(tuple(cases), tuple(scans), readers, tuple(CHARACTERISTICS), np.stack(rows)), seen


def _scores(group: tuple[Annotation, ...]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Scores of one nodule, shape (R, K)."""
    scores = np.full((MOST_READERS, len(CHARACTERISTICS)), np.nan)
    for one in sorted(group, key=lambda one: len(one.contours)):  # the longest last, over the others
        given = [one.characteristics[name] for name in CHARACTERISTICS]
        scores[one.reader] = [score or np.nan for score in given]
    return scores
