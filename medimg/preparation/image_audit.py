"""The check of a set of labelled 2D images, before any time is spent on training."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medimg.errors import DataError
from medimg.parallel import map_cases
from medimg.preparation.audit_findings import Verdict, findings_cell, worst_verdict, write_rows
from medimg.preparation.image_likeness import Likeness, find_alike, likeness
from medimg.preparation.image_source import SourceImage, grey, read_case_images
from medimg.records import ImageIndex, Record

# Worst first; a conflict is a copy with other labels.
Kind = Literal["unreadable", "missing", "labels", "patients", "conflicts", "copies", "values", "look-alikes"]

# Below this share of pixels that are not the commonest value, a picture is as good as empty.
_EMPTY_SHARE = 0.001
# A value type that fewer files than this share have is odd beside the others.
_RARE_SHARE = 0.05
_SMALLEST_SIDE = 16
_NAMED = 5
_COLUMNS = (
    *("case_id", "patient_id", "split", "verdict", "images", "channels", "height", "width", "value_type"),
    *("lowest", "highest", "pixel_hash", "difference_hash", "findings"),
)


@dataclass(frozen=True)
class ImageFinding:
    """Something about a case that a person should know.

    Attributes:
        verdict: ``warn`` for what can be used, ``refuse`` for what cannot.
        kind: What sort of thing it is, to count by.
        text: What was found and what to do.
    """

    verdict: Literal["warn", "refuse"]
    kind: Kind
    text: str


@dataclass(frozen=True)
class ImageReport:
    """What the check found in one case.

    Attributes:
        record: The case.
        shape: (C, H, W) of the first image; ``None`` if it cannot be read.
        value_type: Such as ``uint8`` or ``uint16``; ``float32`` for DICOM, which is windowed to [0, 1].
        low: Lowest value of all images.
        high: Highest value of all images.
        pixel_hash: Of the decoded pixels, so that copies are found under any name and compression.
        picture: What look-alikes are found by, of the first image; ``None`` for a constant one.
        findings: What is wrong.
    """

    record: Record
    shape: tuple[int, int, int] | None = None
    value_type: str = ""
    low: float = math.nan
    high: float = math.nan
    pixel_hash: str = ""
    picture: Likeness | None = None
    findings: tuple[ImageFinding, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst finding, ``"ok"`` if there is none."""
        return worst_verdict(self.findings)


def check_image(record: Record, index: ImageIndex) -> ImageReport:
    """Check the labels of one case and read its images.

    Args:
        record: The case.
        index: Its data set: task and classes are used.

    Returns:
        All findings; faults of the files are findings here, not errors.
    """
    findings = label_findings(record, index)
    absent = [path for path in record.images if not path.is_file()]
    if absent:
        findings.append(ImageFinding("refuse", "missing", f"there is no image {absent[0]}"))
        return ImageReport(record, findings=tuple(findings))
    try:
        images = read_case_images(record)
    except DataError as error:
        findings.append(ImageFinding("refuse", "unreadable", str(error)))
        return ImageReport(record, findings=tuple(findings))
    digest = hashlib.blake2b(digest_size=16)
    for image in images:
        findings += value_findings(image)
        digest.update(f"{image.pixels.shape} {image.pixels.dtype}".encode())
        digest.update(np.ascontiguousarray(image.pixels).data)
    first = images[0].pixels
    c, h, w = first.shape
    return ImageReport(
        record,
        shape=(c, h, w),
        value_type=str(first.dtype),
        low=min(float(image.pixels.min()) for image in images),
        high=max(float(image.pixels.max()) for image in images),
        pixel_hash=digest.hexdigest(),
        picture=likeness(grey(first)),
        findings=tuple(findings),
    )


def label_findings(record: Record, index: ImageIndex) -> list[ImageFinding]:
    """Check a case's labels against the task: unknown names, values beyond [0, 1], classes that do not sum to 1.

    Args:
        record: The case.
        index: Its data set.

    Example:
        >>> index = ImageIndex("x", Path(), "binary", ("cancer",), ())
        >>> [f.text for f in label_findings(Record("c", "p", (), labels={"cancer": 2}), index)]
        ['the label cancer is 2; expected 0 to 1, or blank for unknown']
    """
    texts = [
        f"the label {name} is not one of {', '.join(index.classes)}"
        for name in record.labels
        if name not in index.classes
    ]
    texts += [
        f"the label {name} is {value:g}; expected 0 to 1, or blank for unknown"
        for name, value in record.labels.items()
        if not (index.task == "targets" or math.isnan(value) or 0 <= value <= 1)
    ]
    known = [value for value in record.labels.values() if not math.isnan(value)]
    if not texts and index.task == "multiclass" and known and not math.isclose(sum(known), 1, abs_tol=1e-3):
        texts.append(f"the classes sum to {sum(known):g}, expected 1")
    return [ImageFinding("refuse", "labels", text) for text in texts]


