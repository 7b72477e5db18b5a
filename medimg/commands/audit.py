"""``medimg audit``: check every case of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from medimg.preparation.audit import CaseReport
    from medimg.records import DatasetIndex

_SHOWN = 40


def audit(
    data: Path,
    *,
    out: Path | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    form: Literal["agree", "sform", "qform"] = "agree",
    convention: str | None = None,
) -> int:
    """Check every case of a Decathlon, nnU-Net or BraTS folder and say what is wrong with which.

    Shapes, spacings, orientations, label values, voxels that are no numbers, grids of channels and masks,
    images that appear twice. Ends with 1 if a case would be refused in training.

    Args:
        data: Folder of the data set.
        out: CSV to write, a row a case.
        workers: Local processes.
        scheduler: Address of a Dask scheduler, such as tcp://host:8786, in place of local processes.
        form: Which affine to trust in files whose sform and qform differ; "agree" refuses them.
        convention: Meaning of BraTS masks where names do not tell it, such as brats2024-ped.
    """
    from medimg.datasets import index_dataset
    from medimg.preparation.audit import audit_dataset, write_reports

    index = index_dataset(data, convention=convention)
    reports = audit_dataset(index, form=form, workers=workers, scheduler=scheduler)
    print("\n".join([*_summary(index, reports), "", *_findings(reports)]))
    if out is not None:
        write_reports(out, reports)
        print(f"A row for each case: {out}")
    return int(any(report.verdict == "refuse" for report in reports))


def _summary(index: DatasetIndex, reports: Sequence[CaseReport]) -> list[str]:
    """Describe the whole set in a few aligned lines."""
    labels = ", ".join(f"{name} {value}" for name, value in index.labels.items())
    found = Counter(value for report in reports for value in report.labels)
    counts = ", ".join(f"{value} in {count}" for value, count in sorted(found.items()))
    orientations = ", ".join(
        f"{name} {n}" for name, n in Counter(r.orientation for r in reports).most_common()
    )
    patients = len({report.patient_id for report in reports})
    rows = [
        ("cases", f"{len(index.records)} with a mask, {len(index.unlabelled)} without; {patients} patients"),
        ("channels", ", ".join(index.channels)),
        ("labels", labels),
        ("values found", counts or "none"),
        ("empty masks", str(sum(report.empty_mask for report in reports))),
        ("orientation", orientations),
        ("same pixels", f"{_copies(reports)} cases"),
    ]
    shapes = [report.shape for report in reports if report.shape]
    spacings = [report.spacing_mm for report in reports if report.spacing_mm]
    width = max(len(name) for name, _ in rows) + 2
    lines = [f"{index.name}: {index.root}", *(f"  {name:<{width}}{text}" for name, text in rows)]
    lines.append(f"  {'':<{width}}{'smallest':>22}{'median':>22}{'largest':>22}")
    lines.append(f"  {'shape D H W':<{width}}{_range(shapes, '.0f')}")
    lines.append(f"  {'spacing mm':<{width}}{_range(spacings, '.3g')}")
    return lines


def _copies(reports: Sequence[CaseReport]) -> int:
    counted = Counter(report.pixel_hash for report in reports if report.pixel_hash)
    return sum(count for count in counted.values() if count > 1)


def _range(rows: Sequence[tuple[float, float, float]], spec: str) -> str:
    """Return smallest, median and largest of each axis, each triple in 22 columns."""
    if not rows:
        return "  no case could be read"
    axes = [sorted(axis) for axis in zip(*rows, strict=True)]
    triples = [[axis[place] for axis in axes] for place in (0, (len(rows) - 1) // 2, -1)]
    return "".join(f"{' '.join(format(value, spec) for value in triple):>22}" for triple in triples)


def _findings(reports: Sequence[CaseReport]) -> list[str]:
    """List the cases with findings, refused ones first, and the count of each verdict."""
    odd = [report for report in reports if report.verdict != "ok"]
    odd.sort(key=lambda report: (report.verdict != "refuse", report.case_id))
    width = max((len(report.case_id) for report in odd[:_SHOWN]), default=0) + 2
    lines = []
    for report in odd[:_SHOWN]:
        for number, finding in enumerate(report.findings):
            name = report.case_id if number == 0 else ""
            lines.append(f"{name:<{width}}{finding.verdict:<8}{finding.text}")
    if len(odd) > _SHOWN:
        lines.append(f"... and {len(odd) - _SHOWN} more cases with findings; --out audit.csv lists them all")
    count = Counter(report.verdict for report in reports)
    lines.append(f"{count['ok']} ok, {count['warn']} with warnings, {count['refuse']} refused")
    return lines
