"""``medimg audit``: check every case of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medimg.errors import ConfigError
from medimg.records import ImageIndex, TableColumns, Task

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
    table: Path | None = None,
    columns: TableColumns | None = None,
    task: Task = "binary",
    look_alikes: bool = True,
) -> int:
    """Check every case of a data set and say what is wrong with which.

    Volumes (Decathlon, nnU-Net, BraTS): shapes, spacings, orientations, label values, voxels that are no numbers,
    grids of channels and masks, images that appear twice. 2D images (a folder a class, MedMNIST, the known
    radiograph sets, or a table with its columns): files that cannot be read, labels out of range, odd values,
    patients in two splits, copies and look-alikes. Ends with 1 if a case would be refused in training.

    Args:
        data: Folder of the data set, or a MedMNIST file.
        out: CSV to write, a row a case.
        workers: Local processes.
        scheduler: Address of a Dask scheduler, such as tcp://host:8786, in place of local processes.
        form: Which affine to trust in files whose sform and qform differ; "agree" refuses them.
        convention: Meaning of BraTS masks where names do not tell it, such as brats2024-ped.
        table: Table of a set of 2D images that is no known one; needs its columns.
        columns: Which column of that table holds what.
        task: What that table's labels are.
        look_alikes: In 2D images, also compare what pictures look like, and not only their pixels.
    """
    images = _image_index(data, table, columns, task)
    if images is not None:
        from medimg.commands.audit_images import audit_image_set

        return audit_image_set(images, out=out, workers=workers, scheduler=scheduler, look_alikes=look_alikes)
    from medimg.datasets import index_dataset
    from medimg.preparation.audit import audit_dataset, write_reports

    index = index_dataset(data, convention=convention)
    reports = audit_dataset(index, form=form, workers=workers, scheduler=scheduler)
    print("\n".join([*_summary(index, reports), "", *_findings(reports)]))
    if out is not None:
        write_reports(out, reports)
        print(f"A row for each case: {out}")
    return int(any(report.verdict == "refuse" for report in reports))


def _image_index(
    data: Path, table: Path | None, columns: TableColumns | None, task: Task
) -> ImageIndex | None:
    """Index 2D images; ``None`` if the folder holds volumes."""
    if table is not None:
        if columns is None:
            raise ConfigError(
                "--table needs its columns: --columns.id, --columns.patient and --columns.images name them."
            )
        from medimg.datasets.table import index_table

        return index_table(table, data, columns=columns, task=task, missing="keep")
    from medimg.datasets.recognise_images import recognise_images

    return (
        None
        if (data / "dataset.json").is_file()
        else recognise_images(data, missing="keep", repeats="separate")
    )


def _summary(index: DatasetIndex, reports: Sequence[CaseReport]) -> list[str]:
    """Describe the whole set in a few aligned lines."""
    labels = ", ".join(f"{name} {value}" for name, value in index.labels.items())
    found = Counter(value for report in reports for value in report.labels)
    counts = ", ".join(f"{value} in {count}" for value, count in sorted(found.items()))
    orientations = ", ".join(
        f"{name} {n}" for name, n in Counter(r.orientation for r in reports).most_common()
    )
    patients = len({report.patient_id for report in reports})
    masked = len(index.records) + len(index.test)
    rows = [
        (
            "cases",
            f"{masked} with a mask, {len(index.unlabelled)} without; {patients} patients",
        ),
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
