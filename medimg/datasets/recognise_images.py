"""Telling which data set of 2D images a folder or file holds."""

from pathlib import Path

from medimg.datasets.chestxray14 import ENTRIES, ChestXray14, Repeats
from medimg.datasets.chexpert import MIMICCXR, CheXpert
from medimg.datasets.folder import ImageFolder, split_folders
from medimg.datasets.image_cases import Missing
from medimg.datasets.image_set import ListedImages, image_files
from medimg.datasets.image_table import find_table
from medimg.datasets.isic import ISIC2020
from medimg.datasets.long_table import read_header
from medimg.datasets.medmnist import MedMNIST
from medimg.datasets.ranzcr import RANZCR
from medimg.datasets.rsna_hemorrhage import RSNAHemorrhage
from medimg.datasets.rsna_mammography import RSNAMammography
from medimg.datasets.rsna_pe import RSNAPulmonaryEmbolism
from medimg.datasets.rsna_pneumonia import RSNAPneumonia
from medimg.datasets.rsna_spine import RSNASpine
from medimg.datasets.siim import SIIMPneumothorax
from medimg.datasets.tiles import HistologyTiles
from medimg.datasets.vinbigdata import VinBigData
from medimg.records import ImageIndex
from medimg.scoring.embolism import IMAGE_LABEL
from medimg.scoring.label_forms import RANZCR_LABELS

# Table, columns that tell it from other tables of that name, layout. The first that fits is taken.
_LAYOUTS: tuple[tuple[str, tuple[str, ...], type[ListedImages]], ...] = (
    *((name, ("Image Index", "Finding Labels"), ChestXray14) for name in ENTRIES),
    ("train-small.csv", ("Image", "PatientId", "Cardiomegaly"), ChestXray14),
    ("mimic-cxr-2.0.0-split.csv", ("dicom_id", "study_id"), MIMICCXR),
    ("train.csv", ("Path", "Frontal/Lateral"), CheXpert),
    ("train.csv", ("patient_id", "image_id", "laterality", "view", "cancer"), RSNAMammography),
    ("stage_2_train_labels.csv", ("patientId", "Target"), RSNAPneumonia),
    ("train.csv", ("image_id", "class_id", "rad_id"), VinBigData),
    *(
        (name, ("ImageId", "EncodedPixels"), SIIMPneumothorax)
        for name in ("train-rle.csv", "stage_2_train.csv")
    ),
    ("train.csv", ("StudyInstanceUID", "SOPInstanceUID", IMAGE_LABEL), RSNAPulmonaryEmbolism),
    ("train.csv", ("StudyInstanceUID", "patient_overall"), RSNASpine),
    *((name, ("ID", "Label"), RSNAHemorrhage) for name in ("stage_2_train.csv", "stage_1_train.csv")),
    ("train.csv", ("StudyInstanceUID", RANZCR_LABELS[0]), RANZCR),
    ("train.csv", ("image_name", "patient_id", "target"), ISIC2020),
    *(("train.csv", ("id", code), HistologyTiles) for code in ("rle", "encoding")),
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
        return MedMNIST().index(root)
    inside = [path for path in root.glob("*") if not path.name.startswith(".")]
    if len(inside) == 1 and "mnist" in inside[0].name and inside[0].suffix == ".npz":
        return MedMNIST().index(inside[0])
    headers: dict[str, tuple[str, ...]] = {}
    for name, columns, layout in _LAYOUTS:
        path = find_table(root, [name])
        if path is None:
            continue
        if name not in headers:
            headers[name] = read_header(path)
        if set(columns) <= set(headers[name]):
            if layout is ChestXray14:
                return ChestXray14(missing=missing, repeats=repeats).index(root)
            return layout(missing=missing).index(root)
    return ImageFolder().index(root) if root.is_dir() and _has_classes(root) else None


def _has_classes(root: Path) -> bool:
    """Whether two or more folders hold pictures themselves; DICOM there is more often a folder a patient."""
    places = [root / name for name in split_folders(root)] or [root]
    kinds = [folder for folder in sorted(places[0].iterdir()) if folder.is_dir()]
    first = [next(image_files(folder), None) for folder in kinds]
    found = [
        path for path, folder in zip(first, kinds, strict=True) if path is not None and path.parent == folder
    ]
    return len(found) > 1 and not any(path.suffix.lower() in (".dcm", ".dicom") for path in found)
