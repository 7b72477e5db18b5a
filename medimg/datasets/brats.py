"""Brain tumour data sets of the BraTS challenges, 2018 to 2024, in all their layouts.

References:
    Menze et al., "The Multimodal Brain Tumor Image Segmentation Benchmark (BRATS)", IEEE TMI 34, 2015.
    Baid et al., "The RSNA-ASNR-MICCAI BraTS 2021 Benchmark", arXiv:2107.02314.
    de Verdier et al., "The 2024 Brain Tumor Segmentation (BraTS) Challenge: Glioma Segmentation on
    Post-treatment MRI", arXiv:2405.18368.
"""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medimg.datasets.problems import Problems
from medimg.errors import ConfigError, DataError
from medimg.io.files import inside
from medimg.io.nifti import is_nifti
from medimg.records import DatasetIndex, Record

logger = logging.getLogger(__name__)

CHANNELS = ("t1n", "t1c", "t2w", "t2f")
_OLD_NAMES = {"t1": "t1n", "t1ce": "t1c", "t2": "t2w", "flair": "t2f", "seg": "seg"}
# The case id comes first; from 2023 on a hyphen divides it from the modality, before that an underscore.
_NEW_FILE = re.compile(r"(?P<case>BraTS-.+)-(?P<kind>t1n|t1c|t2w|t2f|seg)\.nii(\.gz)?", re.IGNORECASE)
_OLD_FILE = re.compile(r"(?P<case>.+)_(?P<kind>t1|t1ce|t2|flair|seg)\.nii(\.gz)?", re.IGNORECASE)
_TELLING_KINDS = {"t1ce", "flair", *CHANNELS}
_TIME_POINT = re.compile(r"(?P<patient>BraTS-[A-Za-z-]+-\d+)-(?P<time>\d{3})", re.IGNORECASE)
_OLD_VISIT = re.compile(r"(?P<patient>Brats1[789]_.+)_\d+", re.IGNORECASE)
# Part of 2020's training set: the mask of one case kept its name from the clinic.
_STRAY_MASK = re.compile(r".*_segm?\.nii(\.gz)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Convention:
    """What the mask's values mean in one edition.

    Attributes:
        labels: Value of each tissue.
        regions: Values of each region that is scored.
        region_labels: Value with which each region is written, outermost first.
    """

    labels: Mapping[str, int]
    regions: Mapping[str, tuple[int, ...]]
    region_labels: Mapping[str, int]


CONVENTIONS = {
    "brats2021": Convention(  # 2018 to 2022
        {"NCR": 1, "ED": 2, "ET": 4},
        {"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)},
        {"WT": 2, "TC": 1, "ET": 4},
    ),
    "brats2023": Convention(
        {"NCR": 1, "ED": 2, "ET": 3},
        {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)},
        {"WT": 2, "TC": 1, "ET": 3},
    ),
    "brats2024-gli": Convention(  # after surgery; RC is the resection cavity
        {"NCR": 1, "ED": 2, "ET": 3, "RC": 4},
        {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,), "RC": (4,)},
        {"WT": 2, "TC": 1, "ET": 3, "RC": 4},
    ),
    "brats2024-ped": Convention(  # CC is the cystic component
        {"ET": 1, "NET": 2, "CC": 3, "ED": 4},
        {"WT": (1, 2, 3, 4), "TC": (1, 2, 3), "ET": (1,)},
        {"WT": 4, "TC": 2, "ET": 1},
    ),
}


@dataclass(slots=True)
class _Case:
    """Files of one case in one folder, by modality."""

    folder: Path
    new_names: bool
    files: dict[str, Path] = field(default_factory=dict)


def index_brats(root: Path, *, convention: str | None = None) -> DatasetIndex:
    """Index a BraTS folder: one folder a case, at any depth, with ``HGG``/``LGG`` or without.

    The channels are ``t1n, t1c, t2w, t2f`` whatever the year calls them. A case without a mask is
    unlabelled. From 2023 on the patient is the case id without its time point.

    Args:
        root: Folder that holds the cases.
        convention: What the mask's values mean, a key of `CONVENTIONS`. ``None`` tells by the names:
            ``_t1ce`` and the like are 2018 to 2022, ``-t1c`` and the like 2023, with glioma time points from
            100 on 2024 after surgery. The paediatric masks of 2024 cannot be told from those of 2023, so
            ``"brats2024-ped"`` must be asked for.

    Returns:
        The index, named after the folder.

    Raises:
        ConfigError: If the convention is unknown.
        DataError: If no case is found, or for all faults of the cases together.
    """
    root = Path(root)
    if convention is not None and convention not in CONVENTIONS:
        raise ConfigError(f"convention {convention!r} is unknown; expected one of {', '.join(CONVENTIONS)}.")
    problems = Problems(root, "BraTS")
    cases = _gather(root, problems)
    if not cases:
        raise DataError(
            f"{root}: no BraTS case found: expected files such as BraTS-GLI-00000-000-t1c.nii.gz or "
            "BraTS2021_00000_t1ce.nii.gz at any depth. Check the folder."
        )
    if len({case.new_names for _, case in cases}) > 1:
        problems.add(
            root.name, "names of 2023 (-t1c) and of earlier years (_t1ce) are mixed; index them apart"
        )
    records = [record for name, case in cases if (record := _record(root, name, case, problems))]
    problems.raise_if_any()
    meaning = CONVENTIONS[convention or _tell_convention([name for name, _ in cases], cases[0][1].new_names)]
    records.sort(key=lambda record: record.case_id)
    return DatasetIndex(
        name=root.resolve().name,
        root=root,
        channels=CHANNELS,
        labels=dict(meaning.labels),
        records=tuple(record for record in records if record.mask is not None),
        unlabelled=tuple(record for record in records if record.mask is None),
        regions=dict(meaning.regions),
        region_labels=dict(meaning.region_labels),
    )


