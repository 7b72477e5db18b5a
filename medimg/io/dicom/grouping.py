"""Which files of a folder make up which series, told by their headers and never by their names."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medimg.errors import ConfigError, DataError
from medimg.io.dicom.parse import is_dicom
from medimg.io.dicom.slices import FileHeader, Slice, read_slices
from medimg.io.files import inside, safe_name

OnBad = Literal["refuse", "skip"]
_LISTED = 12


@dataclass(frozen=True, slots=True)
class SetAside:
    """A file that is no part of a volume, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class SeriesFiles:
    """The files of one series, not yet sorted or checked.

    Attributes:
        uid: Series Instance UID.
        study_uid: Study Instance UID.
        patient_id: Patient ID as written; not safe as a file name.
        modality: Such as ``CT``.
        description: Series Description.
        number: Series Number, ``None`` where the files do not say.
        slices: Every frame that has a place, in the order of the file names.
        set_aside: Files of the series that are no part of the volume, such as localizers.
    """

    uid: str
    study_uid: str
    patient_id: str
    modality: str
    description: str
    number: int | None
    slices: tuple[Slice, ...]
    set_aside: tuple[SetAside, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that hold the slices, each once."""
        return tuple(dict.fromkeys(one.path for one in self.slices))

    @property
    def title(self) -> str:
        """How messages name the series: its folder, number and UID."""
        files = self.files or tuple(one.path for one in self.set_aside)
        number = "" if self.number is None else f"series {self.number}, "
        return f"{files[0].parent} ({number}UID {self.uid})" if files else f"series {self.uid}"


@dataclass(frozen=True, slots=True)
class FolderScan:
    """What a folder holds.

    Attributes:
        series: Every series, also those all of whose files are set aside.
        set_aside: Files that belong to no series: other formats, directories of media, damaged files.
    """

    series: tuple[SeriesFiles, ...]
    set_aside: tuple[SetAside, ...]


def find_series(folder: Path, *, on_bad: OnBad = "refuse") -> list[SeriesFiles]:
    """Find the series that can become volumes below a folder, or in one file.

    Args:
        folder: Folder, looked through at any depth, or a DICOM file.
        on_bad: Refuse a damaged file, or set it aside.

    Returns:
        The series, sorted by patient, study and number.

    Raises:
        DataError: If there is no such folder, no series in it, or a damaged file.
    """
    scan = scan_folder(folder, on_bad=on_bad)
    if found := [series for series in scan.series if series.slices]:
        return found
    aside = [*(one for series in scan.series for one in series.set_aside), *scan.set_aside]
    named = "; ".join(f"{one.path.name}: {one.reason}" for one in aside[:_LISTED]) or "no file"
    raise DataError(
        f"{folder}: expected the files of a DICOM series, found none that lies in the patient ({named}). Give the "
        "folder that holds the slices."
    )


def scan_folder(folder: Path, *, on_bad: OnBad = "refuse") -> FolderScan:
    """Group all files below a folder by series; no pixels are read.

    Of a series that holds original images, derived ones are set aside; a series of derived images alone is kept.

    Args:
        folder: Folder, looked through at any depth, or a DICOM file.
        on_bad: Refuse a damaged file, whose series would lack a slice, or set it aside.

    Raises:
        DataError: If there is no such folder, a link leads out of it, or, unless skipped, a file is damaged.
    """
    if not folder.exists():
        raise DataError(f"{folder}: expected a folder of DICOM files, and there is none. Check the path.")
    by_series: dict[str, list[FileHeader]] = {}
    aside: list[SetAside] = []
    for path in _files(folder):
        try:
            header = _read(path)
        except DataError as error:
            if on_bad == "refuse":
                raise DataError(
                    f"{error} A series may lack this slice, so nothing is read; leave such files out by --on_bad skip."
                ) from error
            aside.append(SetAside(path, str(error).removeprefix(f"{path}: ")))
            continue
        if isinstance(header, SetAside):
            aside.append(header)
        elif not header.series_uid:
            aside.append(SetAside(path, header.reason or "no Series Instance UID"))
        else:
            by_series.setdefault(header.series_uid, []).append(header)
    series = [_series(uid, headers) for uid, headers in by_series.items()]
    order = sorted(series, key=lambda one: (one.patient_id, one.study_uid, one.number or 0, one.uid))
    return FolderScan(tuple(order), tuple(aside))


def choose_series(found: Sequence[SeriesFiles], which: str | None, where: Path) -> SeriesFiles:
    """Return the one series, or the one that is named.

    Args:
        found: Series of one folder.
        which: Series Instance UID, or Series Number; ``None`` where there is only one.
        where: Their folder, for messages.

    Raises:
        ConfigError: If there are several and none is named, or no one has that name.
    """
    chosen = list(found) if which is None else [one for one in found if which in (one.uid, str(one.number))]
    if len(chosen) == 1:
        return chosen[0]
    lines = [
        f"  number {'-' if one.number is None else one.number}, {len(one.slices)} slices, "
        f"{one.modality} {one.description!r}: {one.uid}"
        for one in found[:_LISTED]
    ]
    lines += [f"  and {len(found) - _LISTED} more"] if len(found) > _LISTED else []
    what = f"{len(found)} series" if which is None else f"{len(chosen)} series called {which!r} among these"
    raise ConfigError(
        "\n".join([f"{where}: expected one series, found {what}:", *lines])
        + "\nName one with --series and its UID or number."
    )


def series_names(series: Sequence[SeriesFiles]) -> list[str]:
    """Name each series by patient, number and description, and by its UID where that is not enough.

    Args:
        series: Series, whose texts are not trusted.

    Returns:
        File names without suffix, no two alike.
    """
    plain = [_plain_name(one) for one in series]
    counts = Counter(name.lower() for name in plain)  # some file systems do not tell case
    return [
        name if counts[name.lower()] == 1 else safe_name(f"{name}_{one.uid}")
        for name, one in zip(plain, series, strict=True)
    ]


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_file():
        yield folder
        return
    for path in sorted(folder.rglob("*")):
        part = path.relative_to(folder)
        if any(name.startswith(".") for name in part.parts):
            continue
        if path.is_symlink():
            inside(folder, part)  # a linked folder is not walked; one inside is met where it lies
        if not path.is_dir():
            yield path


def _read(path: Path) -> FileHeader | SetAside:
    if path.is_file() and path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty (0 bytes). Copy or download it again.")
    return read_slices(path) if is_dicom(path) else SetAside(path, "no DICOM file")


def _series(uid: str, headers: Sequence[FileHeader]) -> SeriesFiles:
    usable = [header for header in headers if not header.reason]
    aside = [SetAside(header.path, header.reason) for header in headers if header.reason]
    if not all(header.derived for header in usable):
        aside += [
            SetAside(header.path, "a derived image among original ones")
            for header in usable
            if header.derived
        ]
        usable = [header for header in usable if not header.derived]
    first = (usable or headers)[0]
    return SeriesFiles(
        uid=uid,
        study_uid=first.study_uid,
        patient_id=first.patient_id,
        modality=first.modality,
        description=first.description,
        number=first.number,
        slices=tuple(one for header in usable for one in header.slices),
        set_aside=tuple(aside),
    )


def _plain_name(series: SeriesFiles) -> str:
    parts = [series.patient_id or "unknown"]
    parts += [] if series.number is None else [f"{series.number:03d}"]
    parts += [re.sub(r"[^A-Za-z0-9]+", "-", series.description).strip("-")]
    return safe_name("_".join(part for part in parts if part))
