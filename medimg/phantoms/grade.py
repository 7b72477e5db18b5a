"""Brain-tumour phantoms with a grade: BraTS's layout and a table, the grade being in how the tumour is built."""

import csv
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg.errors import ConfigError
from medimg.io.files import atomic_write
from medimg.phantoms.brats import (
    SHAPE,
    case_file,
    case_folder,
    check_brains,
    draw_brain,
    settings_of,
    write_brain,
)
from medimg.phantoms.set_folder import claim, write_missing
from medimg.phantoms.tumours import Lesion, place

GRADES = (2, 3, 4)
TABLE = "grades.csv"
_RECIPE = 1
_SPACING_MM = (1.0, 1.0, 1.0)
_ABOUT = """\
Brains with known tumours and a grade in the layout of BraTS 2023, to try classifiers on. No figure
reached on them says anything about patients.

grades.csv: case_id, patient_id, grade. A tumour is built as its grade tends to be: 1 a small sharp
cyst with an enhancing wall, 2 without enhancement, 3 enhancing throughout or nearly so, 4 a rim
around necrosis in much oedema. Size and brightness follow the grade as little as they can; one
tumour in eight looks like that of a neighbouring grade."""


@dataclass(frozen=True)
class _Look:
    """Ranges from which the tumour of a grade is drawn.

    Attributes:
        radius_mm: Mean radius with oedema.
        core: Core's radius as a part of it.
        necrosis: Radius of what does not enhance as a part of the core's; 1 leaves no enhancement at all.
    """

    radius_mm: tuple[float, float]
    core: tuple[float, float]
    necrosis: tuple[float, float]


_LOOKS = {
    1: _Look((15, 20), (0.80, 0.86), (0.45, 0.60)),
    2: _Look((19, 31), (0.62, 0.78), (1.0, 1.0)),
    3: _Look((19, 31), (0.56, 0.72), (0.0, 0.0)),
    4: _Look((21, 31), (0.58, 0.70), (0.56, 0.66)),
}
_ODD = 1 / 8  # of the tumours look like those of a neighbouring grade


def write_grade(
    out: Path,
    *,
    cases: int = 90,
    seed: int = 0,
    shape: tuple[int, int, int] = SHAPE,
    grades: tuple[int, ...] = GRADES,
    workers: int = 1,
) -> list[Path]:
    """Write brains with tumours of known grade.

    The folders of :func:`medimg.phantoms.brats.write_brats`, and ``grades.csv``. Each grade has the same number of
    cases, give or take one. The same seed gives the same bytes; cases that the folder already holds are kept.

    Args:
        out: Folder to write to: missing, empty, or written by this function with the same settings.
        cases: Number of cases, one of each patient.
        seed: Any number from 0 on.
        shape: Volume (D, H, W), at least 24 along each axis. The brain is scaled to fit.
        grades: WHO grades to draw, ascending, of 1 to 4. Diffuse gliomas of adults have 2 to 4.
        workers: Processes to use.

    Returns:
        The folder of each case, in order.

    Raises:
        ConfigError: If an argument is out of range, or the folder holds other things.
        DataError: If a case could not be made.
        ResourceError: If a file cannot be written.
    """
    out = Path(out)
    check_brains(cases, seed, shape, _SPACING_MM)
    if len(grades) < 2 or list(grades) != sorted(set(grades) & _LOOKS.keys()):
        raise ConfigError(f"grades: expected two or more of 1, 2, 3, 4, ascending, found {list(grades)}.")
    named = " ".join(map(str, grades))
    claim(out, _ABOUT, (*settings_of(seed, shape, _SPACING_MM), f"grades {named}, recipe {_RECIPE}"))
    folders = [case_folder(out, index) for index in range(cases)]
    write = partial(_write_case, out=out, seed=seed, shape=shape, grades=grades)
    write_missing(write, folders, lambda index: case_file(folders[index], "seg").exists(), workers=workers)
    with atomic_write(out / TABLE) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("case_id", "patient_id", "grade"))
        rows = ((folder.name, folder.name[:-4], grade_of(i, grades)) for i, folder in enumerate(folders))
        writer.writerows(rows)
    return folders


def grade_of(index: int, grades: tuple[int, ...] = GRADES) -> int:
    """Grade of the case with this number.

    Example:
        >>> [grade_of(index) for index in range(4)]
        [2, 3, 4, 2]
    """
    return grades[index % len(grades)]


def draw_graded(
    index: int, *, seed: int, shape: tuple[int, int, int], grades: tuple[int, ...] = GRADES
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Draw one phantom without writing it.

    Args:
        index: Number of the case from 0 on.
        seed: Seed of the set.
        shape: Volume (D, H, W).
        grades: Grades of the set.

    Returns:
        The scans t1n, t1c, t2w, t2f, shape (4, D, H, W), 0 outside the brain; and the labels, (D, H, W).
    """
    rng = np.random.default_rng([seed, index, 0])
    lesion = _lesion(rng, _look(rng, grade_of(index, grades), grades))
    return draw_brain((lesion,), index, seed=seed, shape=shape)


def _look(rng: np.random.Generator, grade: int, grades: tuple[int, ...]) -> _Look:
    """How a tumour of a grade looks: as a rule like its grade."""
    near = [other for other in grades if abs(grades.index(other) - grades.index(grade)) == 1]
    odd, which = rng.random() < _ODD, int(rng.integers(len(near)))
    return _LOOKS[near[which] if odd else grade]


def _lesion(rng: np.random.Generator, look: _Look) -> Lesion:
    radius, core, necrosis = (
        float(rng.uniform(*ends)) for ends in (look.radius_mm, look.core, look.necrosis)
    )
    return Lesion(place(rng, radius, ()), radius, core, necrosis)


def _write_case(
    index: int, *, out: Path, seed: int, shape: tuple[int, int, int], grades: tuple[int, ...]
) -> None:
    scans, labels = draw_graded(index, seed=seed, shape=shape, grades=grades)
    write_brain(case_folder(out, index), scans, labels, _SPACING_MM)
