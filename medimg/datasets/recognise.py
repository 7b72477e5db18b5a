"""Telling which layout a folder has."""

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from medimg.datasets.brats import CHANNELS, index_brats, is_brats_name
from medimg.datasets.decathlon import index_decathlon
from medimg.datasets.nnunet import index_nnunet
from medimg.datasets.problems import read_object
from medimg.errors import DataError
from medimg.records import DatasetIndex

_CHANNEL_FILE = re.compile(r".+_\d{4}\.nii(\.gz)?")
_LISTED = 6
# What the Decathlon calls the channels of its brain tumours.
_CHANNEL_OF = {"flair": "t2f", "t1w": "t1n", "t1gd": "t1c", "t2w": "t2w"}

Layout = Literal["nnunet", "decathlon", "brats"]


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
    match layout_of(root):
        case "nnunet":
            return index_nnunet(root)
        case "decathlon":
            return index_decathlon(root)
        case "brats":
            return index_brats(root, convention=convention)


def index_brain_tumours(root: Path, *, convention: str | None = None) -> DatasetIndex:
    """Index BraTS of any year, or brain tumours in another layout, with the channels in the order of BraTS.

    One order for all, so that a network trained on the one data set reads the other.

    Args:
        root: Folder of the data set.
        convention: As for `index_dataset`.

    Raises:
        DataError: As for `index_dataset`.
    """
    index = index_dataset(root, convention=convention)
    names = [_CHANNEL_OF.get(name.lower(), name) for name in index.channels]
    if index.channels == CHANNELS or sorted(names) != sorted(CHANNELS):
        return index
    return replace(
        index, channels=CHANNELS, channel_order=tuple(names.index(channel) for channel in CHANNELS)
    )


def layout_of(root: Path) -> Layout:
    """Tell the layout of a folder.

    Args:
        root: Folder of the data set.

    Raises:
        DataError: If it is none of the three.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: expected a data set's folder, and there is none. Check the path.")
    if (root / "dataset.json").is_file():
        content = read_object(root / "dataset.json")
        if "channel_names" in content or ("modality" in content and _has_channel_files(root, content)):
            return "nnunet"
        if "modality" in content and "training" in content:
            return "decathlon"
        raise DataError(
            f"{root / 'dataset.json'}: expected channel_names (nnU-Net), or modality and training "
            f"(Decathlon); found the keys {', '.join(map(str, content)) or 'none'}. "
            "Mend the file or get it again."
        )
    if _has_brats_names(root):
        return "brats"
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
