"""Brain-tumour phantoms in the layout of BraTS 2023: what a BraTS reader reads, without a patient."""

import gzip
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from medimg.errors import ConfigError
from medimg.io.files import atomic_write
from medimg.phantoms.anatomy import build_anatomy
from medimg.phantoms.contrast import MODALITIES, label, render, sample_voxels, tissue_fractions
from medimg.phantoms.fields import Frame
from medimg.phantoms.set_folder import claim, write_missing
from medimg.phantoms.tumours import Lesion, grow, kind_of, place_lesions
from medimg.phantoms.vessels import draw_vessels

SHAPE = (155, 240, 240)
FIRST_ID = 90_000  # no real case of BraTS 2023 has such a number

_MOST_CASES = 10_000  # five digits from FIRST_ID on
_SMALLEST = 24  # below it a rim is thinner than a voxel
# Raised when the same seed gives other brains than before, so that a folder never holds both kinds.
_RECIPE = 1
_ABOUT = f"""\
Brains with known tumours in the layout of BraTS 2023, to try programs on. No figure
reached on them says anything about patients.

t1n, t1c, t2w, t2f: four scans, skull-stripped.
seg: 1 necrosis (NCR), 2 oedema (ED), 3 enhancing tumour (ET).
Case numbers start at {FIRST_ID}, which no case of BraTS 2023 has."""
_DESCRIPTION = b"phantom, not a patient"
_GZIP_LEVEL = 2  # noise hardly shrinks: higher levels take longer and gain next to nothing


def write_brats(
    out: Path,
    *,
    cases: int = 16,
    seed: int = 0,
    shape: tuple[int, int, int] = SHAPE,
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    workers: int = 1,
) -> list[Path]:
    """Write brains with known tumours in the layout of BraTS 2023.

    Each case is a folder ``BraTS-GLI-9xxxx-000`` of five files, ``<folder>-{t1n,t1c,t2w,t2f,seg}.nii.gz``:
    four skull-stripped int16 scans with anatomy, bias field, partial volume and Rician noise, and the labels
    1 necrosis, 2 oedema, 3 enhancing tumour. Eight cases in a row hold four with a necrotic core in an
    enhancing rim, two with a second lesion, one that enhances throughout and one that does not enhance. No
    threshold in one scan finds the core or the enhancing part; the four scans together show them.

    A case depends on the seed and its number only: not on ``cases``, ``workers`` or what was written before.
    The same seed gives the same bytes on one machine, and the same brain at every shape. Cases that the
    folder already holds are kept, so that a stopped run goes on where it was.

    Args:
        out: Folder to write to: missing, empty, or written by this function with the same settings.
        cases: Number of cases, 1 to 10000.
        seed: Any number from 0 on.
        shape: Volume (D, H, W), at least 24 along each axis. The brain is scaled to fit.
        spacing_mm: Voxel size along (D, H, W) as the files state it.
        workers: Processes to use.

    Returns:
        The folder of each case, in order.

    Raises:
        ConfigError: If an argument is out of range, or the folder holds other things.
        DataError: If a case could not be made.
        ResourceError: If a file cannot be written.
    """
    out = Path(out)
    check_brains(cases, seed, shape, spacing_mm)
    claim(out, _ABOUT, settings_of(seed, shape, spacing_mm))
    folders = [case_folder(out, index) for index in range(cases)]
    write = partial(_write_case, out=out, seed=seed, shape=shape, spacing_mm=spacing_mm)
    # The labels are written last, so a case that has them is whole.
    write_missing(write, folders, lambda index: case_file(folders[index], "seg").exists(), workers=workers)
    return folders


