"""The readers' annotations of one LIDC-IDRI scan, as their XML file states them.

Reference:
    Armato et al. 2011, "The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative
    (IDRI)", Medical Physics 38, doi:10.1118/1.3528204.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

import numpy as np
from numpy.typing import NDArray

from medimg.errors import DataError

CHARACTERISTICS = {
    "subtlety": 5,
    "internalStructure": 5,  # the form has 4; one published file says 5
    "calcification": 6,
    "sphericity": 5,
    "margin": 5,
    "lobulation": 5,
    "spiculation": 5,
    "texture": 5,
    "malignancy": 5,
}
"""Highest score of each characteristic; the lowest is 1, and 0 stands where a reader gave none."""

MAX_BYTES = 64 << 20  # the largest of the published files has 2.2 MB
_CT, _CHEST_FILM = "LidcReadMessage", "IdriReadMessage"


@dataclass(frozen=True, slots=True, eq=False)
class Contour:
    """One outline on one slice.

    Attributes:
        z_mm: Position of the slice in the patient, as the file states it.
        sop_uid: SOPInstanceUID of the slice.
        inclusion: False for the outline of a part that is cut out of the nodule.
        points: Pixels of the outline in drawing order as (x, y) = (column, row) from 0 on, shape (N, 2). The
            first often stands again at the end.
    """

    z_mm: float
    sop_uid: str
    inclusion: bool
    points: NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """What one reader said of one nodule of 3 mm or more.

    Attributes:
        nodule_id: The reader's own name for it; other readers name the same nodule otherwise.
        reader: Number of the reading session within the file, from 0 on.
        characteristics: The nine scores by the names of `CHARACTERISTICS`; 0 where none was given.
        contours: Outlines in the order of the file.
    """

    nodule_id: str
    reader: int
    characteristics: Mapping[str, int]
    contours: tuple[Contour, ...]

    @property
    def malignancy(self) -> int:
        """Likelihood of malignancy, 1 (highly unlikely) to 5 (highly suspicious); 0: not given."""
        return self.characteristics["malignancy"]


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """All that one file says.

    Attributes:
        series_uid: SeriesInstanceUID of the scan.
        study_uid: StudyInstanceUID; empty if the file gives none.
        readers: Number of reading sessions: four as a rule; 0 in the files of chest films.
        annotations: One for each reader and nodule of 3 mm or more, in the order of the file.
    """

    series_uid: str
    study_uid: str
    readers: int
    annotations: tuple[Annotation, ...]


def read_xml(path: Path) -> Reading:
    """Read the annotations of one scan.

    Marks of one point, nodules without characteristics (those below 3 mm) and non-nodules are left out. The
    files of chest films (``IdriReadMessage``) hold no readings of the CT and come back without annotations.

    Args:
        path: XML file of LIDC-IDRI.

    Returns:
        Series, number of readers, and the annotations.

    Raises:
        DataError: If the file cannot be read, is larger than 64 MB, is no such XML, declares a document type
            (whose entities could expand without end), or holds a number that cannot be meant.
    """
    path = Path(path)
    root = _parse(path)
    kind = _local(root)
    if kind not in (_CT, _CHEST_FILM):
        raise DataError(
            f"{path}: expected an annotation file of LIDC-IDRI with root {_CT} or {_CHEST_FILM}, found {kind}. "
            "Leave it out, or get the file again."
        )
    sessions = root.findall("{*}readingSession")
    annotations = [
        annotation
        for reader, session in enumerate(sessions)
        for nodule in session.findall("{*}unblindedReadNodule")
        if (annotation := _annotation(path, reader, nodule)) is not None
    ]
    return Reading(
        _header(root, "seriesinstanceuid") or _refuse(path, "a SeriesInstanceUid in ResponseHeader", "none"),
        _header(root, "studyinstanceuid"),
        len(sessions),
        tuple(annotations),
    )


class _Builder(TreeBuilder):
    """Builds the tree, and stops at a document type before its entities are read."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise _DoctypeError(name)


