"""What ``medimg audit`` prints of a set of labelled 2D images."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

if TYPE_CHECKING:
    from pathlib import Path

    from medimg.preparation.image_audit import ImageReport
    from medimg.records import ImageIndex

_SHOWN = 40


def audit_image_set(
    index: ImageIndex,
    *,
    out: Path | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    look_alikes: bool = True,
) -> int:
    """Check every case of a set of 2D images and print what is wrong with which.

    Args:
        index: The data set, with missing images kept.
        out: CSV to write, a row a case.
        workers: Local processes.
        scheduler: Address of a Dask scheduler that replaces them.
        look_alikes: Also compare what pictures look like.

    Returns:
        1 if a case would be refused in training, else 0.
    """
    from medimg.preparation.image_audit import audit_images, write_image_reports

    reports = audit_images(index, workers=workers, scheduler=scheduler, look_alikes=look_alikes)
    print("\n".join([*_summary(index, reports), "", *_labels(index), "", *_findings(reports)]))
    if out is not None:
        write_image_reports(out, reports)
        print(f"A row for each case: {out}")
    return int(any(report.verdict == "refuse" for report in reports))


def _summary(index: ImageIndex, reports: Sequence[ImageReport]) -> list[str]:
    """Describe the whole set in a few aligned lines."""
    from medimg.preparation.image_audit import Kind

    read = [report for report in reports if report.shape is not None]
    patients = len({record.patient_id for record in index.records})
    rows = [
        ("cases", f"{len(reports)} of {patients} patients, {index.task}; {len(read)} could be read"),
        ("splits", _counted(record.split or "none" for record in index.records)),
        ("values", _counted(f"{r.value_type} x {r.shape[0]}" for r in read if r.shape)),
        ("height x width", _sizes(read)),
    ]
    for kind in get_args(Kind):
        cases = [r.record.case_id for r in reports if any(f.kind == kind for f in r.findings)]
        rows.append((kind, f"{len(cases)} cases, the first {cases[0]}" if cases else "none"))
    width = max(len(name) for name, _ in rows) + 2
    return [f"{index.name}: {index.root}", *(f"  {name:<{width}}{text}" for name, text in rows)]


def _counted(names: object) -> str:
    counts = Counter(names).most_common()  # type: ignore[call-overload]
    return ", ".join(f"{name} {count}" for name, count in counts) or "none"


def _sizes(reports: Sequence[ImageReport]) -> str:
    sizes = Counter(f"{report.shape[1]} x {report.shape[2]}" for report in reports if report.shape)
    if len(sizes) <= 3:
        return _counted(f"{r.shape[1]} x {r.shape[2]}" for r in reports if r.shape)
    areas = sorted((r.shape[1] * r.shape[2], r.shape[1:]) for r in reports if r.shape)
    places = {"smallest": 0, "median": (len(areas) - 1) // 2, "largest": -1}
    named = (f"{name} {areas[place][1][0]} x {areas[place][1][1]}" for name, place in places.items())
    return f"{len(sizes)} sizes: {', '.join(named)}"


def _labels(index: ImageIndex) -> list[str]:
    """Count what each label holds."""
    width = max((len(name) for name in index.classes), default=0) + 2
    lines = [f"  {'label':<{width}}{'1':>8}{'0':>8}{'soft':>8}{'unknown':>9}"]
    for name in index.classes:
        values = [record.labels.get(name, math.nan) for record in index.records]
        ones, zeros = values.count(1), values.count(0)
        unknown = sum(math.isnan(value) for value in values)
        soft = len(values) - ones - zeros - unknown
        lines.append(f"  {name:<{width}}{ones:>8}{zeros:>8}{soft:>8}{unknown:>9}")
    return lines


def _findings(reports: Sequence[ImageReport]) -> list[str]:
    """List the cases with findings, refused ones first, and the count of each verdict.

    A missing image is only counted above: a table of a hundred thousand rows would fill the screen.
    """
    from medimg.preparation.image_audit import Kind

    told = [report for report in reports if any(finding.kind != "missing" for finding in report.findings)]
    rank = {kind: number for number, kind in enumerate(get_args(Kind))}
    told.sort(
        key=lambda report: (
            report.verdict != "refuse",
            min(rank[finding.kind] for finding in report.findings if finding.kind != "missing"),
            report.shape is None,
            report.record.case_id,
        )
    )
    width = max((len(report.record.case_id) for report in told[:_SHOWN]), default=0) + 2
    lines = []
    for report in told[:_SHOWN]:
        findings = [finding for finding in report.findings if finding.kind != "missing"]
        for number, finding in enumerate(findings):
            name = report.record.case_id if number == 0 else ""
            lines.append(f"{name:<{width}}{finding.verdict:<8}{finding.text}")
    if len(told) > _SHOWN:
        lines.append(f"... and {len(told) - _SHOWN} more cases with findings; --out audit.csv lists them all")
    if any(finding.kind in ("conflicts", "copies", "look-alikes") for r in told for finding in r.findings):
        lines.append(
            "Copies on both sides of a split make scores too good: keep them in one fold, or leave one out."
        )
    count = Counter(report.verdict for report in reports)
    lines.append(f"{count['ok']} ok, {count['warn']} with warnings, {count['refuse']} refused")
    return lines
