"""Mammography phantoms in the layout of RSNA's screening set: DICOM, four images a patient, one table."""

import csv
import io
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

from medimg.errors import ConfigError
from medimg.io.files import atomic_write
from medimg.phantoms.breast import BITS, HEIGHT_MM, View, make_breast, project
from medimg.phantoms.set_folder import claim, write_missing

SIZE = (512, 416)
FIRST_PATIENT = 90_000
COLUMNS = (
    "site_id",
    "patient_id",
    "image_id",
    "laterality",
    "view",
    "age",
    "cancer",
    "biopsy",
    "invasive",
    "BIRADS",
    "implant",
    "density",
    "machine_id",
    "difficult_negative_case",
)

_MOST_PATIENTS = 10_000
_SMALLEST = 64
# Of five patients in a row, two have a cancer in one breast: 20 % of the breasts.
_BLOCK, _WITH_CANCER = 5, 2
_BENIGN_SHARE = 0.35
_RECIPE = 1
_ABOUT = f"""\
Mammograms with known cancers in the layout of RSNA's screening set, to try programs on.
No figure reached on them says anything about patients.

Patient numbers start at {FIRST_PATIENT}."""
_FOR_PRESENTATION = UID("1.2.840.10008.5.1.4.1.1.1.2")
_SIDES: tuple[Literal["L", "R"], ...] = ("L", "R")
_VIEWS: tuple[View, ...] = ("CC", "MLO")


@dataclass(frozen=True, slots=True)
class _Machine:
    """How one maker's files differ from another's."""

    number: int
    site: int
    photometric: str
    syntax: UID
    function: str
    centers: tuple[float, ...]
    widths: tuple[float, ...]


_MACHINES = (
    _Machine(49, 1, "MONOCHROME2", JPEG2000Lossless, "LINEAR", (1800, 2000, 1600), (3200, 3800, 2400)),
    _Machine(21, 1, "MONOCHROME1", JPEG2000Lossless, "SIGMOID", (2250,), (2600,)),
    _Machine(29, 2, "MONOCHROME1", JPEG2000Lossless, "LINEAR_EXACT", (2300, 2100), (3200, 3800)),
    _Machine(48, 2, "MONOCHROME2", ExplicitVRLittleEndian, "LINEAR_EXACT", (1800,), (3200,)),
)
Row = dict[str, str | int]


def write_mammography(
    out: Path, *, patients: int = 40, seed: int = 0, size: tuple[int, int] = SIZE, workers: int = 1
) -> list[Path]:
    """Write screening mammograms with known cancers, laid out as RSNA's 2022-23 competition.

    ``train_images/<patient>/<image>.dcm`` and ``train.csv``: CC and MLO of both sides, 12 bits, MONOCHROME1
    and 2, JPEG 2000 without loss (one machine of four writes uncompressed files), windows LINEAR,
    LINEAR_EXACT and SIGMOID, several a file. One breast in five holds a bright spiculated mass, seen in both
    views; a third of the others a fainter round one, so brightness alone does not settle the label.

    A patient depends on the seed and the number only, and the same seed gives the same bytes. Patients that
    the folder already holds are kept.

    Args:
        out: Folder to write to: missing, empty, or written by this function with the same settings.
        patients: Number of patients, 1 to 10000.
        seed: Any number from 0 on.
        size: Image (H, W), at least 64 each; H spans 240 mm.
        workers: Processes to use.

    Returns:
        The folder of each patient, in order.

    Raises:
        ConfigError: If an argument is out of range, or the folder holds other things.
        DataError: If a patient could not be made.
        ResourceError: If a file cannot be written.
    """
    out = Path(out)
    _check(patients, seed, size)
    claim(out, _ABOUT, (f"seed {seed}", f"size {size[0]} x {size[1]} (H, W)", f"recipe {_RECIPE}"))
    rows = [patient_rows(index, seed) for index in range(patients)]
    files = [[_file(out, row) for row in own] for own in rows]
    folders = [own[0].parent for own in files]
    write = partial(_write_patient, out=out, seed=seed, size=size)
    # Files are written whole or not at all, so those that are there are good.
    write_missing(write, folders, lambda index: all(file.exists() for file in files[index]), workers=workers)
    _write_table(out / "train.csv", [row for own in rows for row in own])
    return folders


def patient_rows(index: int, seed: int) -> list[Row]:
    """Return the four rows of ``train.csv`` of one patient.

    Args:
        index: Number of the patient from 0 on.
        seed: Seed of the set.

    Example:
        >>> rows = patient_rows(0, seed=0)
        >>> [(row["laterality"], row["view"]) for row in rows]
        [('L', 'CC'), ('L', 'MLO'), ('R', 'CC'), ('R', 'MLO')]
        >>> sum(row["cancer"] for n in range(5) for row in patient_rows(n, seed=0))
        4
    """
    rng = np.random.default_rng([seed, index, 0])
    machine = _machine(index, seed)
    age = int(rng.integers(40, 80))
    density = "ABCD"[_density(index, seed)]
    blank_age, blank_density = rng.random() < 0.05, rng.random() < 0.2
    ill = _ill_side(index, seed)
    rows: list[Row] = []
    for number, (side, view) in enumerate((side, view) for side in _SIDES for view in _VIEWS):
        cancer = int(side == ill)
        benign = _has_benign(index, side, seed)
        invasive = int(cancer and np.random.default_rng([seed, index, 1]).random() < 0.7)
        rows.append(
            {
                "site_id": machine.site,
                "patient_id": FIRST_PATIENT + index,
                "image_id": 10 * (FIRST_PATIENT + index) + number,
                "laterality": side,
                "view": view,
                "age": "" if blank_age else age,
                "cancer": cancer,
                "biopsy": int(cancer or benign),
                "invasive": invasive,
                "BIRADS": "0" if cancer or benign else "1",
                "implant": 0,
                "density": "" if blank_density else density,
                "machine_id": machine.number,
                "difficult_negative_case": str(bool(benign and not cancer)),
            }
        )
    return rows


