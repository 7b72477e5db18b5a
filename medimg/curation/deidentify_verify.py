"""The search after the work: no original name, number, date or text may stand in a new file, at any byte."""

import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from medimg.curation import deidentify_json, deidentify_picture
from medimg.curation.deidentify_codes import known_texts, meaning_of
from medimg.curation.deidentify_dataset import DUMMIES, METHOD, METHOD_MEANINGS, decide, elements
from medimg.curation.deidentify_keep import WORDS, is_standard_uid, kept_word, kind_of
from medimg.curation.deidentify_key import Secret
from medimg.curation.deidentify_table import Option, find_row
from medimg.io.dicom.parse import header_warnings, open_dataset

_RUN = re.compile(rb"[ -~\x80-\xff]{5,}")
_NUMBER = re.compile(r"[-+0-9.eE]+")
_SPLIT = re.compile(r"[\s^=,;/\\._-]+")
_SHORTEST, _SHORTEST_IN_PIXELS = 4, 8  # shorter ones occur by chance
_CHARSETS = ("utf-8", "latin-1", "utf-16-le", "utf-16-be", "shift_jis", "euc_kr", "gb18030", "iso2022_jp")
_WIDE = ("utf-8", "utf-16-le", "utf-16-be")
_OWN_NUMBER = re.compile(r"2\.25\.\d+|P[0-9a-f]{24}")
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_BULK = ("ColorLookupTableData", "LUTData")
_PERSONAL = {"PN", "LO", "SH", "ST", "LT", "UT", "UC", "UR"}


@dataclass(frozen=True, slots=True)
class Originals:
    """What must not be found again.

    Attributes:
        own: Every text of a file that was not to stay.
        shared: Those that say who and where, to be searched for in all other files too.
    """

    own: frozenset[str]
    shared: frozenset[str]


def originals_of(path: Path, name: str, kind: str, secret: Secret, retain: frozenset[Option]) -> Originals:
    """Collect the texts of a source file that identify.

    Args:
        path: Source file.
        name: Its path below the source folder, with ``/``; the path's own words count too.
        kind: ``DICOM``, ``NIfTI``, ``picture`` or ``JSON``.
        secret: The project's key: what was made with it before is no original.
        retain: Options that keep values.
    """
    shared = set(_name_words(name, secret))
    texts: set[str] = set()
    match kind:
        case "DICOM":
            with header_warnings():
                opened = open_dataset(path)
                if not secret.is_own_name("P", str(opened.dataset.get("PatientID", ""))):
                    texts, personal = _dicom_texts(path, opened.dataset, retain)
                    shared |= personal
        case "NIfTI":
            texts = set(_nifti_texts(path))
        case "picture":
            texts = set(deidentify_picture.text_of(path))
        case "JSON":
            texts = set(deidentify_json.text_of(path.read_bytes()))
    shared = {text for text in shared if _tells(text)}
    return Originals(frozenset(text for text in texts if _tells(text)) | shared, frozenset(shared))


def find_originals(
    path: Path, name: str, kind: str, originals: Originals, others: frozenset[str]
) -> list[str]:
    """Search a new file for texts of the sources.

    Args:
        path: The new file.
        name: Its path below the target folder.
        kind: As for ``originals_of``.
        originals: What stood in its own source.
        others: What stood in any source and says who and where.

    Returns:
        Where something was found (``name``, ``header``, ``pixels``), never what.
    """
    parts = _parts(path, kind)
    texts = originals.own | others
    stems = " ".join(part.split(".")[0] for part in PurePosixPath(name).parts).lower()
    # Six digits occur by chance in a name of 24 hexadecimal ones.
    long = [text for text in texts if not text.isdecimal() or len(text) >= _SHORTEST_IN_PIXELS]
    found = ["name"] if any(text.lower() in stems for text in long) else []
    if any(parts.holds(text) for text in texts):
        found.append("header")
    in_pixels = [text for text in originals.own if len(text) >= _SHORTEST_IN_PIXELS]
    if any(form in parts.pixels for text in in_pixels for form in _forms(text)):
        found.append("pixels")
    return found