def is_brats_name(name: str) -> bool:
    """Return whether a file name is that of a BraTS image.

    Example:
        >>> is_brats_name("BraTS-GLI-00000-000-t1c.nii.gz"), is_brats_name("BraTS20_Training_001_t1ce.nii")
        (True, True)
        >>> is_brats_name("liver_12.nii.gz")
        False
    """
    match = _match(name)
    if match is None:
        return False
    # "_t1" and "_seg" alone also end the names of many other files.
    return match["kind"].lower() in _TELLING_KINDS or name.lower().startswith("brats")


def patient_id_of(case_id: str) -> str:
    """Return the patient of a case: its id without the time point or, until 2019, the visit.

    Example:
        >>> patient_id_of("BraTS-GLI-00012-101"), patient_id_of("BraTS2021_00003")
        ('BraTS-GLI-00012', 'BraTS2021_00003')
    """
    match = _TIME_POINT.fullmatch(case_id) or _OLD_VISIT.fullmatch(case_id)
    return match["patient"] if match else case_id


def _match(name: str) -> re.Match[str] | None:
    if name.startswith((".", "_")):
        return None
    return _NEW_FILE.fullmatch(name) or _OLD_FILE.fullmatch(name)


def _gather(root: Path, problems: Problems) -> list[tuple[str, _Case]]:
    """Return the cases of every folder below the root; one id may stand in several folders."""
    cases: dict[tuple[Path, str], _Case] = {}
    stray: list[Path] = []
    for path in _walk(root, problems):
        match = _match(path.name)
        if match is None:
            stray.append(path)
            continue
        new = _NEW_FILE.fullmatch(path.name) is not None
        kind = match["kind"].lower() if new else _OLD_NAMES[match["kind"].lower()]
        case = cases.setdefault((path.parent, match["case"]), _Case(path.parent, new))
        if kind in case.files:
            problems.add(match["case"], f"has two files of {kind}: {case.files[kind].name} and {path.name}")
        case.files[kind] = path
    for key in [key for key, case in cases.items() if _is_foreign(key[1], case)]:
        stray.extend(cases.pop(key).files.values())
    folders = {folder for folder, _ in cases}
    for path in stray:
        if path.parent in folders and _STRAY_MASK.fullmatch(path.name):
            problems.add(
                path.parent.name,
                f"{path.name} looks like its mask under another name; rename it to <case>_seg",
            )
    if stray and cases:
        logger.warning("%s: %d NIfTI files bear no BraTS name and are left out.", root, len(stray))
    return [(name, case) for (_, name), case in sorted(cases.items())]


def _is_foreign(case_id: str, case: _Case) -> bool:
    """Tell files such as ``liver_seg.nii.gz``, which only share an ending with BraTS."""
    return not any(is_brats_name(path.name) for path in case.files.values())


def _walk(root: Path, problems: Problems) -> Iterator[Path]:
    """Yield the NIfTI files below a folder, hidden ones and folders such as ``__MACOSX`` left out."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        for name in folders:
            if (Path(folder) / name).is_symlink():
                _check_link(root, Path(folder) / name, problems)
        for name in sorted(files):
            path = Path(folder) / name
            if is_nifti(path) and not name.startswith((".", "_")):
                yield path


def _check_link(root: Path, link: Path, problems: Problems) -> None:
    """Refuse a linked folder that leads out; what one within links to is walked at its own place."""
    try:
        inside(root, link.relative_to(root))
    except DataError as error:
        problems.add(link.name, str(error))


def _record(root: Path, case_id: str, case: _Case, problems: Problems) -> Record | None:
    if not problems.claim(case_id, str(case.folder)):
        return None
    files = {
        kind: problems.file(case_id, path.relative_to(root), "image") for kind, path in case.files.items()
    }
    missing = [name for name in CHANNELS if name not in files]
    if missing:
        old = {new: name for name, new in _OLD_NAMES.items()}
        names = [name if case.new_names else f"{old[name]} ({name})" for name in missing]
        problems.add(case_id, f"the modality {', '.join(names)} is missing in {case.folder}")
        return None
    images = tuple(files[name] for name in CHANNELS)
    return Record(case_id, patient_id_of(case_id), images, files.get("seg"))


def _tell_convention(case_ids: list[str], new_names: bool) -> str:
    if not new_names:
        return "brats2021"
    times = [
        int(match["time"])
        for name in case_ids
        if "-gli-" in name.lower() and (match := _TIME_POINT.fullmatch(name))
    ]
    if any(time >= 100 for time in times):
        return "brats2024-gli"
    if any("-ped-" in name.lower() for name in case_ids):
        logger.warning(
            "Paediatric cases are read with the labels of 2023; for those of 2024 ask for the convention "
            "brats2024-ped, where the value 1 is enhancing tumour."
        )
    return "brats2023"