def value_findings(image: SourceImage) -> list[ImageFinding]:
    """Look for pixel values that are probably not meant: constant, all but empty, a wide type for a narrow range.

    Args:
        image: The image.
    """
    pixels = image.pixels
    low, high = float(pixels.min()), float(pixels.max())
    texts = list(image.flags)
    if low == high:
        texts.append(f"every pixel has the value {low:g}")
    elif _share_beside_commonest(pixels) < _EMPTY_SHARE:
        texts.append(f"all but {_EMPTY_SHARE:.1%} of the pixels have one value")
    elif pixels.dtype == np.uint16 and high < 256:
        texts.append(
            f"16-bit file with values up to {high:g} only, which look black beside full 16-bit files"
        )
    if min(pixels.shape[1:]) < _SMALLEST_SIDE:
        texts.append(f"is {pixels.shape[1]} x {pixels.shape[2]} pixels, which is hardly a picture")
    return [ImageFinding("warn", "values", text) for text in texts]


def _share_beside_commonest(pixels: NDArray[Any]) -> float:
    sample = pixels.ravel()[:: max(1, pixels.size // 65536)]
    return 1 - float(np.unique(sample, return_counts=True)[1].max()) / sample.size


def audit_images(
    index: ImageIndex, *, workers: int = 1, scheduler: str | None = None, look_alikes: bool = True
) -> list[ImageReport]:
    """Check every case, and look for copies, look-alikes and patients who stand in two splits.

    Args:
        index: The data set, with its missing images kept.
        workers: Local processes.
        scheduler: Address of a Dask scheduler that replaces them.
        look_alikes: Also compare what pictures look like, and not only their pixels.

    Returns:
        One report a case, in the order of the index.
    """
    meaning = replace(index, records=(), folds=())  # workers need what the labels mean, not all other cases
    check = partial(check_image, index=meaning)
    reports = [ImageReport(record) for record in index.records]
    names = [record.case_id for record in index.records]
    outcomes = map_cases(
        check, index.records, names=names, workers=workers, scheduler=scheduler, label="cases"
    )
    for outcome in outcomes:
        fault = ImageFinding("refuse", "unreadable", f"the check failed: {outcome.error}")
        failed = ImageReport(index.records[outcome.index], findings=(fault,))
        reports[outcome.index] = outcome.value or failed
    notes: dict[int, list[ImageFinding]] = defaultdict(list)
    _note_patients(reports, notes)
    groups = copies(reports)
    _note_copies(reports, groups, notes)
    if look_alikes:
        _note_look_alikes(reports, _alike(reports, groups), notes)
    _note_odd_types(reports, notes)
    return [replace(r, findings=(*r.findings, *notes[number])) for number, r in enumerate(reports)]


def copies(reports: Sequence[ImageReport]) -> list[list[int]]:
    """Cases with the same pixels, or of one file that cannot be read.

    Args:
        reports: Reports of all cases.

    Returns:
        Positions of each group of two or more, sorted.
    """
    groups: dict[object, list[int]] = defaultdict(list)
    for number, report in enumerate(reports):
        record = report.record
        # A member counts within its split's array; a file is one, whatever splits list it.
        file = (record.images, record.member, None if record.member is None else record.split)
        groups[report.pixel_hash or file].append(number)
    return sorted(group for group in groups.values() if len(group) > 1)


def keep_together(reports: Sequence[ImageReport], *, look_alikes: bool = False) -> list[set[str]]:
    """Sets of case ids that must share a fold, as `medimg.preparation.image_splits.image_folds` takes them.

    Args:
        reports: Reports of all cases.
        look_alikes: Also keep together what only looks the same.
    """
    groups = copies(reports)
    pairs = _alike(reports, groups) if look_alikes else []
    return [{reports[number].record.case_id for number in together} for together in (*groups, *pairs)]


def _alike(reports: Sequence[ImageReport], groups: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Pairs that look alike; the first of each group of copies stands for all of them."""
    later = {number for group in groups for number in group[1:]}
    return find_alike([None if n in later else report.picture for n, report in enumerate(reports)])


def _note_patients(reports: Sequence[ImageReport], notes: dict[int, list[ImageFinding]]) -> None:
    splits: dict[str, set[str]] = defaultdict(set)
    for report in reports:
        if report.record.split is not None:
            splits[report.record.patient_id].add(report.record.split)
    for number, report in enumerate(reports):
        if len(found := splits[report.record.patient_id]) > 1:
            text = (
                f"patient {report.record.patient_id} stands in {' and '.join(sorted(found))}: scores would be too "
                "good; keep the patient in one of them"
            )
            notes[number].append(ImageFinding("refuse", "patients", text))


def _note_copies(
    reports: Sequence[ImageReport], groups: Sequence[Sequence[int]], notes: dict[int, list[ImageFinding]]
) -> None:
    for group in groups:
        agree = len({_labels(reports[number].record) for number in group}) == 1
        kind: Kind = "copies" if agree else "conflicts"
        for number in group:
            others = [other for other in group[: _NAMED + 1] if other != number]
            text = _twins(reports, number, others, len(group) - 1)
            notes[number].append(ImageFinding("warn", kind, f"has the same pixels as {text}"))


def _note_look_alikes(
    reports: Sequence[ImageReport], pairs: Iterable[tuple[int, int]], notes: dict[int, list[ImageFinding]]
) -> None:
    twins: dict[int, list[int]] = defaultdict(list)
    for one, other in pairs:
        twins[one].append(other)
        twins[other].append(one)
    for number, others in twins.items():
        text = _twins(reports, number, others, len(others))
        notes[number].append(ImageFinding("warn", "look-alikes", f"looks like {text}"))


def _twins(reports: Sequence[ImageReport], number: int, others: Sequence[int], count: int) -> str:
    """The first of the others by name, and how many there are beyond them."""
    record = reports[number].record
    named = [_describe(record, reports[other].record) for other in others[:_NAMED]]
    return "; ".join(named) + (f" and {count - _NAMED} more" if count > _NAMED else "")


def _describe(record: Record, twin: Record) -> str:
    """Name a twin, and what makes it worse than a mere copy."""
    faults = []
    if _labels(record) != _labels(twin):
        faults.append(f"labelled {_labels(twin)}, and this one {_labels(record)}")
    if record.split != twin.split:
        faults.append(f"in {twin.split}, and this one in {record.split}")
    if record.patient_id != twin.patient_id and record.patient_id != record.case_id:
        faults.append(f"of patient {twin.patient_id}")
    return f"{twin.case_id} ({'; '.join(faults)})" if faults else twin.case_id


def _labels(record: Record) -> str:
    """The labels that hold, and unknown ones, in words."""
    held = [name if value == 1 else f"{name}={value:g}" for name, value in record.labels.items() if value > 0]
    unknown = sum(math.isnan(value) for value in record.labels.values())
    return ", ".join(held + ([f"{unknown} unknown"] if unknown else [])) or "none"


def _note_odd_types(reports: Sequence[ImageReport], notes: dict[int, list[ImageFinding]]) -> None:
    """Warn of files whose value type or number of channels few others have: they will look different."""
    kinds = [(r.value_type, r.shape[0]) if r.shape else None for r in reports]
    counts = Counter(kind for kind in kinds if kind)
    total = sum(counts.values())
    for number, kind in enumerate(kinds):
        if kind and counts[kind] <= _RARE_SHARE * total:
            usual, channels = counts.most_common(1)[0][0]
            text = f"has {kind[1]} channels of {kind[0]}, where most have {channels} of {usual}"
            notes[number].append(ImageFinding("warn", "values", text))


def write_image_reports(path: Path, reports: Sequence[ImageReport]) -> None:
    """Write a CSV with a row a case.

    Args:
        path: File to write, whole or not at all.
        reports: Reports in the order of the rows.

    Raises:
        ResourceError: If the file cannot be written.
    """
    write_rows(path, _COLUMNS, map(_row, reports))


def _row(report: ImageReport) -> list[object]:
    record, picture = report.record, report.picture
    return [
        *(record.case_id, record.patient_id, record.split or "", report.verdict),
        len(record.images),
        *(report.shape or ("", "", "")),
        report.value_type,
        *("" if math.isnan(value) else f"{value:g}" for value in (report.low, report.high)),
        report.pixel_hash,
        f"{picture.difference:016x}" if picture else "",
        findings_cell(report.findings),
    ]