@dataclass(frozen=True, slots=True)
class _Parts:
    """A new file, unpacked.

    Attributes:
        header: All bytes that are no pixels, in lower case.
        pixels: The pixels.
        checked: Values of the header that were checked one by one, in lower case: known words and codes, numbers, what
            medimg itself says. A text that stands in no other place is none of the source's.
        numbers: Digits that medimg made: new UIDs and ids.
    """

    header: bytes
    pixels: bytes = b""
    checked: bytes = b""
    numbers: bytes = b""

    def holds(self, text: str) -> bool:
        """Whether a text stands in the header, other than within checked values."""
        for form in _forms(text.lower()):
            allowed = self.checked.count(form) + (self.numbers.count(form) if text.isdecimal() else 0)
            if form in self.header and self.header.count(form) > allowed:
                return True
        return False


def violations(dataset: Dataset, retain: frozenset[Option]) -> list[str]:
    """Check a new header against Table E.1-1, apart from the code that made it.

    Returns:
        Tags that should be gone, or empty, at any depth.
    """
    found = []
    for element in elements(dataset):
        if element is None:
            continue
        row, value = find_row(int(element.tag)), element.value
        action = row.action(retain) if row else decide(int(element.tag), retain)
        named = element.keyword in ("PatientName", "PatientID", "DeidentificationMethod")
        stated = named or element.keyword == "DeidentificationMethodCodeSequence"
        if (action == "drop" and not stated) or (
            action == "empty" and not named and value not in (None, "", [], b"")
        ):
            found.append(f"({element.tag.group:04X},{element.tag.elem:04X})")
        if isinstance(value, Sequence) and not stated:
            found += [tag for item in value for tag in violations(item, retain)]
    return found


def _dicom_texts(path: Path, dataset: Dataset, retain: frozenset[Option]) -> tuple[set[str], set[str]]:
    texts, personal, numbers = set(), set(), set()
    with path.open("rb") as file:
        head = file.read(132)
    if head[128:] == b"DICM":
        texts |= set(_runs(head[:128]))
    for holder in (dataset, getattr(dataset, "file_meta", None) or Dataset()):
        for element, values in _walk(holder):
            tag, kind = int(element.tag), kind_of(int(element.tag))
            action = decide(tag, retain)
            # Days shift and the time of day stays.
            kept = action == "keep" or (action == "shift" and kind not in ("DA", "DT"))
            if kept and kind in ("DS", "IS"):
                numbers |= set(values)
            elif not kept or kind in ("CS", "UI", *_PERSONAL):
                by_option = kept and find_row(tag) is not None
                if kept and kind == "CS":
                    values = [value for value in values if kept_word(tag, kind, value) is None]
                texts |= set() if by_option else set(values)
                if kind in _PERSONAL and not by_option and find_row(tag) is not None:
                    personal |= {part for value in values for part in _parts_of_name(kind, value)}
    # A private copy of the pixel spacing is no secret where the spacing itself stays.
    texts = {text for text in texts if not (_NUMBER.fullmatch(text) and text in numbers)}
    return texts, personal


def _walk(dataset: Dataset, *, codes: bool = False) -> Iterator[tuple[DataElement, list[str]]]:
    for element in elements(dataset):
        if element is None or int(element.tag) >> 16 == 0x7FE0:
            continue
        value = element.value
        if isinstance(value, Sequence):
            for item in value:
                inner = _walk(item, codes=codes)
                yield from (pair for pair in inner if codes or not _is_known_code(item, pair[0]))
        elif isinstance(value, bytes):
            yield element, list(_runs(value))
        elif value is not None:
            values = list(value) if isinstance(value, MultiValue | list) else [value]
            yield element, [str(one).strip("\0 ") for one in values]


def _is_known_code(item: Dataset, element: DataElement) -> bool:
    """Whether an element is part of a standard code, which says nothing of anybody and stays."""
    if element.keyword not in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning"):
        return False
    meaning = meaning_of(str(item.get("CodingSchemeDesignator", "")), str(item.get("CodeValue", "")))
    if meaning is None:
        return False
    return element.keyword != "CodeMeaning" or str(element.value).lower() in meaning.lower()


