"""Cases of a 2D data set while they are gathered: ids unique, images there, everything below the root."""

import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from medimg.errors import ConfigError, DataError
from medimg.io.files import inside
from medimg.records import Record

logger = logging.getLogger(__name__)

Missing = Literal["error", "skip", "keep"]
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".pgm", ".dcm", ".dicom")
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_SHOWN = 20


class ImageFiles:
    """Finds files below a root, listing each folder once: a hundred thousand look-ups cost one.

    Args:
        root: Folder of the data set; no file may lie outside.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        # Names in each folder: "file", "folder", or "link", whose end has to be looked at.
        self._folders: dict[str, dict[str, str]] = {"": _entries(self.root)}

    def path(self, name: str) -> Path:
        """The path of a file that need not be there.

        Args:
            name: Path relative to the root, with ``/``.

        Raises:
            DataError: If it leads out of the root.
        """
        _expect_below(self.root, name)
        return self.root / name

    def find(self, name: str) -> Path | None:
        """The path of a file if it is there.

        Args:
            name: Path relative to the root, with ``/``.

        Raises:
            DataError: If it leads out of the root, also through a symbolic link.
        """
        _expect_below(self.root, name)
        folder, _, file = name.rpartition("/")
        kind = self.entries(folder).get(file)
        if kind == "link":
            linked = inside(self.root, name)
            return linked if linked.is_file() else None
        return self.root / name if kind == "file" else None

    def entries(self, folder: str) -> dict[str, str]:
        """What lies in a folder below the root: ``file``, ``folder`` or ``link`` by name.

        Raises:
            DataError: If a symbolic link on the way leads out of the root.
        """
        if folder not in self._folders:
            above, _, name = folder.rpartition("/")
            kind = self.entries(above).get(name)
            # Where no link stands on the way there is no way out, which saves resolving each path.
            place = inside(self.root, folder) if kind == "link" else self.root / folder
            self._folders[folder] = _entries(place) if kind in ("folder", "link") else {}
        return self._folders[folder]

    def folder_of(self, folders: Sequence[str]) -> str:
        """The first of these folders that is there, else the first: the layouts a data set is handed out in."""
        return next((name for name in folders if (self.root / name).is_dir()), folders[0])

    def suffix_of(self, stem: str, suffixes: Sequence[str]) -> str:
        """Complete a path by the first suffix with which there is a file, else by the first suffix."""
        return next((stem + end for end in suffixes if self.find(stem + end)), stem + suffixes[0])


def _entries(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {e.name: "link" if e.is_symlink() else "folder" if e.is_dir() else "file" for e in entries}


def _expect_below(root: Path, name: str) -> None:
    if not name or name.startswith("/") or name.endswith("/") or ".." in name.split("/") or "//" in name:
        raise DataError(
            f"{root}: expected the path of an image below this folder, found {name!r}. Give paths relative to "
            "the root, and the folder that holds all files as the root."
        )


class ImageCases:
    """Gathers records, and refuses together what cannot be used.

    Args:
        root: Folder of the data set.
        source: Where the cases are listed: a table or a folder, for messages.
        missing: What to do with a case whose image is not there: ``"error"``, ``"skip"`` it and say how many,
            or ``"keep"`` the record, for work on labels alone.
    """

    def __init__(self, root: Path, source: Path | str, missing: Missing = "error") -> None:
        if missing not in ("error", "skip", "keep"):
            raise DataError(f"missing: expected error, skip or keep, found {missing!r}")
        self.files = ImageFiles(root)
        self.source = source
        self.missing = missing
        self._records: dict[str, Record] = {}
        self._where: dict[str, str | int] = {}
        self._faults: list[str] = []
        self._absent: list[tuple[str, str]] = []

    def fault(self, where: str | int, text: str) -> None:
        """Note a fault, to be told of with all the others."""
        self._faults.append(f"{_place(where)}: {text}")

    def add(
        self,
        case_id: str,
        patient_id: str,
        images: Sequence[str],
        *,
        where: str | int,
        labels: Mapping[str, float] | None = None,
        group: str | None = None,
        split: str | None = None,
        weight: float = 1.0,
        mask: str | None = None,
        position_mm: float | None = None,
    ) -> None:
        """Take in one case.

        Args:
            case_id: Unique in the data set.
            patient_id: Whom it belongs to.
            images: Paths relative to the root.
            where: Line of the table, or the file.
            labels: Value of each label; ``None`` for a case without labels.
            group: What it is judged with.
            split: ``train``, ``val``, ``test`` or ``None``.
            weight: How much it counts.
            mask: Path of the mask relative to the root.
            position_mm: Place along the stack of the group.
        """
        if not case_id or not patient_id:
            self.fault(where, f"the {'patient' if case_id else 'case id'} is blank; every row needs one")
            return
        if case_id in self._where:
            first = _place(self._where[case_id])
            self.fault(where, f"the id {case_id} is used already in {first}; keep one of the two")
            return
        self._where[case_id] = where
        try:
            paths = [self._path(case_id, name) for name in images]
            mask_path = None if mask is None else self._path(case_id, mask)
        except DataError as error:
            self.fault(where, str(error))
            return
        if None in paths or (mask is not None and mask_path is None):
            return
        kept = tuple(path for path in paths if path is not None)
        self._records[case_id] = Record(
            case_id, patient_id, kept, mask_path, labels or {}, group, split, weight, position_mm=position_mm
        )

    def _path(self, case_id: str, name: str) -> Path | None:
        """The path of an image; ``None``, and noted, if it is not there and must be."""
        if self.missing == "keep":
            return self.files.path(name)
        path = self.files.find(name)
        if path is None:
            self._absent.append((case_id, name))
        return path

    def records(self) -> tuple[Record, ...]:
        """All cases, sorted by id.

        Raises:
            DataError: For all faults together, for images that are not there, or if no case is left.
        """
        if self._faults:
            lines = [f"  {line}" for line in self._faults[:_SHOWN]]
            if len(self._faults) > _SHOWN:
                lines.append(f"  ... and {len(self._faults) - _SHOWN} more")
            count = "1 fault" if len(self._faults) == 1 else f"{len(self._faults)} faults"
            raise DataError("\n".join([f"{self.source}: {count}:", *lines, "Mend them, then run again."]))
        absent = sorted({case for case, _ in self._absent})
        if absent:
            first = self.files.root / self._absent[0][1]
            text = (
                f"{self.source}: {len(absent)} of {len(self._where)} cases have no image, the first {first}"
            )
            if self.missing == "error" or not self._records:
                raise DataError(
                    f"{text}. Check the root {self.files.root}, or, to go on with the others, set missing to skip."
                )
            logger.warning("%s; going on with the other %d", text, len(self._records))
        if not self._records:
            raise DataError(f"{self.source}: lists no case. Check the path.")
        return tuple(record for _, record in sorted(self._records.items()))


def _place(where: str | int) -> str:
    return f"line {where}" if isinstance(where, int) else where


def label_value(text: str) -> float:
    """Value of a label in a table: 1, 0, or between them; -1 and blank are unknown.

    Args:
        text: The field, stripped.

    Returns:
        The value, NaN where it is unknown.

    Raises:
        ValueError: If it is something else.

    Example:
        >>> [label_value(text) for text in ("1.0", "0", "0.25", "-1", "")]
        [1.0, 0.0, 0.25, nan, nan]
    """
    if text == "" or text.lower() in ("nan", "na", "none"):
        return math.nan
    value = float(text)
    if value == -1:
        return math.nan
    if not 0 <= value <= 1:
        raise ValueError(text)
    return value


def patient_pattern(text: str | None) -> re.Pattern[str] | None:
    r"""Compile the regular expression that finds a patient in a case's id; ``None``: each case is a patient.

    Raises:
        ConfigError: If it is none.
    """
    try:
        return None if text is None else re.compile(text)
    except re.error as error:
        raise ConfigError(f"patient: {text!r} is no regular expression: {error}") from None


def patient_in(case_id: str, pattern: re.Pattern[str] | None) -> str | None:
    r"""The patient by a case's id: the first group of the pattern, or all of it; ``None`` if it is not found.

    Example:
        >>> patient_in("benign/pat12_3.png", patient_pattern(r"(pat\d+)_")), patient_in("a", None)
        ('pat12', 'a')
    """
    if pattern is None:
        return case_id
    match = pattern.search(case_id)
    return (match[1] if match.groups() else match[0]) if match else None


def split_name(text: str) -> str | None:
    """The name ``train``, ``val`` or ``test`` of a split however a table writes it; ``None`` if it is blank.

    Raises:
        ValueError: If it is none of them.

    Example:
        >>> split_name("Validation"), split_name("")
        ('val', None)
    """
    if not text:
        return None
    try:
        return SPLIT_NAMES[text.lower()]
    except KeyError:
        raise ValueError(text) from None
