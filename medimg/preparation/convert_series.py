"""DICOM series into NIfTI files, many at a time, with a row for each and for all that was left out."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medimg.errors import DataError
from medimg.io.dicom.grouping import FolderScan, OnBad, SeriesFiles, SetAside, series_names
from medimg.io.dicom.series import read_series, read_stack
from medimg.io.files import atomic_write
from medimg.io.nifti import write_image
from medimg.parallel import map_cases

COLUMNS = (
    "file", "status", "patient_id", "study_uid", "series_uid", "series_number", "modality", "description",
    "slices", "shape", "spacing_mm", "orientation", "reason",
)  # fmt: skip
_SHOWN = 20

Status = Literal["converted", "refused", "set aside"]


@dataclass(frozen=True, slots=True)
class Conversion:
    """What became of a series or of a file.

    Attributes:
        file: NIfTI file, or the file that was set aside.
        status: What became of it.
        reason: Why it was left out, or what was done to it on the way.
        series: Its series, ``None`` for a file without one.
        shape: (D, H, W) of the volume.
        spacing_mm: Spacing along (D, H, W).
        orientation: Direction of growing W, H and D index, such as ``LPS``.
    """

    file: Path
    status: Status
    reason: str = ""
    series: SeriesFiles | None = None
    shape: tuple[int, int, int] | None = None
    spacing_mm: tuple[float, float, float] | None = None
    orientation: str = ""


@dataclass(frozen=True, slots=True)
class _Job:
    series: SeriesFiles
    path: Path
    resample: bool


def convert_one(series: SeriesFiles, path: Path, *, resample: bool = False) -> Conversion:
    """Write one series as NIfTI.

    Args:
        series: The series.
        path: ``.nii`` or ``.nii.gz`` to write, whole or not at all.
        resample: Interpolate unevenly spaced slices instead of refusing them.

    Raises:
        DataError: If the series makes no volume.
        ResourceError: If the file cannot be written.
    """
    volume = read_series(series, resample=resample)
    write_image(path, volume.voxels, volume.grid.affine)
    grid = volume.grid
    return Conversion(
        path, "converted", "; ".join(volume.flags), series, grid.shape, grid.spacing_mm, grid.orientation
    )


def convert_all(
    scan: FolderScan,
    out: Path,
    *,
    resample: bool = False,
    on_bad: OnBad = "refuse",
    workers: int = 1,
    scheduler: str | None = None,
) -> list[Conversion]:
    """Write every series of a folder as NIfTI into another one.

    All geometry is checked by the headers first, so that a refusal comes before the first file is written.

    Args:
        scan: What the folder holds.
        out: Folder to write to.
        resample: As for `convert_one`.
        on_bad: Refuse the folder if a series makes no volume, or leave that series out.
        workers: Local processes.
        scheduler: Address of a Dask scheduler, such as ``tcp://host:8786``, in place of local processes.

    Returns:
        A row a series, converted ones first, and one for each file that was set aside.

    Raises:
        DataError: If there is no series, or one is refused and ``on_bad`` says so.
    """
    wanted = [series for series in scan.series if series.slices]
    refused: list[Conversion] = []
    jobs = []
    for series, name in zip(wanted, series_names(wanted), strict=True):
        job = _Job(series, out / f"{name}.nii.gz", resample)
        try:
            read_stack(series, resample=resample)
        except DataError as error:
            refused.append(Conversion(series.slices[0].path.parent, "refused", str(error), series))
        else:
            jobs.append(job)
    if refused and on_bad == "refuse":
        _refuse(refused, len(wanted), "nothing is written")
    done = []
    for outcome in map_cases(
        _run,
        jobs,
        names=[job.path.name for job in jobs],
        workers=workers,
        scheduler=scheduler,
        label="series",
    ):
        job = jobs[outcome.index]
        if outcome.value is not None:
            done.append(outcome.value)
        else:
            refused.append(
                Conversion(job.series.slices[0].path.parent, "refused", outcome.error or "", job.series)
            )
    done.sort(key=lambda row: row.file)
    aside = [Conversion(one.path, "set aside", one.reason, series) for one, series in _aside(scan)]
    rows = [*done, *refused, *aside]
    write_conversions(out / "conversions.csv", rows)
    if refused and on_bad == "refuse":
        _refuse(refused, len(wanted), f"the other {len(done)} are in {out}")
    return rows


def write_conversions(path: Path, rows: Sequence[Conversion]) -> None:
    """Write a row for each series and each file that was set aside.

    Raises:
        ResourceError: If the file cannot be written.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in rows:
        one = row.series
        about = ("", "", "", "", "", "", "")
        if one is not None:
            number = "" if one.number is None else str(one.number)
            count = str(len(one.slices))
            about = (one.patient_id, one.study_uid, one.uid, number, one.modality, one.description, count)
        file = row.file.name if row.status == "converted" else str(row.file)
        shape = " ".join(map(str, row.shape or ()))
        spacing = " ".join(f"{step:g}" for step in row.spacing_mm or ())
        table.writerow([file, row.status, *about, shape, spacing, row.orientation, row.reason])
    with atomic_write(path, durable=False) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def _run(job: _Job) -> Conversion:
    return convert_one(job.series, job.path, resample=job.resample)


def _aside(scan: FolderScan) -> list[tuple[SetAside, SeriesFiles | None]]:
    of_series = [(one, series) for series in scan.series for one in series.set_aside]
    return [*of_series, *((one, None) for one in scan.set_aside)]


def _refuse(refused: Sequence[Conversion], count: int, state: str) -> None:
    lines = [f"  {row.reason}" for row in refused[:_SHOWN]]
    lines += [f"  and {len(refused) - _SHOWN} more"] if len(refused) > _SHOWN else []
    raise DataError(
        "\n".join([f"{len(refused)} of {count} series make no volume, and {state}:", *lines])
        + "\nMend them, or leave them out with --on_bad skip."
    )
