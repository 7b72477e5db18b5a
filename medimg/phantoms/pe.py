"""Phantoms of pulmonary embolism in the layout of RSNA's challenge: DICOM studies, one table of all slices."""

import csv
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from medimg.errors import ConfigError
from medimg.io.dicom.slices import read_slices
from medimg.io.dicom.write_series import write_series
from medimg.io.files import atomic_write
from medimg.io.nifti import write_image
from medimg.phantoms.chest_scan import check_scans, scan_settings, truth_file
from medimg.phantoms.pe_chest import build_angiography, draw_angiography
from medimg.phantoms.set_folder import claim, write_missing
from medimg.scoring.embolism import EXAM_LABELS

SIZE = (60, 256, 256)
MOST_STUDIES = 5000
FIRST_PATIENT = 10_000
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
COLUMNS = (
    *UIDS,
    "pe_present_on_image",
    "negative_exam_for_pe",
    "qa_motion",
    "qa_contrast",
    "flow_artifact",
    "rv_lv_ratio_gte_1",
    "rv_lv_ratio_lt_1",
    "leftsided_pe",
    "chronic_pe",
    "true_filling_defect_not_pe",
    "rightsided_pe",
    "acute_and_chronic_pe",
    "central_pe",
    "indeterminate",
)
"""Of ``train.csv``, in the order of the challenge."""

_ABOUT = """\
CT angiographies of the chest with known pulmonary emboli in the layout of RSNA's challenge of 2020,
to try programs on. No figure reached on them says anything about patients.

Half of the studies hold clots, one in eight cannot be judged (motion, or too little contrast).
File names say nothing of the order of slices; ImagePositionPatient does.
truth/<study>.nii.gz: 1 where a clot fills at least half of the voxel.
truth/<study>.csv: the rows of each study, also of those in test/.
truth/test.csv: the labels of the studies in test/, to score a submission against."""


def write_pe(
    out: Path,
    *,
    studies: int = 40,
    tests: int = 8,
    seed: int = 0,
    size: tuple[int, int, int] = SIZE,
    workers: int = 1,
) -> list[Path]:
    """Write CT angiographies with known emboli, laid out as RSNA's challenge of 2020.

    ``train/<study>/<series>/<image>.dcm`` and ``train.csv``, ``test/``, ``test.csv`` and ``sample_submission.csv``. A
    slice is positive if a clot fills half of one of its pixels or more. A study depends on the seed, its number and the
    size only, and the same seed gives the same bytes. Studies that the folder already holds are kept.

    Args:
        out: Folder to write to: missing, empty, or written by this function with the same settings.
        studies: Number of labelled studies, 1 to 5000, one of each patient.
        tests: Number of studies in the test set, 0 to 5000.
        seed: Any number from 0 on.
        size: Volume (D, H, W), at least 24, 64, 64; it always shows 210 x 256 x 256 mm. Where pixels are large, so
            are the arteries and their clots.
        workers: Processes to use.

    Returns:
        The folder of each labelled study, in order.

    Raises:
        ConfigError: If an argument is out of range, or the folder holds other things.
        DataError: If a study could not be made.
        ResourceError: If a file cannot be written.
    """
    out = Path(out)
    for name, number, least in (("studies", studies, 1), ("tests", tests, 0)):
        if not least <= number <= MOST_STUDIES:
            raise ConfigError(f"{name}: expected {least} to {MOST_STUDIES}, found {number}.")
    check_scans(1, seed, size)
    claim(out, _ABOUT, scan_settings(seed, size))
    # The test set has numbers of its own, so that it stays as it is when studies are added.
    places = [("train", index) for index in range(studies)]
    places += [("test", MOST_STUDIES + index) for index in range(tests)]
    folders = [out / part / study_uid(index, seed) for part, index in places]
    write = partial(_write_study, folders=folders, places=places, seed=seed, size=size)
    # The rows are written last, so a study that has them is whole.
    write_missing(write, folders, lambda number: _rows_file(folders[number]).exists(), workers=workers)
    _write_table(out / "train.csv", COLUMNS, folders[:studies])
    if tests:
        _write_table(out / "test.csv", UIDS, folders[studies:])
        _write_table(out / "truth" / "test.csv", COLUMNS, folders[studies:])
        _write_sample(out / "sample_submission.csv", folders[studies:])
    return folders[:studies]


def study_uid(index: int, seed: int, kind: int = 3) -> str:
    """Study Instance UID of a number, or with another ``kind`` the UID of its series."""
    return f"1.2.826.0.1.3680043.8.498.{kind}.{seed}.{FIRST_PATIENT + index}"


def _write_study(
    number: int,
    *,
    folders: Sequence[Path],
    places: Sequence[tuple[str, int]],
    seed: int,
    size: tuple[int, int, int],
) -> None:
    folder, index = folders[number], places[number][1]
    study = build_angiography(index, seed=seed, size=size)
    clots = np.stack(list(study.clot_masks())).astype(np.uint8)
    voxels = np.empty(size, np.int16)
    for place, plane in enumerate(draw_angiography(study, (seed, index, 1))):
        voxels[place] = plane
    series = study_uid(index, seed, kind=4)
    files = write_series(
        folder / series,
        voxels,
        study.grid,
        patient_id=f"PE-{FIRST_PATIENT + index}",
        study_uid=folder.name,
        series_uid=series,
        description="medimg phantom",
    )
    rows: list[list[str | int]] = []
    for file, mask in zip(files, clots, strict=True):
        image = read_slices(file).slices[0].sop_uid
        file.rename(file.with_name(f"{image}.dcm"))
        labels = study.findings.labels | {"pe_present_on_image": int(mask.any())}
        rows.append([folder.name, series, image, *(labels.get(name, 0) for name in COLUMNS[len(UIDS) :])])
    write_image(truth_file(folder.parents[1], folder.name), clots, study.grid.affine)
    with (
        atomic_write(_rows_file(folder), durable=False) as temporary,
        temporary.open("w", newline="") as table,
    ):
        csv.writer(table, lineterminator="\n").writerows([COLUMNS, *sorted(rows)])


def _rows_file(folder: Path) -> Path:
    return folder.parents[1] / "truth" / f"{folder.name}.csv"


def _write_table(path: Path, columns: Sequence[str], folders: Sequence[Path]) -> None:
    """Put the rows of all studies together, one study at a time."""
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        for folder in folders:
            with _rows_file(folder).open(newline="") as rows:
                writer.writerows(csv.DictReader(rows))


def _write_sample(path: Path, folders: Sequence[Path]) -> None:
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "label"])
        for folder in folders:
            writer.writerows([f"{folder.name}_{label}", 0.5] for label in EXAM_LABELS)
            with _rows_file(folder).open(newline="") as rows:
                writer.writerows([row["SOPInstanceUID"], 0.5] for row in csv.DictReader(rows))
