"""MedMNIST: small standard sets of 2D images and 3D volumes in one ``.npz`` each, with official splits.

Reference:
    Yang et al., "MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical image
    classification", Scientific Data 10, 2023.
"""

import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.datasets.image_set import ImageSet
from medimg.errors import DataError
from medimg.records import ImageIndex, Record, Task

SPLITS = ("train", "val", "test")
# One label of several values may be 1 in these; all other sets with one column have classes.
_CHEST = (
    *("atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia"),
    *("pneumothorax", "consolidation", "edema", "emphysema", "fibrosis", "pleural", "hernia"),
)
_CLASSES: Mapping[str, tuple[str, ...]] = {
    "pneumoniamnist": ("normal", "pneumonia"),
    "breastmnist": ("malignant", "normal or benign"),
    "chestmnist": _CHEST,
    "nodulemnist3d": ("benign", "malignant"),
    "adrenalmnist3d": ("normal", "hyperplasia"),
    "vesselmnist3d": ("vessel", "aneurysm"),
    "synapsemnist3d": ("inhibitory synapse", "excitatory synapse"),
    "fracturemnist3d": ("buckle rib fracture", "nondisplaced rib fracture", "displaced rib fracture"),
}


@dataclass(frozen=True, kw_only=True)
class MedMNIST(ImageSet):
    """One set of MedMNIST, any size, with its official splits; 3D sets train with ``LabelledVolumeDataModule``.

    Images of one patient cannot be told apart in these files, so that every image is a patient of its own;
    the official splits keep patients apart. ``Record.member`` counts within the split's array.

    Attributes:
        name: Name of the file without ``.npz``, such as ``chestmnist_224``; the root may be the file itself.

    Reference:
        Yang et al. 2023, "MedMNIST v2", doi:10.1038/s41597-022-01721-8.
    """

    name: str = "pneumoniamnist"

    def index(self, root: Path) -> ImageIndex:
        """List the cases of the file: a binary, multi-class or multi-label index with a split for every record.

        The label of a binary index is the class numbered 1.

        Raises:
            DataError: If the file cannot be read or has another form.
        """
        npz = root if root.suffix == ".npz" else root / f"{self.name}.npz"
        task, names, values = _meaning(npz, _labels(npz))
        records = [
            Record(
                case_id=f"{split}_{member:06d}",
                patient_id=f"{split}_{member:06d}",
                images=(npz,),
                labels=dict(zip(names, row, strict=True)),
                split=split,
                member=member,
            )
            for split in SPLITS
            for member, row in enumerate(values[split].tolist())
        ]
        records.sort(key=lambda record: record.case_id)
        return ImageIndex(npz.stem, npz.parent, task, names, tuple(records))

    def unlabelled(self, root: Path) -> ImageIndex:
        """List the cases of another file of that kind; its labels are left alone."""
        return self.index(root)


def _labels(npz: Path) -> dict[str, NDArray[Any]]:
    """Labels of each split, one row an image."""
    labels = {split: read_array(npz, f"{split}_labels") for split in SPLITS}
    for split in SPLITS:
        images = _shape(npz, f"{split}_images")[0]
        if labels[split].ndim != 2 or len(labels[split]) != images:
            raise DataError(
                f"{npz}: {split}_labels has shape {labels[split].shape} beside {images} images; "
                "expected (N, 1) or (N, L). Get the file again."
            )
    return labels


def read_array(npz: Path, key: str) -> NDArray[Any]:
    """Read one array of the file, such as ``train_images``: (N, H, W), (N, H, W, 3) or (N, D, H, W).

    Args:
        npz: The file.
        key: ``{train,val,test}_{images,labels}``.

    Raises:
        DataError: If the file or the array is missing or damaged.
    """
    try:
        with np.load(npz, allow_pickle=False) as arrays:
            array: NDArray[Any] = arrays[key]
    except FileNotFoundError:
        raise DataError(f"{npz}: there is no such file. Check the path.") from None
    except KeyError:
        raise DataError(f"{npz}: expected the array {key} of a MedMNIST file, found none.") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{npz}: cannot be read as .npz ({error}). Get the file again.") from error
    return array


def _shape(npz: Path, key: str) -> tuple[int, ...]:
    """Shape of an array from its header alone: images of size 224 fill gigabytes."""
    try:
        with zipfile.ZipFile(npz) as archive, archive.open(f"{key}.npy") as file:
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            return tuple(read(file)[0])
    except (KeyError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{npz}: the array {key} of a MedMNIST file cannot be read ({error}). Get the file again."
        ) from error


def _meaning(
    npz: Path, labels: Mapping[str, NDArray[Any]]
) -> tuple[Task, tuple[str, ...], dict[str, NDArray[np.float64]]]:
    """Task, names of the labels and a row of values (N, K) for each split."""
    name = re.sub(r"_\d+$", "", npz.stem)
    every = np.concatenate([labels[split] for split in SPLITS])
    if every.dtype.kind not in "uib" or every.min(initial=0) < 0:
        raise DataError(f"{npz}: expected labels that count from 0, found {every.dtype} from {every.min()}.")
    width = every.shape[1]
    if width > 1:
        if every.max(initial=0) > 1:
            raise DataError(f"{npz}: expected labels of 0 and 1, found {every.max()}.")
        names = _CLASSES.get(name, ())
        names = names if len(names) == width else tuple(f"label_{number}" for number in range(width))
        return "multilabel", names, {split: labels[split].astype(float) for split in SPLITS}
    count = int(every.max(initial=0)) + 1
    known = _CLASSES.get(name, ())
    names = known if len(known) == count else tuple(f"class_{number}" for number in range(count))
    if count <= 2:
        return "binary", (names[-1],), {split: labels[split].astype(float) for split in SPLITS}
    one_hot = np.eye(count)
    return "multiclass", names, {split: one_hot[labels[split][:, 0]] for split in SPLITS}