def draw_patient(index: int, *, seed: int, size: tuple[int, int]) -> list[NDArray[np.uint16]]:
    """Draw the four images of one patient, dense bright, in the order of :func:`patient_rows`.

    Args:
        index: Number of the patient from 0 on.
        seed: Seed of the set.
        size: Image (H, W).

    Returns:
        12-bit signals, (H, W) each.
    """
    images = []
    for place, side in enumerate(_SIDES):
        rng = np.random.default_rng([seed, index, 2 + place])
        breast = make_breast(
            rng,
            side,
            density=_density(index, seed),
            cancer=_ill_side(index, seed) == side,
            benign=_has_benign(index, side, seed),
        )
        images += [project(breast, view, size) for view in _VIEWS]
    return images


def _ill_side(index: int, seed: int) -> str:
    """The side with the cancer, empty for the healthy."""
    block, place = divmod(index, _BLOCK)
    order = np.random.default_rng([seed, block, 10]).permutation(_BLOCK)
    if place not in order[:_WITH_CANCER]:
        return ""
    return _SIDES[int(np.random.default_rng([seed, index, 11]).integers(2))]


def _has_benign(index: int, side: str, seed: int) -> bool:
    draw = np.random.default_rng([seed, index, 12 + _SIDES.index(side)]).random()
    return bool(draw < _BENIGN_SHARE) and _ill_side(index, seed) != side


def _density(index: int, seed: int) -> int:
    return int(np.random.default_rng([seed, index, 14]).choice(4, p=(0.15, 0.4, 0.35, 0.1)))


def _machine(index: int, seed: int) -> _Machine:
    """Each four patients in a row come from all four machines, in an order of their own."""
    block, place = divmod(index, len(_MACHINES))
    return _MACHINES[int(np.random.default_rng([seed, block, 15]).permutation(len(_MACHINES))[place])]


def _write_patient(index: int, *, out: Path, seed: int, size: tuple[int, int]) -> None:
    images = draw_patient(index, seed=seed, size=size)
    for row, image in zip(patient_rows(index, seed), images, strict=True):
        with atomic_write(_file(out, row), durable=False) as temporary:
            temporary.write_bytes(_encode(image, row, _machine(index, seed), seed))


def _file(out: Path, row: Row) -> Path:
    return out / "train_images" / str(row["patient_id"]) / f"{row['image_id']}.dcm"


def _encode(image: NDArray[np.uint16], row: Row, machine: _Machine, seed: int) -> bytes:
    """Return the bytes of a DICOM file, every one of which follows from the arguments."""

    def uid(kind: str, *parts: object) -> UID:
        return generate_uid(entropy_srcs=["medimg phantom", kind, str(seed), *map(str, parts)])

    meta = FileMetaDataset()
    file = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID = meta.MediaStorageSOPClassUID = _FOR_PRESENTATION
    file.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = uid("image", row["image_id"], image.shape)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.StudyInstanceUID = uid("study", row["patient_id"])
    file.SeriesInstanceUID = uid("series", row["image_id"])
    file.PatientName = "PHANTOM^NOT A PATIENT"
    file.PatientID = str(row["patient_id"])
    file.ImageComments = "Phantom drawn by medimg. It shows no patient."
    file.Modality = "MG"
    file.Manufacturer = "medimg phantom"
    file.BodyPartExamined = "BREAST"
    file.InstanceNumber = int(row["image_id"]) % 10 + 1
    file.ImageLaterality, file.ViewPosition = row["laterality"], row["view"]
    file.PresentationIntentType = "FOR PRESENTATION"
    step = f"{HEIGHT_MM / image.shape[0]:.6g}"
    file.ImagerPixelSpacing = [step, step]
    file.Rows, file.Columns = image.shape
    file.SamplesPerPixel, file.PixelRepresentation = 1, 0
    file.BitsAllocated, file.BitsStored, file.HighBit = 16, BITS, BITS - 1
    file.PhotometricInterpretation = machine.photometric
    file.RescaleSlope, file.RescaleIntercept = "1", "0"
    file.VOILUTFunction = machine.function
    file.WindowCenter, file.WindowWidth = list(machine.centers), list(machine.widths)
    stored = (1 << BITS) - 1 - image if machine.photometric == "MONOCHROME1" else image
    file.PixelData = stored.astype("<u2").tobytes()
    if machine.syntax.is_compressed:
        file.compress(machine.syntax, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    content = io.BytesIO()
    file.save_as(content, enforce_file_format=True)
    return content.getvalue()


def _write_table(path: Path, rows: list[Row]) -> None:
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _check(patients: int, seed: int, size: tuple[int, int]) -> None:
    if not 1 <= patients <= _MOST_PATIENTS:
        raise ConfigError(f"patients: expected 1 to {_MOST_PATIENTS}, found {patients}.")
    if seed < 0:
        raise ConfigError(f"seed: expected a number from 0 on, found {seed}.")
    if min(size) < _SMALLEST:
        raise ConfigError(
            f"size: expected at least {_SMALLEST} pixels along H and W, found {tuple(size)}. The masses are "
            "learnable from 256 208 on."
        )
