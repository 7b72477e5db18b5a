"""One case of postprocessing: its files found, its mask mended and written."""

import math
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.errors import DataError
from medimg.io.nifti import is_nifti, read_grid, read_image, read_mask, write_mask
from medimg.io.raster import read_raster, write_png
from medimg.postprocessing.rules import Rule, apply_rules
from medimg.scoring.pairs import case_id_of

_PNG = ".png"
_CHANNEL = re.compile(r"[-_][0-9]{4}")
_WORD = re.compile(r"[-_][A-Za-z0-9]+")
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A label map as it was read.

    Attributes:
        labels: Shape (D, H, W), or (H, W) of a picture.
        spacing_mm: Voxel size along those axes; 1 for a picture.
    """

    labels: NDArray[Any]
    spacing_mm: tuple[float, ...]

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel, 1 for a picture."""
        return math.prod(self.spacing_mm)


@dataclass(frozen=True, slots=True)
class CaseReport:
    """What became of a case.

    Attributes:
        case_id: Its name.
        grid: Its shape and spacing, as ``predictions.json`` lists them.
        changed: Voxels whose label changed.
        emptied: Whether the mask held labels before, and holds none now.
    """

    case_id: str
    grid: dict[str, Any]
    changed: int
    emptied: bool


def find_masks(folder: Path) -> dict[str, Path]:
    """Masks of a folder by case, NIfTI or PNG.

    Args:
        folder: Folder that holds the masks themselves.

    Returns:
        Path of each case's mask, sorted by case.

    Raises:
        DataError: If there is none, there are both kinds, or a case stands twice.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder. Expected masks, <case>.nii.gz or <case>.png.")
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name[0] not in "._"]
    volumes = [path for path in files if is_nifti(path)]
    pictures = [path for path in files if path.suffix.lower() == _PNG]
    if bool(volumes) == bool(pictures):
        found = f"both, such as {volumes[0].name} and {pictures[0].name}" if volumes else "none"
        raise DataError(f"{folder}: expected masks, <case>.nii.gz or <case>.png, found {found}.")
    cases: dict[str, Path] = {}
    for path in volumes or pictures:
        case = case_of(path)
        if case in cases:
            raise DataError(f"case {case} stands twice: {cases[case]} and {path}. Keep one of them.")
        cases[case] = path
    return cases


def find_references(folder: Path) -> dict[str, Path]:
    """Reference masks by case: those of the folder, or ``<case>-seg.nii.gz`` at any depth, as BraTS has them.

    Raises:
        DataError: As for ``find_masks``.
    """
    deep = [
        path
        for path in sorted(folder.rglob("*.nii*"))
        if is_nifti(path) and _image_stem(path) != case_of(path) and path.name[0] not in "._"
    ]
    cases: dict[str, Path] = {}
    for path in deep:
        if (other := cases.setdefault(case_of(path), path)) != path:
            raise DataError(f"case {case_of(path)} has two references: {other} and {path}. Keep one of them.")
    return cases or find_masks(folder)


def case_of(path: Path) -> str:
    """Name of the case of a mask.

    Example:
        >>> case_of(Path("a_seg.nii.gz")), case_of(Path("b.png"))
        ('a', 'b')
    """
    return path.stem if path.suffix.lower() == _PNG else case_id_of(path)


def pair_masks(preds: Mapping[str, Path], refs: Mapping[str, Path]) -> list[tuple[str, Path, Path]]:
    """Put prediction and reference of each case side by side.

    Args:
        preds: Predicted masks by case.
        refs: References by case; cases that were not predicted are left out.

    Returns:
        Case, prediction and reference, sorted by case.

    Raises:
        DataError: If a predicted case has no reference.
    """
    lacking = sorted(set(preds) - set(refs))
    if lacking:
        more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
        raise DataError(
            f"no reference for {len(lacking)} of {len(preds)} predictions: {', '.join(lacking[:_SHOWN])}{more}. "
            "Name the folder that holds all of them as --references."
        )
    return [(case, preds[case], refs[case]) for case in sorted(preds)]


def read_labels(path: Path) -> MaskFile:
    """Read a mask, NIfTI or PNG.

    Raises:
        DataError: If it cannot be read or is a colour picture.
    """
    if is_nifti(path):
        return MaskFile(read_mask(path, form="sform"), read_grid(path, form="sform").spacing_mm)
    picture = read_raster(path)
    if len(picture) != 1 or picture.dtype.kind != "u":
        raise DataError(
            f"{path}: expected a grey picture whose values are labels, found {len(picture)} channels of "
            f"{picture.dtype}. Save the mask as grey PNG."
        )
    return MaskFile(picture[0], (1.0, 1.0))


def find_images(folder: Path, case: str) -> list[Path]:
    """Images of a case, one a channel.

    Taken are ``<case>.nii.gz`` or ``<case>.png``; else ``<case>_0000.nii.gz``, ``<case>_0001.nii.gz``, ...; else
    all ``<case>/<case>-<word>.nii.gz``, as BraTS has them, but for the one that ends in ``seg``.

    Args:
        folder: Where to look.
        case: Name of the case.

    Raises:
        DataError: If there is none.
    """
    places = ((folder, re.compile("")), (folder, _CHANNEL), (folder / case, _WORD))
    for place, ending in places:
        found = [
            path
            for path in (sorted(place.glob(f"{_escaped(case)}*")) if place.is_dir() else [])
            if (stem := _image_stem(path)) is not None
            and ending.fullmatch(stem.removeprefix(case))
            and not stem.endswith(("-seg", "_seg"))
        ]
        if found:
            return found
    raise DataError(
        f"{folder}: no image of case {case}. Expected {case}.nii.gz, {case}_0000.nii.gz, {case}/{case}-t1c.nii.gz "
        f"or {case}.png, with all channels."
    )


def _escaped(case: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", case)


def _image_stem(path: Path) -> str | None:
    if is_nifti(path):
        return re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)
    return path.stem if path.suffix.lower() == _PNG else None


def read_channels(paths: Sequence[Path], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Read the images of a case, each channel divided by its standard deviation over voxels other than 0.

    Args:
        paths: One file a channel, or files with several.
        shape: Shape of the mask, (D, H, W) or (H, W).

    Returns:
        Shape (C, D, H, W) or (C, H, W).

    Raises:
        DataError: If a file cannot be read or has another shape.
    """
    images = [read_image(path, form="sform") if is_nifti(path) else read_raster(path) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if image.shape[1:] != shape:
            raise DataError(
                f"{path}: expected the shape of the mask, {shape}, found {image.shape[1:]}. Name the images that "
                "the probabilities were predicted from."
            )
    channels = np.concatenate(images).astype(np.float32)
    for channel in channels:
        inside = channel[channel != 0]
        spread = float(inside.std(dtype=np.float64)) if inside.size else 0.0
        if spread > 0:
            channel /= np.float32(spread)
    return channels


def mend_case(
    file: tuple[str, Path],
    *,
    rules: Sequence[Rule],
    out: Path,
    relabel: Callable[[str, MaskFile], NDArray[Any]] | None = None,
) -> CaseReport:
    """Mend one mask and write it under its name; a mask that stays as it is is copied byte by byte.

    Args:
        file: Name of the case and its mask.
        rules: What to do, in order.
        out: Folder to write to.
        relabel: Makes the label map that the rules start from out of the case's name and its mask, such as
            one from probabilities; ``None`` starts from the mask.

    Raises:
        DataError: If a file cannot be used.
        ResourceError: If the mask cannot be written.
    """
    case, path = file
    mask = read_labels(path)
    labels = mask.labels if relabel is None else relabel(case, mask)
    mended = apply_rules(labels, rules, voxel_mm3=mask.voxel_mm3)
    changed = int(np.count_nonzero(mended != mask.labels))
    if changed == 0:
        shutil.copyfile(path, out / path.name)
    elif is_nifti(path):
        write_mask(out / path.name, mended, like=path)
    else:
        write_png(out / path.name, _like_picture(path, mended, mask.labels))
    grid = {"shape": list(mended.shape), "spacing_mm": list(mask.spacing_mm)}
    return CaseReport(case, grid, changed, bool(mask.labels.any() and not mended.any()))


def _like_picture(path: Path, mended: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
    """Labels in the type of the picture that they replace."""
    if mended.max(initial=0) > np.iinfo(labels.dtype).max:
        raise DataError(
            f"{path}: label {mended.max()} does not fit a picture of {labels.dtype}. Write it with 16 bits."
        )
    return mended.astype(labels.dtype)
