"""Open-I's chest X-ray reports of Indiana University (NLMCXR), out of the archive as it is published.

Reference:
    Demner-Fushman et al. 2016, "Preparing a collection of radiology examinations for distribution and retrieval",
    Journal of the American Medical Informatics Association 23, doi:10.1093/jamia/ocv080.
"""

import re
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

import numpy as np

from medimg.datasets.fusion import PICTURES, FusionCases, FusionSet
from medimg.datasets.image_cases import ImageFiles
from medimg.errors import ConfigError, DataError
from medimg.records import ImageIndex, Record

ARCHIVE = "NLMCXR_reports.tgz"
Section = Literal["comparison", "indication", "findings", "impression"]
_MEMBER = re.compile(r"(?:\./)?(?:[\w.-]+/)*(\w+)\.xml")
_LARGEST = 1 << 20  # bytes of a report; the largest published one has 9 KB
_MOST = 100_000  # reports


@dataclass(frozen=True, slots=True)
class Report:
    """One examination.

    Attributes:
        report_id: Such as ``CXR1``.
        sections: Text by the name of the section, blank where there is none; ``XXXX`` was taken out by the publisher.
        major: What indexers made of the report, in terms of MeSH and RadLex: ``normal`` alone, ``No Indexing``, or
            findings such as ``Calcified Granuloma/lung/upper lobe/right``.
        images: Ids of its images, which are the names of the published files.
    """

    report_id: str
    sections: dict[Section, str]
    major: tuple[str, ...]
    images: tuple[str, ...]

    @property
    def abnormal(self) -> float:
        """0 for a normal examination, 1 for one with findings, NaN for one that was not indexed."""
        terms = {term.lower() for term in self.major}
        return np.nan if terms <= {"no indexing"} else float(terms != {"normal"})


def read_reports(path: Path) -> tuple[Report, ...]:
    """Read every report of the archive, without unpacking it to disk.

    Args:
        path: ``NLMCXR_reports.tgz``.

    Returns:
        Reports, sorted by id.

    Raises:
        DataError: If the archive is damaged, or holds what no archive of reports does.
    """
    reports: dict[str, Report] = {}
    try:
        with tarfile.open(path, "r|gz") as archive:
            for name, content in _members(path, archive):
                report = _report(f"{path}, {name}", content)
                if report.report_id in reports:
                    raise DataError(
                        f"{path}, {name}: the id {report.report_id} stands twice. Get the archive again."
                    )
                reports[report.report_id] = report
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such archive. Check the path.") from None
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read as a .tgz ({error}). Get it again.") from error
    if not reports:
        raise DataError(f"{path}: holds no report. Get {ARCHIVE} from Open-I.")
    return tuple(report for _, report in sorted(reports.items()))


