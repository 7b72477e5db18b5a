"""The rules for the attributes of a DICOM header: keep-list first, Table E.1-1 over it, at every depth."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from medimg.curation.deidentify_codes import clean_code
from medimg.curation.deidentify_dates import cap_age, keep_time, shift_date, shift_datetime
from medimg.curation.deidentify_keep import is_standard_uid, kept_tags, kept_word, kind_of
from medimg.curation.deidentify_key import Secret
from medimg.curation.deidentify_table import EDITION, Action, Option, find_row

_NUMERIC = {"US", "SS", "UL", "SL", "FL", "FD", "SV", "UV", "AT", "US or SS", "US or OW", "US or SS or OW"}
_BINARY = {"OB", "OW", "OF", "OD", "OL", "OV", "OB or OW"}
DUMMIES = {
    "DA": "19000101",
    "TM": "000000",
    "DT": "19000101000000",
    "AS": "000Y",
    "DS": "0",
    "IS": "0",
    "UR": "urn:removed",
    "OB": b"\0\0",
    "UN": b"\0\0",
}
_SEGMENT_LABEL, _MODALITY, _IMAGE_TYPE = 0x00620005, 0x00080060, 0x00080008
_PATIENT_NAME, _PATIENT_ID, _PATIENT_AGE = 0x00100010, 0x00100020, 0x00101010
_METHOD_CODES = {
    "full_dates": ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    "dates": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "patient": ("113108", "Retain Patient Characteristics Option"),
    "device": ("113109", "Retain Device Identity Option"),
    "uids": ("113110", "Retain UIDs Option"),
    "institution": ("113112", "Retain Institution Identity Option"),
}
METHOD_MEANINGS = frozenset(
    ["basic application confidentiality profile", "clean pixel data option"]
    + [meaning.lower() for _, meaning in _METHOD_CODES.values()]
)
METHOD = f"medimg keep-list; PS3.15 Table E.1-1 {EDITION}"
_PARTS = re.compile(r"[\s^=,;/\\]+")


@dataclass(slots=True)
class Cleaning:
    """One data set being cleaned.

    Attributes:
        secret: The project's key.
        retain: Options asked for.
        days: Shift of this patient's dates.
        patient: New patient id.
        identity: Words that say who the patient is, in lower case; text kept by an option must hold none of them.
        counts: What was done how often: ``dropped``, ``emptied``, ``replaced``, ``uids``, ``dates``, ``kept``.
    """

    secret: Secret
    retain: frozenset[Option]
    days: int
    patient: str
    identity: frozenset[str]
    counts: Counter[str] = field(default_factory=Counter)


def clean_header(dataset: Dataset, secret: Secret, retain: frozenset[Option]) -> tuple[Dataset, Counter[str]]:
    """Make a new header that holds nothing but what may stay.

    Pixel data are handed on as they are; file meta information and preamble are not.

    Args:
        dataset: Header of a file; not changed.
        secret: The project's key.
        retain: Options asked for.

    Returns:
        The new header, and how often what was done.
    """
    original = _text(dataset, "PatientID") or f"study {_text(dataset, 'StudyInstanceUID')}"
    done_before = secret.is_own_name("P", original)
    cleaning = Cleaning(
        secret=secret,
        retain=retain,
        # Dates that moved with this key before stay where they are.
        days=0 if done_before else secret.shift_days(original),
        patient=secret.name("P", original),
        identity=frozenset() if done_before else _identity(dataset),
    )
    cleaned = _clean(dataset, cleaning)
    cleaned.PatientName = cleaned.PatientID = cleaning.patient
    _state(cleaned, retain)
    return cleaned, cleaning.counts


def decide(tag: int, retain: frozenset[Option]) -> Action:
    """What becomes of an attribute, wherever it stands: the table where it names it, else the keep-list.

    Example:
        >>> decide(0x00280010, frozenset()), decide(0x00100030, frozenset()), decide(0x00091001, frozenset())
        ('keep', 'empty', 'drop')
        >>> decide(0x00080020, frozenset({"dates"})), decide(0x00081010, frozenset({"device"}))
        ('shift', 'keep')
    """
    if tag >> 16 < 8:  # commands, file meta and directories have no place in the data set of an image
        return "drop"
    if row := find_row(tag):
        return row.action(retain)
    if tag in kept_tags() or any(tag in kept_tags(option) for option in retain):
        return "keep"
    return "drop"


def elements(dataset: Dataset) -> Iterator[DataElement | None]:
    """Every element of one level; ``None`` for one whose value cannot be read."""
    for tag in sorted(dataset.keys()):
        try:
            yield dataset[tag]
        except Exception:  # pydicom raises what it meets when it converts a damaged value
            yield None


def _clean(dataset: Dataset, cleaning: Cleaning) -> Dataset:
    cleaned = Dataset()
    for element in elements(dataset):
        made = None if element is None else _clean_element(element, cleaning)
        if made is None:
            cleaning.counts["dropped"] += 1
        else:
            cleaned[made.tag] = made
    if _SEGMENT_LABEL in dataset:
        cleaned.SegmentLabel = _segment_label(cleaned)
    return cleaned


def _clean_element(element: DataElement, cleaning: Cleaning) -> DataElement | None:
    tag = int(element.tag)
    if tag in (_PATIENT_NAME, _PATIENT_ID):
        cleaning.counts["replaced"] += 1
        return DataElement(tag, kind_of(tag), cleaning.patient)
    action = decide(tag, cleaning.retain)
    if action == "drop":
        return None
    if kind_of(tag) == "SQ":
        return _clean_sequence(element, action, cleaning)
    match action:
        case "empty":
            cleaning.counts["emptied"] += 1
            return DataElement(tag, kind_of(tag), _nothing(kind_of(tag)))
        case "dummy":
            return _dummy(element, cleaning)
        case "uid":
            return _new_uids(element, cleaning)
        case "shift":
            return _shifted(element, cleaning)
        case _:
            return _kept(element, cleaning)


def _clean_sequence(element: DataElement, action: Action, cleaning: Cleaning) -> DataElement | None:
    items: list[Dataset] = []
    found = element.value if isinstance(element.value, Sequence) else []
    if action != "empty":
        codes = str(element.keyword).endswith("CodeSequence") or any("CodeValue" in item for item in found)
        made = [clean_code(item) if codes else _clean(item, cleaning) for item in found]
        items = [item for item in made if item is not None and len(item)]
    if not items and found and action == "keep":
        return None
    cleaning.counts["emptied" if found and not items else "kept"] += 1
    return DataElement(element.tag, "SQ", Sequence(items))


def _dummy(element: DataElement, cleaning: Cleaning) -> DataElement:
    kind = kind_of(int(element.tag))
    cleaning.counts["replaced"] += 1
    if kind == "UI":
        return _new_uids(element, cleaning)
    return DataElement(element.tag, kind, DUMMIES.get(kind, "REMOVED"))


def _new_uids(element: DataElement, cleaning: Cleaning) -> DataElement:
    new = [
        uid if not uid or is_standard_uid(uid) else cleaning.secret.uid(uid)
        for uid in _texts(element, strip="\0 ")
    ]
    cleaning.counts["uids"] += len(new)
    return DataElement(element.tag, "UI", new if len(new) > 1 else "".join(new))


def _shifted(element: DataElement, cleaning: Cleaning) -> DataElement | None:
    """A date that moved; one that is none, or that names no day, is emptied."""
    kind = kind_of(int(element.tag))
    if kind not in ("DA", "DT", "TM"):
        # The zone, and numbers of seconds: with the day shifted they place nobody.
        return _kept_by_option(element, cleaning)
    moved: list[str | None] = []
    for text in _texts(element):
        match kind:
            case "DA":
                moved.append(shift_date(text, cleaning.days))
            case "DT":
                moved.append(shift_datetime(text, cleaning.days))
            case _:
                moved.append(keep_time(text))
    good = [text for text in moved if text is not None]
    cleaning.counts["dates" if good else "emptied"] += 1
    return DataElement(element.tag, kind, good if len(good) > 1 else "".join(good))


def _kept(element: DataElement, cleaning: Cleaning) -> DataElement | None:
    tag, kind = int(element.tag), kind_of(int(element.tag))
    if tag not in kept_tags() or find_row(tag) is not None:
        return _kept_by_option(element, cleaning)
    cleaning.counts["kept"] += 1
    if kind == "UI":
        return _new_uids(element, cleaning)
    if kind in _NUMERIC | _BINARY:
        return _checked_numbers(element)
    texts = _texts(element)
    words = [kept_word(tag, kind, text) for text in texts]
    if None in words:
        # The first three values of ImageType have fixed places, so an unknown word leaves a word.
        stand_in = {_IMAGE_TYPE: "OTHER", _MODALITY: "OT"}.get(tag)
        if stand_in is None:
            return None
        words = [stand_in if word is None else word for word in words]
    kept = [word for word in words if word is not None]
    return DataElement(tag, kind, kept if len(kept) > 1 else "".join(kept))


def _checked_numbers(element: DataElement) -> DataElement | None:
    """An element of numbers, if that is what it holds: a file may state another kind than the dictionary."""
    kind, value = kind_of(int(element.tag)), element.value
    if element.VR not in (kind, *kind.split(" or ")):
        return None
    if isinstance(value, bytes):
        # Numbers whose sign another attribute tells are bytes until they are written; tables may be long.
        return (
            element if kind in _BINARY or "OW" in kind or (kind == "US or SS" and len(value) <= 6) else None
        )
    values = list(value) if isinstance(value, MultiValue | list) else [value]
    return element if value in (None, "") or all(isinstance(one, int | float) for one in values) else None


def _kept_by_option(element: DataElement, cleaning: Cleaning) -> DataElement | None:
    """A value that an option keeps: the patient's age capped, text without the patient's own name and numbers."""
    tag, kind = int(element.tag), kind_of(int(element.tag))
    cleaning.counts["kept"] += 1
    if kind in _BINARY:
        return _dummy(element, cleaning)  # bytes may hold any text, and dates in them cannot be moved
    if kind in _NUMERIC:
        return _checked_numbers(element)
    texts = _texts(element)
    if kind == "AS":
        texts = [cap_age(text) or "" for text in texts]
    if kind in ("DS", "IS"):
        texts = [kept_word(tag, kind, text) or "" for text in texts]
    if any(word in text.lower() for word in cleaning.identity for text in texts):
        return None
    if kind == "UI":
        texts = [text.strip("\0 ") for text in texts]
    return DataElement(tag, kind, texts if len(texts) > 1 else "".join(texts))


def _identity(dataset: Dataset) -> frozenset[str]:
    names = ("PatientName", "PatientID", "OtherPatientIDs", "OtherPatientNames", "AccessionNumber")
    words = {word.lower() for name in names for word in _PARTS.split(_text(dataset, name))}
    return frozenset(word for word in words if len(word) > 2)


def _segment_label(item: Dataset) -> str:
    codes = item.get("SegmentedPropertyTypeCodeSequence")
    return str(codes[0].CodeMeaning) if codes else f"Segment {item.get('SegmentNumber', '')}".strip()


def _state(dataset: Dataset, retain: frozenset[Option]) -> None:
    """Say in the header that identity was removed, and how."""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = METHOD
    codes = [
        ("113100", "Basic Application Confidentiality Profile"),
        *(_METHOD_CODES[one] for one in sorted(retain)),
    ]
    dataset.DeidentificationMethodCodeSequence = Sequence([method_code(*code) for code in codes])
    modified = "MODIFIED" if "dates" in retain else "REMOVED"
    dataset.LongitudinalTemporalInformationModified = "UNMODIFIED" if "full_dates" in retain else modified


def method_code(value: str, meaning: str) -> Dataset:
    """A code of PS3.16, context group 7050, which names what was done."""
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code


def _nothing(kind: str) -> bytes | str | None:
    return b"" if kind in _BINARY else None if kind in _NUMERIC else ""


def _texts(element: DataElement, strip: str = "\0") -> list[str]:
    value = element.value
    if value is None:
        return []
    values = list(value) if isinstance(value, MultiValue | list) else [value]
    # Numbers keep the digits of the file, which are what positions are compared by.
    return [str(getattr(one, "original_string", one)).strip(strip) for one in values]


def _text(dataset: Dataset, name: str) -> str:
    try:
        value = dataset.get(name)
    except Exception:  # see elements()
        return ""
    return "" if value is None else str(value).strip("\0 ")
