"""Telling which data set of 2D images a folder or file holds."""

from collections.abc import Callable
from pathlib import Path

from medimg.datasets.chestxray14 import ENTRIES, Repeats, index_chestxray14
from medimg.datasets.chexpert import index_chexpert, index_mimic_cxr
from medimg.datasets.folder import index_folder, split_folders
from medimg.datasets.image_cases import Missing
from medimg.datasets.image_set import image_files
from medimg.datasets.image_table import find_table, read_table
from medimg.datasets.isic import index_isic
from medimg.datasets.medmnist import index_medmnist
from medimg.datasets.ranzcr import LABELS as RANZCR_LABELS
from medimg.datasets.ranzcr import index_ranzcr
from medimg.datasets.rsna_mammography import index_rsna_mammography
from medimg.datasets.rsna_pneumonia import index_rsna_pneumonia
from medimg.datasets.siim import index_siim
from medimg.datasets.tiles import index_tiles
from medimg.datasets.vinbigdata import index_vinbigdata
from medimg.records import ImageIndex

_Reader = Callable[[Path, Missing, Repeats], ImageIndex]

# Table, columns that tell it from other tables of that name, reader. The first that fits is taken.
_LAYOUTS: tuple[tuple[str, tuple[str, ...], _Reader], ...] = (
    *(
        (
            name,
            ("Image Index", "Finding Labels"),
            lambda root, missing, _: index_chestxray14(root, missing=missing),
        )
        for name in ENTRIES
    ),
    (
        "train-small.csv",
        ("Image", "PatientId", "Cardiomegaly"),
        lambda root, missing, repeats: index_chestxray14(root, missing=missing, repeats=repeats),
    ),
    (
        "mimic-cxr-2.0.0-split.csv",
        ("dicom_id", "study_id"),
        lambda root, missing, _: index_mimic_cxr(root, uncertain="ignore", missing=missing),
    ),
    (
        "train.csv",
        ("Path", "Frontal/Lateral"),
        lambda root, missing, _: index_chexpert(root, uncertain="ignore", missing=missing),
    ),
    (
        "train.csv",
        ("patient_id", "image_id", "laterality", "view", "cancer"),
        lambda root, missing, _: index_rsna_mammography(root, missing=missing),
    ),
    (
        "stage_2_train_labels.csv",
        ("patientId", "Target"),
        lambda root, missing, _: index_rsna_pneumonia(root, missing=missing),
    ),
    (
        "train.csv",
        ("image_id", "class_id", "rad_id"),
        lambda root, missing, _: index_vinbigdata(root, missing=missing),
    ),
    *(
        (name, ("ImageId", "EncodedPixels"), lambda root, missing, _: index_siim(root, missing=missing))
        for name in ("train-rle.csv", "stage_2_train.csv")
    ),
    (
        "train.csv",
        ("StudyInstanceUID", RANZCR_LABELS[0]),
        lambda root, missing, _: index_ranzcr(root, missing=missing),
    ),
    (
        "train.csv",
        ("image_name", "patient_id", "target"),
        lambda root, missing, _: index_isic(root, missing=missing),
    ),
    *(
        ("train.csv", ("id", code), lambda root, missing, _: index_tiles(root, missing=missing))
        for code in ("rle", "encoding")
    ),
)


def recognise_images(
    root: Path, *, missing: Missing = "error", repeats: Repeats = "error"
) -> ImageIndex | None:
    """Index a folder of 2D images, or a MedMNIST file, in the layout it turns out to have.

    Uncertain labels are left unknown, and the readers of VinBigData outvote each other.

    Args:
        root: The folder, or an ``.npz``; or a folder that holds one ``.npz`` of MedMNIST and nothing else.
        missing: What to do with a case whose image is not there: ``error``, ``skip`` or ``keep``.
        repeats: What to do with an image that stands in several tables of ChestX-ray14: ``error``, ``held_out`` or
            ``separate``, so that an audit sees both.

    Returns:
        The index that the layout's own reader makes; ``None`` if it is none of them.

    Raises:
        DataError: If the layout's reader finds faults.
    """
    root = Path(root)
    if root.suffix == ".npz":
        return index_medmnist(root)
    inside = [path for path in root.glob("*") if not path.name.startswith(".")]
    if len(inside) == 1 and "mnist" in inside[0].name and inside[0].suffix == ".npz":
        return index_medmnist(inside[0])
    headers: dict[str, tuple[str, ...]] = {}
    for name, columns, reader in _LAYOUTS:
        path = find_table(root, [name])
        if path is None:
            continue
        if name not in headers:
            headers[name] = read_table(path).header
        if set(columns) <= set(headers[name]):
            return reader(root, missing, repeats)
    return index_folder(root) if root.is_dir() and _has_classes(root) else None


def _has_classes(root: Path) -> bool:
    """Whether two or more folders hold pictures themselves; DICOM there is more often a folder a patient."""
    places = [root / name for name in split_folders(root)] or [root]
    kinds = [folder for folder in sorted(places[0].iterdir()) if folder.is_dir()]
    first = [next(image_files(folder), None) for folder in kinds]
    found = [
        path for path, folder in zip(first, kinds, strict=True) if path is not None and path.parent == folder
    ]
    return len(found) > 1 and not any(path.suffix.lower() in (".dcm", ".dicom") for path in found)