def _members(path: Path, archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each report; whatever else the archive holds is refused before it is read."""
    count = 0
    for member in archive:
        if member.isdir() and ".." not in member.name.split("/"):
            continue
        if not (member.isreg() and _MEMBER.fullmatch(member.name) and ".." not in member.name.split("/")):
            raise DataError(f"{path}: holds {member.name!r}, which is no report. Get the archive again, and unpack "
                            "nothing of this one.")  # fmt: skip
        count += 1
        if member.size > _LARGEST or count > _MOST:
            raise DataError(f"{path}: {member.name} of {member.size} bytes, number {count}: no archive of reports is "
                            "that large. Get it again from its publisher.")  # fmt: skip
        file = archive.extractfile(member)
        assert file is not None  # a regular file
        yield member.name, file.read()


class _DoctypeError(Exception):
    """A document type, whose entities could grow without end."""


class _Builder(TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise _DoctypeError


def _report(where: str, content: bytes) -> Report:
    try:
        parser = XMLParser(target=_Builder())
        parser.feed(content)
        root: Element = parser.close()
    except _DoctypeError:
        raise DataError(
            f"{where}: declares a document type, which no report does. Get the archive again."
        ) from None
    except ParseError as error:
        raise DataError(f"{where}: cannot be read as XML ({error}). Get the archive again.") from error
    identity = root.find("uId")
    report_id = "" if identity is None else (identity.get("id") or "").strip()
    if not re.fullmatch(r"\w+", report_id):
        raise DataError(
            f"{where}: expected the id of a report, such as CXR1, found {report_id!r}. Mend the file."
        )
    sections: dict[Section, str] = {"comparison": "", "indication": "", "findings": "", "impression": ""}
    for part in root.iter("AbstractText"):
        if (name := (part.get("Label") or "").strip().lower()) in sections:
            sections[name] = " ".join("".join(part.itertext()).split())
    major = tuple((term.text or "").strip() for term in root.findall("MeSH/major"))
    images = tuple(name for image in root.findall("parentImage") if (name := (image.get("id") or "").strip()))
    return Report(report_id, sections, major, images)


@dataclass(frozen=True, kw_only=True)
class OpenI(FusionSet):
    """Normal or not, as indexers read it in the report: a task of the text, of which it says little about films.

    The label comes from the very words that the network reads, ``normal`` among them. The archive names no patients, so
    every report counts as one of its own; reports of the same words, a fifth of all, stay in one fold.

    Attributes:
        archive: The reports, below the root unless it is absolute.
        sections: What is read of a report, in this order.
        images: Folder below the root with the published PNG files, for a network that sees the films too: the first
            two of an examination are ``image`` and ``image_2``.
    """

    has_laterality = True

    archive: Path = Path(ARCHIVE)
    sections: tuple[Section, ...] = ("findings", "impression")
    images: Path | None = None

    def __post_init__(self) -> None:
        known = ("comparison", "indication", "findings", "impression")
        if not self.sections or not set(self.sections) <= set(known):
            raise ConfigError(
                f"sections: expected some of {', '.join(known)}, found {', '.join(self.sections)}"
            )

    @property
    def inputs(self) -> tuple[str, ...]:
        """The text, and pictures if their folder is named."""
        return ("text",) if self.images is None else (*PICTURES, "text")

    def cases(self, root: Path, *, labelled: bool = True) -> FusionCases:
        """List the reports that have one of the sections, or a picture.

        Raises:
            DataError: If the archive cannot be used, or no film is there.
        """
        root = Path(root)
        path = root if root.is_file() else root / self.archive
        root = path.parent if root.is_file() else root
        films = self._films(root)
        kept, texts = [], []
        for report in read_reports(path):
            text = " ".join(part for name in self.sections if (part := report.sections[name]))
            own = [films[name] for name in report.images if name in films]
            if text or own:
                kept.append((report, own))
                texts.append(text)
        records = [
            Record(r.report_id, r.report_id, (), labels={"abnormal": r.abnormal} if labelled else {})
            for r, _ in kept
        ]
        index = ImageIndex("open-i", root, "binary", ("abnormal",), tuple(records))
        pictures = {
            name: ImageIndex(
                f"open-i-{name}",
                root,
                "binary",
                ("abnormal",),
                tuple(Record(r.report_id, r.report_id, (own[at],)) for r, own in kept if len(own) > at),
            )
            for at, name in enumerate(PICTURES)
            if self.images is not None
        }
        none = np.zeros((len(kept), 0))
        ids = [record.case_id for record in records]
        return FusionCases(
            index, pictures, none.astype(np.float32), none.astype(np.int64), tuple(texts), _same(ids, texts)
        )

    def _films(self, root: Path) -> dict[str, Path]:
        """Published pictures by their id."""
        if self.images is None:
            return {}
        files, folder = ImageFiles(root), self.images.as_posix()
        found = {
            Path(name).stem: root / folder / name for name in files.entries(folder) if name.endswith(".png")
        }
        if not found:
            raise DataError(
                f"{root / folder}: expected the PNG files of NLMCXR_png.tgz, found none. Unpack it there."
            )
        return found


def _same(ids: list[str], texts: list[str]) -> tuple[frozenset[str], ...]:
    """Cases whose texts have the same words."""
    cases: dict[str, set[str]] = defaultdict(set)
    for case, text in zip(ids, texts, strict=True):
        if text:
            cases[text.lower()].add(case)
    return tuple(frozenset(group) for group in cases.values() if len(group) > 1)
