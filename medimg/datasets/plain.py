"""A folder of images and nothing else, as ``predict`` takes it."""

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medimg.datasets.decathlon import case_id_of
from medimg.datasets.dicom_folder import holds_dicom, index_dicom
from medimg.datasets.problems import Problems
from medimg.errors import DataError
from medimg.io.nifti import is_nifti, scan_channels
from medimg.records import DatasetIndex, Record

logger = logging.getLogger(__name__)

_FOLDERS = (".", "imagesTr", "imagesTs")
_CHANNEL_SUFFIX = re.compile(r"(.+)_(\d{4})")
_LISTED = 6


def index_plain(root: Path, *, like: DatasetIndex) -> DatasetIndex:
    """Index a folder of NIfTI images, or of DICOM series, that has no ``dataset.json``.

    A case is one file, 3D for one channel or 4D with all of them; or, if any name in the folder ends in
    ``_0000``, nnU-Net's ``<case>_0000.nii.gz`` with one file a channel. Names that begin with ``.`` or ``_``
    are skipped, and no sub-folder is looked into but ``imagesTr`` and ``imagesTs``. Of single files the
    header is read, so that a wrong number of channels is known before the first case is predicted. A folder without
    NIfTI images that holds DICOM files is indexed by `medimg.datasets.dicom_folder.index_dicom`.

    Args:
        root: Folder of the images.
        like: Data set that the network was trained on; it says what channels and labels there are.

    Returns:
        The cases as unlabelled, each its own patient, with the channels and labels of ``like``.

    Raises:
        DataError: If there is no image, or for all faults of the cases together.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: expected a folder of images, and there is none. Check the path.")
    if not any(is_nifti(file) for folder in _FOLDERS for file in (root / folder).glob("*")) and holds_dicom(
        root
    ):
        return index_dicom(root, like=like)
    files = _images(root)
    problems = Problems(root, "plain")
    numbered = any(case_id_of(file).endswith("_0000") for file in files)
    find = _channel_files if numbered else _single_files
    records = find(files, like.channels, problems)
    problems.raise_if_any()
    return replace(
        like,
        name=root.resolve().name,
        root=root,
        records=(),
        test=(),
        unlabelled=tuple(sorted(records, key=lambda record: record.case_id)),
        folds=(),
    )


def _images(root: Path) -> list[Path]:
    """NIfTI files relative to the root; what else lies there is named, since it could be images too."""
    present = [
        file.relative_to(root)
        for folder in _FOLDERS
        for file in sorted((root / folder).glob("*"))
        if not file.name.startswith((".", "_")) and not file.is_dir()
    ]
    images = [file for file in present if is_nifti(file)]
    others = [str(file) for file in present if not is_nifti(file)]
    named = ", ".join(others[:_LISTED]) + (
        f" and {len(others) - _LISTED} more" if len(others) > _LISTED else ""
    )
    if not images:
        raise DataError(
            f"{root}: expected images named <case>.nii.gz or <case>_0000.nii.gz here or in imagesTs or "
            f"imagesTr; found {named or 'no file'}. Convert the images to NIfTI or give the folder that holds "
            "them."
        )
    if others:
        logger.warning("%s: %d files are no NIfTI and are left out: %s", root, len(others), named)
    return images


def _single_files(files: Sequence[Path], channels: Sequence[str], problems: Problems) -> list[Record]:
    records = []
    for file in files:
        case_id = case_id_of(file)
        if not problems.claim(case_id, str(file)):
            continue
        image = problems.file(case_id, file, "image")
        try:
            count = scan_channels(image)
        except DataError as error:
            problems.add(case_id, str(error))
            continue
        if count != len(channels):
            problems.add(
                case_id, f"expected {len(channels)} channels ({', '.join(channels)}), found {count} in {file}"
            )
        records.append(Record(case_id, case_id, (image,)))
    return records


def _channel_files(files: Sequence[Path], channels: Sequence[str], problems: Problems) -> list[Record]:
    """Group ``<case>_0000``, ``<case>_0001`` of one folder into a case."""
    found: dict[tuple[Path, str], dict[int, Path]] = {}
    for file in files:
        match = _CHANNEL_SUFFIX.fullmatch(case_id_of(file))
        if match is None:
            problems.add(
                str(file), "expected a name such as <case>_0000.nii.gz, which other images here have"
            )
            continue
        parts = found.setdefault((file.parent, match[1]), {})
        if int(match[2]) in parts:
            problems.add(match[1], f"{parts[int(match[2])]} and {file} are the same channel; keep one")
            continue
        parts[int(match[2])] = file
    records = []
    for (folder, case_id), parts in found.items():
        if not problems.claim(case_id, str(folder / parts[min(parts)].name)):
            continue
        _check_channels(case_id, parts, channels, problems)
        images = tuple(problems.file(case_id, parts[number], "image") for number in sorted(parts))
        records.append(Record(case_id, case_id, images))
    return records


def _check_channels(
    case_id: str, parts: dict[int, Path], channels: Sequence[str], problems: Problems
) -> None:
    for number, name in enumerate(channels):
        if number not in parts:
            problems.add(case_id, f"the channel {name} ({case_id}_{number:04d}.nii.gz) is missing")
    for number in sorted(set(parts) - set(range(len(channels)))):
        problems.add(
            case_id,
            f"{parts[number]} is channel {number}, and the network knows {len(channels)} "
            f"({', '.join(channels)}); rename the files if the number is that of a case",
        )
