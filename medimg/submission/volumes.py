"""Archives of masks, for BraTS and the Decathlon: written case by case, and checked."""

import re
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.datasets.brats import index_brats, is_brats_name
from medimg.datasets.decathlon import class_values
from medimg.datasets.image_table import read_table
from medimg.datasets.problems import read_object
from medimg.errors import ConfigError, DataError
from medimg.io.files import atomic_write
from medimg.io.grid import Grid
from medimg.io.nifti import (
    FORM_TOLERANCE_MM,
    is_nifti,
    read_form,
    read_grid,
    read_mask,
    write_image,
    write_mask,
)
from medimg.scoring.pairs import case_id_of
from medimg.submission.archive import add_file, open_archive, safe_members, unpack
from medimg.submission.faults import Faults
from medimg.submission.formats import ZipFormat
from medimg.submission.ids import check_ids, unique_ids
from medimg.submission.relabel import relabelled

_ENDING = ".nii.gz"


@dataclass(frozen=True, slots=True)
class VolumeTask:
    """What is to be written or checked.

    Attributes:
        layout: What the competition asks for.
        asked: Names of the cases that must be there; empty where it is not known.
        values: Value in the submission of each value in our masks; empty keeps them.
        allowed: Values that may occur beside 0; empty: any.
        images: Image of each case by what tells it apart (`key`); ``None``: masks are not compared with images.
    """

    layout: ZipFormat
    asked: tuple[str, ...] = ()
    values: Mapping[int, int] = field(default_factory=dict)
    allowed: frozenset[int] = frozenset()
    images: Mapping[str, Path] | None = None

    def image(self, name: str) -> Path | None:
        """Image of a case."""
        return None if self.images is None else self.images.get(self.key(name))

    def key(self, name: str) -> str:
        """What tells the case of a name apart, such as ``00001-000``."""
        match = re.fullmatch(self.layout.pattern, name)
        return match["id"] if match else name