def draw_case(
    index: int,
    *,
    seed: int,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Draw one phantom without writing it.

    Args:
        index: Number of the case from 0 on.
        seed: Seed of the set.
        shape: Volume (D, H, W); W runs to the left, H to the back and D up.
        spacing_mm: Voxel size along (D, H, W); only its ratios matter here.

    Returns:
        The scans t1n, t1c, t2w, t2f, shape (4, D, H, W), 0 outside the brain; and the labels, (D, H, W).

    Example:
        >>> scans, labels = draw_case(0, seed=0, shape=(24, 32, 28))
        >>> scans.shape, np.unique(labels).tolist()
        ((4, 24, 32, 28), [0, 1, 2, 3])
    """
    lesions = place_lesions(np.random.default_rng([seed, index, 0]), kind_of(index))
    return draw_brain(lesions, index, seed=seed, shape=shape, spacing_mm=spacing_mm)


def draw_brain(
    lesions: tuple[Lesion, ...],
    index: int,
    *,
    seed: int,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Draw a brain with given lesions; see :func:`draw_case` for what comes out and the other arguments.

    Args:
        lesions: At least one.
        index: Number of the case from 0 on; its step 0 of the seed is left for the choice of the lesions.
        seed: Seed of the set.
        shape: Volume (D, H, W).
        spacing_mm: Voxel size along (D, H, W).
    """
    # One generator a step: what one step draws never shifts the next.
    healthy, growing, piping, painting = (np.random.default_rng([seed, index, step]) for step in range(1, 5))
    anatomy = build_anatomy(healthy, tuple(lesion.bulge for lesion in lesions))
    frame = Frame.fit(shape, spacing_mm)
    vessels = draw_vessels(piping, anatomy.hull, frame)
    voxels = sample_voxels(painting, frame, anatomy, grow(growing, lesions), vessels)
    parts = tissue_fractions(voxels, frame.voxel_mm)
    scans = np.zeros((len(MODALITIES), *shape), np.int16)
    labels = np.zeros(shape, np.uint8)
    labels[frame.box][voxels.inside] = label(voxels)
    for modality in range(len(MODALITIES)):
        scans[modality][frame.box][voxels.inside] = render(painting, frame, voxels, parts, modality)
    return scans, labels


def _write_case(
    index: int, *, out: Path, seed: int, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> None:
    scans, labels = draw_case(index, seed=seed, shape=shape, spacing_mm=spacing_mm)
    write_brain(case_folder(out, index), scans, labels, spacing_mm)


def write_brain(
    folder: Path, scans: NDArray[np.int16], labels: NDArray[np.uint8], spacing_mm: tuple[float, float, float]
) -> None:
    """Write one case as five files; the labels come last, so a case that has them is whole.

    Args:
        folder: Folder of the case, whose name begins those of its files.
        scans: t1n, t1c, t2w, t2f, shape (4, D, H, W).
        labels: 1 necrosis, 2 oedema, 3 enhancing tumour, (D, H, W).
        spacing_mm: Voxel size along (D, H, W).
    """
    for modality, scan in zip(MODALITIES, scans, strict=True):
        _write_volume(case_file(folder, modality), scan, spacing_mm)
    _write_volume(case_file(folder, "seg"), labels, spacing_mm)


def case_folder(out: Path, index: int) -> Path:
    """Folder of the case with this number."""
    return out / f"BraTS-GLI-{FIRST_ID + index}-000"


def case_file(folder: Path, part: str) -> Path:
    """File of a scan, or of the labels (``seg``), in the folder of a case."""
    return folder / f"{folder.name}-{part}.nii.gz"


def _write_volume(path: Path, volume: NDArray[np.generic], spacing_mm: tuple[float, float, float]) -> None:
    """Write (D, H, W) with the affine of BraTS, of which every byte follows from the arguments."""
    depth_mm, height_mm, width_mm = spacing_mm
    affine = np.diag([-width_mm, -height_mm, depth_mm, 1.0])
    affine[1, 3] = (volume.shape[1] - 1) * height_mm  # BraTS: 239
    nifti: Any = nibabel.nifti1.Nifti1Image  # nibabel's constructor has no types
    image = nifti(volume.T, affine)  # the file's axes are (W, H, D)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header["descrip"] = _DESCRIPTION
    # Neither a time nor a name in the gzip header: they would differ from run to run.
    content = gzip.compress(image.to_bytes(), compresslevel=_GZIP_LEVEL, mtime=0)
    with atomic_write(path, durable=False) as temporary:
        temporary.write_bytes(content)


def check_brains(
    cases: int, seed: int, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> None:
    """Refuse settings with which no brains can be drawn.

    Raises:
        ConfigError: If an argument is out of range.
    """
    if not 1 <= cases <= _MOST_CASES:
        raise ConfigError(f"cases: expected 1 to {_MOST_CASES}, found {cases}.")
    if seed < 0:
        raise ConfigError(f"seed: expected a number from 0 on, found {seed}.")
    if min(shape) < _SMALLEST:
        raise ConfigError(
            f"shape: expected at least {_SMALLEST} voxels along each of D, H, W, found {tuple(shape)}. "
            "Smaller brains cannot show a tumour's parts; 72 80 80 is a good small size."
        )
    if not all(0 < step < np.inf for step in spacing_mm):
        raise ConfigError(f"spacing_mm: expected three positive lengths, found {tuple(spacing_mm)}.")


def settings_of(
    seed: int, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> tuple[str, ...]:
    """What the bytes of a brain depend on, its lesions apart, a line each."""
    size = " x ".join(str(side) for side in shape)
    steps = " x ".join(f"{float(step):g}" for step in spacing_mm)
    return f"seed {seed}", f"shape {size} (D, H, W)", f"spacing {steps} mm", f"recipe {_RECIPE}"
