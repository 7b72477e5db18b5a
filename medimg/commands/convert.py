"""``medimg convert``: DICOM series to NIfTI, and masks back to DICOM SEG or ``.seg.nrrd``."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medimg.commands.word_lists import WordListParser
from medimg.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medimg.preparation.convert_series import Conversion

PARSER = WordListParser
"""``medimg.cli`` reads the words with this parser: the paths are a list."""

_NIFTI = (".nii.gz", ".nii")
_SHOWN = 40


def convert(
    paths: list[Path],
    *,
    out: Path | None = None,
    series: str | None = None,
    resample: bool = False,
    on_bad: Literal["refuse", "skip"] = "refuse",
    like: Path | None = None,
    labels: str | None = None,
    annotations: Path | None = None,
    min_readers: int = 3,
    crop: int = 48,
    off_centre: float = 0.0,
    overwrite: bool = False,
    workers: int = 1,
    scheduler: str | None = None,
) -> int:
    """Turn a DICOM series into NIfTI, a folder of studies into a folder of NIfTI, or a mask into DICOM SEG.

    `convert SERIES OUT.nii.gz` takes one series, told by headers and not by names: sorted by position, slope and
    intercept of each slice applied, a gantry tilt undone. `convert STUDIES --out DIR` takes every series at any depth
    and writes conversions.csv. `convert MASK.nii.gz OUT.dcm --like SERIES` (or OUT.seg.nrrd) puts a mask back
    on its series. Duplicate and missing slices, mixed sizes and uneven distances are refused, with the files named.

    Args:
        paths: What to convert, and, without --out, the file to write.
        out: Folder for the volumes of all series.
        series: UID or number of the series, where a folder holds several.
        resample: Interpolate unevenly spaced slices by their true positions instead of refusing them.
        on_bad: Refuse damaged files and series that make no volume, or leave them out and say so.
        like: DICOM series that a mask belongs to.
        labels: Names of a mask's values, such as liver=1,tumour=2.
        annotations: Folder of LIDC-IDRI's XML files: `convert DICOM --annotations XML --out DIR` adds consensus masks
            and nodules.
        min_readers: LIDC-IDRI: readers that make a nodule certain.
        crop: LIDC-IDRI: voxels of 1 mm along each side of the crops around nodules; 0 for none.
        off_centre: LIDC-IDRI: farthest that a nodule lies from its crop's middle along each axis, as a share of the
            side, so that its place can be learned; by chance, but always the same.
        overwrite: Replace files that are there.
        workers: Local processes, a series each.
        scheduler: Address of a Dask scheduler, such as tcp://host:8786, in place of local processes.
    """
    if out is None and len(paths) != 2:
        raise ConfigError(
            f"expected `medimg convert SERIES OUT.nii.gz`, or `medimg convert STUDIES --out DIR`; found {len(paths)} "
            "paths and no --out."
        )
    if len(paths) > (2 if out is None else 1):
        raise ConfigError(f"--out takes one folder of studies at a time, found {len(paths)} paths.")
    if out is not None and out.name.lower().endswith(_NIFTI):
        raise ConfigError(
            f"--out {out}: --out names a folder. A file is written by `medimg convert SERIES {out}`, without --out."
        )
    source = paths[0]
    if annotations is not None:
        return _lidc(source, annotations, out, min_readers, (crop, off_centre), workers, scheduler, on_bad)
    if source.name.lower().endswith(_NIFTI):
        return _mask(source, paths, out, like, series, labels, overwrite=overwrite)
    if like is not None or labels is not None:
        raise ConfigError(
            "--like and --labels belong to a mask, given as .nii.gz. Leave them away for a series."
        )
    if out is not None:
        if series is not None:
            raise ConfigError("--series picks one series: name the file to write in place of --out.")
        return _folder(source, out, resample, on_bad, workers, scheduler, overwrite=overwrite)
    return _one(source, paths[1], series, resample, on_bad, overwrite=overwrite)


def _lidc(
    source: Path,
    annotations: Path,
    out: Path | None,
    min_readers: int,
    crop: tuple[int, float],
    workers: int,
    scheduler: str | None,
    on_bad: Literal["refuse", "skip"],
) -> int:
    from medimg.commands.convert_lidc import convert_lidc_set

    if out is None:
        raise ConfigError("--annotations makes a data set of LIDC-IDRI: name its folder with --out.")
    return convert_lidc_set(
        source,
        annotations,
        out,
        min_readers=min_readers,
        crop=crop[0],
        off_centre=crop[1],
        workers=workers,
        scheduler=scheduler,
        on_bad=on_bad,
    )


def _one(
    source: Path,
    target: Path,
    which: str | None,
    resample: bool,
    on_bad: Literal["refuse", "skip"],
    *,
    overwrite: bool,
) -> int:
    from medimg.io.dicom.series import choose_series, find_series
    from medimg.preparation.convert_series import convert_one

    if not target.name.lower().endswith(_NIFTI):
        raise ConfigError(
            f"{target}: expected a file ending in .nii.gz or .nii; a folder is named with --out."
        )
    _refuse_existing([target], overwrite=overwrite)
    chosen = choose_series(find_series(source, on_bad=on_bad), which, source)
    done = convert_one(chosen, target, resample=resample)
    print(_line(done))
    for one in chosen.set_aside:
        print(f"set aside: {one.path}: {one.reason}")
    print(
        f"next: medimg predict --config RUN/config.yaml --data.predict_root {shlex.quote(str(target.parent))}"
    )
    return 0


def _folder(
    source: Path,
    out: Path,
    resample: bool,
    on_bad: Literal["refuse", "skip"],
    workers: int,
    scheduler: str | None,
    *,
    overwrite: bool,
) -> int:
    from medimg.io.dicom.series import scan_folder, series_names
    from medimg.preparation.convert_series import convert_all

    scan = scan_folder(source, on_bad=on_bad)
    names = series_names([one for one in scan.series if one.slices])
    if not names:
        raise ConfigError(f"{source}: expected DICOM series, found none. Give the folder that holds them.")
    _refuse_existing([out / f"{name}.nii.gz" for name in names], overwrite=overwrite)
    rows = convert_all(scan, out, resample=resample, on_bad=on_bad, workers=workers, scheduler=scheduler)
    print("\n".join(_summary(rows)))
    print(f"a row for each: {out / 'conversions.csv'}")
    print(f"next: medimg predict --config RUN/config.yaml --data.predict_root {shlex.quote(str(out))}")
    return 0


def _mask(
    source: Path,
    paths: Sequence[Path],
    out: Path | None,
    like: Path | None,
    which: str | None,
    labels: str | None,
    *,
    overwrite: bool,
) -> int:
    from medimg.commands.score_masks import parse_labels
    from medimg.io.dicom.series import choose_series, find_series, read_stack
    from medimg.io.mask_export import check_save_as, export_mask, mask_format
    from medimg.io.nifti import read_grid, read_mask
    from medimg.preparation.audit import compare_grids

    if out is not None:
        raise ConfigError("--out is the folder for many series: name the file to write behind the mask.")
    if like is None or labels is None:
        raise ConfigError(
            "a mask becomes a DICOM SEG or .seg.nrrd with --like SERIES, the DICOM series that it belongs to, and "
            "--labels NAME=VALUE,..., the names of its values."
        )
    target = paths[1]
    check_save_as(mask_format(target))
    _refuse_existing([target], overwrite=overwrite)
    classes = parse_labels(labels)
    if joined := [name for name, values in classes.items() if len(values) != 1]:
        raise ConfigError(f"--labels: {joined[0]} has several values. Give each value a name of its own.")
    chosen = choose_series(find_series(like), which, like)
    stack = read_stack(chosen, resample=True)
    for finding in compare_grids("the series", stack.grid, str(source), read_grid(source)):
        if finding.verdict == "refuse":
            raise ConfigError(
                f"{finding.text}. Give --like the series that the mask was made on, converted by medimg."
            )
        print(f"warning: {finding.text}")
    mask = read_mask(source)
    export_mask(target, mask, chosen.files, {name: values[0] for name, values in classes.items()})
    print(f"{source} on {chosen.title}: {target}")
    print(f"next: open {target} with its series in 3D Slicer, or send it to the archive")
    return 0


def _refuse_existing(targets: Sequence[Path], *, overwrite: bool) -> None:
    there = [path for path in targets if path.exists()]
    if there and not overwrite:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise ConfigError(f"{there[0]}{more}: there already. Give another name, or --overwrite.")


def _line(row: Conversion) -> str:
    shape = " x ".join(map(str, row.shape or ()))
    spacing = " x ".join(f"{step:.4g}" for step in row.spacing_mm or ())
    done = f"; {row.reason}" if row.reason else ""
    return f"{row.file}: {shape} voxels (D x H x W) of {spacing} mm, {row.orientation}{done}"


def _summary(rows: Sequence[Conversion]) -> list[str]:
    converted = [row for row in rows if row.status == "converted"]
    others = [row for row in rows if row.status != "converted"]
    lines = [_line(row) for row in converted[:_SHOWN]]
    lines += [f"... and {len(converted) - _SHOWN} more" * (len(converted) > _SHOWN)]
    lines += [
        f"{row.status}: {row.reason}"
        if row.status == "refused"
        else f"{row.status}: {row.file}: {row.reason}"
        for row in others[:_SHOWN]
    ]
    lines += [f"... and {len(others) - _SHOWN} more, see the table" * (len(others) > _SHOWN)]
    count = Counter(row.status for row in rows)
    total = f"{count['converted']} series converted, {count['refused']} refused, {count['set aside']} files set aside"
    return [*(line for line in lines if line), total]
