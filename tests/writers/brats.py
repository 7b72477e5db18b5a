"""A BraTS folder of fake cases, with the names of a chosen year."""

from pathlib import Path

import numpy as np
from writers.nifti import make_case, write_volume

AFFINE = np.array([[-1.0, 0, 0, 0], [0, -1.0, 0, 239], [0, 0, 1.0, 0], [0, 0, 0, 1.0]])
_NEW = ("t1n", "t1c", "t2w", "t2f")
_OLD = ("t1", "t1ce", "t2", "flair")
# Order of the nested boxes, outermost first: edema, necrotic core, enhancing tumour.
_LABELS = {True: (2, 1, 3), False: (2, 1, 4)}


def case_names(year: int, cases: int) -> list[str]:
    """Return names such as that year's release has, grades as folders for 2018 and 2019."""
    match year:
        case 2018 | 2019:
            grade = ("HGG", "LGG")
            return [f"{grade[n % 2]}/BraTS{year % 100}_TCIA{n:02d}_{100 + n}_1" for n in range(cases)]
        case 2020:
            return [f"BraTS20_Training_{n + 1:03d}" for n in range(cases)]
        case 2021 | 2022:
            return [f"BraTS2021_{n:05d}" for n in range(cases)]
        case 2024:
            return [f"BraTS-GLI-{n // 2:05d}-{100 + n % 2}" for n in range(cases)]
        case _:
            return [f"BraTS-GLI-{n:05d}-000" for n in range(cases)]


def write_brats(
    root: Path,
    cases: int | list[str] = 2,
    *,
    year: int = 2023,
    masks: bool = True,
    shape: tuple[int, int, int] = (16, 16, 16),
) -> Path:
    """Write four modalities and a mask a case below ``root`` and return it; names may hold folders."""
    new = year >= 2023
    hyphen, ending = ("-", ".nii.gz") if new else ("_", ".nii" if year == 2020 else ".nii.gz")
    for seed, name in enumerate(case_names(year, cases) if isinstance(cases, int) else cases):
        image, mask = make_case(shape, 4, _LABELS[new], seed)
        stem = f"{Path(name).name}{hyphen}"
        for number, kind in enumerate(_NEW if new else _OLD):
            write_volume(root / name / f"{stem}{kind}{ending}", image[number], AFFINE)
        if masks:
            write_volume(root / name / f"{stem}seg{ending}", mask, AFFINE)
    return root
