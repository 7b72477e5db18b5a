"""The check of a data set, case by case, before any time is spent on training."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg.errors import DataError
from medimg.io.nifti import Form, Grid, read_grid, read_image, read_mask, scan_channels
from medimg.parallel import map_cases
from medimg.preparation.audit_findings import Verdict, findings_cell, worst_verdict, write_rows
from medimg.records import DatasetIndex, Record

# Grids closer than this at every corner are one: it is what single precision and rounding leave.
SAME_GRID_MM = 0.05
_COLUMNS = (
    *("case_id", "patient_id", "verdict", "channels", "depth", "height", "width"),
    *("spacing_d_mm", "spacing_h_mm", "spacing_w_mm", "orientation"),
    *("labels", "empty_mask", "pixel_hash", "findings"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a case that a person should know.

    Attributes:
        verdict: ``"warn"`` for what can be used, ``"refuse"`` for what cannot.
        text: What was found and what to do.
    """

    verdict: Verdict
    text: str


@dataclass(frozen=True, slots=True)
class CaseReport:
    """What the check found in one case.

    Attributes:
        case_id: The case.
        patient_id: Its patient.
        shape: (D, H, W) of the first image, ``None`` if it cannot be read.
        channels: Channels in all files together.
        spacing_mm: Along (D, H, W).
        orientation: Directions of the file's axes, such as ``"RAS"``; ``"?"`` where the file states none.
        labels: Values in the mask, background included; empty without a mask.
        empty_mask: Whether the mask holds background only; allowed, and counted.
        pixel_hash: Of the decoded images, so that copies are found under any name and compression.
        findings: What is wrong.
    """

    case_id: str
    patient_id: str
    shape: tuple[int, int, int] | None = None
    channels: int = 0
    spacing_mm: tuple[float, float, float] | None = None
    orientation: str = "?"
    labels: tuple[int, ...] = ()
    empty_mask: bool = False
    pixel_hash: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst finding, ``"ok"`` if there is none."""
        return worst_verdict(self.findings)


@dataclass(slots=True)
class _Case:
    """A case while it is being checked."""

    record: Record
    form: Form
    findings: list[Finding] = field(default_factory=list)

    def note(self, verdict: Verdict, text: str) -> None:
        self.findings.append(Finding(verdict, text))

    def grid(self, path: Path) -> Grid | None:
        try:
            grid = read_grid(path, form=self.form)
        except DataError as error:
            self.note("refuse", str(error))
            return None
        if not grid.oriented:
            self.note("warn", f"{path.name}: neither sform nor qform is set, so left and right are a guess")
        return grid


def check_case(record: Record, index: DatasetIndex, *, form: Form = "agree") -> CaseReport:
    """Check the files of one case against each other and against what the data set says of itself.

    Args:
        record: The case.
        index: Its data set: channels, labels, regions and ignore label are used.
        form: Which affine to trust in files whose sform and qform differ.

    Returns:
        All findings; faults of the files are findings here, not errors.
    """
    case = _Case(record, form)
    grids = [case.grid(path) for path in record.images]
    readable = [(path, grid) for path, grid in zip(record.images, grids, strict=True) if grid is not None]
    first = readable[0][1] if readable else None
    for path, grid in readable[1:]:
        case.findings.extend(compare_grids(readable[0][0].name, readable[0][1], path.name, grid))
    channels = sum(_channels(case, path) for path, _ in readable)
    if len(readable) == len(grids) and channels != len(index.channels):
        case.note(
            "refuse",
            f"has {channels} channels, expected {len(index.channels)} ({', '.join(index.channels)})",
        )
    pixel_hash = _hash_images(case, [path for path, _ in readable]) if None not in grids else ""
    labels = _check_mask(case, index, first)
    return CaseReport(
        case_id=record.case_id,
        patient_id=record.patient_id,
        shape=first.shape if first else None,
        channels=channels,
        spacing_mm=first.spacing_mm if first else None,
        orientation=first.orientation if first and first.oriented else "?",
        labels=labels,
        empty_mask=labels == (0,),
        pixel_hash=pixel_hash,
        findings=tuple(case.findings),
    )


def compare_grids(name: str, grid: Grid, other_name: str, other: Grid) -> list[Finding]:
    """Compare where two files put their voxels.

    Corners apart by less than 0.05 mm are accepted, up to half of the smallest spacing warned of, and
    beyond refused.

    Args:
        name: File of ``grid``, for the text.
        grid: Grid to compare with, whose spacing counts.
        other_name: File of ``other``.
        other: Grid to judge.

    Example:
        >>> one, shifted = np.eye(4), np.eye(4)
        >>> shifted[0, 3] = 0.4
        >>> compare_grids("a", Grid((2, 2, 2), one), "b", Grid((2, 2, 2), shifted))[0].verdict
        'warn'
    """
    if grid.shape != other.shape:
        text = f"{other_name} has shape {other.shape} (D, H, W) but {name} has {grid.shape}"
        return [Finding("refuse", f"{text}; resample one to the other's grid")]
    apart = grid.corner_distance_mm(other)
    if apart <= SAME_GRID_MM:
        return []
    limit = min(grid.spacing_mm) / 2
    text = f"{other_name} and {name} lie up to {apart:.2f} mm apart at the corners"
    if apart <= limit:
        return [
            Finding(
                "warn", f"{text}, within half a voxel ({limit:.2f} mm); their voxels are taken as the same"
            )
        ]
    return [
        Finding(
            "refuse", f"{text}, more than half a voxel ({limit:.2f} mm); resample one to the other's grid"
        )
    ]


def unknown_labels(values: Iterable[int], index: DatasetIndex) -> list[int]:
    """Return the mask values that the data set does not declare, in order.

    Args:
        values: Values found in a mask.
        index: The data set; background, labels, values of regions and the ignore label are known.
    """
    known = {0, *index.labels.values(), *(value for region in index.regions.values() for value in region)}
    if index.ignore_label is not None:
        known.add(index.ignore_label)
    return sorted(set(values) - known)


def audit_dataset(
    index: DatasetIndex, *, form: Form = "agree", workers: int = 1, scheduler: str | None = None
) -> list[CaseReport]:
    """Check every case, labelled or not, and look for the same pixels under several ids.

    Args:
        index: The data set.
        form: Which affine to trust in files whose sform and qform differ.
        workers: Local processes.
        scheduler: Address of a Dask scheduler that replaces them.

    Returns:
        One report a case, sorted by id.
    """
    records = index.all_records
    # Each worker gets what the data set says of itself, not the list of all its files.
    meaning = index.without_cases()
    check = partial(check_case, index=meaning, form=form)
    by_id = {record.case_id: record for record in records}
    reports = []
    for outcome in map_cases(check, records, workers=workers, scheduler=scheduler, label="cases"):
        report = outcome.value
        if report is None:
            record = by_id[outcome.name]
            finding = Finding("refuse", f"the check failed: {outcome.error}")
            report = CaseReport(record.case_id, record.patient_id, findings=(finding,))
        reports.append(report)
    return mark_duplicates(sorted(reports, key=lambda report: report.case_id))


def mark_duplicates(reports: Sequence[CaseReport]) -> list[CaseReport]:
    """Add a warning to cases whose images are the same, voxel by voxel.

    Copies that count as two patients can stand on both sides of a split, so the text says when they do.

    Args:
        reports: Reports of all cases.

    Returns:
        The reports in the same order.
    """
    groups: dict[str, list[CaseReport]] = defaultdict(list)
    for report in reports:
        if report.pixel_hash:
            groups[report.pixel_hash].append(report)
    marked = []
    for report in reports:
        twins = [other for other in groups.get(report.pixel_hash, []) if other.case_id != report.case_id]
        if twins:
            text = f"has the same pixels as {', '.join(twin.case_id for twin in twins)}"
            if any(twin.patient_id != report.patient_id for twin in twins):
                text += ", which counts as another patient; leave one out, or a split may hold both"
            report = replace(report, findings=(*report.findings, Finding("warn", text)))
        marked.append(report)
    return marked


def write_reports(path: Path, reports: Sequence[CaseReport]) -> None:
    """Write a CSV with a row a case.

    Args:
        path: File to write, whole or not at all.
        reports: Reports in the order of the rows.

    Raises:
        ResourceError: If the file cannot be written.
    """
    write_rows(path, _COLUMNS, map(_row, reports))


def _row(report: CaseReport) -> list[object]:
    return [
        report.case_id,
        report.patient_id,
        report.verdict,
        report.channels,
        *(report.shape or ("", "", "")),
        *(f"{value:.6g}" for value in report.spacing_mm or ()),
        *([""] * 3 if report.spacing_mm is None else []),
        report.orientation,
        " ".join(map(str, report.labels)),
        report.empty_mask,
        report.pixel_hash,
        findings_cell(report.findings),
    ]


def _channels(case: _Case, path: Path) -> int:
    channels = scan_channels(path)
    if channels > 1 and len(case.record.images) > 1:
        case.note(
            "refuse", f"{path.name} is a 4D file of {channels} channels beside other files; expected 3D"
        )
    return channels


def _hash_images(case: _Case, paths: Sequence[Path]) -> str:
    """Read the images one after the other; return the hash of their voxels, empty if one is damaged."""
    digest = hashlib.blake2b(digest_size=16)
    damaged = False
    for path in paths:
        try:
            image = read_image(path, form=case.form)
        except DataError as error:
            case.note("refuse", str(error))
            damaged = True
            continue
        for number, channel in enumerate(image):
            if channel.min() == channel.max():
                case.note(
                    "warn", f"{path.name}: every voxel of channel {number} has the value {channel.flat[0]:g}"
                )
        digest.update(repr(image.shape).encode())
        digest.update(image.data)
    return "" if damaged else digest.hexdigest()


def _check_mask(case: _Case, index: DatasetIndex, image: Grid | None) -> tuple[int, ...]:
    path = case.record.mask
    if path is None:
        return ()
    grid = case.grid(path)
    if grid is None:
        return ()
    if image is not None:
        case.findings.extend(compare_grids(case.record.images[0].name, image, path.name, grid))
    try:
        mask = read_mask(path, form=case.form)
    except DataError as error:
        case.note("refuse", str(error))
        return ()
    values = _values(mask)
    unknown = unknown_labels(values, index)
    if unknown:
        case.note(
            "refuse",
            f"{path.name} holds the values {unknown}, expected {sorted({0, *index.labels.values()})}; "
            "correct the mask, or the labels of the data set",
        )
    return values


def _values(mask: NDArray[np.uint8] | NDArray[np.int16]) -> tuple[int, ...]:
    if mask.dtype == np.uint8:  # counting is many times faster than sorting
        return tuple(np.flatnonzero(np.bincount(mask.ravel(), minlength=1)).tolist())
    return tuple(np.unique(mask).tolist())