def _parts_of_name(kind: str, value: str) -> list[str]:
    return [value, *re.split(r"[\s^=]+", value)] if kind == "PN" else [value]


def _name_words(name: str, secret: Secret) -> Iterator[str]:
    for part in PurePosixPath(name).parts:
        stem = part.split(".")[0]
        if not secret.is_own_name("N", stem):
            yield from (word for word in _SPLIT.split(stem) if len(word) > 4)


def _nifti_texts(path: Path) -> Iterator[str]:
    raw = path.read_bytes()
    content = raw
    if raw[:2] == b"\x1f\x8b":
        # Flag 8: the name that the file had, ended by a zero.
        if raw[3] & 8:
            yield raw[10:].split(b"\0", 1)[0].decode("latin-1")
        content = _begin(raw)
    size = int.from_bytes(content[:4], "little")
    extended = content[348:] if size == 348 or content[:4] == b"\0\0\x01\x5c" else content[540:]
    for block in (content[:348], extended if extended[:1] == b"\x01" else b""):
        yield from _runs(block[: 1 << 20])


def _begin(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj(31).decompress(packed, 1 << 20)
    except zlib.error:
        return b""


def _runs(content: bytes) -> Iterator[str]:
    for run in _RUN.findall(content):
        yield run.decode("latin-1").strip()


def _tells(text: str) -> bool:
    """Whether a text is long enough, and no word that every file holds."""
    if len(text) < _SHORTEST or (_NUMBER.fullmatch(text) and (len(text) < 8 or len(set(text)) == 1)):
        return False
    if not text.isascii() and len(set(text)) < 4:  # a pattern of bytes, not a text
        return False
    return text.upper() not in WORDS and not is_standard_uid(text)


def _forms(text: str) -> Iterable[bytes]:
    # Most character sets write plain letters alike.
    for charset in _WIDE if text.isascii() else _CHARSETS:
        try:
            yield text.encode(charset)
        except UnicodeEncodeError:
            continue


def _parts(path: Path, kind: str) -> _Parts:
    raw = path.read_bytes()
    match kind:
        case "DICOM":
            return _dicom_parts(path, raw)
        case "NIfTI":
            content = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
            packed = raw[:64] if content is not raw else b""
            return _Parts((content[:544] + packed).lower(), content[544:])
        case "picture":
            return _Parts(b"\n".join(text.encode() for text in deidentify_picture.text_of(path)).lower(), raw)
    return _Parts(raw.lower())


def _dicom_parts(path: Path, raw: bytes) -> _Parts:
    with header_warnings():
        opened = open_dataset(path)
        dataset, texts, checked, numbers = opened.dataset, [], [], []
        for element, values in _walk(dataset, codes=True):
            texts += values
            if _is_checked(element):
                checked += values
            if _OWN_NUMBER.fullmatch(values[0] if values else ""):
                numbers += values
        held = [
            bytes(element.value) for element in dataset if element.keyword.endswith(_BULK) and element.value
        ]
        pixels = next((bytes(dataset[name].value) for name in _PIXELS if name in dataset), b"")
    header = "\n".join(texts).encode("utf-8", "replace") if opened.syntax.is_deflated else raw
    for block in (pixels, *held):
        header = header.replace(block, b"")
    meta = [str(element.value) for element in getattr(dataset, "file_meta", [])]
    return _Parts(
        header.lower(),
        pixels,
        "\n".join(checked).lower().encode("utf-8", "replace"),
        "\n".join(numbers + meta).encode(),
    )


def _is_checked(element: DataElement) -> bool:
    tag, kind = int(element.tag), kind_of(int(element.tag))
    values = list(element.value) if isinstance(element.value, MultiValue | list) else [element.value]
    texts = [str(getattr(value, "original_string", value)) for value in values]
    if element.keyword == "DeidentificationMethod":
        return texts == [METHOD]
    if element.keyword in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning", "SegmentLabel"):
        return all(text.lower() in known_texts() or text.lower() in METHOD_MEANINGS for text in texts)
    if kind in ("CS", "DS"):
        return all(kept_word(tag, kind, text) is not None for text in texts)
    return kind in ("DA", "TM", "DT", "AS") and all(text in DUMMIES.values() for text in texts)
