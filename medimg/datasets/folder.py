"""Images sorted into a folder for each class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medimg.datasets.image_cases import (
    IMAGE_SUFFIXES,
    SPLIT_NAMES,
    ImageCases,
    patient_in,
    patient_pattern,
)
from medimg.datasets.image_masks import ImageMask, MaskFiles
from medimg.datasets.image_set import MASK_NAME, ImageSet, image_files
from medimg.errors import ConfigError, DataError
from medimg.records import ImageIndex, Task


@dataclass(frozen=True, kw_only=True)
class ImageFolder(ImageSet):
    r"""A folder of images for each class, alone or below ``train``, ``val`` and ``test``; BUSI is one.

    A case's id is its path below the root. Names that begin with ``.`` or ``_`` are skipped. Of an image ``a.png`` the
    files ``a_mask.png``, ``a_mask_1.png`` and so on are the mask, all together; an image without such a file has no
    known one.

    Attributes:
        patient: Regular expression whose group finds the patient in a case's id, such as ``(pat\d+)_``;
            ``None`` declares every image a patient of its own.
        positive: Classes that count as 1 in a binary task, such as ``malignant`` against the rest; empty
            keeps the classes as they are.
    """

    patient: str | None = None
    positive: tuple[str, ...] = ()

    def index(self, root: Path) -> ImageIndex:
        """List the images of the classes' folders: a multi-class index, or a binary one.

        Raises:
            DataError: If there are no classes, a split lacks the classes of another, or a patient is not found.
            ConfigError: If a class of ``positive`` is unknown, or ``patient`` is no regular expression.
        """
        if not root.is_dir():
            raise DataError(f"{root}: expected a folder for each class, and there is none. Check the path.")
        splits = split_folders(root)
        places: list[tuple[str | None, Path]] = [(split, root / folder) for folder, split in splits.items()]
        places = places or [(None, root)]
        classes = _classes(root, places)
        if unknown := sorted(set(self.positive) - set(classes)):
            raise ConfigError(f"positive: {', '.join(unknown)} is no class; {root} has {', '.join(classes)}")
        names = ("+".join(self.positive),) if self.positive else classes
        cases, pattern = ImageCases(root, root), patient_pattern(self.patient)
        for split, place in places:
            for kind in _folders(place):
                labels = {name: float(kind == name or kind in self.positive) for name in names}
                for path in image_files(place / kind):
                    case_id = path.relative_to(root).as_posix()
                    owner = patient_in(case_id, pattern)
                    if owner is None:
                        cases.fault(case_id, f"the pattern {self.patient!r} finds no patient in it")
                    else:
                        cases.add(case_id, owner, [case_id], where=case_id, labels=labels, split=split)
        task: Task = "binary" if self.positive else "multiclass"
        return ImageIndex(root.resolve().name, root, task, names, cases.records())

    def masks(self, index: ImageIndex) -> dict[str, ImageMask]:
        """Masks that lie beside their images, by case id."""
        folders = sorted({record.images[0].parent for record in index.records})
        parts = {folder: _mask_files(folder) for folder in folders}
        found: dict[str, ImageMask] = {}
        for record in index.records:
            image = record.images[0]
            if paths := parts[image.parent].get(image.stem):
                found[record.case_id] = MaskFiles(tuple(paths))
        return found


def _mask_files(folder: Path) -> dict[str, list[Path]]:
    """Masks in a folder by the name of their image."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        named = MASK_NAME.fullmatch(path.stem)
        if named and path.suffix.lower() in IMAGE_SUFFIXES:
            found.setdefault(named[1], []).append(path)
    return found


def split_folders(root: Path) -> dict[str, str]:
    """Folders below the root that are splits, and which: ``{"valid": "val"}``."""
    return {name: SPLIT_NAMES[name.lower()] for name in _folders(root) if name.lower() in SPLIT_NAMES}


def _folders(root: Path) -> list[str]:
    return sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith((".", "_")))


def _classes(root: Path, places: Sequence[tuple[str | None, Path]]) -> tuple[str, ...]:
    """The classes' names; every split must have the same ones, or one would be scored on classes never seen."""
    found = {
        place: tuple(n for n in _folders(place) if next(image_files(place / n), None)) for _, place in places
    }
    classes = sorted({name for names in found.values() for name in names})
    if len(classes) < 2:
        raise DataError(
            f"{root}: expected two or more folders of images, one a class, alone or below train, val and test; "
            f"found {', '.join(classes) or 'none'}."
        )
    train = set(classes) if places[0][0] is None else set(_of_train(places, found))
    if unseen := sorted(set(classes) - train):
        raise DataError(
            f"{root}: the class {unseen[0]} has no training images. Check the folders of the splits."
        )
    return tuple(classes)


def _of_train(
    places: Sequence[tuple[str | None, Path]], found: dict[Path, tuple[str, ...]]
) -> tuple[str, ...]:
    train = [names for (split, _), names in zip(places, found.values(), strict=True) if split == "train"]
    if not train:
        raise DataError(
            f"{places[0][1].parent}: expected a folder train beside {places[0][1].name}, found none"
        )
    return train[0]
