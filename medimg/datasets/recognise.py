"""Telling which layout a folder has."""

import os
import re
from pathlib import Path
from typing import Any

from medimg.datasets.brats import index_brats, is_brats_name
from medimg.datasets.decathlon import index_decathlon
from medimg.datasets.nnunet import index_nnunet
from medimg.datasets.problems import read_object
from medimg.errors import DataError
from medimg.records import DatasetIndex

_CHANNEL_FILE = re.compile(r".+_\d{4}\.nii(\.gz)?")
_LISTED = 6


def index_dataset(root: Path, *, convention: str | None = None) -> DatasetIndex:
    """Index a folder in the layout it turns out to have.

    A ``dataset.json`` with ``channel_names``, or images named ``<case>_0000.nii.gz``, is nnU-Net's; one with
    ``modality`` and ``training`` is the Decathlon's; without it, file names tell BraTS.

    Args:
        root: Folder of the data set.
        convention: What the values of BraTS masks mean, see `medimg.datasets.brats.index_brats`.

    Returns:
        The index that the layout's own reader makes.

    Raises:
        DataError: If the folder has none of the three layouts, or its reader finds faults.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: expected a data set's folder, and there is none. Check the path.")
    if (root / "dataset.json").is_file():
        content = read_object(root / "dataset.json")
        if "channel_names" in content or ("modality" in content and _has_channel_files(root, content)):
            return index_nnunet(root)
        if "modality" in content and "training" in content:
            return index_decathlon(root)
        raise DataError(
            f"{root / 'dataset.json'}: expected channel_names (nnU-Net), or modality and training "
            f"(Decathlon); found the keys {', '.join(map(str, content)) or 'none'}. "
            "Mend the file or get it again."
        )
    if _has_brats_names(root):
        return index_brats(root, convention=convention)
    raise DataError(f"{root}: {_what_was_looked_for(root)}")


def _has_channel_files(root: Path, content: dict[str, Any]) -> bool:
    """Tell nnU-Net version 1, whose dataset.json lists images without the channel number they bear."""
    training = content.get("training")
    listed = [entry.get("image") for entry in training if isinstance(entry, dict)] if training else []
    if any((root / str(image)).is_file() for image in listed[:3]):
        return False
    return any(
        _CHANNEL_FILE.fullmatch(file.name)
        for folder in ("imagesTr", "imagesTs")
        for file in (root / folder).glob("*")
    )


def _has_brats_names(root: Path) -> bool:
    return any(is_brats_name(name) for _, _, files in os.walk(root) for name in files)


def _what_was_looked_for(root: Path) -> str:
    names = sorted(path.name for path in root.iterdir())
    found = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
    inner = [name for name in names if (root / name / "dataset.json").is_file()]
    advice = f"Did you mean {root / inner[0]}?" if inner else "Give the folder that holds one of these."
    return (
        "expected a data set as one of the Medical Segmentation Decathlon (dataset.json with modality and "
        "training), nnU-Net (dataset.json with channel_names, imagesTr/<case>_0000.nii.gz) or BraTS "
        f"(<case>-t1c.nii.gz or <case>_t1ce.nii.gz at any depth); found "
        f"{found or 'an empty folder'}. {advice}"
    )