class _DoctypeError(Exception):
    pass


def _parse(path: Path) -> Element:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(
                f"{path}: expected an annotation file below {MAX_BYTES:,} bytes, found {size:,}. "
                "Get the file again."
            )
        parser = XMLParser(target=_Builder())
        parser.feed(path.read_bytes())
        root: Element = parser.close()
    except _DoctypeError:
        raise DataError(
            f"{path}: expected an annotation file of LIDC-IDRI, found one that declares a document type, "
            "which none of them does. Its entities are not read: get the file again."
        ) from None
    except ParseError as error:
        raise DataError(f"{path}: cannot be read as XML ({error}). Get the file again.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    return root


def _annotation(path: Path, reader: int, nodule: Element) -> Annotation | None:
    """The annotation of a nodule of 3 mm or more, ``None`` for a smaller one and for a mere mark."""
    scores = nodule.find("{*}characteristics")
    if scores is None or not len(scores):
        return None
    name = (nodule.findtext("{*}noduleID") or "").strip()
    where = f"nodule {name!r} of reader {reader}: "
    found = {_local(score): score.text for score in scores}
    characteristics = {
        key: _score(path, where, key, found.get(key), highest) for key, highest in CHARACTERISTICS.items()
    }
    contours = [
        _contour(path, where, roi) for roi in nodule.findall("{*}roi") if len(roi.findall("{*}edgeMap")) > 1
    ]  # one point marks a place and outlines nothing
    return Annotation(name, reader, characteristics, tuple(contours)) if contours else None


def _score(path: Path, where: str, name: str, text: str | None, highest: int) -> int:
    value = _number(path, f"{where}{name}", text)
    if not 0 <= value <= highest or value != int(value):
        _refuse(path, f"{where}{name} from 1 to {highest}, or 0 for none", text)
    return int(value)


def _contour(path: Path, where: str, roi: Element) -> Contour:
    z = _number(path, f"{where}imageZposition", roi.findtext("{*}imageZposition"))
    inclusion = (roi.findtext("{*}inclusion") or "").strip().upper()
    if inclusion not in ("TRUE", "FALSE"):
        _refuse(path, f"{where}inclusion TRUE or FALSE", inclusion or None)
    points = _points(path, f"{where}whole pixels from 0 to 32767 at z = {z:g}", roi.findall("{*}edgeMap"))
    uid = (roi.findtext("{*}imageSOP_UID") or "").strip()
    return Contour(z, uid, inclusion == "TRUE", points)


def _points(path: Path, expected: str, marks: list[Element]) -> NDArray[np.int32]:
    texts = [(mark.findtext("{*}xCoord"), mark.findtext("{*}yCoord")) for mark in marks]
    try:
        points = np.array(texts, dtype=np.float64)  # (N, 2)
    except (TypeError, ValueError):
        _refuse(path, expected, texts[:3])
    # The comparison is also false for what is no number.
    if not ((points >= 0) & (points < 1 << 15) & (points == np.rint(points))).all():
        _refuse(path, expected, texts[:3])
    return points.astype(np.int32)


def _number(path: Path, what: str, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = np.nan
    return value if np.isfinite(value) else _refuse(path, f"{what} as a number", text)


def _refuse(path: Path, expected: str, found: object) -> NoReturn:
    raise DataError(f"{path}: expected {expected}, found {found}. Mend the file or get it again.")


def _header(root: Element, name: str) -> str:
    """Text of a header field; its case differs between the files of CT and of chest films."""
    header = root.find("{*}ResponseHeader")
    found = [field.text for field in header if _local(field).lower() == name] if header is not None else []
    return (found[0] or "").strip() if found else ""


def _local(element: Element) -> str:
    """Name of an element without its namespace."""
    return str(element.tag).rpartition("}")[2]
