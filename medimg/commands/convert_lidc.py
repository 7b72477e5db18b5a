"""``medimg convert --annotations``: LIDC-IDRI to volumes, consensus masks and nodules."""

import shlex
from pathlib import Path
from typing import Literal

_SHOWN = 20


def convert_lidc_set(
    data: Path,
    annotations: Path,
    out: Path,
    *,
    min_readers: int = 3,
    crop: int = 48,
    off_centre: float = 0.0,
    workers: int = 1,
    scheduler: str | None = None,
    on_bad: Literal["refuse", "skip"] = "refuse",
) -> int:
    """Convert LIDC-IDRI and print what came of it.

    Args:
        data: Folder of the DICOM series.
        annotations: Folder of the XML files, often the same.
        out: Folder to write to; a stopped conversion goes on where it was.
        min_readers: Readers that make a nodule certain.
        crop: Voxels of 1 mm along each side of the crops around nodules; 0 for none.
        off_centre: Farthest that a nodule lies from its crop's middle, as a share of the side.
        workers: Local processes.
        scheduler: Address of a Dask scheduler instead.
        on_bad: Refuse scans that cannot be used, or leave them out.
    """
    from medimg.preparation.lidc import CropOptions, convert_lidc

    done = convert_lidc(
        data,
        out,
        xml=annotations,
        min_readers=min_readers,
        crop=CropOptions(crop, off_centre=off_centre),
        workers=workers,
        scheduler=scheduler,
        on_bad=on_bad,
    )
    for line in done.failed[:_SHOWN]:
        print(f"left out: {line}")
    if len(done.failed) > _SHOWN:
        print(f"... and {len(done.failed) - _SHOWN} more")
    print(
        f"{done.scans} scans, {done.nodules} nodules in {out / 'nodules.csv'}; outlined by {min_readers} readers or "
        f"more: {done.malignant} malignant, {done.benign} benign"
    )
    print(f"next: medimg fit --config configs/lidc.yaml --data.root {shlex.quote(str(out))}")
    return 0