def case_files(folder: Path) -> dict[str, Path]:
    """One file of each case: of a BraTS folder by its cases, else of a folder of ``<case>.nii.gz``.

    Raises:
        DataError: If there is no such folder, or it holds no case that can be used.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder. Expected the images of the cases.")
    flat = [path for path in sorted(folder.iterdir()) if is_nifti(path) and path.name[0] not in "._"]
    if flat and not is_brats_name(flat[0].name):
        return {case_id_of(path): path for path in flat}
    return {record.case_id: record.images[0] for record in index_brats(folder).all_records}


def asked_cases(sample: Path) -> tuple[str, ...]:
    """Names of the cases that must be submitted.

    Args:
        sample: A folder of images or masks, an archive of masks, or a table whose first column holds the names.

    Raises:
        DataError: If it cannot be read, holds no case, or holds one twice.
    """
    if sample.is_dir():
        names = sorted(case_files(sample))
    elif zipfile.is_zipfile(sample):
        with zipfile.ZipFile(sample) as archive:
            files = [Path(name) for name in archive.namelist() if name.endswith(_ENDING)]
            names = sorted(case_id_of(path) for path in files if path.name[0] not in "._")
    else:
        table = read_table(sample)
        names = [fields[0] for _, fields in table.select(table.header[:1])]
    if not names:
        raise DataError(f"{sample}: expected the cases to submit, found none.")
    return unique_ids(sample, names)


def dataset_labels(images: Path) -> dict[str, int]:
    """Labels of the Decathlon task whose images these are; empty without its ``dataset.json``."""
    for path in (images / "dataset.json", images.parent / "dataset.json"):
        if path.is_file():
            return class_values(path, read_object(path).get("labels"))
    return {}


def write_volumes(path: Path, task: VolumeTask, masks: Mapping[str, Path], faults: Faults) -> int:
    """Write an archive of all masks, whole or, where there are faults, not at all; one case in memory at a time.

    Args:
        path: Archive to write.
        task: What is asked for.
        masks: Mask of each case by the name that it gets.
        faults: Takes the faults; one is enough for nothing to be written.

    Returns:
        Number of masks.

    Raises:
        DataError: Lists all faults.
    """
    _check_names(list(masks), task, faults)
    with atomic_write(path) as temporary, _workplace(path) as folder:
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, source in sorted(masks.items()):
                mask = _checked_mask(name, source, task, faults, ours=True)
                if mask is None or faults:
                    continue  # look on for faults, but write no more
                file = Path(folder) / f"mask{_ENDING}"
                _write_mask(file, mask, task, name, source)
                add_file(archive, f"{name}{_ENDING}", file)
        faults.raise_if_any(str(path))
    return len(masks)


def write_empty(path: Path, task: VolumeTask, faults: Faults) -> int:
    """Write an archive of empty masks, before any model exists.

    Raises:
        ConfigError: If neither the format nor images say how large they are.
        DataError: If a case has no image.
    """
    if task.images is None and (task.layout.shape is None or task.layout.affine is None):
        raise ConfigError(
            "--constant: this format takes the size of each mask from its image: give --images."
        )
    _check_names(task.asked, task, faults)
    for name in task.asked:
        if task.images is not None and task.image(name) is None:
            faults.add("cases without an image", name)
    faults.raise_if_any(str(path))
    with (
        atomic_write(path) as temporary,
        _workplace(path) as folder,
        zipfile.ZipFile(temporary, "w") as archive,
    ):
        for name in sorted(task.asked):
            image = task.image(name)
            shape = task.layout.shape if image is None else read_grid(image, form="sform").shape
            file = Path(folder) / f"mask{_ENDING}"
            _write_mask(file, np.zeros(shape or (), np.uint8), task, name, image)
            add_file(archive, f"{name}{_ENDING}", file)
    return len(task.asked)


def _workplace(out: Path) -> tempfile.TemporaryDirectory[str]:
    # Beside the archive, where room for it is needed anyway.
    return tempfile.TemporaryDirectory(prefix=".tmp-", dir=out.parent)


def _write_mask(
    file: Path, mask: NDArray[np.integer[Any]], task: VolumeTask, name: str, source: Path | None
) -> None:
    like = task.image(name) or source
    if task.layout.affine is not None or like is None:
        write_image(file, mask.astype(np.uint8), np.array(task.layout.affine, np.float64))
    else:
        write_mask(file, mask, like=like)


def check_archive(path: Path, task: VolumeTask, faults: Faults) -> int:
    """Check an archive from elsewhere; of its members only one at a time is unpacked, to a place of ours.

    Args:
        path: The archive.
        task: What is asked for.
        faults: Takes the faults.

    Returns:
        Number of masks.

    Raises:
        DataError: If there is no such file.
    """
    with open_archive(path, faults) as archive, tempfile.TemporaryDirectory() as folder:
        if archive is None:
            return 0
        names = []
        for info in safe_members(archive, faults):
            if not info.filename.endswith(_ENDING) or info.filename[0] in "._":
                faults.add(f"files that are no {_ENDING}", info.filename)
                continue
            names.append(info.filename.removesuffix(_ENDING))
            file = Path(folder) / f"mask{_ENDING}"
            if fault := unpack(archive, info, file):
                faults.add("files that cannot be read", f"{info.filename}: {fault}")
            else:
                _checked_mask(names[-1], file, task, faults, ours=False)
    _check_names(names, task, faults)
    return len(names)


def _check_names(names: Sequence[str], task: VolumeTask, faults: Faults) -> None:
    if not names:
        faults.add("no masks", f"expected names such as {task.layout.example}{_ENDING}")
    for name in names:
        # A name with a slash would make a folder, or lead out of it.
        plain = name[:1] not in ("", ".", "_") and not set(name) & set("/\\:")
        fits = plain and re.fullmatch(task.layout.pattern, name)
        if name.lower().endswith(("-seg", "_seg")) or not fits:
            faults.add(
                f"names unlike {task.layout.example}{_ENDING}",
                f"{name}{_ENDING}; --id_map says what the organisers call a case",
            )
    keys = [task.key(name) for name in names]
    check_ids(keys, [task.key(name) for name in task.asked], faults, what="masks")
    if task.images is not None and not task.asked:
        for name, key in zip(names, keys, strict=True):
            if key not in task.images:
                faults.add("masks without an image", name)


def _checked_mask(
    name: str, path: Path, task: VolumeTask, faults: Faults, *, ours: bool
) -> NDArray[np.integer[Any]] | None:
    """Label values of a mask as they are submitted, or ``None`` if it cannot be read; faults are noted."""
    shown = str(path) if ours else f"{name}{_ENDING}"
    try:
        grid, image = read_grid(path), task.image(name)
        reference = None if image is None else read_grid(image, form="sform")
        shape = task.layout.shape or (reference.shape if reference else grid.shape)
        if not ours and grid.shape != shape:  # of an archive from elsewhere nothing large is read for nothing
            _check_grid(shown, grid, reference, task.layout, faults)
            return None
        mask: NDArray[np.integer[Any]] = read_mask(path)
    except DataError as error:
        faults.add("files that cannot be read", str(error).replace(str(path), shown))
        return None
    _check_grid(shown, grid, reference, task.layout, faults)
    if not ours:
        _check_header(shown, path, task.layout, faults)
    found = {int(value) for value in np.unique(mask)} - {0}
    if task.values and ours:
        if unnamed := sorted(found - set(task.values)):
            what = f"{unnamed}, the labels name {sorted(task.values)}"
            faults.add("label values without a meaning", f"{shown}: {what} (--labels)")
        mask, found = relabelled(mask, task.values), {task.values.get(value, value) for value in found}
    if task.allowed and (outside := sorted(found - task.allowed)):
        advice = "; say what they mean with --labels NAME=VALUE" if ours and not task.values else ""
        faults.add("label values", f"{shown}: {outside}, expected 0 and {sorted(task.allowed)}{advice}")
    return mask


def _check_header(shown: str, path: Path, layout: ZipFormat, faults: Faults) -> None:
    """What organisers look at beside the voxels; ``read_grid`` has read the file already."""
    axes, has_qform = read_form(path)
    if axes != 3:
        faults.add("masks that are not 3D", f"{shown}: {axes} axes")
    if layout.affine is None:
        return
    if not has_qform:
        faults.add("masks without a qform", shown)
    _check_grid(f"{shown} (qform)", read_grid(path, form="qform"), None, layout, faults)


def _check_grid(shown: str, grid: Grid, image: Grid | None, layout: ZipFormat, faults: Faults) -> None:
    shapes = {"the format": layout.shape, "its image": image.shape if image is not None else None}
    for owner, shape in shapes.items():
        if shape is not None and grid.shape != shape:
            faults.add("masks of another shape", f"{shown}: {grid.shape}, {owner} asks {shape} (D, H, W)")
            return
    if layout.affine is not None:
        asked = Grid(grid.shape, np.array(layout.affine, np.float64))
        if (apart := grid.corner_distance_mm(asked)) > FORM_TOLERANCE_MM:
            faults.add("masks in another place", f"{shown}: {apart:.2f} mm from the affine asked for")
    if image is not None and (apart := grid.corner_distance_mm(image)) > FORM_TOLERANCE_MM:
        faults.add("masks in another place", f"{shown}: {apart:.2f} mm from its image")
